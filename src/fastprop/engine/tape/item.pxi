"""Numbers that index: other handles on a number, and the gate that gives one of several numbers."""
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from libc.stdint cimport int32_t

from fastprop.engine.executor.instructions cimport ITEM, WITHIN


def handle_again(handle, kind):
    """Return another handle on a result, of a class derived from Unit, or from Array if it is one."""
    cdef Link* link = link_of_any(handle)
    cdef Link* other
    check_fresh(link)
    if link.tape == NULL:
        raise ValueError("a leaf is its only handle")
    if isinstance(handle, Unit):
        made = Unit.__new__(kind)
    else:
        made = Block.__new__(kind)
        (<Block>made).hold((<Block>handle).numbers)
    other = link_of_any(made)
    other.value = link.value
    attach(link.tape, other, <PyObject*>made, link.slot, True)
    return made


def is_index(Unit index, Py_ssize_t n):
    """Record whether a traced integer is an index of n numbers, as a guard; returns how it shall come out.

    Where the numbers from outside are not what they are now, that it is not is known by a run alone.
    """
    cdef Link* link = &index.link
    cdef PyObject* home
    cdef bint inside, stale
    check_fresh(link)
    home = traced_home(1, &link)
    link = captured(home, link)
    inside = -n <= link.value < n
    make_room(home, 0)
    gate = owned(append(home, WITHIN, operand_of(home, link), NONE, 0.0, <double>n, <double>inside))
    stale = (<Trace>home).recording is not None and (<Trace>home).recording.stale
    return (<Trace>home).note_guard((<Unit>gate).link.slot, inside or stale)


def item(Unit index, list numbers):
    """Record the one of some numbers (Units and floats) that is at a traced index; one that is none gives the first."""
    cdef Py_ssize_t n = len(numbers), i
    cdef Link** links = <Link**>PyMem_Malloc(<size_t>(n + 1) * sizeof(Link*))
    if links == NULL:
        raise MemoryError(f"no memory for an index of {n} numbers")
    try:
        links[0] = &index.link
        for i in range(n):
            links[i + 1] = &(<Unit>numbers[i]).link if isinstance(numbers[i], Unit) else NULL
        return owned(record_item(n, links, numbers))
    finally:
        PyMem_Free(links)


cdef PyObject* record_item(Py_ssize_t n, Link** links, list numbers) except NULL:
    cdef Py_ssize_t i, place
    cdef PyObject* home
    cdef PyObject* unit
    cdef Nodes* nodes
    cdef double value
    for i in range(n + 1):
        if links[i] != NULL:
            check_fresh(links[i])
    home = traced_home(n + 1, links)
    for i in range(n + 1):
        if links[i] != NULL:
            links[i] = captured(home, links[i])
    place = <Py_ssize_t>links[0].value if -n <= links[0].value < n else 0
    place += n if place < 0 else 0
    value = links[place + 1].value if links[place + 1] != NULL else <double>numbers[place]
    make_room(home, n + 1)
    nodes = nodes_of(home)
    for i in range(n + 1):
        nodes.pool_operand[nodes.pool_length + i] = NONE if links[i] == NULL else operand_of(home, links[i])
        nodes.pool_partial[nodes.pool_length + i] = <double>numbers[i - 1] if links[i] == NULL else 0.0
    if links[place + 1] != NULL:
        nodes.pool_partial[nodes.pool_length + place + 1] = 1.0
    unit = append(home, POOLED | ITEM, <int32_t>nodes.pool_length, <int32_t>(n + 1), 0.0, 0.0, value)
    nodes.pool_length += n + 1
    return unit
