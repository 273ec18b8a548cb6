"""Module: what has parameters and is called; how they are found, named, saved, and put in for one call.

Parameters are leaves. Nothing is registered: whatever stands in an attribute is found there, in the order in which the
attributes were made. A call with other numbers (`Module.apply`) runs a copy in which these stand where the leaves are,
so it leaves nothing behind, may be traced, and may run in many threads at once.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from fastprop.engine.tape import Array, Unit, zero_grad
from fastprop.handles.nesting import described, flatten, is_handle, shape_of
from fastprop.hints import ATTRIBUTES, Hinted, elsewhere
from fastprop.nn.leaves import SavedLeaf, differences, is_leaf, is_setting, numbers_of, plain, shape_given
from fastprop.random import fold_in

__all__ = ["Module"]

Self = TypeVar("Self", bound="Module")


UNSEEN = (set, frozenset, deque)  # containers without an order, or without an index


class Module(Hinted):
    """What has parameters and is called: a layer, a network, or any part of one.

    A layer of one's own makes its parameters in `__init__` and says in `__call__` (or `forward`) what it does with one
    example:
    ``fp.vmap`` makes a batch of it. Attributes that are leaves (Units, Arrays), Modules, and lists, tuples and dicts of
    these, are its parts.

    What it learns are leaves alone: ``self.w = fp.Array(np.ones(3))`` is a parameter. ``self.w = np.ones(3)`` is data:
    it stays as it is, and neither `parameters` nor `state_dict` have it (but for buffers, see `buffer_names`). A
    parameter is given numbers by ``self.w.value = np.ones(3)``; data in its place are a TypeError.

    Attributes
    ----------
    training : bool
        Whether it learns, or is used; see `train` and `eval`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastprop as fp
    >>> class Scale(fp.nn.Module):
    ...     def __init__(self, features):
    ...         self.factor = fp.Array(np.ones(features))
    ...     def __call__(self, x):
    ...         return self.factor * x
    >>> model = fp.nn.Sequential(Scale(2), fp.nn.Linear(2, 1, rng=0))
    >>> [name for name, leaf in model.named_parameters()]
    ['0.factor', '1.weight', '1.bias']
    >>> model([1.0, 2.0]).shape
    (1,)

    One that draws random numbers says so, and has a key while it learns, from `apply` or `fit`:

    >>> class Noise(fp.nn.Module):
    ...     draws = True
    ...     def __call__(self, x):
    ...         return x + fp.random.normal(self.key, x.shape) if self.training else x
    >>> Noise().apply({}, np.zeros(2), key=7).round(3)
    array([-1.411, -0.472])
    >>> Noise().eval()(np.zeros(2))
    array([0., 0.])
    """

    training: bool = True

    buffer_names: ClassVar[tuple[str, ...]] = ()
    """The attributes, arrays, that are saved with the parameters and are not learnt by gradients."""

    draws: ClassVar[bool] = False
    """Whether it draws random numbers, by its attribute `key`, which `apply` and `fit` give it."""

    key: Any = None
    """What it draws by, if it `draws`: another one in every step. None where no key was given, and where it is used."""

    keeps: bool = False
    """Whether its buffers may be assigned to: in a copy that `apply` made to give them back."""

    _binding: _Binding | None = None
    """What `bound` has put in for its parameters, in a copy that it made."""

    def parts(self) -> Mapping[str, Any]:
        """Return what may be parts, by their names: the attributes."""
        return vars(self)

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Say what comes out; every Module has its own, under this name or as `forward`."""
        forward = getattr(self, "forward", None)
        if not callable(forward):
            raise TypeError(f"{type(self).__name__} has no __call__ of its own, so it can't be called")
        return forward(*inputs, **options)

    if not TYPE_CHECKING:

        def __setattr__(self, name: str, value: Any) -> None:
            if is_leaf(vars(self).get(name)) and not (value is None or is_handle(value) or _holds_parts(value)):
                raise TypeError(
                    f"{type(self).__name__}: {name} is a parameter, and {described(value)} in its place would not be "
                    f"learnt; write {name}.value = numbers, or assign a fastprop.Array or None"
                )
            super().__setattr__(name, value)

    requires_grad = elsewhere("requires_grad", ATTRIBUTES["Module"]["requires_grad"])  # or assigning it did nothing

    # Parameters -------------------------------------------------------------------------------------------------------

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """Yield this Module (named "") and all in it, each once, with the first of their names."""
        seen: set[int] = set()
        for path, part in _walk(self, (), ()):
            if isinstance(part, Module) and id(part) not in seen:
                seen.add(id(part))
                yield ".".join(path), part

    def named_parameters(self) -> Iterator[tuple[str, Any]]:
        """Yield all leaves, each once, with the first of their names, such as ``layers.0.weight``.

        In a call by `apply`, and of what `bound` has made: what stands in for them.
        """
        seen: set[int] = set()
        for path, part in _walk(self, (), ()):
            if is_leaf(part) and id(part) not in seen:
                seen.add(id(part))
                yield ".".join(path), part
            elif isinstance(part, Module) and part._binding is not None:
                for name, leaf in part._binding.module.named_parameters():
                    if id(leaf) not in seen:
                        seen.add(id(leaf))
                        yield ".".join((*path, name)), part._binding.values[id(leaf)]

    def parameters(self) -> list[Any]:
        """Return all leaves, each once, or what stands in for them, as `named_parameters` has it."""
        found: dict[int, Any] = {}
        _gather((self,), found, ())
        return list(found.values())

    def zero_grad(self) -> None:
        """Set the gradients of all parameters back to zero."""
        zero_grad(self.parameters())

    def params(self) -> dict[str, Any]:
        """Return the numbers of all parameters, as `apply` takes them.

        Returns
        -------
        dict
            Arrays (of Units, floats), nested as the Modules are: dicts by the names of attributes, lists where leaves
            stand in a list. A parameter that stands in several places is in the first of them.

        Examples
        --------
        >>> import fastprop as fp
        >>> model = fp.nn.Sequential(fp.nn.Linear(2, 3, rng=0), fp.nn.Tanh())
        >>> params = model.params()
        >>> params["0"]["weight"].shape
        (3, 2)
        """
        params: dict[str, Any] = _tree(self, set(), numbers_of)
        return params

    def load_params(self, params: Mapping[str, Any]) -> None:
        """Give all parameters these numbers, nested as those of `params`: ValueError or TypeError, or all of them."""
        for leaf, value in [(leaf, plain(value, "params")) for leaf, value in self._matched(params)]:
            leaf.value = value

    def buffers(self) -> dict[str, Any]:
        """Return all buffers, nested as `params` nests parameters."""
        buffers: dict[str, Any] = _buffer_tree(self, set(), lambda owner, name: _own(getattr(owner, name)))
        return buffers

    def load_buffers(self, buffers: Mapping[str, Any]) -> None:
        """Give all buffers these numbers, nested as those of `buffers`: ValueError or TypeError, or all of them."""
        for place, value in [(place, plain(value, "buffers")) for place, value in self._matched_buffers(buffers)]:
            setattr(place.owner, place.name, np.array(value, getattr(place.owner, place.name).dtype))

    # Calls with other numbers -----------------------------------------------------------------------------------------

    def apply(
        self,
        params: Mapping[str, Any] | None,
        *inputs: Any,
        key: Any = None,
        buffers: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Call it with other numbers for its parameters; nothing in it changes.

        Parameters
        ----------
        params : dict or None
            Numbers, arrays, handles or traced values, nested as `params()` nests them; None: its own leaves.
        *inputs, **options
            What it is called with: by name, unless the name is one of those here.
        key : int or Unit, optional
            Of `fastprop.random`, for what draws random numbers: every such layer folds its own number into it.
        buffers : dict, optional
            Numbers for its buffers, nested as `buffers()` nests them.

        Returns
        -------
        object
            What comes out; with `buffers`, a tuple of that and of the new buffers.

        Raises
        ------
        ValueError
            If a parameter is missing, is one too many, or has another shape.

        Examples
        --------
        A training step:

        >>> import numpy as np
        >>> import fastprop as fp
        >>> model = fp.nn.Linear(2, 1, rng=0)
        >>> def loss(params, x, y):
        ...     return fp.nn.squared_error(model.apply(params, x), y)
        >>> step = fp.compile(fp.value_and_grad(fp.vmap(loss, in_axes=(None, 0, 0), reduce="mean")))
        >>> x = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        >>> value, gradients = step(model.params(), x, x[:, :1])
        >>> gradients["weight"].shape
        (1, 2)
        """
        bound = self.bound(params, key, buffers)
        result = bound(*inputs, **options)
        return result if buffers is None else (result, bound.buffers())

    def bound(
        self: Self, params: Mapping[str, Any] | None, key: Any = None, buffers: Mapping[str, Any] | None = None
    ) -> Self:
        """Return the same Module with other numbers for its parameters, for `apply`, and to call methods of.

        It has no leaves: `parameters`, `named_parameters` and `params` give these numbers, so that a penalty on `self`
        is one on them.

        Parameters
        ----------
        params, key, buffers
            As for `apply`.
        """
        values = {} if params is None else {id(leaf): value for leaf, value in self._matched(params)}
        bound: Self = _copied(self, values, {})
        if buffers is not None:
            for place, value in bound._matched_buffers(buffers):
                setattr(place.owner, place.name, value)
                place.owner.keeps = True
        if key is not None:
            drawing = [module for _, module in bound.named_modules() if module.draws]
            for number, module in enumerate(drawing):
                module.key = fold_in(key, number)
        return bound

    def _matched(self, params: Mapping[str, Any]) -> list[tuple[Any, Any]]:
        """Return every leaf with what `params` has for it."""
        leaves, nesting = flatten(_tree(self, set(), lambda leaf: leaf))
        self._check_unbound(leaves)
        if not isinstance(params, dict) and nesting.kind is dict:
            raise TypeError(
                f"params is {described(params)}; expected a dict nested as params() has it, and before the inputs: "
                "apply(params, x)"
            )
        if any("." in str(name) for name in params) and set(params) == {name for name, _ in self.named_parameters()}:
            raise ValueError("params has the names of a state_dict; expected dicts in dicts, as params() has them")
        values = nesting.leaves_of(params, "params")
        for index, (leaf, value) in enumerate(zip(leaves, values)):
            if shape_given(value) != shape_of(leaf):
                raise ValueError(
                    f"params{nesting.path(index)} has the shape {shape_given(value)}; expected {shape_of(leaf)}, that "
                    "of the parameter"
                )
        return list(zip(leaves, values))

    def _check_unbound(self, parameters: Iterable[Any]) -> None:
        if not all(map(is_leaf, parameters)):
            raise ValueError(
                f"this {type(self).__name__} was made by bound or apply: it has numbers, and no leaves to give others; "
                "take the Module that they were called on"
            )

    def _matched_buffers(self, buffers: Mapping[str, Any]) -> list[tuple[_Place, Any]]:
        """Return the place of every buffer with what `buffers` has for it."""
        places, nesting = flatten(_buffer_tree(self, set(), _Place))
        values = nesting.leaves_of(buffers, "buffers")
        for index, (place, value) in enumerate(zip(places, values)):
            shape = shape_of(getattr(place.owner, place.name))
            if shape_given(value) != shape:
                raise ValueError(f"buffers{nesting.path(index)} has the shape {shape_given(value)}; expected {shape}")
        return list(zip(places, values))

    # Saving -----------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return copies of all parameters and buffers as NumPy arrays, by name; a shared one under all its names."""
        self._check_unbound(self.parameters())
        return {name: np.array(_held(owner, key)) for name, owner, key in _places(self)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Give all parameters and buffers the numbers in a `state_dict`.

        Raises
        ------
        ValueError
            If it is no dict; if names are missing or too many, or shapes or dtypes differ: all of them are named, and
            nothing is loaded.

        Examples
        --------
        >>> import fastprop as fp
        >>> trained, fresh = fp.nn.Linear(2, 1, rng=0), fp.nn.Linear(2, 1, rng=1)
        >>> fresh.load_state_dict(trained.state_dict())
        >>> fresh([1.0, 2.0]).value == trained([1.0, 2.0]).value
        array([ True])
        """
        if not isinstance(state, Mapping):
            raise ValueError(f"load_state_dict: the state is {described(state)}; expected what state_dict() has given")
        self._check_unbound(self.parameters())
        places = _places(self)
        names = [name for name, _, _ in places]
        wrong = [f"{name} is missing" for name in names if name not in state]
        wrong += [f"{name} is none of its names" for name in state if name not in names]
        found: dict[Any, tuple[str, np.ndarray[Any, Any]]] = {}
        for name, owner, key in places:
            if name in state:
                value, expected = np.asarray(state[name]), np.asarray(_held(owner, key))
                wrong += differences(name, value, expected)
                first, other = found.setdefault((id(owner), key), (name, value))
                if not np.array_equal(value, other, equal_nan=value.dtype.kind == "f"):
                    wrong.append(f"{name} and {first} are one parameter, and their numbers differ")
        if wrong:
            raise ValueError(f"nothing was loaded: {'; '.join(wrong)}")
        for name, owner, key in places:
            if key is None:
                owner.value = np.array(state[name]) if shape_of(owner) else float(state[name])
            else:
                setattr(owner, key, np.array(state[name]))

    def __copy__(self: Self) -> Self:
        made = object.__new__(type(self))
        made.__dict__.update(vars(self))
        return made

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes for `copy.deepcopy` and pickle, in which leaves stand that can be saved."""
        copied: dict[str, Any] = {name: _saved(part) for name, part in vars(self).items()}
        return copied

    # Modes ------------------------------------------------------------------------------------------------------------

    def train(self: Self, mode: bool = True) -> Self:
        """Let it, and all Modules in it, learn (or, with False, be used), and return it.

        What is compiled keeps the mode in which it was recorded: compile one function to learn, and one to use it.
        """
        for _, module in self.named_modules():
            module.training = bool(mode)
        return self

    def eval(self: Self) -> Self:
        """Let it, and all Modules in it, be used: no randomness, statistics stay. Return it."""
        return self.train(False)

    def __repr__(self) -> str:
        own = vars(self)
        made_with = inspect.signature(type(self).__init__).parameters
        shown = [
            f"{name}={own[name]!r}"
            for name, option in made_with.items()
            if name in own and is_setting(own[name]) and own[name] != option.default
        ]
        shown += [f"{name}: {_shown(part)}" for name, part in _parts(self) if is_leaf(part) or _holds_parts(part)]
        return f"{type(self).__name__}({', '.join(shown)})"


# What stands where ----------------------------------------------------------------------------------------------------


def _parts(thing: Any) -> list[tuple[str, Any]]:
    """Return the leaves, Modules and containers that stand right in a Module or container, by their names."""
    if isinstance(thing, Module):
        named: Any = thing.parts().items()
    else:
        named = thing.items() if isinstance(thing, dict) else enumerate(thing)
    found = []
    for name, part in named:
        if is_leaf(part) or _has_parts(part):
            found.append((str(name), part))
        else:
            _check_unseen(part)
    return found


def _check_unseen(part: Any) -> None:
    """Refuse leaves and Modules where nobody looks for them."""
    is_unseen = type(part) in UNSEEN or (type(part) is np.ndarray and part.dtype.hasobject and part.ndim > 0)
    if is_unseen and any(is_leaf(one) or isinstance(one, Module) for one in part):
        raise ValueError(f"parameters stand in a {type(part).__name__}, where they are not found; put them into a list")


def _holds_parts(value: Any) -> bool:
    """Say whether a value is a Module, or a container that holds Modules or leaves."""
    if isinstance(value, Module):
        return True
    return _has_parts(value) and any(is_leaf(part) or _holds_parts(part) for _, part in _parts(value))


def _has_parts(part: Any) -> bool:
    return isinstance(part, (Module, list, tuple, dict))


def _walk(thing: Any, path: tuple[str, ...], outer: tuple[int, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield everything in a Module, itself first, in order and as often as it stands there."""
    if id(thing) in outer:
        raise ValueError(f"{'.'.join(path)} contains itself: what is in a Module must end in leaves")
    yield path, thing
    if not is_leaf(thing):
        for name, part in _parts(thing):
            yield from _walk(part, (*path, name), (*outer, id(thing)))


def _gather(parts: Iterable[Any], found: dict[int, Any], outer: tuple[int, ...]) -> None:
    """Put all leaves in some parts, by their identities; as `_walk`, for networks of many scalars."""
    for part in parts:
        if isinstance(part, (Unit, Array)):
            if part._tape is None:
                found[id(part)] = part
        elif isinstance(part, Module) and part._binding is not None:
            leaves = part._binding.module.parameters()
            found.update({id(leaf): part._binding.values[id(leaf)] for leaf in leaves})
        elif isinstance(part, (Module, list, tuple, dict)):
            if id(part) in outer:
                raise ValueError(f"a {type(part).__name__} contains itself: what is in a Module must end in leaves")
            named = part.parts() if isinstance(part, Module) else part
            _gather(named if isinstance(named, (list, tuple)) else named.values(), found, (*outer, id(part)))
        else:
            _check_unseen(part)


def _tree(thing: Any, seen: set[int], taken: Callable[[Any], Any]) -> Any:
    """Return what is taken of the leaves that were not seen before, nested by name; lists of leaves as lists."""
    if isinstance(thing, Module) and thing._binding is not None:
        values = thing._binding.values
        return _tree(thing._binding.module, seen, lambda leaf: values[id(leaf)])
    found: dict[str, Any] = {}
    parts = _parts(thing)
    for name, part in parts:
        if not is_leaf(part):
            inner = _tree(part, seen, taken)
            if inner:
                found[name] = inner
        elif id(part) not in seen:
            seen.add(id(part))
            found[name] = taken(part)
    in_a_row = isinstance(thing, (list, tuple)) and len(found) == len(thing) and all(is_leaf(x) for _, x in parts)
    return list(found.values()) if in_a_row else found


class _Binding:
    """What stands in for the leaves of a Module in a copy of it: the Module, and values by the leaves' identities."""

    def __init__(self, module: Module, values: dict[int, Any]):
        self.module, self.values = module, values

    def __reduce__(self) -> tuple[Any, ...]:
        leaves = self.module.parameters()
        return _bound_again, (self.module, [self.values[id(leaf)] for leaf in leaves])


def _bound_again(module: Module, values: list[Any]) -> _Binding:
    """Make a binding again of its pickle: the leaves are others."""
    return _Binding(module, {id(leaf): value for leaf, value in zip(module.parameters(), values)})


class _Place:
    """Where a buffer is: a Module, and the name of its attribute."""

    def __init__(self, owner: Module, name: str):
        self.owner, self.name = owner, name


def _buffer_tree(thing: Any, seen: set[int], taken: Callable[[Module, str], Any]) -> dict[str, Any]:
    """Return what is taken of the buffers of all Modules that were not seen before, nested by name."""
    found: dict[str, Any] = {}
    if isinstance(thing, Module):
        if id(thing) in seen:
            return {}
        seen.add(id(thing))
        found.update({name: taken(thing, name) for name in thing.buffer_names})
    for name, part in _parts(thing):
        inner = {} if is_leaf(part) else _buffer_tree(part, seen, taken)
        if inner:
            found[name] = inner
    return found


def _own(value: Any) -> Any:
    return np.array(value) if isinstance(value, np.ndarray) else value


def _saved(thing: Any) -> Any:
    """Return a thing in which what can be saved stands for leaves; Modules in it do this themselves."""
    if is_leaf(thing):
        return SavedLeaf.of(thing)
    if not isinstance(thing, (list, tuple, dict)) or not _parts(thing):
        return thing
    if isinstance(thing, dict):
        return {name: _saved(part) for name, part in thing.items()}
    return _like(thing, [_saved(part) for part in thing])


def _like(row: Any, parts: list[Any]) -> Any:
    """Return parts as a list, or a tuple of the same class."""
    return parts if isinstance(row, list) else getattr(type(row), "_make", tuple)(parts)


def _places(module: Module) -> list[tuple[str, Any, str | None]]:
    """Return all names with what holds the numbers: a leaf and None, or a Module and the name of its buffer."""
    found: list[tuple[str, Any, str | None]] = []
    for path, part in _walk(module, (), ()):
        if is_leaf(part):
            found.append((".".join(path), part, None))
        elif isinstance(part, Module):
            found += [(".".join((*path, name)), part, name) for name in part.buffer_names]
    return found


def _held(owner: Any, key: str | None) -> Any:
    return owner.value if key is None else getattr(owner, key)


def _copied(thing: Any, values: dict[int, Any], copies: dict[int, Any]) -> Any:
    """Return a copy of what has parts, with values where leaves stand; what is shared stays shared."""
    if is_leaf(thing):
        return values.get(id(thing), thing)
    if not _has_parts(thing):
        return thing
    if id(thing) not in copies:
        if isinstance(thing, Module):
            made: Any = object.__new__(type(thing))
            copies[id(thing)] = made
            made.__dict__.update({name: _copied(part, values, copies) for name, part in vars(thing).items()})
            if values:
                made._binding = _Binding(thing, values)
        elif isinstance(thing, dict):
            made = {name: _copied(part, values, copies) for name, part in thing.items()}
        else:
            made = _like(thing, [_copied(part, values, copies) for part in thing])
        copies[id(thing)] = made
    return copies[id(thing)]


def _shown(part: Any) -> str:
    if is_leaf(part):
        return str(shape_of(part))
    return repr(part) if isinstance(part, Module) else f"[{', '.join(_shown(x) for _, x in _parts(part))}]"
