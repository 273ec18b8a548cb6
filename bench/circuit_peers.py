"""Other libraries on the circuits that are recorded once: CasADi, JAX, PyTorch.

Each adapter takes a workload (P, V or the mixture) and gives its entries, the fastest way that its manual names first.
It runs in this Python if the library is installed here, or else in the one of `--peer-python` (elsewhere.py), which
needs NumPy and the library, and not fastprop. Nothing here imports fastprop.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from circuits import CIRCUITS, Answer, Circuit
from lanes import LANES, Lanes
from measure import Entry
from mixture import INSTANCES, Mixture, load

COMPILED_QUICKLY = 100  # gates: generated C of more takes gcc seconds to minutes
FEW = 100  # gates: more of them, one by one, take jax and torch minutes, and nobody would write them so

Workload = Circuit | Lanes | Mixture
ARRAY_CODE: dict[str, Callable[[Any], Any]] = {  # how one writes these with arrays
    "P3": lambda x: x.prod(),
    "P4": lambda x: (100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2).sum(),
}
ARRAY_CODE["P4L"] = ARRAY_CODE["P4"]


@functools.cache
def workload(name: str, quick: bool) -> Workload:
    """A workload by its name, so that another process can make the same."""
    if name in CIRCUITS:
        return CIRCUITS[name](quick)
    return LANES[name](quick) if name in LANES else load(name, 20 if quick else None)


NAMES = [*CIRCUITS, *LANES, *INSTANCES]


def next_of(points: np.ndarray) -> Callable[[], np.ndarray]:
    """The points in turn, over and over."""
    return itertools.cycle(points).__next__


# CasADi


def casadi(workload: Workload) -> Iterator[Entry]:
    """CasADi's SX circuits: its virtual machine, and the C that it generates where gcc is quick with it."""
    if isinstance(workload, Circuit):
        yield from casadi_circuit(workload)
    elif isinstance(workload, Lanes) and not workload.summed:
        yield casadi_lanes(workload)


def casadi_ops() -> SimpleNamespace:
    """Its gates; it has no sigmoid."""
    import casadi as ca

    return SimpleNamespace(
        exp=ca.exp,
        log=ca.log,
        sqrt=ca.sqrt,
        tanh=ca.tanh,
        erf=ca.erf,
        sigmoid=lambda x: 1.0 / (1.0 + ca.exp(-x)),
        relu=lambda x: ca.fmax(x, 0.0),
    )


def casadi_circuit(circuit: Circuit) -> Iterator[Entry]:
    """P: a call through shared buffers, with and without a new point copied in, and an ordinary call."""
    import casadi as ca

    start = time.perf_counter()
    x = ca.SX.sym("x", circuit.point.size)
    y = circuit.function(casadi_ops(), ca.vertsplit(x))
    function = ca.Function(f"of_{circuit.name}", [x], [y, ca.gradient(y, x)])
    setup = time.perf_counter() - start

    def buffered(function: Any, name: str, setup: float) -> Iterator[Entry]:
        buffer, run = function.buffer()
        inputs, value, gradient = circuit.point.copy(), np.zeros(1), np.zeros(circuit.point.size)
        buffer.set_arg(0, memoryview(inputs))
        buffer.set_res(0, memoryview(value))
        buffer.set_res(1, memoryview(gradient))
        following = next_of(circuit.points())

        def answer(keep: Any = (buffer, function)) -> Answer:  # the trigger keeps neither alive
            inputs[:] = circuit.point
            run()
            return value[0], gradient.copy()

        def moved() -> None:
            inputs[:] = following()
            run()

        yield Entry(f"{name}, buffer()", answer, run, setup)
        yield Entry(f"{name}, new point copied in", answer, moved, setup)

    def answer() -> Answer:
        value, gradient = function(circuit.point)
        return float(value), np.array(gradient).ravel()

    yield from buffered(function, "casadi", setup)
    yield Entry("casadi, f(x)", answer, lambda: function(circuit.point), setup)
    if circuit.gates <= COMPILED_QUICKLY:
        compiled, seconds = casadi_compiled(function)
        yield from buffered(compiled, "casadi's C", setup + seconds)


def casadi_compiled(function: Any) -> tuple[Any, float]:
    """The function by way of the C that it generates, and the seconds that this took."""
    import casadi as ca

    start, name = time.perf_counter(), function.name()
    with tempfile.TemporaryDirectory(prefix="fastprop-bench-") as folder:
        code = ca.CodeGenerator(f"{name}.c")
        code.add(function)
        code.generate(f"{folder}/")
        library = Path(folder, f"{name}.so")
        flags = ["-O3", "-march=native", "-fPIC", "-shared"]
        subprocess.run(["cc", *flags, str(Path(folder, f"{name}.c")), "-o", str(library), "-lm"], check=True)
        compiled = ca.external(name, str(library))
    return compiled, time.perf_counter() - start


def casadi_lanes(lanes: Lanes) -> Entry:
    """V: its map over the points, of generated C where that is quick, through shared buffers."""
    import casadi as ca

    start, count = time.perf_counter(), lanes.lanes
    rows = [np.atleast_2d(argument) if axis is not None else argument for argument, axis in pairs(lanes)]
    symbols = [ca.SX.sym(f"x{place}", len(row)) for place, row in enumerate(rows)]
    scalars = [ca.vertsplit(symbol) if symbol.numel() > 1 else symbol for symbol in symbols]
    value = lanes.function(casadi_ops(), *scalars)
    function = ca.Function(f"of_{lanes.name}", symbols, [value, ca.gradient(value, symbols[0])])
    if lanes.gates <= COMPILED_QUICKLY:
        function, _ = casadi_compiled(function)
    mapped = function.map(count)
    buffer, run = mapped.buffer()
    inputs = [np.broadcast_to(row.reshape(len(row), -1), (len(row), count)).ravel(order="F") for row in rows]
    outputs = [np.zeros(count), np.zeros(count * len(rows[0]))]
    for place, array in enumerate(inputs):
        buffer.set_arg(place, memoryview(array))
    for place, array in enumerate(outputs):
        buffer.set_res(place, memoryview(array))

    def answer(keep: Any = (buffer, mapped, function, inputs)) -> Answer:
        run()
        return outputs[0].copy(), outputs[1].reshape(count, -1).T.copy()

    name = "casadi's C, map" if lanes.gates <= COMPILED_QUICKLY else "casadi, map"
    return Entry(name, answer, run, time.perf_counter() - start)


def pairs(lanes: Lanes) -> list[tuple[np.ndarray, int | None]]:
    """Each argument and where its lanes are."""
    return list(zip(lanes.arguments, lanes.in_axes))


# JAX


def jax(workload: Workload) -> Iterator[Entry]:
    """jit of value_and_grad, in float64; of vmap of it for many points."""
    import jax

    jax.config.update("jax_enable_x64", True)
    if isinstance(workload, Circuit):
        yield from jax_circuit(workload)
    elif isinstance(workload, Lanes):
        yield jax_lanes(workload)
    else:
        yield jax_mixture(workload)


def jax_ops() -> SimpleNamespace:
    """Its gates."""
    import jax
    import jax.numpy as jnp

    return SimpleNamespace(
        exp=jnp.exp,
        log=jnp.log,
        sqrt=jnp.sqrt,
        tanh=jnp.tanh,
        erf=jax.scipy.special.erf,
        sigmoid=jax.nn.sigmoid,
        relu=jax.nn.relu,
    )


def jax_entry(name: str, function: Callable[..., Any], arguments: list[Any], shaped: Callable[[Any], Answer]) -> Entry:
    """A compiled function of such arguments, and the time that it took to compile."""
    import jax

    start = time.perf_counter()
    compiled = jax.jit(function)
    jax.block_until_ready(compiled(*arguments))
    setup = time.perf_counter() - start
    return Entry(name, lambda: shaped(compiled(*arguments)), lambda: jax.block_until_ready(compiled(*arguments)), setup)


def jax_circuit(circuit: Circuit) -> Iterator[Entry]:
    """P: scalar code where there are few gates, else array code where there is any."""
    import jax

    if circuit.gates <= FEW:
        scalar, name = (lambda x: circuit.function(jax_ops(), [x[i] for i in range(len(circuit.point))])), "jax, jit"
    elif circuit.name in ARRAY_CODE:
        scalar, name = ARRAY_CODE[circuit.name], "jax, jit of array code"
    else:
        return
    yield jax_entry(name, jax.value_and_grad(scalar), [circuit.point], lambda answer: answer)


def jax_lanes(lanes: Lanes) -> Entry:
    """V: its vmap; a long path is a loop of its own kind (scan), as unrolled it takes long to compile."""
    import jax
    import jax.numpy as jnp

    ops, arguments = jax_ops(), [jnp.asarray(argument) for argument in lanes.arguments]

    def scanned(parameters: Any, z: Any) -> Any:
        price, rate, sigma = parameters
        drift, spread = (rate - 0.5 * sigma**2) / len(z), sigma * (1.0 / len(z)) ** 0.5
        end, _ = jax.lax.scan(lambda s, zi: (s * jnp.exp(drift + spread * zi), None), price, z)
        return jnp.exp(-rate) * jax.nn.relu(end - 100.0)

    one = scanned if lanes.name == "V4" else functools.partial(lanes.function, ops)
    if lanes.summed:
        mapped = jax.vmap(one, lanes.in_axes)
        return jax_entry(
            "jax, jit of vmap", jax.value_and_grad(lambda *a: mapped(*a).sum()), arguments, lambda answer: answer
        )
    gradient = jax.vmap(jax.value_and_grad(one), lanes.in_axes)
    return jax_entry("jax, jit of vmap", gradient, arguments, lambda answer: (answer[0], np.asarray(answer[1]).T))


def mixture_by_arrays(xp: Any, logsumexp: Any, tril: Any, mixture: Mixture) -> Callable[..., Any]:
    """The mixture's log-posterior in array code, for jax and torch; `tril(diagonals, below)` makes the triangles."""
    n, m = len(mixture.points), mixture.m

    def log_posterior(alphas: Any, means: Any, factors: Any, points: Any) -> Any:
        d = means.shape[1]
        diagonals, below = xp.exp(factors[:, :d]), factors[:, d:]
        scaled = xp.einsum("kij,nkj->nki", tril(diagonals, below), points[:, None, :] - means)
        terms = alphas + factors[:, :d].sum(1) - 0.5 * (scaled**2).sum(2)
        prior = 0.5 * mixture.gamma**2 * ((diagonals**2).sum() + (below**2).sum()) - m * factors[:, :d].sum()
        return logsumexp(terms, 1).sum() - n * logsumexp(alphas, 0) + prior + mixture.prior_constant()

    return log_posterior


def jax_mixture(mixture: Mixture) -> Entry:
    """The mixture in array code."""
    import jax
    import jax.numpy as jnp

    K, d = mixture.means.shape
    columns, rows = np.triu_indices(d, 1)

    def tril(diagonals: Any, below: Any) -> Any:
        empty = jnp.zeros((K, d, d))
        return empty.at[:, np.arange(d), np.arange(d)].set(diagonals).at[:, rows, columns].set(below)

    function = mixture_by_arrays(jnp, jax.scipy.special.logsumexp, tril, mixture)
    arguments = [jnp.asarray(part) for part in (*mixture.parameters, mixture.points)]
    return jax_entry(
        "jax, jit of array code", jax.value_and_grad(function, (0, 1, 2)), arguments, lambda answer: answer
    )


# PyTorch


def torch(workload: Workload) -> Iterator[Entry]:
    """PyTorch as it is mostly used, recording at every call, in float64 and with one thread."""
    import torch

    torch.set_num_threads(1)
    tensor = functools.partial(torch.tensor, dtype=torch.float64)
    if isinstance(workload, Circuit):
        if workload.gates <= FEW:
            leaves = [tensor(number, requires_grad=True) for number in workload.point]
            yield torch_entry("torch", lambda: workload.function(torch, leaves), leaves, np.array)
        elif workload.name in ARRAY_CODE:
            leaf = tensor(workload.point, requires_grad=True)
            code = ARRAY_CODE[workload.name]
            yield torch_entry("torch, array code", lambda: code(leaf), [leaf], lambda parts: parts[0].numpy())
    elif isinstance(workload, Lanes):
        yield torch_lanes(workload)
    else:
        yield torch_mixture(workload)


def torch_entry(name: str, record: Callable[[], Any], leaves: list[Any], shaped: Callable[[Any], Any]) -> Entry:
    """What is recorded anew and swept at each call; of many values, their sum is swept."""
    import torch

    def call() -> Answer:
        value = record()
        return value.detach(), torch.autograd.grad(value.sum(), leaves)

    def answer() -> Answer:
        value, gradient = call()
        return value.numpy(), shaped(gradient)

    return Entry(name, answer, call)


def torch_lanes(lanes: Lanes) -> Entry:
    """V: arrays in the places of scalars; uniform inputs are spread over the lanes where each lane has its gradient."""
    import torch

    first, *others = (torch.tensor(argument, dtype=torch.float64) for argument in lanes.arguments)
    if lanes.in_axes[0] is None and not lanes.summed:
        first = first[:, None].expand(-1, lanes.lanes)
    leaves = [row.clone().requires_grad_() for row in first]

    def record() -> Any:
        values = lanes.function(torch, leaves, *others)
        return values.sum() if lanes.summed else values

    return torch_entry("torch, array code", record, leaves, lambda parts: np.stack([part.numpy() for part in parts]))


def torch_mixture(mixture: Mixture) -> Entry:
    """The mixture in array code."""
    import torch

    d = mixture.means.shape[1]
    columns, rows = np.triu_indices(d, 1)

    def tril(diagonals: Any, below: Any) -> Any:
        triangles = torch.diag_embed(diagonals)
        triangles[:, rows, columns] = below
        return triangles

    function = mixture_by_arrays(torch, torch.logsumexp, tril, mixture)
    leaves = [torch.tensor(part, requires_grad=True) for part in mixture.parameters]
    points = torch.tensor(mixture.points)
    return torch_entry(
        "torch, array code", lambda: function(*leaves, points), leaves, lambda parts: [part.numpy() for part in parts]
    )


PEERS: dict[str, Callable[[Workload], Iterator[Entry]]] = {"casadi": casadi, "jax": jax, "torch": torch}


def installed(name: str) -> bool:
    """Whether a peer can be imported in this Python."""
    return importlib.util.find_spec(name) is not None
