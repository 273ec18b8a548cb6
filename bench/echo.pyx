# cython: language_level=3, boundscheck=False, wraparound=False
"""A function with nothing in it but its door: the sum of the squares of its arguments, and the gradient of that."""
cimport numpy as cnp
from cpython.object cimport PyObject, PyTypeObject
from libc.stdlib cimport free, malloc

from fastprop.engine.door cimport MATCHED, Form, Marshal, PyVectorcall_NARGS, Reading, call_by_vector

cnp.import_array()


cdef class Echo:
    cdef void* called
    cdef Form form
    cdef Marshal marshal
    cdef Reading reading
    cdef double* store

    def __cinit__(self, Form form, Marshal marshal):
        self.called = <void*>call
        self.form, self.marshal, self.reading = form, marshal, Reading()
        self.store = <double*>malloc(<size_t>(marshal.slots + 1) * sizeof(double))

    def __dealloc__(self):
        free(self.store)


cdef object call(object owner, PyObject* const* args, size_t count, PyObject* names):
    cdef Echo echo = owner
    cdef Reading reading = echo.reading
    cdef double* number = reading.number
    cdef double total = 0.0
    cdef Py_ssize_t i, k, size, at = 1
    if echo.form.match(args, PyVectorcall_NARGS(count), names, reading) != MATCHED:
        raise TypeError("another form")
    number = reading.number
    for i in range(echo.form.numbers):
        total += number[i] * number[i]
    if echo.marshal.slots > 1:
        for i in range(echo.form.numbers):
            echo.store[1 + i] = 2.0 * number[i]
        at += echo.form.numbers
    for k in range(echo.form.arrays):
        number = <double*>reading.array[k].data
        size = cnp.PyArray_SIZE(<cnp.ndarray>reading.array[k].array)
        for i in range(size):
            total += number[i] * number[i]
            echo.store[at + i] = 2.0 * number[i]
        at += size
    echo.store[0] = total
    reading.release()
    return echo.marshal.build(echo.store, False, None)


cdef Echo _example = Echo(Form(()), Marshal.__new__(Marshal))
call_by_vector(<PyTypeObject*>Echo, <Py_ssize_t>(<char*>&_example.called - <char*><void*>_example))
