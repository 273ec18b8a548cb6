"""What this installation is."""

from importlib.metadata import PackageNotFoundError, version

from fastprop.engine.functions import build_kind

__all__ = ["__version__", "show_config"]

try:
    __version__ = version("fastprop")
except PackageNotFoundError:  # imported from a source tree that was never installed
    __version__ = "unknown"


def show_config() -> None:
    """Print the version, the instruction set of the kernels, and the kind of build.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.show_config()  # doctest: +ELLIPSIS
    fastprop ...
    instruction set: baseline
    build: ...
    """
    print(f"fastprop {__version__}")
    print("instruction set: baseline")
    print(f"build: {build_kind()}")
