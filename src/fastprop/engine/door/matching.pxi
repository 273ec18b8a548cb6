"""Reading a call in C: a Form says what is expected where."""

# Reading --------------------------------------------------------------------------------------------------------------

cdef class Reading:
    """The numbers and arrays of one call, as they were read."""

    def __dealloc__(self):
        self.release()
        free(self.number)
        PyMem_Free(self.array)

    cdef int prepare(self, Form form) except -1:
        """Make room for what a form has, and let go of what was read before."""
        cdef size_t lines
        self.release()
        if form.numbers > self.numbers:
            free(self.number)
            self.numbers = 0
            lines = (<size_t>form.numbers * sizeof(double) + LINE - 1) // LINE
            self.number = <double*>aligned_alloc(LINE, lines * LINE)
            if self.number == NULL:
                raise MemoryError(f"no memory is left for {form.numbers} numbers")
            self.numbers = form.numbers
        if form.arrays > self.arrays:
            PyMem_Free(self.array)
            self.arrays = 0
            self.array = <ArrayLeaf*>PyMem_Calloc(<size_t>form.arrays, sizeof(ArrayLeaf))
            if self.array == NULL:
                raise MemoryError(f"no memory is left for {form.arrays} arrays")
            self.arrays = form.arrays
        self.reach = form.arrays
        self.scalars = 0
        self.strided = form.strided
        self.type = form.type
        return 0

    cdef int hold(self, Py_ssize_t place, object array) except -1:
        """Take an array of the form's shape to be read: in place if it can be, else a copy."""
        cdef PyObject* given = <PyObject*>array
        cdef ArrayLeaf* leaf = self.array + place
        cdef int wanted = NPY_ARRAY_ALIGNED if self.strided else NPY_ARRAY_ALIGNED | NPY_ARRAY_C_CONTIGUOUS
        if array_type(given) != self.type or array_flags(given) & wanted != wanted or not array_is_native(given):
            whole = array if self.type == NPY_FLOAT and NPY_BYTE <= array_type(given) <= NPY_ULONGLONG else None
            array = in_order(given, self.type)
            given = <PyObject*>array
            if whole is not None and not all_are_exact(<const float*>array_data(given), array_size(given)):
                check_exact(whole)
        incref(given)
        if leaf.array == NULL:
            self.held += 1
        else:                                   # a dict that changed while it was read
            decref(leaf.array)
        leaf.array, leaf.data, leaf.ndim = given, array_data(given), array_ndim(given)
        leaf.shape, leaf.strides = array_shape(given), array_strides(given)
        return 0

    cdef int pin(self) except -1:
        """Hold views of the arrays instead: Python code is to run, which may give them other shapes and dtypes."""
        cdef Py_ssize_t place
        cdef PyObject* given
        if self.held == 0:
            return 0
        for place in range(self.reach):
            given = self.array[place].array
            if given != NULL:
                self.hold(place, (<object>given).view(np.ndarray))
        return 0

    cdef void release(self) noexcept:
        """Let go of the arrays."""
        cdef Py_ssize_t place
        cdef PyObject* array
        if self.held == 0:
            return
        self.held = 0
        for place in range(self.reach):
            array, self.array[place].array = self.array[place].array, NULL
            xdecref(array)


cdef bint all_are_exact(const float* number, Py_ssize_t n) noexcept:
    """Whether all are so small that they were no other integers before they became float32: what is rounded is not."""
    cdef Py_ssize_t i
    cdef bint found = True
    for i in range(n):
        found &= -largest_single < number[i] < largest_single
    return found


# Matching -------------------------------------------------------------------------------------------------------------

cdef int take(Node* node, PyObject* thing, Reading reading) except -1:
    """Read what stands at a node, which the caller holds."""
    if node.op == NUMBER:
        if PyFloat_CheckExact(thing):
            reading.number[node.place] = PyFloat_AS_DOUBLE(thing)
            return MATCHED
        return take_number(thing, reading.number + node.place, reading)
    if node.op == INTEGER:
        return take_integer(thing, reading.number + node.place, reading)
    if node.op == ARRAY:
        return take_array(node, thing, reading)
    if node.op == STATIC:
        return is_same_static(node, thing)
    if type_of(thing) != node.kind:
        return HANDLES if is_handle(<object>thing) else ANOTHER
    if node.op == RUN:
        return take_run(node, thing, reading)
    if node.op == ROW:
        return take_row(node, thing, reading)
    if node.op == DICT_RUN or node.op == DICT:
        return take_dict(node, thing, reading)
    if node.op == FIELDS:
        return take_fields(node, thing, reading)
    return take_other(node, <object>thing, reading)


cdef int take_number(PyObject* thing, double* to, Reading reading) except -1:
    """Read a number that is not a Python float."""
    cdef PyTypeObject* kind = type_of(thing)
    if kind == &PyLong_Type:
        to[0] = PyLong_AsDouble(thing)
    elif kind == &PyDoubleArrType_Type:
        to[0] = double_of_scalar(thing)
        reading.scalars |= DOUBLE
    elif kind == &PyFloatArrType_Type:
        to[0] = single_of_scalar(thing)
        reading.scalars |= SINGLE
    elif PyArray_CheckExact(thing) and array_ndim(thing) == 0 and array_type(thing) in (NPY_FLOAT, NPY_DOUBLE):
        to[0] = PyFloat_AsDouble(thing)
        reading.scalars |= SINGLE if array_type(thing) == NPY_FLOAT else DOUBLE
    else:
        return take_unusual(<object>thing, to, reading)
    return MATCHED


cdef int take_integer(PyObject* thing, double* to, Reading reading) except -1:
    """Read one of NumPy's integers."""
    if type_of(thing) == &PyLongArrType_Type:
        to[0] = long_of_scalar(thing)
    elif is_integer_scalar(thing):
        reading.pin()                           # its class may have ways of its own
        to[0] = PyFloat_AsDouble(thing)
    elif PyArray_CheckExact(thing) and array_ndim(thing) == 0 and NPY_BYTE <= array_type(thing) <= NPY_ULONGLONG:
        to[0] = PyFloat_AsDouble(thing)
    elif is_handle(<object>thing):
        return HANDLES if shape_of(<object>thing) == () else ANOTHER
    elif not is_integer(<object>thing) or np.ndim(<object>thing):
        return ANOTHER
    else:
        to[0] = float(<object>thing)
    if reading.type == NPY_FLOAT and not -largest_single <= to[0] <= largest_single:
        check_exact(<object>thing)
    return MATCHED


cdef int take_unusual(object thing, double* to, Reading reading) except -1:
    """Read what may be a number of any other kind, which may run Python code."""
    if is_handle(thing):
        return HANDLES if shape_of(thing) == () else ANOTHER
    if is_static(thing) or is_integer(thing) or (isinstance(thing, np.ndarray) and thing.ndim > 0):
        return ANOTHER
    reading.pin()
    found = as_input(thing)
    if type(found) is not float:
        return ANOTHER
    to[0] = found
    reading.scalars |= floating(thing)
    return MATCHED


cdef int take_array(Node* node, PyObject* thing, Reading reading) except -1:
    if PyArray_CheckExact(thing):
        return hold_if_alike(node, <object>thing, reading)
    if is_handle(<object>thing):
        return HANDLES
    if is_static(<object>thing) or not hasattr(<object>thing, "__array__"):
        return ANOTHER
    reading.pin()
    found = as_input(<object>thing)
    return hold_if_alike(node, np.asarray(found), reading) if isinstance(found, np.ndarray) else ANOTHER


cdef int hold_if_alike(Node* node, object array, Reading reading) except -1:
    cdef PyObject* given = <PyObject*>array
    cdef Py_ssize_t* shape = array_shape(given)
    cdef int axis, number = array_type(given)
    if array_ndim(given) != node.ndim or number >= TYPE_NUMBERS or same_type[number] != node.type:
        return ANOTHER
    for axis in range(node.ndim):
        if shape[axis] != node.sizes[axis]:
            return ANOTHER
    reading.hold(node.place, array)
    return MATCHED


cdef int is_same_static(Node* node, PyObject* thing) except -1:
    if thing == node.value and node.count == 0:
        return MATCHED
    if type_of(thing) != type_of(node.value) or thing == Py_None:
        return ANOTHER
    if PyUnicode_CheckExact(thing):
        return PyUnicode_Compare(thing, node.value) == 0
    try:
        return static_key(<object>thing) == <object>node.likeness
    except TypeError:                           # it can't be hashed, which is said when its form is made
        return ANOTHER


cdef int take_run(Node* node, PyObject* things, Reading reading) except -1:
    """Read a list or tuple of numbers."""
    cdef double* to = reading.number + node.place
    cdef Py_ssize_t i = 0
    cdef int found
    if size_of(things) != node.count:
        return ANOTHER
    while True:
        i += take_floats(items_of(things) + i, node.count - i, to + i)
        if i == node.count:
            return MATCHED
        found = take_held_number(items_of(things)[i], to + i, reading)
        if found != MATCHED or size_of(things) != node.count:
            return found if found != MATCHED else ANOTHER
        i += 1


cdef Py_ssize_t take_floats(PyObject** items, Py_ssize_t count, double* to) noexcept nogil:
    """Read Python floats; returns how many stand before the first other thing."""
    cdef Py_ssize_t i
    for i in range(count):
        if not PyFloat_CheckExact(items[i]):
            return i
        to[i] = PyFloat_AS_DOUBLE(items[i])
    return count


cdef int take_row(Node* node, PyObject* things, Reading reading) except -1:
    """Read a list or tuple of anything."""
    cdef Node* child = node + 1
    cdef Py_ssize_t i
    cdef int found
    for i in range(node.count):
        if size_of(things) != node.count:
            return ANOTHER
        held = <object>items_of(things)[i]
        found = take(child, <PyObject*>held, reading)
        if found != MATCHED:
            return found
        child += child.span
    return MATCHED if size_of(things) == node.count else ANOTHER


cdef int take_fields(Node* node, PyObject* thing, Reading reading) except -1:
    """Read a dataclass."""
    cdef Node* child = node + 1
    cdef Py_ssize_t i
    cdef int found
    reading.pin()
    for i in range(node.count):
        held = getattr(<object>thing, <object>node.keys[i])
        found = take(child, <PyObject*>held, reading)
        if found != MATCHED:
            return found
        child += child.span
    return MATCHED


cdef int take_dict(Node* node, PyObject* things, Reading reading) except -1:
    """Read a dict: in the order in which it was recorded, or else by its keys."""
    cdef double* to = reading.number + node.place
    cdef Node* child = node + 1
    cdef Py_ssize_t i = 0, position = 0
    cdef PyObject* key
    cdef PyObject* value
    cdef int found
    if node.op == DICT_RUN and PyDict_GET_SIZE(things) == node.count and take_entries(node, entries_of(things), to):
        return MATCHED
    while PyDict_GET_SIZE(things) == node.count and PyDict_Next(things, &position, &key, &value):
        if i == node.count:
            return ANOTHER
        if key != node.keys[i] and not is_same_name(key, node.keys[i]):
            return take_by_key(node, <dict>things, reading)
        if node.op == DICT:
            found = take_held(child, value, reading)
            child += child.span
        elif PyFloat_CheckExact(value):
            to[i] = PyFloat_AS_DOUBLE(value)
            found = MATCHED
        else:
            found = take_held_number(value, to + i, reading)
        if found != MATCHED:
            return found
        i += 1
    return MATCHED if i == node.count and PyDict_GET_SIZE(things) == i else ANOTHER


cdef bint take_entries(Node* node, PyObject** entries, double* to) noexcept:
    """Read a dict of Python floats whose keys are the recorded objects, in order; False: it is anything else."""
    cdef Py_ssize_t i
    if entries == NULL:
        return False
    for i in range(node.count):
        if entries[2 * i] != node.keys[i] or not PyFloat_CheckExact(entries[2 * i + 1]):
            return False
        to[i] = PyFloat_AS_DOUBLE(entries[2 * i + 1])
    return True


cdef int take_by_key(Node* node, dict given, Reading reading) except -1:
    """Read a dict in any order, from a copy of it: nobody else can change that."""
    cdef dict things = given.copy()
    cdef Py_ssize_t i, position = 0
    cdef PyObject* key
    cdef PyObject* value
    cdef int found
    if len(things) != node.count:
        return ANOTHER
    reading.pin()
    number_children(node)
    while PyDict_Next(<PyObject*>things, &position, &key, &value):
        at = (<dict>node.value).get(<object>key)
        if at is None:
            return ANOTHER
        i = at
        if not is_same_key(key, node.keys[i]):
            return ANOTHER
        if node.op == DICT_RUN:
            found = take_held_number(value, reading.number + node.place + i, reading)
        else:
            found = take_held(node + node.sizes[i], value, reading)
        if found != MATCHED:
            return found
    return MATCHED


cdef int take_other(Node* node, object thing, Reading reading) except -1:
    """Read what has ways of its own to be taken apart."""
    cdef Node* child = node + 1
    cdef int found
    reading.pin()
    keys, children = children_of(thing)
    if len(children) != node.count:
        return ANOTHER
    if node.keys != NULL:
        return take_by_key(node, dict(zip(keys, children)), reading)
    for held in children:
        found = take(child, <PyObject*>held, reading)
        if found != MATCHED:
            return found
        child += child.span
    return MATCHED


cdef int take_held(Node* node, PyObject* thing, Reading reading) except -1:
    held = <object>thing                        # its container may let go of it
    return take(node, <PyObject*>held, reading)


cdef int take_held_number(PyObject* thing, double* to, Reading reading) except -1:
    held = <object>thing
    if PyFloat_CheckExact(thing):
        to[0] = PyFloat_AS_DOUBLE(thing)
        return MATCHED
    return take_number(<PyObject*>held, to, reading)


cdef bint is_same_name(PyObject* key, PyObject* other) except -1:
    """Say whether keys are equal strings; no Python code runs."""
    return PyUnicode_CheckExact(key) and PyUnicode_CheckExact(other) and PyUnicode_Compare(key, other) == 0


cdef bint is_same_key(PyObject* key, PyObject* other) except -1:
    """Say whether keys that count as equal are also alike: 1, 1.0 and True are not."""
    if key == other:
        return True
    if PyUnicode_CheckExact(key) or type_of(key) == &PyLong_Type:
        return type_of(key) == type_of(other)
    return static_key(<object>key) == static_key(<object>other)


cdef int number_children(Node* node) except -1:
    """Note which child of a dict has which key, when that is first asked."""
    cdef Py_ssize_t i, at = 1
    cdef dict number = {}
    if node.value != NULL:
        return 0
    for i in range(node.count):
        number[<object>node.keys[i]] = i
    if node.value == NULL:                      # it may have been asked meanwhile, by what compares keys
        if node.op != DICT_RUN:
            node.sizes = <Py_ssize_t*>PyMem_Calloc(<size_t>node.count + 1, sizeof(Py_ssize_t))
            if node.sizes == NULL:
                raise MemoryError(f"no memory is left for a dict of {node.count} keys")
            for i in range(node.count):
                node.sizes[i] = at
                at += node[at].span
        incref(<PyObject*>number)
        node.value = <PyObject*>number
    return 0
