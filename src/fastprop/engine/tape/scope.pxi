"""Transforms at work, and the tapes that they have entered: left again whatever happens, and whenever.

Python looks for Ctrl-C between its own instructions. So what enters and leaves is compiled: there is no moment at which
a tape is entered and nobody knows that it has to be left.
"""
from cpython.object cimport PyObject

import threading


class Innermost(threading.local):
    """The innermost transform that is at work in this thread."""

    active = None


innermost = Innermost()


cdef class active_scope:
    """A transform at work: what its function records from leaves alone goes on the transform's tape, too.

    Leaving must not fail when memory is short, so it does nothing that allocates; popping from a list would.
    """

    cdef readonly object engine
    cdef readonly object tape
    cdef readonly active_scope outer

    def __init__(self, engine, tape):
        self.engine = engine
        self.tape = tape
        self.outer = innermost.active

    def __enter__(self):
        self.tape.__enter__()
        innermost.active = self

    def __exit__(self, kind, error, trace):
        innermost.active = self.outer
        self.tape.__exit__(kind, error, trace)

    def run(self, function, *args, **kwargs):
        """Call a function inside of it; when this returns or raises, all is left that was entered in the meantime."""
        if isinstance(self.tape, Tape):
            return self.run_on_tape(function, args, kwargs)
        return self.run_on_list(self.engine._thread.tapes, function, args, kwargs)

    cdef object run_on_tape(self, object function, tuple args, dict kwargs):
        cdef Tape tape = self.tape
        cdef bint entered = False
        try:
            enter(tape)
            entered = True
            innermost.active = self
            return function(*args, **kwargs)
        finally:
            if entered:
                while current_home() != <PyObject*>tape:
                    leave(<Tape>current_home())
                leave(tape)
                innermost.active = self.outer

    cdef object run_on_list(self, list tapes, object function, tuple args, dict kwargs):
        """The same on the reference's tapes, which is written in Python: by what its own `with` does, in one step."""
        cdef Py_ssize_t depth = len(tapes)
        try:
            tapes.append(self.tape)
            innermost.active = self
            return function(*args, **kwargs)
        finally:
            del tapes[depth:]
            innermost.active = self.outer
