"""A call's digest: a number that calls of the same form have in common, and few others; no Python code runs for it."""
from cpython.object cimport PyObject
from libc.stdint cimport uint64_t, uintptr_t

cdef enum:
    DEPTH = 4                   # containers in containers that are looked into
    FEW = 4                     # children of a list that are looked at
    MANY = 64                   # entries of a dict that are, all of them or none, as their order is nothing


cdef uint64_t digest_of_call(PyObject* const* args, Py_ssize_t count, PyObject* names, uint64_t fixed) noexcept:
    """The digest of a call; `fixed` has a bit for each argument that is known to be static."""
    cdef uint64_t digest = <uint64_t>count, named = 0
    cdef Py_ssize_t i
    for i in range(count):
        digest = mixed(digest, digest_of(args[i], 0, i < 64 and (fixed >> <uint64_t>i) & 1))
    for i in range(0 if names == NULL else size_of(names)):
        named += mixed(text_digest(items_of(names)[i]), digest_of(args[count + i], 0, False))
    return mixed(digest, named)


cdef uint64_t digest_of(PyObject* thing, int depth, bint fixed) noexcept:
    cdef PyTypeObject* kind = type_of(thing)
    cdef uint64_t digest
    cdef Py_ssize_t i
    if PyUnicode_CheckExact(thing):
        return text_digest(thing)
    if thing == Py_None or kind == &PyBool_Type:
        return <uintptr_t>thing
    if fixed:
        return text_digest(thing) if kind == &PyLong_Type else 0
    if PyArray_CheckExact(thing) and array_ndim(thing) > 0:
        digest = <uint64_t>array_type(thing)
        for i in range(array_ndim(thing)):
            digest = mixed(digest, <uint64_t>array_shape(thing)[i])
        return digest
    if depth < DEPTH and (PyList_CheckExact(thing) or PyTuple_CheckExact(thing)):
        digest = mixed(<uintptr_t>kind, <uint64_t>size_of(thing))
        for i in range(min(size_of(thing), FEW)):
            digest = mixed(digest, digest_of(items_of(thing)[i], depth + 1, False))
        return digest
    if depth < DEPTH and PyDict_CheckExact(thing):
        return digest_of_dict(thing, depth)
    return 0                    # a number, or what has ways of its own


cdef uint64_t digest_of_dict(PyObject* things, int depth) noexcept:
    cdef uint64_t digest = 0
    cdef Py_ssize_t position = 0
    cdef PyObject* key
    cdef PyObject* value
    if PyDict_GET_SIZE(things) <= MANY:
        while PyDict_Next(things, &position, &key, &value):
            if PyUnicode_CheckExact(key):
                digest += mixed(text_digest(key), digest_of(value, depth + 1, False))
    return mixed(digest, <uint64_t>PyDict_GET_SIZE(things))


cdef inline uint64_t text_digest(PyObject* thing) noexcept:
    """The hash of a string or an integer, which always have one."""
    return <uint64_t>PyObject_Hash(thing)


cdef inline uint64_t mixed(uint64_t digest, uint64_t part) noexcept nogil:
    return (digest ^ part) * 0x9E3779B97F4A7C15u + (digest >> 29)
