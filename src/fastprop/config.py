"""What this installation is."""

from fastprop.engine.functions import build_kind

__all__ = ["__version__", "show_config"]

__version__ = "0.1.0"


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
