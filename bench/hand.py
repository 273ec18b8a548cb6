"""The baselines in C: compiled when they are asked for, into a temporary folder, and called through ctypes.

`c/` holds what a patient programmer writes by hand for each workload, value and gradient together. The flags are those
that one gives to code which need not run elsewhere: -O3 -march=native.
"""

from __future__ import annotations

import ctypes
import functools
import platform
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from circuits import Answer, Circuit
from lanes import Lanes
from measure import Entry, Repeated, timed
from mixture import Mixture

SOURCES = Path(__file__).resolve().parent / "c"
FLAGS = ["-O3", "-march=native", "-fPIC", "-Wall", "-Wextra", "-Wno-psabi"]
VECTORISED = ["-ffast-math", "-mprefer-vector-width=512"] if platform.machine() == "x86_64" else ["-ffast-math"]
MORE_FLAGS = {"loops": VECTORISED, "training": VECTORISED}
LIBRARIES = ["-lmvec", "-lm"] if platform.machine() == "x86_64" else ["-lm"]

POINTS = {"P1": 0, "P2": 1, "P3": 2, "P4": 3, "P4L": 3, "P5": 4}  # places in points.c's list


@functools.cache
def folder() -> tempfile.TemporaryDirectory[str]:
    """Where the libraries lie until this process ends."""
    return tempfile.TemporaryDirectory(prefix="fastprop-bench-")


def compiler() -> list[str]:
    """The C compiler that Python was built with, or else cc."""
    for command in (shlex.split(sysconfig.get_config_var("CC") or ""), ["cc"]):
        if command and shutil.which(command[0]):
            return command
    raise RuntimeError("the baselines in C need a C compiler, and there is none: install gcc or clang")


@functools.cache
def library(name: str) -> ctypes.CDLL:
    """Compile and load one of the sources, such as lanes.

    It is linked in a step of its own: linked with -ffast-math, gcc 12 makes a library that, when it is loaded, flushes
    subnormal numbers to zero in the whole process.
    """
    stem = Path(folder().name, name)
    compile_ = [*compiler(), *FLAGS, *MORE_FLAGS.get(name, []), "-c", str(SOURCES / f"{name}.c"), "-o", f"{stem}.o"]
    link = [*compiler(), "-shared", f"{stem}.o", "-o", f"{stem}.so", *LIBRARIES]
    for command in (compile_, link):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{shlex.join(command)} failed:\n{done.stderr}")
    return ctypes.CDLL(f"{stem}.so")


def function(name: str, of: str, result: Any = None) -> Callable[..., Any]:
    """A function of a library; arrays are given to it as addresses, other numbers as they are."""
    raw = library(of)[name]
    raw.restype = result

    def convert(argument: Any) -> Any:
        if argument is None:
            return ctypes.c_void_p(None)
        if isinstance(argument, np.ndarray):
            assert argument.dtype == np.float64 and argument.flags.c_contiguous
            return argument.ctypes.data_as(ctypes.c_void_p)  # which keeps the array alive
        return ctypes.c_double(argument) if isinstance(argument, float) else ctypes.c_long(argument)

    def bound(*arguments: Any) -> Callable[[], Any]:
        converted = [convert(argument) for argument in arguments]
        return lambda: raw(*converted)

    return bound


def aligned(*shape: int) -> np.ndarray:
    """Zeros that begin at a multiple of 64 bytes."""
    size = int(np.prod(shape))
    pool = np.zeros(size + 8)
    start = -(pool.ctypes.data // 8) % 8
    return pool[start : start + size].reshape(shape)


def of_circuit(circuit: Circuit) -> list[Entry]:
    """P1 to P5. The points change from call to call, and the loop over the calls is in C, too."""
    if circuit.name not in POINTS:
        return []
    points = circuit.points()
    gradient = np.zeros(circuit.point.size)
    repeat = function("repeat", "points", ctypes.c_double)

    def calls(number: int) -> Callable[[], float]:
        return repeat(POINTS[circuit.name], number, points, len(points), circuit.point.size, gradient)

    def answer() -> Answer:
        return calls(1)(), gradient.copy()

    return [Entry("C by hand", answer, Repeated(lambda number: timed(calls(number))))]


def of_lanes(lanes: Lanes) -> list[Entry]:
    """V1 to V4, by explicit vectors and as loops that gcc vectorises."""
    if lanes.lanes % 8:
        raise ValueError(f"{lanes.lanes} lanes: the C code takes a multiple of eight")
    arguments = [aligned(*argument.shape) for argument in lanes.arguments]
    for place, argument in zip(arguments, lanes.arguments):
        place[...] = argument
    value, inputs = aligned(lanes.lanes), len(arguments[0])
    gradient = np.zeros(inputs) if lanes.summed else aligned(inputs, lanes.lanes)

    def entry(name: str, c_name: str, of: str) -> Entry:
        leading = [len(lanes.arguments[1])] if lanes.name == "V4" else []
        outputs = [gradient] if lanes.summed else [value, gradient]
        result = ctypes.c_double if lanes.summed else None
        call = function(c_name, of, result)(lanes.lanes, *leading, *arguments, *outputs)
        return Entry(name, lambda: ((call() if lanes.summed else (call(), value.copy())[1]), gradient.copy()), call)

    if lanes.name == "V1":
        return [
            entry("C by hand", "neuron", "lanes"),
            entry("C by hand, stores past the cache", "neuron_streamed", "lanes"),
        ]
    c_name = {"V2": "black_scholes", "V3": "network", "V3s": "network_summed", "V4": "path"}[lanes.name]
    return [entry("C by hand, vectors", c_name, "lanes"), entry("C by hand, gcc's vectors", c_name, "loops")]


def of_mixture(mixture: Mixture) -> list[Entry]:
    """The mixture's gradient; and its value alone, which has no gradient to prove."""
    K, d = mixture.means.shape
    gradient = np.zeros(sum(part.size for part in mixture.parameters))

    def call(gradient: np.ndarray | None) -> Callable[[], float]:
        sizes, prior = (d, K, len(mixture.points)), (mixture.gamma, mixture.m)
        return function("mixture", "mixture", ctypes.c_double)(
            *sizes, *mixture.parameters, mixture.points, *prior, gradient
        )

    both, alone = call(gradient), call(None)

    def answer() -> Answer:
        return both(), [part.copy() for part in mixture.split(gradient)]

    def answer_alone() -> Answer:
        return alone(), answer()[1]

    return [Entry("C by hand", answer, both), Entry("C by hand, value alone", answer_alone, alone)]


def entries(workload: Circuit | Lanes | Mixture) -> list[Entry]:
    """What there is in C of a workload."""
    if isinstance(workload, Circuit):
        return of_circuit(workload)
    return of_lanes(workload) if isinstance(workload, Lanes) else of_mixture(workload)
