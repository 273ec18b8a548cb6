"""compile: a function that records itself when it is called, once per form of its arguments and per path."""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np

from fastprop.circuits.circuit import Circuit, checked_dtype, checked_static
from fastprop.circuits.debugging import checked_call, is_debugging
from fastprop.circuits.function_gate import apply_function
from fastprop.circuits.paths import MOST_PATHS, Paths
from fastprop.circuits.pipeline import Plan, checked_passes
from fastprop.circuits.route import gradient_route, value_route
from fastprop.circuits.signature import Signature, positions_of
from fastprop.circuits.trace import Retrace, current_trace, record
from fastprop.derivatives.call import instead, is_active, name_of
from fastprop.engine.door import Form
from fastprop.engine.run import (
    Door,
    Entry,
    Failed,
    Route,
    enter_eager,
    entered_by_vector,
    handlers_raised,
    is_eager,
    leave_eager,
)
from fastprop.handles.nesting import LEAF, checked, described, is_container, plain, static_key
from fastprop.hints import with_hints
from fastprop.threads import give_lock

__all__ = ["Compiled", "compile", "eager"]


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
    enter_eager()
    try:
        yield
    finally:
        leave_eager()


@with_hints
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
        Positions of arguments that are passed on as they are, and given by position; another value is recorded anew.
        They must be hashable.
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
    kind = None if dtype is None else checked_dtype(dtype)
    return Compiled(f, kind, static_argnums, checked_passes(passes), max_paths)


class _Entry(Entry):
    """What is known of the calls of one form: the plans of its paths, and their routes."""

    def __init__(self, signature: Signature, paths: Paths, is_function: bool):
        self.is_function = is_function
        self._current: Route | None = None
        self.signature, self.paths = signature, paths
        self.differentiable = not is_function or bool(signature.call_form.handles)
        self.routes: dict[int, Route] = {}
        self.captures = False  # leaves, on some path, kept or not

    @property
    def is_ready(self) -> bool:
        """Whether there is a route: an exception may have come between a recording and its route."""
        return self._current is not None

    @property
    def current(self) -> Route:
        """The route of the path that was taken last."""
        route = self._current if self.route is None else self.route
        assert route is not None
        return route

    @current.setter
    def current(self, route: Route) -> None:
        captures = self.captures or bool(route.plan.recording.captured_handles())
        self.route = None if self.is_function and captures else route  # the fast way is for plain results
        self.captures, self._current = captures, route  # at last, as an exception may come at any call before


@entered_by_vector
class Compiled(Door):
    """A compiled function (`compile`): callable like the function itself.

    Attributes
    ----------
    function : callable
        The function as it was given.
    """

    def __init__(self, f: Any, dtype: Any, static_argnums: Any, passes: tuple[str, ...], max_paths: int):
        if not callable(f):
            raise TypeError(f"compile takes a function first, not {described(f)}")
        if isinstance(max_paths, bool) or not isinstance(max_paths, int) or max_paths < 1:
            raise ValueError(f"max_paths is {max_paths!r}; expected an integer of at least 1")
        self.function = f
        self._name = name_of(f)
        self.__name__ = self.__qualname__ = self._name
        functools.update_wrapper(cast(Any, self), f, updated=())  # help and inspect.signature show the function's own
        self._dtype, self._static, self._passes, self._max_paths = dtype, static_argnums, passes, max_paths
        kind = getattr(f, "__fastprop__", ("", f, 0, False))
        self._kind: str = kind[0] if kind[0] in ("grad", "value_and_grad") else ""
        self._inner: Any = kind[1] if self._kind else f
        differentiates = kind[0] in ("grad", "value_and_grad", "jacobian")
        self._variables = (kind[0], kind[2]) if differentiates else ("", ())  # which are checked
        self._argnums: Any = kind[2] if self._kind else 0
        self._has_aux: bool = bool(self._kind and kind[3])
        self._reasons: list[str] = []
        self._lock: Any
        give_lock(self)
        self.open(self._form)

    def __reduce__(self) -> Any:
        found: Any = sys.modules.get(self.__module__)
        for name in self.__qualname__.split("."):
            found = getattr(found, name, None)
        if found is self:  # it was decorated: its name is the way to it
            return self.__qualname__
        return Compiled, (self.function, self._dtype, self._static, self._passes, self._max_paths)

    def __repr__(self) -> str:
        return f"<compiled {self._name}: {len(self._reasons)} recordings>"

    def method_for(self, instance: Any) -> Compiled:
        """Return the method of an instance: it is compiled for it alone, and holds it weakly."""
        try:
            gone = functools.partial(_forget, weakref.ref(self), id(instance))
            method = self._method_of(weakref.ref(instance, gone))
        except TypeError:
            raise TypeError(
                f"{self._name} is a compiled method of a {type(instance).__name__}, which can't be referred to weakly; "
                "give its class a __weakref__ slot"
            ) from None
        self.methods[id(instance)] = weakref.ref(instance, gone), method
        return method

    def _is_method_of(self, thing: Any) -> bool:
        """Say whether this was defined in a class of a thing, which is no container of numbers."""
        kind = type(thing)
        if self.skipped or "." not in self.__qualname__ or is_container(kind):
            return False
        place = self.__module__, self.__qualname__
        return any((owner.__module__, f"{owner.__qualname__}.{self.__name__}") == place for owner in kind.__mro__)

    def _method_of(self, instance: weakref.ref[Any]) -> Compiled:
        """Return the compiled method of an instance."""
        f = self.function

        @functools.wraps(f)
        def method(*args: Any, **kwargs: Any) -> Any:
            return f(instance(), *args, **kwargs)

        given = (self._static,) if isinstance(self._static, int) else tuple(self._static)
        static = [position - (position > 0) for position in given if position != 0]
        compiled = Compiled(method, self._dtype, static, self._passes, self._max_paths)
        compiled.skipped = 1  # the instance, with which it is called
        return compiled

    def call_slowly(self, args: tuple[Any, ...], kwargs: dict[str, Any], failed: Failed | None = None) -> Any:
        """Compute the function where something is new, or not for circuits, or has failed on the fast way."""
        if failed is not None and isinstance(failed.error, Retrace):
            failed = None
        if failed is not None and not failed.route.plan.recording.outcomes:  # no other path would not have come there
            raise failed.error
        if current_trace() is not None or is_active():
            return self.function(*args, **kwargs)
        if is_eager():
            return checked_call(self, self.function, args, kwargs) if is_debugging() else self.function(*args, **kwargs)
        if args and self._is_method_of(args[0]):  # it was reached through the class, or a property
            return self.__get__(args[0])(*args[1:], **kwargs)
        signature = self._signature(args, kwargs)
        if signature.call_form.handles and self._kind:
            return self.function(*args, **kwargs)
        self._check_variables(signature)
        entry = self._entry(signature)
        given = entry.signature.taken_apart(args, kwargs)
        plain_args, plain_kwargs = args, kwargs
        if signature.call_form.handles:
            built = entry.signature.build([plain(leaf) for leaf in given])
            plain_args, plain_kwargs = tuple(built[0]), built[1]
        leaves = entry.signature.leaves(plain_args, entry.signature.call_form.dtype, plain_kwargs)
        if not entry.is_ready:
            with self._lock:
                if not entry.is_ready:
                    entry.current = self._route(entry, 0 if entry.paths.plans else self._record(entry, leaves))
        if not self._kind and (signature.call_form.handles or entry.captures):
            return self._as_gate(entry, leaves, given)
        return self._compute(entry, args, kwargs, leaves, failed)

    # the cache

    def cache_info(self) -> list[str]:
        """Return why each recording was made: the first call, another form of the arguments, or another path."""
        return list(self._reasons)

    def cache_clear(self) -> None:
        """Forget all recordings."""
        with self._lock:
            self.forms.clear()
            self._reasons.clear()

    def circuits(self) -> list[Circuit]:
        """Return the circuits recorded so far."""
        return [Circuit(plan) for entry in self.forms.entries() for plan in entry.paths.plans]

    def summary(self) -> str:
        """Return what `Circuit.summary` says of every recording, and why each was made.

        Examples
        --------
        >>> import fastprop as fp
        >>> f = fp.compile(lambda x: x * x + 1.0)
        >>> f(2.0)
        5.0
        >>> print(f.summary().splitlines()[0])
        the first call
        """
        if not self._reasons:
            return f"{self._name}: nothing is recorded yet; call it"
        found = zip(self._reasons, self.circuits())
        return "\n\n".join(f"{reason}\n{circuit.summary()}" for reason, circuit in found)

    def _signature(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Signature:
        static = checked_static(self._static, len(args), self._name)
        return Signature(args, static, self._name, kwargs, self._dtype)

    def _form(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Form:
        return self._signature(args, kwargs).call_form

    def _entry(self, signature: Signature) -> _Entry:
        with self._lock:
            entry = _Entry(signature, Paths(self._name, self._max_paths), not self._kind)
            kept: _Entry = self.forms.keep(signature.call_form, entry)
            return kept

    def _why(self, entry: _Entry) -> str:
        others = [other for other in self.forms.entries() if other is not entry and other.paths.plans]
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
            entry.signature.call_form.dtype,
            differentiable=entry.differentiable,
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
                why = f"{why}: {_branch(plan, entry.paths)}"
            before = len(entry.paths.plans)
            number = entry.paths.keep(plan)
            if len(entry.paths.plans) > before:
                self._reasons.append(why)
            return number

    # a call

    def _compute(
        self, entry: _Entry, args: tuple[Any, ...], kwargs: dict[str, Any], leaves: list[Any], failed: Failed | None
    ) -> Any:
        """Compute on the path that the leaves take, which is recorded if need be."""
        tried: set[Plan] = set()
        retraced = 0
        while True:
            try:
                route = entry.current
                found = _result_of(route, args, kwargs, leaves)
                if found is not None:
                    if failed is not None and failed.route is route:  # a signal's handler raised in the midst of a gate
                        raise failed.error
                    return found
                tried.add(route.plan)
                entry.current = self._other(entry, route, leaves, tried)
                if entry.current.plan in tried:  # another thread is at work, or its maps decide otherwise
                    return self._slowly(entry, leaves)
            except Retrace:
                retraced += 1
                if retraced > 2:  # on paths that are not kept: nothing is left to learn from another recording
                    return self._slowly(entry, leaves)
                entry.current = self._again(entry, entry.current.plan, leaves)
            if entry.is_function and entry.captures:  # which it has learnt just now
                return self._as_gate(entry, leaves, leaves)

    def _as_gate(self, entry: _Entry, leaves: list[Any], given: list[Any]) -> Any:
        """Compute as one gate on the tape of the handles that are given or captured."""
        self._let_differentiate(entry, leaves)
        for _ in range(3):
            plan = self._plan_at(entry, leaves)
            if plan is None:
                break
            try:
                return apply_function(self.function, Circuit(plan), entry.signature, leaves, given)
            except Retrace:  # a map in it takes a way that uses more of what is outside
                entry.current = self._again(entry, plan, leaves)
        return self._slowly(entry, given)

    def _let_differentiate(self, entry: _Entry, leaves: list[Any]) -> None:
        """Let the plans be such that have gradients; those that compute some themselves are recorded anew."""
        with self._lock:
            if entry.differentiable:
                return
            anew = any(plan.draft.payload and not plan.recording.differentiable for plan in entry.paths.plans)
            entry.differentiable = True
            if anew:
                try:
                    paths = Paths(self._name, self._max_paths)
                    plan = self._plan(entry, leaves)
                    number, route = paths.keep(plan), self._route_of(entry, plan)
                    entry.current, entry.routes, entry.paths = route, {number: route}, paths  # what says so at last
                except BaseException:
                    entry.differentiable = False
                    raise
                self._reasons.append("its gradients are to be differentiated")

    def _plan_at(self, entry: _Entry, leaves: list[Any]) -> Plan | None:
        """Return the plan of the path that the leaves take, which is recorded if need be; None if none stays on it."""
        tried: set[Plan] = set()
        retraced = 0
        while True:
            route = entry.current
            plan: Plan = route.plan
            try:
                if plan.first_broken(leaves) < 0:
                    return plan
                tried.add(plan)
                entry.current = self._other(entry, route, leaves, tried)
                if entry.current.plan in tried:
                    return None
            except Retrace:
                retraced += 1
                if retraced > 2:
                    return None
                entry.current = self._again(entry, entry.current.plan, leaves)

    def _slowly(self, entry: _Entry, leaves: list[Any]) -> Any:
        """Call the function itself, uncompiled."""
        args, kwargs = entry.signature.build(leaves, construct=True)
        with eager():
            return self.function(*args, **kwargs)

    def _route(self, entry: _Entry, number: int) -> Route:
        """Return the route of a path."""
        if number not in entry.routes:
            entry.routes[number] = self._route_of(entry, entry.paths.plans[number])
        return entry.routes[number]

    def _route_of(self, entry: _Entry, plan: Plan) -> Route:
        signature = entry.signature
        if not self._kind:
            return value_route(plan, signature)
        self._check_value(plan)
        positions, single = positions_of(self._argnums, signature.count, self._name)
        return gradient_route(plan, signature, positions, single, self._kind == "value_and_grad", self._has_aux)

    def _check_variables(self, signature: Signature) -> None:
        """Raise the derivative's own TypeError if it is to be by something that is no number."""
        transform, argnums = self._variables
        for position in positions_of(argnums, signature.count, self._name)[0]:
            if position in signature.static:
                continue
            nesting = signature.nesting_of(position)
            for i, k in enumerate(signature.leaves_of_argument(position)):
                own = signature.call_form.dtypes[k]
                leaf = signature.fixed.get(k, 0.0)
                if leaf is None and nesting is not LEAF:  # a container of nothing
                    continue
                if own is not None and own.kind == "b":
                    leaf = np.zeros(signature.shapes[k] or (), own)
                checked(leaf, f"{transform}: argument {position}", nesting, i)

    def _check_value(self, plan: Plan) -> None:
        """Raise unless the function that is differentiated returns one number, or a pair with one if it has aux."""
        recording = plan.recording
        nesting, outputs = recording.nesting, recording.outputs
        if self._has_aux:
            if nesting.kind is not tuple or len(nesting) != 2:
                raise TypeError(
                    f"{self._kind} with has_aux=True needs a function that returns a pair (value, aux), "
                    f"but {name_of(self._inner)} returned something else"
                )
            nesting = nesting.children[0] if nesting.children else LEAF
        if nesting is LEAF and recording.truth_outputs[0]:
            raise TypeError(
                f"{self._kind} needs a function that returns numbers or arrays, but {name_of(self._inner)} returned "
                "truth values; fastprop.where chooses numbers by them"
            )
        if nesting is not LEAF or outputs[0][1] is not None:
            what = f"an array of shape {outputs[0][1]}" if nesting is LEAF else "a container of several"
            raise TypeError(
                f"{self._kind} is only defined for functions that return one number, but {name_of(self._inner)} "
                f"returned {what}; {instead(nesting)}"
            )

    def _other(self, entry: _Entry, route: Route, leaves: list[Any], tried: set[Plan]) -> Route:
        """Return the route of the path that is taken instead; it is recorded if need be."""
        plan = route.plan
        beginning = plan.first_branches(leaves)
        if beginning is None:
            return self._route_of(entry, plan)
        with self._lock:
            paths = entry.paths
            number = paths.begins(beginning)
            if number is None or paths.plans[number] in tried:
                # a circuit rounds otherwise than Python now and then: the path begins as the circuit says
                if paths.full:
                    return self._route_of(entry, self._plan(entry, leaves, beginning, _known_points(plan)))
                number = self._record(entry, leaves, beginning, _known_points(plan))
            other = self._route(entry, number)
        route.others[len(beginning) - 1] = other
        return other

    def _again(self, entry: _Entry, old: Plan, leaves: list[Any]) -> Route:
        """Record anew, in the place of a circuit whose vmap has to know more of what is outside of it."""
        with self._lock:
            plan = self._plan(entry, leaves, known=_known_points(old))
            self._reasons.append("a vmap took a path on which it uses more of what is outside of it")
            number = entry.paths.replace(old, plan)
            entry.routes.pop(number, None)
            for route in list(entry.routes.values()):
                route.others.clear()
            return self._route(entry, number)


def _forget(owner: weakref.ref[Compiled], key: int, _: Any) -> None:
    """Let go of the method of an instance that is gone."""
    compiled = owner()
    if compiled is not None:
        compiled.methods.pop(key, None)


def _result_of(route: Route, args: tuple[Any, ...], kwargs: dict[str, Any], leaves: list[Any]) -> Any:
    """Return the result on a path; None if another one is taken, also if a gate raised that is not reached there."""
    before = handlers_raised()
    try:
        return route.call(args, kwargs)
    except Retrace:
        raise
    except Exception:
        if handlers_raised() != before or route.plan.first_broken(leaves) < 0:
            raise
        return None


def _known_points(plan: Plan) -> list[list[Any]]:
    """Return points on the known paths of each map of a plan, whose outer guards it has, too."""
    return [region.known_points() for region in plan.recording.maps]


def _difference(signature: Signature, other: Signature) -> str:
    """Say in what the arguments differ."""
    if signature.count != other.count:
        return f"{signature.count} arguments instead of {other.count}"
    if _static_key(signature) != _static_key(other):
        return "another static argument"
    for k, (shape, before) in enumerate(zip(signature.shapes, other.shapes)):
        if shape != before:
            return f"{signature.name(k)} has shape {shape or ()} instead of {before or ()}"
    return "they are nested otherwise"


def _static_key(signature: Signature) -> Any:
    return [{key: static_key(value) for key, value in part.items()} for part in (signature.static, signature.fixed)]


def _branch(plan: Plan, paths: Paths) -> str:
    """Say where a path leaves those that were known."""
    outcomes, shared = plan.recording.outcomes, paths.shared(plan)
    if shared >= len(outcomes):
        return "it ends earlier"
    return f"{plan.guard_line(shared)} came out {outcomes[shared]}"
