# Results written again, in C: a Marshal keeps them.
#
# Nobody else can reach the result, or it would not be held once; so one that turns out not to be what was built may be
# left half written, and is dropped. What somebody else holds of it is replaced first, which may run Python code (of
# the garbage collector); after that nothing does.


cdef bint write_again(const Part* part, PyObject* thing, const void* store, bint single, list blocks) except -1:
    """Write again what nobody else holds; False: it isn't what was built, and has to be built anew."""
    if not is_sole(thing) or not renew(part, thing, store, single, blocks):
        return False
    return is_sole(thing) and rewrite(part, thing, store, single)


cdef bint renew(const Part* part, PyObject* things, const void* store, bint single, list blocks) except -1:
    """Give a container new children where somebody else holds the old ones; False: it isn't what was built."""
    cdef const Part* child = part + 1
    cdef PyObject* item
    cdef Py_ssize_t i
    if part.op != ROW and part.op != DICT:
        return True
    if type_of(things) != part.kind:
        return False
    for i in range(part.count):
        if child.op == NUMBER or child.op == STATIC:
            child += 1
            continue
        item = child_of(part, things, i)
        if item == NULL:
            return False
        if child.op == BLOCK or not is_sole(item):
            if not replace(part, things, i, make(child, store, single, blocks)):
                return False
        elif child.op == ROW or child.op == DICT:
            if not renew(child, item, store, single, blocks):
                return False
        child += child.span
    return True


cdef PyObject* child_of(const Part* part, PyObject* things, Py_ssize_t i) except? NULL:
    """Return a child of a list, tuple or dict; NULL if it is not there."""
    if part.op == DICT:
        return PyDict_GetItemWithError(things, part.keys[i])
    return items_of(things)[i] if size_of(things) == part.count else NULL


cdef bint replace(const Part* part, PyObject* things, Py_ssize_t i, object child) except -1:
    """Put another child in the place of one; False: there is none."""
    cdef PyObject* old = child_of(part, things, i)
    if old == NULL:
        return False
    if part.op == DICT:
        PyDict_SetItem(things, part.keys[i], <PyObject*>child)
    elif old != <PyObject*>child:
        incref(<PyObject*>child)
        items_of(things)[i] = <PyObject*>child
        decref(old)
    return True


cdef bint rewrite(const Part* part, PyObject* things, const void* store, bint single) except -1:
    """Write the numbers and arrays of what one container alone holds; False: it isn't what was built."""
    if part.op == ARRAY:
        if not is_free_array(part, things):
            return False
        fill(part, array_data(things), store, single)
        return True
    if type_of(things) != part.kind:
        return False
    if part.op == RUN or part.op == ROW:
        if size_of(things) != part.count:
            return False
        if part.kind != &PyList_Type:
            forget_hash(things)
        return rewrite_run(part, items_of(things), store, single) if part.op == RUN else \
            rewrite_row(part, items_of(things), store, single)
    return PyDict_GET_SIZE(things) == part.count and rewrite_dict(part, things, store, single)


cdef bint rewrite_run(const Part* part, PyObject** items, const void* store, bint single) except -1:
    cdef Py_ssize_t i = 0
    while True:
        if part.sizes == NULL and not single:
            i += set_floats(items + i, part.count - i, <const double*>store + part.place + i)
        if i == part.count:
            return True
        if not rewrite_number(items + i, value_in(part, store, single, i)):
            return False
        i += 1


cdef Py_ssize_t set_floats(PyObject** items, Py_ssize_t count, const double* values) noexcept nogil:
    """Set numbers; returns how many stand before the first thing that is no float, or that somebody else holds."""
    cdef Py_ssize_t i
    for i in range(count):
        if not PyFloat_CheckExact(items[i]) or not is_sole(items[i]):
            return i
        set_float(items[i], values[i])
    return count


cdef bint rewrite_row(const Part* part, PyObject** items, const void* store, bint single) except -1:
    cdef const Part* child = part + 1
    cdef Py_ssize_t i
    for i in range(part.count):
        if child.op == NUMBER:
            if not rewrite_number(items + i, value_of(store, single, child.place)):
                return False
        elif not is_left(child, items[i]) and not (is_sole(items[i]) and rewrite(child, items[i], store, single)):
            return False
        child += child.span
    return True


cdef inline bint is_left(const Part* part, PyObject* thing) noexcept:
    """Say whether a child is to stay as it is: a block, or a constant."""
    return part.op == BLOCK or (part.op == STATIC and thing == part.value)


cdef inline bint rewrite_number(PyObject** item, double value) except -1:
    """Set a number in a list or tuple."""
    cdef PyObject* old = item[0]
    if not PyFloat_CheckExact(old):
        return False
    if is_sole(old):
        set_float(old, value)
    else:
        item[0] = new_float(value)
        decref(old)                             # which stays, as somebody else holds it
    return True


cdef bint rewrite_dict(const Part* part, PyObject* things, const void* store, bint single) except -1:
    cdef const Part* child = part + 1
    cdef PyObject* key
    cdef PyObject* item
    cdef Py_ssize_t i = 0, position = 0
    if part.op == DICT_RUN and rewrite_entries(part, entries_of(things), store, single):
        return True
    while PyDict_Next(things, &position, &key, &item):
        if key != part.keys[i]:
            return False
        if part.op == DICT_RUN:
            if not rewrite_entry(things, key, item, value_in(part, store, single, i)):
                return False
        elif child.op == NUMBER:
            if not rewrite_entry(things, key, item, value_of(store, single, child.place)):
                return False
        elif not is_left(child, item) and not (is_sole(item) and rewrite(child, item, store, single)):
            return False
        if part.op == DICT:
            child += child.span
        i += 1
    return True


cdef bint rewrite_entries(const Part* part, PyObject** entries, const void* store, bint single) noexcept:
    """Set the numbers of a dict that holds all of them alone; False: some may be left to set."""
    cdef PyObject* item
    cdef Py_ssize_t i
    if entries == NULL:
        return False
    for i in range(part.count):
        item = entries[2 * i + 1]
        if entries[2 * i] != part.keys[i] or not PyFloat_CheckExact(item) or not is_sole(item):
            return False
        set_float(item, value_in(part, store, single, i))
    return True


cdef inline bint rewrite_entry(PyObject* things, PyObject* key, PyObject* old, double value) except -1:
    """Set a number in a dict, whose keys are strings and integers."""
    if not PyFloat_CheckExact(old):
        return False
    if is_sole(old):
        set_float(old, value)
        return True
    fresh = <object>new_float(value)
    decref(<PyObject*>fresh)
    PyDict_SetItem(things, key, <PyObject*>fresh)
    return True


cdef bint is_free_array(const Part* part, PyObject* thing) noexcept:
    """Say whether an array that its container alone holds is what was built, and nobody looks into its memory."""
    cdef int wanted = NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED | NPY_ARRAY_WRITEABLE
    cdef PyObject* base
    cdef int axis
    if not PyArray_CheckExact(thing) or array_ndim(thing) != part.ndim or array_dtype(thing) != part.value:
        return False
    for axis in range(part.ndim):
        if array_shape(thing)[axis] != part.sizes[axis]:
            return False
    base = array_base(thing)
    if base == NULL:
        wanted |= NPY_ARRAY_OWNDATA
    elif type_of(base) != <PyTypeObject*>Slab or not is_sole(base):
        return False
    return array_flags(thing) & wanted == wanted and not has_weak_references(thing)


cdef int gather(const Part* part, PyObject* things, list blocks) except -1:
    """Find the blocks in a result that can be written again."""
    cdef const Part* child = part + 1
    cdef PyObject* item
    cdef Py_ssize_t i
    if part.op == BLOCK:
        if is_free_array(part, things):
            blocks[part.place] = <object>things
    elif (part.op == ROW or part.op == DICT) and type_of(things) == part.kind:
        for i in range(part.count):
            item = child_of(part, things, i)
            if item != NULL and is_sole(item):
                gather(child, item, blocks)
            child += child.span
    return 0
