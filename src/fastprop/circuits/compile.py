"""compile: a function that records itself when it is called, once per form of its arguments and per path."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastprop.circuits.branches import MOST_PATHS, Paths
from fastprop.circuits.circuit import Circuit, checked_dtype, checked_static, hold_handles
from fastprop.circuits.mapping import Retrace
from fastprop.circuits.pipeline import Plan, checked_passes
from fastprop.circuits.signature import Signature, positions_of
from fastprop.circuits.trace import current_trace, record
from fastprop.derivatives.call import is_active, name_of
from fastprop.handles.nesting import described

__all__ = ["Compiled", "compile", "eager"]


class _Mode(threading.local):
    eager = False


_mode = _Mode()


def is_eager() -> bool:
    """Say whether compiled functions are run as they are written."""
    return _mode.eager


@contextmanager
def eager() -> Iterator[None]:
    """Run compiled functions as they are written, for looking into them with prints and a debugger.

    Examples
    --------
    >>> import fastprop as fp
    >>> f = fp.compile(lambda x: x * x)
    >>> with fp.eager():
    ...     f(3.0)
    9.0
    """
    before, _mode.eager = _mode.eager, True
    try:
        yield
    finally:
        _mode.eager = before


def compile(
    f: Callable[..., Any],
    dtype: Any = None,
    static_argnums: int | Sequence[int] = (),
    *,
    passes: Iterable[str] | None = None,
    max_paths: int = MOST_PATHS,
) -> Compiled:
    """Return a function that gives what `f` gives, recorded at its first call and replayed from then on.

    Parameters
    ----------
    f : callable
        As for `trace`; also what `value_and_grad`, `grad` and `vmap` return.
    dtype : {"float64", "float32"}, optional
        What to compute in.
    static_argnums : int or sequence of int, optional
        Arguments that are passed on as they are; another value is recorded anew. They must be hashable.
    passes : iterable of str, optional
        The optimising passes to run; all by default.
    max_paths : int, optional
        So many ways through its branches are compiled; on others the function is recorded at every call, which costs
        about a microsecond per gate, and a RuntimeWarning says so once.

    Returns
    -------
    Compiled
        Callable like `f`. Every form of the arguments (nesting, shapes) has circuits of its own, one per path: a
        comparison that decides an ``if`` may come out in any way at any call and in any lane.

    Examples
    --------
    >>> import fastprop as fp
    >>> @fp.compile
    ... def newton(x):
    ...     root = x
    ...     while abs(root * root - x) > 1e-12 * x:
    ...         root = 0.5 * (root + x / root)
    ...     return root
    >>> newton(9.0), newton(2.0)
    (3.0, 1.414213562373095)
    >>> len(newton.cache_info())
    2
    """
    return Compiled(f, checked_dtype(dtype), static_argnums, checked_passes(passes), max_paths)


class _Entry:
    """The circuits for one form of the arguments."""

    def __init__(self, signature: Signature, paths: Paths):
        self.signature, self.paths = signature, paths
        self.circuits: dict[int, Circuit] = {}
        self.last = 0

    def circuit(self, number: int) -> Circuit:
        if number not in self.circuits:
            self.circuits[number] = Circuit(self.paths.plans[number])
        return self.circuits[number]


class Compiled:
    """A compiled function (`compile`): callable like the function itself.

    Attributes
    ----------
    function : callable
        The function as it was given.
    """

    def __init__(self, f: Any, dtype: np.dtype[Any], static_argnums: Any, passes: tuple[str, ...], max_paths: int):
        if not callable(f):
            raise TypeError(f"compile takes a function first, not {described(f)}")
        if isinstance(max_paths, bool) or not isinstance(max_paths, int) or max_paths < 1:
            raise ValueError(f"max_paths is {max_paths!r}; expected an integer of at least 1")
        self.function = f
        self._name = name_of(f)
        self.__name__ = self.__qualname__ = self._name
        self.__doc__ = f.__doc__
        self._dtype, self._static, self._passes, self._max_paths = dtype, static_argnums, passes, max_paths
        kind = getattr(f, "__fastprop__", ("", f, 0, False))
        self._kind: str = kind[0] if kind[0] in ("grad", "value_and_grad") and not kind[3] else ""
        self._inner = kind[1] if self._kind else f
        self._argnums = kind[2] if self._kind else 0
        self._entries: dict[Any, _Entry] = {}
        self._reasons: list[str] = []
        self._lock = threading.RLock()

    def __reduce__(self) -> Any:
        raise TypeError(
            f"{self._name} is compiled and can't be pickled; pickle the function, and compile it where it is needed"
        )

    def __repr__(self) -> str:
        return f"<compiled {self._name}: {len(self._reasons)} recordings>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the function."""
        if kwargs:
            raise TypeError(f"{self._name} is compiled and takes positional arguments only, got {', '.join(kwargs)}")
        if _mode.eager or current_trace() is not None or is_active() or hold_handles(args):
            return self.function(*args)
        entry = self._entry(args)
        circuit, vector, leaves = self._at(entry, args)
        return self._compute(entry, circuit, vector, leaves)

    # the cache

    def cache_info(self) -> list[str]:
        """Return why each recording was made: the first call, another form of the arguments, or another path."""
        return list(self._reasons)

    def cache_clear(self) -> None:
        """Forget all recordings."""
        with self._lock:
            self._entries.clear()
            self._reasons.clear()

    def circuits(self) -> list[Circuit]:
        """Return the circuits recorded so far."""
        return [entry.circuit(i) for entry in self._entries.values() for i in range(len(entry.paths.plans))]

    def _entry(self, args: Sequence[Any]) -> _Entry:
        static = checked_static(self._static, len(args), self._name)
        signature = Signature(args, static, self._name)
        try:
            key = signature.key
            entry = self._entries.get(key)
        except TypeError:
            raise TypeError(f"{self._name}: the static arguments {static} must be hashable") from None
        if entry is not None:
            return entry
        with self._lock:
            if key not in self._entries:
                self._entries[key] = _Entry(signature.emptied(), Paths(self._name, self._max_paths))
            return self._entries[key]

    def _why(self, entry: _Entry) -> str:
        others = [other for other in self._entries.values() if other is not entry and other.paths.plans]
        if entry.paths.plans:
            return "another path"
        if not others:
            return "the first call"
        return f"another form of the arguments: {_difference(entry.signature, others[-1].signature)}"

    def _plan(
        self, entry: _Entry, leaves: Sequence[Any], forced: tuple[bool, ...] = (), known: Sequence[Any] = ()
    ) -> Plan:
        """Record the path that these leaves take, which begins as is `forced`; `known` are points of its maps."""
        recording = record(
            self._inner,
            entry.signature,
            leaves,
            self._dtype,
            differentiable=bool(self._kind),
            max_paths=self._max_paths,
            passes=self._passes,
            forced=forced,
            known=known,
        )
        return Plan(recording, self._passes)

    def _record(
        self, entry: _Entry, leaves: Sequence[Any], forced: tuple[bool, ...] = (), known: Sequence[Any] = ()
    ) -> int:
        """Record a path and keep it; returns its number."""
        with self._lock:
            why = self._why(entry)
            plan = self._plan(entry, leaves, forced, known)
            if entry.paths.plans:
                why = f"{why}: {_branch(plan, entry.paths.plans)}"
            before = len(entry.paths.plans)
            number = entry.paths.keep(plan)
            if len(entry.paths.plans) > before:
                self._reasons.append(why)
            return number

    # a call

    def _at(self, entry: _Entry, args: Sequence[Any]) -> tuple[Circuit, np.ndarray[Any, Any], list[Any]]:
        if not entry.paths.plans:
            with self._lock:
                if not entry.paths.plans:
                    self._record(entry, entry.signature.leaves(args, self._dtype))
        circuit = entry.circuit(entry.last)
        vector, leaves = circuit._numbers(args)
        return circuit, vector, leaves

    def _compute(self, entry: _Entry, circuit: Circuit, vector: np.ndarray[Any, Any], leaves: list[Any]) -> Any:
        gradient = bool(self._kind)
        wanted = self._wanted(entry.signature) if gradient else None
        tried: set[int] = set()
        retraced = 0
        while True:
            try:
                pulls = circuit._single_pull() if gradient else None
                run, broken = circuit._attempt(vector, leaves, gradient, wanted, pulls)
            except Retrace:
                retraced += 1
                if retraced > 2:  # on paths that are not kept: nothing is left to learn from another recording
                    return self._slowly(entry, leaves)
                circuit = self._again(entry, circuit, leaves)
                vector = circuit._vector(leaves)
                continue
            if broken < 0:
                break
            tried.add(id(circuit))
            other = self._other(entry, circuit, broken, leaves, tried)
            if id(other) in tried:  # what its maps find out decides in another order each time
                return self._slowly(entry, leaves)
            circuit = other
            vector = circuit._vector(leaves)
        value = circuit._result(run)
        if not gradient:
            circuit._release(run)
            return value
        found = self._gradient(circuit, run, value, leaves)
        circuit._release(run)
        return (value, found) if self._kind == "value_and_grad" else found

    def _slowly(self, entry: _Entry, leaves: list[Any]) -> Any:
        """Call the function itself, uncompiled."""
        with eager():
            return self.function(*entry.signature.build(leaves, construct=True))

    def _gradient(self, circuit: Circuit, run: Any, value: Any, leaves: list[Any]) -> Any:
        if not isinstance(value, float):
            raise TypeError(
                f"{self._kind} is only defined for functions that return one number, but {name_of(self._inner)} "
                f"returned {described(value)}"
            )
        positions, single = self._positions(circuit._recording.signature)
        parts = circuit._leaf_gradients(run.backward(circuit._pulls(None, run)), run, leaves)
        return circuit._gradients_of(positions, single, parts)

    def _positions(self, signature: Signature) -> tuple[list[int], bool]:
        return positions_of(self._argnums, signature.count, self._name)

    def _wanted(self, signature: Signature) -> set[int]:
        """Return the leaves whose gradients are asked for."""
        return {k for i in self._positions(signature)[0] for k in signature.leaves_of_argument(i)}

    def _other(
        self,
        entry: _Entry,
        circuit: Circuit,
        broken: int,
        leaves: list[Any],
        tried: set[int],
    ) -> Circuit:
        """Return the circuit of the path that is taken instead; it is recorded if need be."""
        paths = entry.paths
        outcomes = circuit._recording.outcomes
        beginning = (*outcomes[:broken], not outcomes[broken])
        number = paths.begins(beginning)
        if number is None or id(entry.circuit(number)) in tried:
            # a circuit rounds otherwise than Python now and then: the path begins as the circuit says
            if paths.full:
                return Circuit(self._plan(entry, leaves, beginning, _known_points(circuit)))
            number = self._record(entry, leaves, beginning, _known_points(circuit))
        entry.last = number
        return entry.circuit(number)

    def _again(self, entry: _Entry, circuit: Circuit, leaves: list[Any]) -> Circuit:
        """Record anew, in the place of a circuit whose vmap has to know more of what is outside of it."""
        with self._lock:
            plan = self._plan(entry, leaves, known=_known_points(circuit))
            self._reasons.append("a vmap took a path on which it uses more of what is outside of it")
            number = entry.paths.replace(circuit._plan, plan)
            entry.circuits[number] = Circuit(plan)
            return entry.circuits[number]


def _known_points(circuit: Circuit) -> list[list[Any]]:
    """Return points on the known paths of each map of a circuit, whose outer guards it has, too."""
    return [region.known_points() for region in circuit._recording.maps]


def _difference(signature: Signature, other: Signature) -> str:
    """Say in what the arguments differ."""
    if signature.count != other.count:
        return f"{signature.count} arguments instead of {other.count}"
    if signature.key[0] != other.key[0]:
        return "another static argument"
    for k, (shape, before) in enumerate(zip(signature.shapes, other.shapes)):
        if shape != before:
            return f"{signature.name(k)} has shape {shape or ()} instead of {before or ()}"
    return "they are nested otherwise"


def _branch(plan: Plan, others: Sequence[Plan]) -> str:
    """Say where a path leaves those that were known."""
    outcomes = plan.recording.outcomes
    shared = 0
    for other in others:
        same = 0
        for mine, theirs in zip(outcomes, other.recording.outcomes):
            if mine != theirs:
                break
            same += 1
        shared = max(shared, same)
    if shared >= len(outcomes):
        return "it ends earlier"
    return f"{plan.guard_line(shared)} came out {outcomes[shared]}"
