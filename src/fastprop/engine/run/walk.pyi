"""Walking lanes down a tree of conditions, each to the path that it takes."""

from typing import Any

from numpy.typing import NDArray

def walk(tree: NDArray[Any], truth: NDArray[Any], lanes: NDArray[Any], taken: NDArray[Any]) -> NDArray[Any]: ...
