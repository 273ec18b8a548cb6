"""Circuit: a function recorded once, to be replayed at new inputs at the speed of the machine."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fastprop.circuits.batching import BoundLanes, batch_values
from fastprop.circuits.bind import BoundPoint
from fastprop.circuits.diagnosis import Profile
from fastprop.circuits.pipeline import Plan, checked_passes
from fastprop.circuits.route import gradient_route, value_route
from fastprop.circuits.signature import Signature, as_direction, positions_of
from fastprop.circuits.trace import Recording, current_trace, record
from fastprop.circuits.use import Run
from fastprop.derivatives.call import name_of
from fastprop.engine.run import PointRun, Route, handlers_raised, profile
from fastprop.gates.values import strong_product
from fastprop.handles.face import picture
from fastprop.handles.nesting import LEAF, Nesting, described, flatten, is_handle, map_leaves, plain
from fastprop.hints import ATTRIBUTES, elsewhere

__all__ = ["Circuit", "Profile", "Run", "trace"]


def checked_dtype(dtype: Any) -> np.dtype[Any]:
    """Return float32 or float64 as a dtype."""
    found = np.dtype(np.float64 if dtype is None else dtype)
    if found not in (np.float32, np.float64):
        raise TypeError(f"dtype is {found}; a circuit computes in float64 or float32")
    return found


def checked_static(static_argnums: Any, count: int, name: str) -> list[int]:
    """Return the positions of static arguments."""
    given = (static_argnums,) if isinstance(static_argnums, int) else tuple(static_argnums)
    for position in given:
        if isinstance(position, bool) or not isinstance(position, int):
            raise TypeError(f"{name}: static_argnums holds {position!r}; expected integers")
        if not -count <= position < count:
            raise ValueError(
                f"{name}: static_argnums names argument {position}, but there are {count}; give it by position, "
                "not by keyword or default"
            )
    return sorted({position % count for position in given})


def trace(
    f: Callable[..., Any],
    *example_args: Any,
    dtype: Any = None,
    static_argnums: int | Sequence[int] = (),
    passes: Iterable[str] | None = None,
) -> Circuit:
    """Record one call of a function as a circuit.

    Parameters
    ----------
    f : callable
        Gets Units and Arrays in the place of the numbers and arrays; returns numbers, arrays, or nested containers.
    *example_args : number, array or nested container
        Where to record: floats, integers, arrays, and nested lists, tuples, dataclasses and dicts of them.
    dtype : {"float64", "float32"}, optional
        What the circuit computes in. Constants are folded in float64 and rounded once.
    static_argnums : int or sequence of int, optional
        Arguments that are passed on as they are, and must be the same at every call.
    passes : iterable of str, optional
        The names of the optimising passes to run (`fastprop.circuits.pipeline.PASSES`); all by default.

    Returns
    -------
    Circuit
        Immutable; threads may share it.

    Raises
    ------
    TypeError
        If an argument or output is not made of numbers, or a traced value was read (``.value``, ``float()``).
    ValueError
        If the function uses a result that was computed outside of it.

    Notes
    -----
    Leaves (Units and Arrays) that `f` captures are inputs, read at every call. A comparison that decides an ``if`` is a
    guard: at inputs where it comes out otherwise the circuit raises `DivergenceError`; `fastprop.compile` records the
    other branch.

    Examples
    --------
    >>> import fastprop as fp
    >>> circuit = fp.trace(lambda x, y: x * y + fp.exp(x), 0.0, 1.0)
    >>> circuit(0.0, 5.0)
    1.0
    >>> circuit.value_and_grad(0.0, 5.0)
    (1.0, 6.0)
    """
    name = name_of(f)
    if not callable(f):
        raise TypeError(f"trace takes a function first, not {described(f)}; of a matrix it is a.trace() or np.trace(a)")
    if current_trace() is not None:
        raise ValueError(f"{name} is traced inside of a function that is traced itself; call it there as it is")
    static = checked_static(static_argnums, len(example_args), name)
    example_args = tuple(x if i in static else map_leaves(plain, x) for i, x in enumerate(example_args))
    signature = Signature(example_args, static, name, dtype=None if dtype is None else checked_dtype(dtype))
    kind = signature.call_form.dtype
    leaves = signature.leaves(example_args, kind)
    wanted = checked_passes(passes)
    circuit = Circuit(Plan(record(f, signature, leaves, kind, passes=wanted), wanted))
    while True:  # Python rounds otherwise than a circuit: where a guard tells, the branch is the circuit's
        forced = circuit._plan.first_branches(leaves)
        if forced is None:
            return circuit
        circuit = Circuit(Plan(record(f, signature, leaves, kind, forced=forced, passes=wanted), wanted))


class Circuit:
    """A function recorded once (`trace`), to be replayed at new inputs.

    Examples
    --------
    >>> import fastprop as fp
    >>> circuit = fp.trace(lambda x: x * x, 1.0)
    >>> run = circuit.forward(3.0)
    >>> run.backward()
    >>> run.value, run.grads
    (9.0, (6.0,))
    """

    save = elsewhere("save", ATTRIBUTES["Circuit"]["save"])

    def __init__(self, plan: Plan):
        self._plan = plan
        self._recording: Recording = plan.recording
        self._routes: dict[Any, Route] = {}

    # what it is

    @property
    def dtype(self) -> np.dtype[Any]:
        """What it computes in."""
        return self._recording.dtype

    @property
    def name(self) -> str:
        """The name of the function."""
        return self._recording.name

    @property
    def nesting(self) -> Nesting:
        """How the result is nested."""
        return self._recording.nesting

    @property
    def output_shapes(self) -> list[tuple[int, ...]]:
        """The shapes of the result's leaves; () for a number."""
        return [shape or () for _, shape in self._recording.outputs]

    @property
    def captured(self) -> list[Any]:
        """The leaves (Units, Arrays) that the function captures, each once."""
        return self._recording.captured_handles()

    def __len__(self) -> int:
        return len(self._plan.draft)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        inputs, outputs = self._recording.draft.inputs, len(self._recording.draft.outputs)
        return f"<Circuit {self.name}: {len(self)} gates, {inputs} inputs, {outputs} outputs, {self.dtype}>"

    def _repr_svg_(self) -> str | None:
        return picture(self)

    def __copy__(self) -> Circuit:
        return self

    def __deepcopy__(self, memo: Any) -> Circuit:
        return self

    def __reduce__(self) -> Any:
        return _restored, (self._recording, self._plan.passes)

    def summary(self) -> str:
        """Return a table: gates, runs, slots, bytes and time after every pass, and what the program takes.

        Of a draft every number is a slot. The rows "assembled" and "recycle" are of the program with its sweep
        backward, before slots are used again and after; hoisting has a line for every kind of lanes that was run. The
        bodies of maps and scans follow.

        Examples
        --------
        >>> import fastprop as fp
        >>> print(fp.trace(lambda x: x * x + 1.0, 1.0).summary().splitlines()[2].split()[:3])
        ['as', 'recorded', '2']
        """
        program = self._plan.point(not self._plan.has_gradients)
        forward, backward = program.instructions
        size = self.dtype.itemsize
        return (
            f"{self!r}\n{self._plan.summary()}\n"
            f"program: {forward} instructions forward, {backward} backward, {program.nbytes} bytes; "
            f"{program.slots} slots, {program.slots * size} bytes"
        )

    def profile(self, *args: Any, repeats: int = 20) -> Profile:
        """Run at some arguments, instruction by instruction, and return where the time goes.

        Parameters
        ----------
        *args
            The arguments.
        repeats : int, optional
            How often to run; the least time of each instruction counts.

        Returns
        -------
        Profile
            Prints as a table; `Profile.kinds` holds the figures.
        """
        leaves = self._leaves(args)
        point = self._plan.read(leaves)
        run = self._run_at(point, True)
        found = profile(run, point[0], np.ones(len(self._recording.draft.outputs)), repeats)
        self._plan.release(run)
        return Profile(self.name, found)

    # inputs and outputs

    def _leaves(self, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> list[Any]:
        """Return the leaves of the arguments, which must have the circuit's form."""
        return self._recording.signature.leaves(args, self._recording.dtype, kwargs)

    def _run_at(
        self,
        point: tuple[np.ndarray[Any, Any], list[Any]],
        gradient: bool,
        pulls: np.ndarray[Any, Any] | None = None,
    ) -> PointRun:
        program = self._plan.point(gradient, None, pulls is not None)
        run, broken = self._plan.forward(program, point, pulls)
        if broken >= 0:
            raise self._plan.divergence(broken, point[0])
        return run

    def _single_pull(self) -> np.ndarray[Any, Any] | None:
        """Return the pull of 1.0 on a result that is one number; None if it is not."""
        recording = self._recording
        single = recording.nesting is LEAF and recording.outputs[0][1] is None
        return np.ones(1) if single else None

    def _called(self, kind: Any, make: Callable[[], Route], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what a route gives; the error, if the arguments have another form or take another path."""
        route = self._routes.get(kind)
        if route is None:
            route = self._routes[kind] = make()
        before = handlers_raised()
        try:
            found = route.call(args, kwargs)
        except Exception:  # of a gate of the user's own: perhaps it would never have been reached here
            if handlers_raised() == before:
                self._plan.release(self._run_at(self._plan.read(self._leaves(args, kwargs)), False))
            raise
        if found is None:
            if kind == "value" and self._takes_handles(args, kwargs):
                return self._recording.function(*args, **kwargs)
            leaves = self._leaves(args, kwargs)  # which says what is wrong with them
            self._plan.release(self._run_at(self._plan.read(leaves), False))
            found = route.call_at(leaves)
        return found

    def _result(self, run: PointRun) -> Any:
        recording, values = self._recording, run.values()
        parts: list[Any] = []
        for i, (start, shape) in enumerate(recording.outputs):
            if i in recording.made:
                parts.append(run.arrays.values[recording.made[i]])
            elif shape is None:
                parts.append(values[start])
            else:
                size = math.prod(shape)
                parts.append(np.array(values[start : start + size], recording.dtype).reshape(shape))
        return recording.nesting.unflatten(parts)

    def _pulls(self, pull: Any, run: PointRun) -> np.ndarray[Any, Any]:
        """Return one pull per output from one in the form of the result; 1.0 stands for ones if it is one number."""
        recording = self._recording
        if pull is None:
            if recording.nesting is not LEAF or recording.outputs[0][1] is not None:
                raise ValueError(
                    f"{self.name} returns more than one number; backward needs a pull in the form of its result"
                )
            pull = 1.0
        pulls = np.zeros(len(recording.draft.outputs))
        leaves = recording.nesting.leaves_of(pull, "the pull")
        for i, ((start, shape), leaf) in enumerate(zip(recording.outputs, leaves)):
            along = as_direction(leaf, recording.dtype, f"the pull{recording.nesting.path(i)}")
            if (np.shape(along) or None) != shape:
                raise ValueError(
                    f"the pull{recording.nesting.path(i)} has shape {np.shape(along)}; the output has {shape or ()}"
                )
            if i in recording.made:
                self._pull_array(run, recording.made[i], along)
            elif shape is None:
                pulls[start] = along
            else:
                pulls[start : start + along.size] = along.reshape(-1)
        return pulls

    def _pull_array(self, run: PointRun, a: int, pull: np.ndarray[Any, Any]) -> None:
        """Put a pull on an array that a map makes."""
        adjoint = run.arrays.finished_adjoint(a)
        adjoint += pull

    def _leaf_gradients(self, vector: np.ndarray[Any, Any], run: PointRun, leaves: Sequence[Any]) -> list[Any]:
        """Return the gradient of every leaf of the arguments."""
        recording = self._recording
        found: list[Any] = []
        arrays = {whole.leaf: a for a, whole in enumerate(recording.arrays) if whole.kind == "leaf"}
        for k, (start, leaf) in enumerate(zip(recording.starts, leaves)):
            if type(leaf) is float:
                found.append(float(vector[start]))
                continue
            if k in recording.signature.fixed:
                found.append(None)
                continue
            part = run.arrays.finished_adjoint(arrays[k]) if k in arrays else np.zeros(leaf.shape, recording.dtype)
            if start >= 0:
                part += vector[start : start + leaf.size].astype(recording.dtype).reshape(leaf.shape)
            found.append(part)
        return found

    # calls

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the value at new arguments.

        If there are Units or Arrays among them, the function itself is called, so that it is recorded where they are.

        Raises
        ------
        DivergenceError
            If a branch would go another way than where the circuit was recorded.
        """
        return self._called("value", lambda: value_route(self._plan, self._recording.signature), args, kwargs)

    def _takes_handles(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Say whether there are Units or Arrays among the arguments, for which the function itself is called."""
        signature = self._recording.signature
        if len(args) != signature.count or not hold_handles((*args, *kwargs.values()), signature.static):
            return False
        signature.check_static(args)
        if self._recording.function is None:
            raise TypeError(f"{self.name} was pickled without its function and takes no handles; give plain numbers")
        return True

    def forward(self, *args: Any) -> Run:
        """Sweep forward at new arguments; the Run that comes back can sweep backward, as often as one likes."""
        return Run(self, self._leaves(args))

    def forward_at(self, leaves: Sequence[Any]) -> Run:
        """The same from the leaves of the arguments: floats, and arrays of the circuit's dtype."""
        return Run(self, leaves)

    def value_and_grad(self, *args: Any, argnums: int | Sequence[int] = 0) -> tuple[Any, Any]:
        """Return the value, which must be one number, and its gradient.

        Parameters
        ----------
        *args
            The arguments.
        argnums : int or sequence of int, optional
            Whose gradient: by default that of the first argument, in its nesting; a tuple of them for a sequence.
        """
        recording = self._recording
        if recording.nesting is not LEAF or recording.outputs[0][1] is not None or recording.truth_outputs[0]:
            what = "truth values" if any(recording.truth_outputs) else "more"
            raise TypeError(
                f"value_and_grad is only defined for functions that return one number, and {self.name} returns {what}; "
                "use vjp with a pull"
            )
        positions, single = positions_of(argnums, recording.signature.count, self.name)
        for position in positions:
            recording.signature.leaves_of_argument(position)

        def make() -> Route:
            return gradient_route(self._plan, recording.signature, positions, single, True)

        found: tuple[Any, Any] = self._called((*positions, single), make, args, {})
        return found

    def _gradients_of(self, positions: Sequence[int | str], single: bool, parts: Sequence[Any]) -> Any:
        """Put the gradients of some arguments together, or of a single one."""
        found = tuple(self._recording.signature.gradient_of(i, parts) for i in positions)
        return found[0] if single else found

    def _value_and_gradients(self, args: Sequence[Any], pull: Any) -> tuple[Any, list[Any]]:
        leaves = self._leaves(args)
        run = self._run_at(self._plan.read(leaves), True, self._single_pull() if pull is None else None)
        value = self._result(run)
        vector = run.backward(self._pulls(pull, run))
        gradients = self._leaf_gradients(vector, run, leaves)
        self._plan.release(run)
        return value, gradients

    def vjp(self, args: Sequence[Any], pull: Any = None) -> tuple[Any, tuple[Any, ...]]:
        """Return the value and, from a pull on it, the gradients of all arguments that are not static, as a tuple."""
        if not isinstance(args, (tuple, list)):
            raise TypeError(f"vjp takes the arguments as a tuple, not {described(args)}")
        value, parts = self._value_and_gradients(args, pull)
        return value, self._gradients_of(self._recording.signature.positions, False, parts)

    def jvp(self, args: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        """Return the value and its tangent, from tangents of the arguments: a sweep backward per number of the value.

        Examples
        --------
        >>> import fastprop as fp
        >>> fp.trace(lambda x, y: (x * y, x + y), 1.0, 1.0).jvp((2.0, 3.0), (1.0, 0.5))
        ((6.0, 5.0), (4.0, 1.5))
        """
        for what, given in (("arguments", args), ("tangents", tangents)):
            if not isinstance(given, (tuple, list)):
                raise TypeError(f"jvp takes the {what} as a tuple, one for each argument, not {described(given)}")
        if len(tangents) != len(args):
            raise ValueError(f"jvp got {len(tangents)} tangents for {len(args)} arguments; expected one for each")
        value, nesting = self(*args), self._recording.nesting
        leaves = nesting.leaves_of(value, "the value")
        slopes = [np.zeros(np.shape(leaf), self.dtype) for leaf in leaves]
        for i, slope in enumerate(slopes):
            for place in np.ndindex(slope.shape):
                pulls = [np.zeros(part.shape, part.dtype) for part in slopes]
                pulls[i][place] = 1.0
                pull = nesting.unflatten([part if part.shape else float(part) for part in pulls])
                slope[place] = self._along(self.vjp(args, pull)[1], tangents)
        return value, nesting.unflatten([slope if slope.shape else float(slope) for slope in slopes])

    def _along(self, gradients: tuple[Any, ...], tangents: Sequence[Any]) -> float:
        """Return the product of gradients of all arguments that are not static with tangents."""
        total = 0.0
        positions = [i for i in self._recording.signature.positions if isinstance(i, int)]
        for position, gradient in zip(positions, gradients):
            parts, nesting = flatten(gradient)
            for i, (part, along) in enumerate(zip(parts, nesting.leaves_of(tangents[position], f"tangent {position}"))):
                name = f"tangent {position}{nesting.path(i)}"
                along = as_direction(along, self.dtype, name)
                if np.shape(along) != np.shape(part):
                    raise ValueError(f"{name} has shape {np.shape(along)}; expected {np.shape(part)}")
                with np.errstate(all="ignore"):
                    total += float(np.sum(strong_product(part, along)))
        return total

    def bind(
        self, *arrays: Any, grad: Any = None, value: Any = None, in_axes: Any = None, reduce: str | None = None
    ) -> Any:
        """Bind arrays that are read and written in place: each call of what comes back replays the circuit.

        Parameters
        ----------
        *arrays : ndarray or nested container of them
            The arguments, as arrays of the circuit's dtype (of shape () or (1,) for a number), read at every call.
        grad : ndarray, nested container or tuple, optional
            Where gradients go: in the nesting of the first argument, or a tuple with one entry per argument (None: not
            wanted). New arrays by default, which are the attribute ``grad`` of what comes back.
        value : ndarray, optional
            Where the value goes; a new array by default.
        in_axes, reduce : optional
            For many points at once, as in `batch`; None (the default of `in_axes`) stands for one point.

        Returns
        -------
        callable
            ``run()`` computes the value and the gradient. One thread at a time may call it.

        Examples
        --------
        >>> import fastprop as fp, numpy as np
        >>> circuit = fp.trace(lambda x: x[0] * x[1], [1.0, 1.0])
        >>> x, g, v = np.array([2.0, 3.0]), np.zeros(2), np.zeros(())
        >>> run = circuit.bind(x, grad=g, value=v)
        >>> run()
        >>> v, g
        (array(6.), array([3., 2.]))
        """
        if in_axes is not None:
            return BoundLanes(self, arrays, grad, value, in_axes, reduce)
        return BoundPoint(self, arrays, grad, value)

    def batch(self, *args: Any, in_axes: Any = 0, reduce: str | None = None, out: Any = None) -> Any:
        """Return the values at many points.

        Parameters
        ----------
        *args
            The arguments, arrays with one more axis, or the same for all points.
        in_axes : int, None, or tuple of them, optional
            Which axis counts the points, for all arguments, or one per argument; None: the same for all points.
        reduce : {None, "sum", "mean"}, optional
            What to do with the values of all points.
        out : ndarray, optional
            Where the values go.

        Returns
        -------
        number, array or nested container
            The result, with the points as the first axis unless they are reduced.

        Examples
        --------
        >>> import fastprop as fp, numpy as np
        >>> circuit = fp.trace(lambda x: x * x, 1.0)
        >>> circuit.batch(np.array([1.0, 2.0, 3.0]))
        array([1., 4., 9.])
        """
        return batch_values(self, args, in_axes, reduce, out)


def _restored(recording: Recording, passes: tuple[str, ...]) -> Circuit:
    """Return the circuit that was pickled."""
    return Circuit(Plan(recording, passes))


def hold_handles(args: Sequence[Any], static: Container[int] = ()) -> bool:
    """Say whether there is a Unit or an Array among arguments that are not static."""
    for i, arg in enumerate(args):
        kind = type(arg)
        if kind is float or kind is np.ndarray or i in static:
            continue
        if is_handle(arg) or any(is_handle(leaf) for leaf in flatten(arg)[0]):
            return True
    return False
