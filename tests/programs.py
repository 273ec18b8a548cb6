"""What the tests of passes, executor and lanes share: drafts, programs at points and in lanes, and their oracle."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import fastprop
from fastprop import gates, reference
from fastprop.circuits.pipeline import PASSES
from fastprop.engine import kernels
from fastprop.engine.program import assemble
from fastprop.engine.run import LanesRun, PointRun
from fastprop.engine.tape import build_kind
from fastprop.engine.trace import NAMES, Draft, combine, drop, expand, fold, merge, number, reroll, schedule


def seeds(few: int, many: int) -> list[Any]:
    """Return numbers for random examples, as parameters of a test: few of them by default, the others as slow."""
    return [*range(few), *[pytest.param(seed, marks=pytest.mark.slow) for seed in range(few, many)]]


OPCODES = {name: opcode for opcode, name in NAMES.items()}
LOGIC = {
    "less": lambda x, y: x < y,
    "less_equal": lambda x, y: x <= y,
    "equal": lambda x, y: x == y,
    "not_equal": lambda x, y: x != y,
    "both": lambda x, y: x != 0.0 and y != 0.0,
    "either": lambda x, y: x != 0.0 or y != 0.0,
    "not": lambda x: x == 0.0,
}


class Sketch:
    """A draft that is being written: operands are inputs (0, 1 …), gates, or constants (negative)."""

    def __init__(self, inputs: int):
        self.inputs = inputs
        self.constants: list[float] = []
        self.steps: list[tuple[str, list[int]]] = []

    def constant(self, value: float) -> int:
        """Return the operand that stands for a number."""
        self.constants.append(value)
        return -len(self.constants)

    def gate(self, name: str, *operands: int) -> int:
        """Write a gate; returns the operand that stands for it."""
        self.steps.append((name, list(operands)))
        return self.inputs + len(self.steps) - 1

    def draft(
        self, outputs: Sequence[int], guards: Sequence[int] = (), expected: Sequence[bool] = (), run: Any = None
    ) -> Draft:
        """Return the draft."""
        lengths = [len(operands) for _, operands in self.steps]
        return Draft(
            self.inputs,
            self.constants,
            [OPCODES[name] for name, _ in self.steps],
            np.cumsum([0, *lengths]),
            [x for _, operands in self.steps for x in operands],
            range(len(self.steps)),
            outputs,
            guards,
            expected,
            run,
        )


def single_gate(name: str, arity: int, copies: int = 1) -> Draft:
    """Return a draft of one gate on inputs, or of copies in one run: operand j of copy i is input j * copies + i."""
    sketch = Sketch(arity * copies)
    outputs = [sketch.gate(name, *range(i, arity * copies, copies)) for i in range(copies)]
    return sketch.draft(outputs)


def optimised(draft: Draft, passes: Sequence[str] = PASSES) -> Draft:
    """Return the draft after some of the passes, up to those for one point."""
    draft = expand(draft)
    for name, function in (("fold", fold), ("merge", merge), ("drop", drop), ("combine", combine)):
        if name in passes:
            draft = function(draft)
    return draft


def ordered(draft: Draft, passes: Sequence[str] = PASSES, window: int | None = None) -> Draft:
    """Return the draft after the passes for one point."""
    if "reroll" in passes and draft.run is None:
        draft = reroll(draft)
    if "schedule" in passes:
        draft = schedule(draft) if window is None else schedule(draft, window)
        if "number" in passes:
            draft = number(draft)
    return draft


def at_point(draft: Draft, inputs: Any, pulls: Any, *, single: bool = False, recycling: bool = True) -> Any:
    """Return the values of a draft, the gradient, and the first broken guard, by a program for one point."""
    run = PointRun(assemble(draft, recycling=recycling), single)
    broken = run.forward(inputs)
    values = run.values()
    return np.array(values), run.backward(pulls), broken


def in_lanes(
    draft: Draft,
    columns: Sequence[Any],
    pulls: Sequence[Any],
    *,
    single: bool = False,
    recycling: bool = True,
    gradient: bool = True,
) -> Any:
    """Return values (outputs × lanes) and gradients (inputs × lanes; of numbers, the sum) by a program for lanes."""
    dtype = np.float32 if single else np.float64
    lanes = next((len(x) for x in columns if np.ndim(x)), 1)
    uniform = np.array([np.ndim(x) == 0 for x in columns], np.uint8)
    program = assemble(draft, lanes=True, gradient=gradient, uniform=uniform, recycling=recycling)
    run = LanesRun(program, single, lanes)
    values = np.zeros((len(draft.outputs), lanes), dtype)
    gradients = np.zeros((len(columns), lanes), dtype)
    for i, x in enumerate(columns):
        if uniform[i]:
            run.set_uniform(i, float(x))
        else:
            with np.errstate(over="ignore"):
                run.set_input(i, np.ascontiguousarray(x, dtype))
            run.set_gradient(i, gradients[i])
    for k, pull in enumerate(pulls):
        run.set_value(k, values[k])
        run.set_pull(k, np.ascontiguousarray(pull, dtype) if np.ndim(pull) else float(pull))
    run.begin()
    run.work(gradient)
    for i in range(len(columns)):
        if uniform[i] and gradient:
            gradients[i] = run.total(i)
    return values, gradients, run.broken if run.diverged >= 0 else -1


def by_reference(draft: Draft, inputs: Sequence[float], pulls: Sequence[float]) -> Any:
    """Return the values of a draft and the gradient as the reference computes them, gate by gate."""
    with reference.Tape():
        leaves = [reference.Unit(float(x)) for x in inputs]
        wires: list[Any] = list(leaves)

        def wire(operand: int) -> Any:
            return float(draft.constants[~operand]) if operand < 0 else wires[operand]

        for i in range(len(draft)):
            name, operands = draft.gate(i)
            given = [wire(x) for x in operands]
            wires.append(applied(name, given))
        ends = [wire(int(x)) for x in draft.outputs]
        for end, pull in zip(ends, pulls, strict=True):
            if isinstance(end, reference.Unit):
                end.backward(pull)
        holds = [plain(wire(int(x))) != 0.0 for x in draft.guards]
    broken = next((i for i, held in enumerate(holds) if held != bool(draft.expected[i])), -1)
    return np.array([plain(end) for end in ends]), np.array([leaf.grad for leaf in leaves]), broken


def by_reference_in_lanes(draft: Draft, columns: Sequence[Any], pulls: Sequence[Any]) -> Any:
    """Return the values of a draft and its gradient in lanes, of what is uniform the sum, by the reference's Arrays.

    Its gates are sums and elementwise ones, its outputs are gates.
    """
    lanes = np.ones(len(columns[-1]))
    leaves = [reference.Array(x * lanes) for x in columns]
    wires = [*leaves]
    with reference.Tape():
        for i in range(len(draft)):
            name, operands = draft.gate(i)
            given = [draft.constants[~x] * lanes if x < 0 else wires[x] for x in operands]
            wires.append(reference.sum(given, axis=0) if name == "sum" else getattr(reference, name)(*given))
        ends = [wires[x] for x in draft.outputs]
        for end, pull in zip(ends, pulls, strict=True):
            end.backward(pull * lanes)
    gradients = [leaf.grad if np.ndim(x) else leaf.grad.sum() * lanes for leaf, x in zip(leaves, columns)]
    return np.array([end.value for end in ends]), np.array(gradients)


def applied(name: str, operands: list[Any]) -> Any:
    """Apply a gate to the reference's handles and numbers."""
    if name in LOGIC:
        return float(LOGIC[name](*[plain(x) for x in operands]))
    if name == "where":
        return gates.where(plain(operands[0]), *operands[1:])
    if name == "polygamma":
        return gates.polygamma(plain(operands[0]), operands[1])
    if name == "dot":
        return gates.dot(operands[: len(operands) // 2], operands[len(operands) // 2 :])
    row = gates.table[name]
    return row(operands) if row.arity == gates.SEQUENCE else row(*operands)


def plain(x: Any) -> float:
    """Return the value of a handle or a number."""
    return float(x.value) if isinstance(x, reference.Unit) else float(x)


def scalar(name: str, operands: Sequence[float]) -> Any:
    """Return value and partials by the scalar kernel."""
    return kernels.scalar(kernels.opcode_of[name], tuple(operands))


def lanes_loss(w: Any, x: Any, y: Any, engine: Any = fastprop) -> Any:
    """Compute a function with products, a choice, gates with and without vector forms, and what is uniform."""
    scale = engine.exp(0.1 * w[2]) + w[0] * w[1]
    h = engine.tanh(w[0] * x + w[1]) + engine.sigmoid(x - y) * w[2]
    g = engine.maximum(h * y, x - 0.25) + engine.gammaln(2.0 + y * y) + engine.logaddexp(h, y)
    return g * scale + engine.arctan2(h, 1.5 + y * y) + x * y + engine.cbrt(2.0 + x)


LANES_W = [0.3, -0.2, 0.7]


def lanes_data(lanes: int, seed: int = 0, dtype: Any = np.float64) -> Any:
    """Return a column of x and one of y."""
    generator = np.random.default_rng(seed)
    return generator.uniform(-1.0, 1.0, lanes).astype(dtype), generator.uniform(-1.0, 1.0, lanes).astype(dtype)


def lanes_oracle(x: Any, y: Any) -> Any:
    """Return value and gradient of every lane, by the reference."""
    rows = []
    for a, b in zip(x.tolist(), y.tolist()):
        with reference.Tape():
            leaves = [reference.Unit(v) for v in (*LANES_W, a, b)]
            value = lanes_loss(leaves[:3], leaves[3], leaves[4], reference)
            value.backward()
            rows.append([value.value, *[leaf.grad for leaf in leaves]])
    return np.array(rows).reshape(len(x), 6).T


def in_threads(functions):
    """Run functions at once, each in a thread of its own; return what they return, or raise what they raise."""
    results = [None] * len(functions)

    def work(i, function):
        try:
            results[i] = function()
        except BaseException as error:
            results[i] = error

    threads = [threading.Thread(target=work, args=pair) for pair in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


# In the child of a fork, locks of AddressSanitizer that other threads had may stay locked: LLVM renews them since 2023.
FORKS = pytest.mark.skipif(build_kind() == "check", reason="forks beside threads may hang with AddressSanitizer")


def holds_in_child(test):
    """Whether a function returns True in the child of a fork, which ends by itself if it hangs."""
    child = os.fork()
    if child == 0:  # pragma: no cover
        signal.alarm(60)
        status = 1
        try:
            status = 0 if test() else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# Random programs at hostile points, and what their derivatives are ----------------------------------------------------

ELEMENTWISE = sorted(
    name
    for name, row in gates.table.items()
    if row.arity > 0 and name not in ("polygamma", "where", "strong_multiply", "gammaln", "digamma", "random_integer")
)
SEQUENCES = ("sum", "prod", "mean", "max", "min", "dot", "logsumexp")
FAVOURITES = ("multiply", "divide", "sqrt", "log", "power", "relu", "maximum", "absolute", "square", "reciprocal")
SINGULAR = (0.0, -0.0, 0.0, 1.0, -1.0, 0.5, 2.0, -2.5, np.inf, -np.inf, np.nan)
EXTREME = (0.0, 5e-324, -1e-310, 1e-170, 1e-5, 1.0, -3.0, 1e5, 1e170, -1e308)


class RandomProgram:
    """A small program, written for the handles of any engine: gates on inputs and on each other, and its outputs."""

    def __init__(self, seed: int, inputs: int = 2, length: int = 5, outputs: int = 1):
        generator = np.random.default_rng(seed)
        self.inputs = inputs
        self.steps: list[tuple[str, list[int]]] = []
        for i in range(inputs, inputs + length):
            names = (ELEMENTWISE, FAVOURITES, ("where",), SEQUENCES)[generator.choice(4, p=(0.3, 0.4, 0.1, 0.2))]
            name = str(generator.choice(names))
            arity = {"where": 4, "dot": 4}.get(name) or gates.table[name].arity
            count = arity if arity > 0 else int(generator.integers(2, 5))
            near = [int(generator.integers(max(0, i - 4), i)) for _ in range(count)]
            self.steps.append((name, near))
        last = inputs + length
        self.outputs = [last - 1 - k for k in range(outputs)]

    def __repr__(self) -> str:
        names = [f"w{i}" for i in range(self.inputs + len(self.steps))]
        lines = [
            f"{names[self.inputs + i]} = {name}({', '.join(names[k] for k in operands)})"
            for i, (name, operands) in enumerate(self.steps)
        ]
        return "; ".join([*lines, "return " + ", ".join(names[k] for k in self.outputs)])

    def wires(self, x: Sequence[Any], reduce: Any = None) -> list[Any]:
        """Return the inputs and all results; `reduce` applies n-ary gates, if they are not those of numbers."""
        wires = list(x)
        for name, operands in self.steps:
            given = [wires[k] for k in operands]
            if name == "where":
                wires.append(gates.where(given[0] > given[1], given[2], given[3]))
            elif reduce is not None and name in SEQUENCES:
                wires.append(reduce(name, given))
            elif name == "dot":
                wires.append(gates.dot(given[:2], given[2:]))
            else:
                row = gates.table[name]
                wires.append(row(given) if row.arity == gates.SEQUENCE else row(*given))
        return wires

    def __call__(self, x: Sequence[Any]) -> list[Any]:
        wires = self.wires(x)
        return [wires[k] for k in self.outputs]

    def first(self, x: Sequence[Any]) -> Any:
        """Return the first output alone."""
        return self(x)[0]

    def partials(self, x: Sequence[float]) -> list[list[tuple[int, float]]]:
        """Return for every step its operands that are pulled, each with the row's partial there."""
        wires = self.wires(x)
        found = []
        for name, operands in self.steps:
            given = [wires[k] for k in operands]
            if name == "where":
                taken = given[0] > given[1]
                slopes: list[Any] = [None, None, float(taken), float(not taken)]
            elif gates.table[name].arity == gates.SEQUENCE:
                slopes = gates.table[name].partials(given)
            else:
                slopes = [partial(*given) for partial in gates.table[name].partials]
            found.append([(k, float(p)) for k, p in zip(operands, slopes) if p is not None])
        return found


class PathSums:
    """The Jacobian of a program by the chain rule itself, in both directions; whether a sum or a product was fragile.

    Fragile: a sum of others than zeros that is 0, or a product (or a partial) of finite numbers that comes out 0 or
    infinite though none of them is. There the directions may differ. `scale` is the largest summand of each entry.
    """

    def __init__(self, program: RandomProgram, x: Sequence[float]):
        self.fragile = False
        self.values = [float(w) for w in program.wires(x)]
        self.steps = program.partials(x)
        for i, step in enumerate(self.steps):
            finite = all(np.isfinite(self.values[k]) and self.values[k] != 0.0 for k, _ in step)
            value = self.values[program.inputs + i]
            odd = [v for v in (value, *[p for _, p in step]) if np.isinf(v) or (v != 0.0 and abs(v) < 1e-300)]
            self.fragile |= finite and (bool(odd) or (program.steps[i][0] == "prod" and value == 0.0))
        count = len(self.values)
        self.backward, self.forward = [], []
        for output in program.outputs:
            pulls = [(0.0, 0.0)] * count
            pulls[output] = (1.0, 1.0)
            for i in range(len(self.steps) - 1, -1, -1):
                for k, partial in self.steps[i]:
                    pulls[k] = self.added(pulls[k], pulls[program.inputs + i], partial)
            self.backward.append(pulls[: program.inputs])
        for j in range(program.inputs):
            along = [(0.0, 0.0)] * count
            along[j] = (1.0, 1.0)
            for i, step in enumerate(self.steps):
                for k, partial in step:
                    along[program.inputs + i] = self.added(along[program.inputs + i], along[k], partial)
            self.forward.append([along[k] for k in program.outputs])

    def added(self, total: tuple[float, float], factor: tuple[float, float], partial: float) -> tuple[float, float]:
        """Return a sum and its largest summand, after one more product."""
        if factor[0] == 0.0 or partial == 0.0:
            return total
        product = factor[0] * partial
        if np.isfinite(factor[0]) and np.isfinite(partial):
            self.fragile |= not np.isfinite(product) or abs(product) < 1e-300
        result = total[0] + product
        self.fragile |= bool(np.isinf(total[0]) != np.isinf(product)) and total[0] != 0.0 and product != 0.0
        self.fragile |= (result == 0.0 or np.isinf(result)) and bool(np.isfinite(total[0]) and np.isfinite(product))
        size = max(total[1], abs(factor[1] * partial), key=lambda s: -1.0 if np.isnan(s) else s)
        return result, size
