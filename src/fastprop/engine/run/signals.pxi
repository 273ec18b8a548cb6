"""Looks for signals while a program runs: what their handlers raise is no error of a gate, and comes out at once."""
from cpython.exc cimport PyErr_CheckSignals

cdef extern from *:
    """
    static __thread long raised_by_handlers = 0;
    """
    long raised_by_handlers


cdef int look_for_signals() except -1:
    """Let handlers of signals run, such as that of Ctrl-C."""
    global raised_by_handlers
    try:
        PyErr_CheckSignals()
    except BaseException:
        raised_by_handlers += 1
        raise
    return 0


def handlers_raised():
    """Return how often a handler has raised while this thread looked: what changes it while a program runs ended it."""
    return raised_by_handlers
