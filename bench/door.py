"""Print what the way in and out of a compiled call costs: `python bench/door.py`.

The function between is `echo.pyx`: the sum of the squares of its arguments and its gradient, which takes next to
nothing. The unit is NumPy's `add` of two arrays of five numbers, timed in the same run. Every answer is proved first.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from Cython.Build import cythonize
from setuptools import Distribution, Extension

from fastprop.engine.door import Form, Marshal, array, number
from fastprop.handles.nesting import Nesting, flatten
from measure import Times, interleave, pin

HERE = Path(__file__).parent


def compiled() -> Any:
    """Compile `echo.pyx` against the installed package, and import it."""
    place = Path(tempfile.mkdtemp())
    source = place / "echo.pyx"
    source.write_text((HERE / "echo.pyx").read_text())
    engine = Path(importlib.import_module("fastprop.engine").__file__).parent
    extension = Extension("echo", [str(source)], include_dirs=[np.get_include(), str(engine)])
    options = {"include_path": [str(engine.parents[1])], "build_dir": str(place), "quiet": True}
    command = Distribution({"ext_modules": cythonize([extension], **options)}).get_command_obj("build_ext")
    command.build_lib, command.build_temp = str(place), str(place)
    command.ensure_finalized()
    command.run()
    specification = importlib.util.spec_from_file_location("echo", command.get_ext_fullpath("echo"))
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def echo(module: Any, args: tuple[Any, ...], gradient: bool, recycle: bool) -> Callable[..., Any]:
    """The function for arguments of one form; with its gradient if asked."""
    form = Form(args)
    if not gradient:
        return module.Echo(form, Marshal(flatten(0.0)[1], [number(0)]))
    leaves, at = [number(0)], 1
    for leaf in flatten(args)[0]:  # here, numbers stand before arrays
        shape = getattr(leaf, "shape", None)
        leaves.append(number(at) if shape is None else array(at, shape))
        at += 1 if shape is None else leaf.size
    inner = form.nestings[0] if len(args) == 1 else Nesting(tuple, len(args), tuple(form.nestings), len(form), None)
    return module.Echo(form, Marshal(Nesting(tuple, 2, (flatten(0.0)[1], inner), len(leaves), None), leaves, recycle))


def prove(call: Callable[..., Any], args: tuple[Any, ...], gradient: bool) -> None:
    """Compare with NumPy."""
    leaves = [np.asarray(leaf) for leaf in flatten(args)[0]]
    total = sum(float((leaf**2).sum()) for leaf in leaves)
    for _ in range(4):
        found = flatten(call(*args))[0]
        assert np.isclose(found[0], total, rtol=1e-14)
        assert not gradient or all(np.array_equal(a, 2 * b) for a, b in zip(found[1:], leaves))


def dropping(call: Callable[..., Any], args: tuple[Any, ...]) -> Callable[[], None]:
    """A call whose results are dropped at once."""
    if len(args) == 1:
        (x,) = args
        return lambda: call(x)
    return lambda: call(*args)


def keeping(call: Callable[..., Any], args: tuple[Any, ...]) -> Callable[[], None]:
    """A call whose results are all kept (the last 50)."""
    kept: list[Any] = []

    def run() -> None:
        if len(kept) == 50:
            kept.clear()
        kept.append(call(*args))

    return run


def main() -> None:
    """Print the table."""
    pin()
    module = compiled()
    five, x = (0.1, 0.2, 0.3, 0.4, 0.5), np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    many = [0.5 + i for i in range(5000)]
    named = {f"p{i}": value for i, value in enumerate(many)}
    layers = [(np.ones((64, 64)), np.ones(64)), (np.ones((64, 10)), np.ones(10))]
    cases: list[tuple[str, tuple[Any, ...], bool]] = [
        ("a float -> float", (2.0,), False),
        ("np.float64 -> float", (np.float64(2.0),), False),
        ("five floats -> float, five floats", five, True),
        ("an array of 5 -> float, array", (x,), True),
        ("a list of 5,000 floats -> float", (many,), False),
        ("a list of 5,000 floats -> float, list", (many,), True),
        ("a dict of 5,000 floats -> float", (named,), False),
        ("a dict of 5,000 floats -> float, dict", (named,), True),
        ("two layers of arrays -> float, the same", (layers,), True),
    ]
    calls: dict[str, Callable[[], Any]] = {"unit": lambda: np.add(x, x), "nothing": lambda: None}
    for name, args, gradient in cases:
        recycled, fresh = (echo(module, args, gradient, recycle) for recycle in (True, False))
        prove(recycled, args, gradient)
        prove(fresh, args, gradient)
        calls[name] = dropping(recycled, args)
        if gradient:
            calls[f"{name}; never written again"] = dropping(fresh, args)
            calls[f"{name}; kept"] = keeping(recycled, args)
    times = interleave(calls, 9)
    show(times)


def show(times: dict[str, Times]) -> None:
    """Print microseconds, and units; what an empty call takes is subtracted from both."""
    nothing = times["nothing"].least
    unit = times["unit"].least - nothing
    for name, measured in times.items():
        seconds = measured.least - nothing
        print(f"{name:65} {seconds * 1e6:10.3f} µs {seconds / unit:8.2f}")


if __name__ == "__main__":
    main()
