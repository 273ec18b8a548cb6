"""Form: what a call's arguments look like, computed once, and matched in C at every call.

A form is the nesting of every argument, the shapes and dtypes of the arrays in it, the static arguments, and the dtype
to compute in. Its nodes stand in one array, a container before its children. Matching walks along them and reads
numbers and arrays on the way; for floats, integers, NumPy's scalars and arrays, exact lists, tuples and dicts no Python
code runs. Whatever else stands for a number or array is understood by `nesting.as_input`, which may run any: so a
container is asked for its size again afterwards, and what is in use is held.
"""
import itertools

import numpy as np

cimport numpy as cnp
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject, PyTypeObject
from libc.stdlib cimport free

from fastprop.gates import is_condition
from fastprop.handles import indexing
from fastprop.handles.indexing import check_exact, is_integer
from fastprop.handles.nesting import (
    LEAF, as_input, children_of, described, dtype_of, flatten, is_handle, is_static, shape_of, static_key,
)

cnp.import_array()

cdef object integers_dtype = np.dtype(np.int64)      # of integers among the numbers
cdef object truths_dtype = np.dtype(np.bool_)
cdef double largest_single = indexing.LARGEST_SINGLE

cdef extern from "stdlib.h":
    void* aligned_alloc(size_t alignment, size_t size) noexcept nogil

cdef enum:
    LINE = 64                   # bytes, of a processor's cache
    RECENT = 4                  # forms that a call is matched with before it is taken apart in Python
    TYPE_NUMBERS = 32           # more than NumPy has numbers of dtypes of numbers

# NumPy has several numbers for the same dtype (`long long` is `long`); -1: it is no dtype of arguments.
cdef int same_type[TYPE_NUMBERS]
for _number in range(TYPE_NUMBERS):
    same_type[_number] = -1
for _letter in "?bBhHiIlLqQfd":
    same_type[np.dtype(_letter).num] = np.dtype(np.dtype(_letter).str).num


# Form -----------------------------------------------------------------------------------------------------------------

cdef class Form:
    """What a call's arguments look like.

    Parameters
    ----------
    args, kwargs : tuple, dict
        The arguments of one call, as an example.
    static : sequence of int, optional
        The positions of arguments that are passed on as they are.
    dtype : {"float32", "float64"}, optional
        What to compute in; by default what NumPy promotes arrays and NumPy scalars of floats to.
    owner : str, optional
        The function's name, for errors.
    strided : bool, optional
        Read native, aligned arrays in place whatever their strides; by default those in C's order only.

    Examples
    --------
    >>> import numpy as np
    >>> form = Form(({"w": [1.0, 2.0], "b": 0.5}, np.ones(3)))
    >>> form.shapes, form.dtype
    ([None, None, None, (3,)], dtype('float64'))
    >>> form.read(({"b": 5, "w": [3.0, 4.0]}, np.zeros(3)))
    ([3.0, 4.0, 5.0], [array([0., 0., 0.])])
    >>> form.read((1.0, 2.0)) is None
    True
    """

    def __init__(self, args, kwargs=None, static=(), dtype=None, owner="the function", strided=False):
        if self.owner is not None:
            raise RuntimeError("a form is made once")
        self.owner, self.strided, self.kept = owner, strided, []
        self.count, self.names = len(args), tuple(kwargs or ())
        self.named = len(self.names)
        self.static = {position: args[position] for position in sorted(static)}
        self.positions = [i for i in range(len(args)) if i not in self.static] + list(self.names)
        self.nestings, self.shapes, self.dtypes, self.constants, self.handles = [], [], [], [], []
        leaves, keys = [], []
        for position in self.positions:
            found, nesting = flatten(args[position] if isinstance(position, int) else kwargs[position])
            self.nestings.append(nesting)
            leaves += found
        self.size = len(leaves)
        self.leaf = <Leaf*>PyMem_Calloc(<size_t>self.size + 1, sizeof(Leaf))
        if self.leaf == NULL:
            raise MemoryError(f"no memory is left for {self.size} leaves")
        seen = self._classify(leaves, dtype)
        self._decide(seen, dtype)
        parts = iter(self._leaf_keys())
        self._let_go()
        for nesting in self.nestings:
            keys.append(key_of(nesting, parts))
        named = frozenset(zip(self.names, keys[len(keys) - len(self.names):]))
        fixed = tuple([(position, self._static_key(position)) for position in self.static])
        self.settle()
        self.key = (self.count, fixed, tuple(keys[:len(keys) - len(self.names)]), named, self.type)

    def __dealloc__(self):
        cdef Py_ssize_t at
        for at in range(self.used):
            PyMem_Free(self.nodes[at].sizes)
            if self.nodes[at].op != STATIC:
                xdecref(self.nodes[at].value)
        PyMem_Free(self.nodes)
        PyMem_Free(self.roots)
        PyMem_Free(self.leaf)

    def __repr__(self):
        return f"<form of {self.owner}: {self.numbers} numbers, {self.arrays} arrays, {self.dtype}>"

    def __len__(self):
        """Count the leaves."""
        return self.size

    def name(self, leaf):
        """Say which number or array a leaf is."""
        for position, nesting in zip(self.positions, self.nestings):
            if leaf < nesting.size:
                word = "argument" if isinstance(position, int) else "keyword argument"
                return f"{self.owner}: {word} {position}{nesting.path(leaf)}"
            leaf -= nesting.size
        raise IndexError(f"{self.owner} has {self.size} leaves; none is left at {leaf} behind the last one")

    def leaves_of(self, argument):
        """Return the numbers of the leaves of an argument, by its position or name."""
        if argument not in self.positions:
            raise ValueError(f"{self.owner}: argument {argument} is static and has no gradient")
        at = self.positions.index(argument)
        start = sum([nesting.size for nesting in self.nestings[:at]])
        return range(start, start + self.nestings[at].size)

    def place(self, leaf):
        """Say where a leaf is read to: "number", "array" or "static", and its place among these."""
        if not 0 <= leaf < self.size:
            raise IndexError(f"{self.owner} has {self.size} leaves, and none at {leaf}")
        return {NUMBER: "number", ARRAY: "array", STATIC: "static"}[self.leaf[leaf].op], self.leaf[leaf].place

    def read(self, args, kwargs=None):
        """Return the numbers and the arrays of a call; None if it has another form, or holds Units or Arrays."""
        reading = Reading()
        if self._match(args, kwargs, reading) != MATCHED:
            return None
        return numbers_of(self, reading)

    def holds_handles(self, args, kwargs=None):
        """Say whether a Unit or Array stands where this form has a number or array."""
        return self._match(args, kwargs, Reading()) == HANDLES

    def _match(self, args, kwargs, Reading reading):
        flat = (*args, *kwargs.values()) if kwargs else tuple(args)
        names = tuple(kwargs) if kwargs else ()
        return self.match(items_of(<PyObject*>flat), len(args), <PyObject*>names, reading)

    def _classify(self, leaves, dtype):
        """Note what each leaf is; returns SINGLE and DOUBLE by arrays and by all."""
        cdef Py_ssize_t i
        cdef int op, by_arrays = 0, by_numbers = 0
        for i, leaf in enumerate(leaves):
            shape = own = None
            whole = type(leaf) is not float and is_integer(leaf)
            if type(leaf) is float:
                op = NUMBER
            elif is_handle(leaf):
                self.handles.append(i)
                op = ARRAY if shape_of(leaf) else NUMBER
                if op == ARRAY:
                    shape, own = shape_of(leaf), integers_dtype if whole else dtype_of(leaf)
                if is_condition(leaf):
                    own = truths_dtype
            elif is_static(leaf):
                op = STATIC
            else:
                found = as_input(leaf)
                if found is None:
                    raise TypeError(self._refusal(leaf, i, dtype))
                op = NUMBER if type(found) is float else ARRAY
                if op == ARRAY:
                    shape, own = found.shape, np.dtype(found.dtype.newbyteorder("=").str)
                else:
                    by_numbers |= floating(leaf)
            if op == NUMBER and whole:
                own = integers_dtype
            if op == ARRAY:
                by_arrays |= {"f4": SINGLE, "f8": DOUBLE}.get(own.str[1:], 0)
                if dtype is not None and own.kind == "f" and own != dtype:
                    raise TypeError(self._refusal(leaf, i, dtype))
            self.leaf[i].op, self.leaf[i].integer = op, whole
            self.leaf[i].place = self.numbers if op == NUMBER else self.arrays if op == ARRAY else len(self.constants)
            self.numbers += op == NUMBER
            self.arrays += op == ARRAY
            if op == STATIC:
                self.constants.append(leaf)
            self.shapes.append(shape)
            self.dtypes.append(own)
        return by_arrays, by_arrays | by_numbers

    def _decide(self, seen, dtype):
        """Decide what to compute in: for these arguments, and for others with other NumPy scalars among the numbers."""
        cdef int scalars, by_arrays = seen[0]
        for scalars in range(4):
            self.scalars[scalars] = NPY_FLOAT if scalars | by_arrays == SINGLE else NPY_DOUBLE
            if dtype is not None:
                self.scalars[scalars] = NPY_FLOAT if np.dtype(dtype) == np.float32 else NPY_DOUBLE
        self.type = self.scalars[seen[1]]
        self.dtype = np.dtype(np.float32 if self.type == NPY_FLOAT else np.float64)

    def _refusal(self, leaf, index, dtype):
        """Say why a leaf can't be read."""
        found = getattr(leaf, "dtype", None)
        if isinstance(found, np.dtype) and found.kind == "f" and type(leaf) is np.ndarray:
            return (
                f"{self.name(index)} has dtype {found}, but the circuit computes in {np.dtype(dtype or np.float64)}; "
                "convert it with .astype, or choose the circuit's dtype when it is traced or compiled (dtype=…)"
            )
        return (
            f"{self.name(index)} is {described(leaf)}; give floats, integers, arrays of them, or nested containers of "
            "these (what is no number stands around the function, or is named in fp.compile's static_argnums, and "
            "given by position)"
        )

    def _let_go(self):
        """Let go of the arguments of which nestings keep copies."""
        cdef Py_ssize_t leaf, first = 0
        for at, nesting in enumerate(self.nestings):
            if is_copied(nesting):
                leaves = [self.constants[self.leaf[leaf].place] if self.leaf[leaf].op == STATIC else 0.0
                          for leaf in range(first, first + nesting.size)]
                self.nestings[at] = flatten(nesting.unflatten(leaves))[1]
            first += nesting.size

    def _static_key(self, position):
        given = self.static[position]
        try:
            return static_key(given)
        except TypeError:
            raise TypeError(
                f"{self.owner}: the static argument {position} must be hashable, and a {type(given).__name__} is not: "
                "give a tuple of what is in it"
            ) from None

    def _leaf_keys(self):
        """Return what leaves of calls of the same form have in common; None for a number."""
        keys = []
        for i in range(self.size):
            if self.leaf[i].op == STATIC:
                keys.append(static_key(self.constants[self.leaf[i].place]))
            else:
                keys.append(None if self.dtypes[i] is None else (self.shapes[i], self.dtypes[i].num))
        return keys

    cdef int match(self, PyObject* const* args, Py_ssize_t count, PyObject* names, Reading reading) except -1:
        """Read a call's arguments (those by keyword come last; `names` is a tuple, or NULL) if they have this form."""
        cdef Py_ssize_t named = 0 if names == NULL else size_of(names)
        cdef int found = ANOTHER
        if count != self.count or named != self.named:
            return ANOTHER
        if reading.busy:
            raise RuntimeError("a reading is in use already; two threads, or a call within a call, need two")
        reading.busy = True
        try:
            reading.prepare(self)
            found = self.read_all(args, names, reading)
        finally:
            reading.busy = False
            if found != MATCHED:
                reading.release()
        return found

    cdef int read_all(self, PyObject* const* args, PyObject* names, Reading reading) except -1:
        cdef Py_ssize_t i, root
        cdef int found
        for i in range(self.count + self.named):
            root = i if i < self.count else self.root_of(i, items_of(names)[i - self.count])
            if root < 0:
                return ANOTHER
            found = take(self.nodes + self.roots[root], args[i], reading)
            if found != MATCHED:
                return found
        if self.scalars[reading.scalars] != self.type or reading.held != self.arrays:
            return ANOTHER
        return MATCHED

    cdef Py_ssize_t root_of(self, Py_ssize_t place, PyObject* name) except -2:
        """Return which argument has a name, which is the one at `place` as a rule; -1: none."""
        cdef PyObject* usual = <PyObject*>self.names[place - self.count]
        if name == usual or PyUnicode_Compare(name, usual) == 0:
            return place
        if <object>name not in self.names:
            return -1
        return self.count + self.names.index(<object>name)

    # Laying out the nodes

    cdef int settle(self) except -1:
        """Lay out the nodes; from then on the form doesn't change."""
        cdef Py_ssize_t root = 0, leaf = 0, room = len(self.static) + 1
        cdef Node* node
        for nesting in self.nestings:
            room += nodes_of(nesting)
        self.nodes = <Node*>PyMem_Calloc(<size_t>room, sizeof(Node))
        self.roots = <Py_ssize_t*>PyMem_Calloc(<size_t>(self.count + len(self.names)) + 1, sizeof(Py_ssize_t))
        if self.nodes == NULL or self.roots == NULL:
            raise MemoryError(f"no memory is left for the form of {self.size} leaves")
        nestings = iter(self.nestings)
        for position in [*range(self.count), *self.names]:
            self.roots[root] = self.used
            root += 1
            if position in self.static:
                node = self.lay_static(self.static[position], self._static_key(position))
                node.count = not is_hashable(self.static[position])
            else:
                self.lay(next(nestings), &leaf)
        return 0

    cdef int lay(self, object nesting, Py_ssize_t* leaf) except -1:
        """Append the nodes of a nesting, whose first leaf is `leaf`."""
        cdef Py_ssize_t at = self.used
        cdef Node* node = self.nodes + at
        if nesting is LEAF:
            self.lay_leaf(leaf[0])
            leaf[0] += 1
            return 0
        kind, keys = nesting.kind, nesting.keys
        self.kept.append((kind, keys))
        self.used += 1
        node.kind, node.count, node.op = <PyTypeObject*>kind, len(nesting), op_of(kind)
        if node.op == DICT or node.op == FIELDS or issubclass(kind, dict):
            node.keys = items_of(<PyObject*>keys)
        if (node.op == ROW or node.op == DICT) and nesting.children is None and self.are_numbers(leaf[0], node.count):
            node.op = RUN if node.op == ROW else DICT_RUN
            node.place = self.leaf[leaf[0]].place
            leaf[0] += node.count
        else:
            for child in nesting.children or (LEAF,) * node.count:
                self.lay(child, leaf)
        node.span = self.used - at
        return 0

    cdef int lay_leaf(self, Py_ssize_t leaf) except -1:
        cdef Node* node
        cdef Py_ssize_t axis
        if self.leaf[leaf].op == STATIC:
            value = self.constants[self.leaf[leaf].place]
            node = self.lay_static(value, static_key(value))
        else:
            node = self.nodes + self.used
            self.used += 1
            node.op, node.span = self.leaf[leaf].op, 1
            if node.op == NUMBER and self.leaf[leaf].integer:
                node.op = INTEGER
        node.place = self.leaf[leaf].place
        if node.op == ARRAY:
            shape = self.shapes[leaf]
            node.type, node.ndim = same_type[self.dtypes[leaf].num], len(shape)
            node.sizes = <Py_ssize_t*>PyMem_Calloc(len(shape) + 1, sizeof(Py_ssize_t))
            if node.sizes == NULL:
                raise MemoryError("no memory is left for the shape of an array")
            for axis in range(node.ndim):
                node.sizes[axis] = shape[axis]
        return 0

    cdef Node* lay_static(self, object value, object likeness) except NULL:
        cdef Node* node = self.nodes + self.used
        self.kept.append((value, likeness))
        self.used += 1
        node.op, node.span, node.value, node.likeness = STATIC, 1, <PyObject*>value, <PyObject*>likeness
        return node

    cdef bint are_numbers(self, Py_ssize_t first, Py_ssize_t count):
        cdef Py_ssize_t leaf
        for leaf in range(first, first + count):
            if self.leaf[leaf].op != NUMBER or self.leaf[leaf].integer:
                return False
        return count > 0


# Forms ----------------------------------------------------------------------------------------------------------------

cdef class Forms:
    """The forms of a function's calls that are known, each with an entry.

    A call is matched with the last ones, then with the one of its digest; then its form is made, and looked up.

    Parameters
    ----------
    make : callable
        Returns the form of a call, from its arguments and keyword arguments (a tuple and a dict).

    Examples
    --------
    >>> forms = Forms(lambda args, kwargs: Form(args, kwargs))
    >>> forms.keep(Form((1.0,)), "one number")
    'one number'
    >>> forms.lookup((2.0,)), forms.lookup((2.0, 3.0))
    ('one number', None)
    """

    def __init__(self, make):
        self.make = make
        self.clear()

    def __len__(self):
        return len(self.table)

    def clear(self):
        """Forget all forms."""
        self.table, self.recent, self.quick, self.fixed = {}, [], {}, 0

    def entries(self):
        """Return the entries, in the order in which they were kept."""
        return [entry for _, entry in self.table.values()]

    def keep(self, Form form, entry):
        """Keep a form with its entry, unless one of its kind is there already; returns the entry that is kept."""
        cdef tuple pair = self.table.setdefault(form.key, (form, entry))
        for position in form.static:
            if position < 64:
                self.fixed |= <uint64_t>1 << <uint64_t>position
        self._put_first(pair)
        return pair[1]

    def lookup(self, args, kwargs=None):
        """Return the entry of a call's form; None if it isn't known, or a Unit or Array is among the arguments."""
        flat = (*args, *kwargs.values()) if kwargs else tuple(args)
        names = tuple(kwargs) if kwargs else ()
        return self.find(items_of(<PyObject*>flat), len(args), <PyObject*>names, Reading())

    def _put_first(self, tuple pair):
        cdef list recent = self.recent
        cdef Py_ssize_t i = 0
        while i < len(recent) and recent[i] is not pair:
            i += 1
        if i == len(recent) < RECENT:
            recent.append(pair)
        for i in range(min(i, RECENT - 1), 0, -1):
            recent[i] = recent[i - 1]
        recent[0] = pair

    cdef object find(self, PyObject* const* args, Py_ssize_t count, PyObject* names, Reading reading):
        """Read a call and return the entry of its form; None if nothing was read."""
        cdef list recent = self.recent
        cdef tuple pair
        cdef Py_ssize_t i = 0
        cdef dict table
        cdef uint64_t digest
        cdef int found
        while i < len(recent):                  # matching may run Python code, which may call the function as well
            pair = recent[i]
            found = (<Form>pair[0]).match(args, count, names, reading)
            if found == MATCHED:
                if i > 0:
                    self._put_first(pair)
                return pair[1]
            if found == HANDLES:
                return None
            i += 1
        if len(self.table) <= len(recent):
            return None
        digest = digest_of_call(args, count, names, self.fixed)
        pair = self.quick.get(digest)
        found = ANOTHER if pair is None else (<Form>pair[0]).match(args, count, names, reading)
        if found == HANDLES:
            return None
        if found != MATCHED:
            table = self.table
            pair = self.find_by_key(args, count, names)
            if pair is None or (<Form>pair[0]).match(args, count, names, reading) != MATCHED:
                return None
            if table is not self.table:         # all were forgotten meanwhile
                return pair[1]
            self.quick[digest] = pair
        self._put_first(pair)
        return pair[1]

    cdef tuple find_by_key(self, PyObject* const* args, Py_ssize_t count, PyObject* names):
        """Return the form of a call with its entry; None if it isn't known."""
        given = tuple([<object>args[i] for i in range(count)])
        named = () if names == NULL else <tuple>names
        return self.table.get(self.make(given, {name: <object>args[count + i] for i, name in enumerate(named)}).key)


# What is read once per form -------------------------------------------------------------------------------------------

cdef int op_of(type kind) except -1:
    """Say how a container is taken apart."""
    if issubclass(kind, dict):
        return DICT if kind is dict else OTHER
    if issubclass(kind, (list, tuple)):
        plain = tuple if issubclass(kind, tuple) else list
        return ROW if kind.__iter__ is plain.__iter__ else OTHER
    return FIELDS


cdef Py_ssize_t nodes_of(object nesting) except -1:
    """Return how many nodes a nesting has at most."""
    if nesting.children is None:
        return 1 if nesting is LEAF else 1 + nesting.size
    return 1 + sum([nodes_of(child) for child in nesting.children])


cdef bint is_copied(object nesting) except -1:
    """Say whether a nesting holds copies of containers, which hold what was in them."""
    kind = nesting.kind
    if kind is not None and kind is not list and kind is not dict and not issubclass(kind, tuple):
        return True
    return nesting.children is not None and any([is_copied(child) for child in nesting.children])


cdef object key_of(object nesting, object parts):
    """Return what nestings of the same form have in common, with what their leaves have (`parts`); hashable.

    A dict's keys may stand in any order; they are told apart as it tells them apart (each NaN from any other), and 1
    from 1.0 and True.
    """
    if nesting is LEAF:
        return next(parts)
    if nesting.children is not None:
        children = tuple([key_of(child, parts) for child in nesting.children])
    else:
        children = tuple(itertools.islice(parts, nesting.size))
    if issubclass(nesting.kind, dict):
        return nesting.kind, frozenset(zip(nesting.keys, map(static_key, nesting.keys), children))
    return nesting.kind, nesting.keys, children if any(children) else None


cdef int floating(object leaf) except -1:
    """Say which dtype a number asks for: SINGLE or DOUBLE if it is NumPy's and floating, else 0."""
    dtype = getattr(leaf, "dtype", None)
    if not isinstance(dtype, np.dtype) or dtype.kind != "f":
        return 0
    return DOUBLE if dtype.itemsize > 4 else SINGLE


cdef bint is_hashable(object value):
    """Say whether a static argument can't change."""
    try:
        hash(value)
    except TypeError:
        return False
    return True


cdef object numbers_of(Form form, Reading reading):
    """Return what was read as Python has it."""
    cdef Py_ssize_t i
    numbers = [reading.number[i] for i in range(form.numbers)]
    return numbers, [<object>reading.array[i].array for i in range(form.arrays)]
