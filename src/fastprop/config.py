"""What this installation is."""

import os

from fastprop.engine.program import current_instruction_set, use_instruction_set
from fastprop.engine.tape import build_kind

__all__ = ["__version__", "show_config"]

__version__ = "0.1.0"

use_instruction_set(os.environ.get("FASTPROP_ISA"))


def show_config() -> None:
    """Print the version, the instruction set of the kernels, and the kind of build.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.show_config()  # doctest: +ELLIPSIS
    fastprop ...
    instruction set: ...
    build: ...
    """
    print(f"fastprop {__version__}")
    print(f"instruction set: {current_instruction_set()}")
    print(f"build: {build_kind()}")
