"""debug_nans: gates that make NaN, or what is infinite, are refused where they are recorded, while that is wanted."""
import sys

import numpy as np

from cpython.object cimport PyObject
from libc.math cimport isfinite, isnan
from libc.stdint cimport int32_t

from fastprop.engine.executor.instructions cimport BATCH_MATMUL
from fastprop.engine.kernels cimport kernel

from fastprop.engine import kernels

cdef dict NAMES = {BATCH_MATMUL: "matmul", **{opcode: name for name, opcode in kernels.opcode_of.items()}}

cdef extern from *:
    """
    static __thread int strictness = 0; /* 1: no NaN, 2: nothing infinite either */
    """
    int strictness


def set_strictness(int level):
    """Say what this thread refuses: 0, nothing; 1, NaN; 2, what is infinite, too. Returns what it refused before."""
    global strictness
    cdef int before = strictness
    strictness = level
    nodes_of(current_home()).strict = level > 0
    return before


def get_strictness():
    """Return what this thread refuses."""
    return strictness


cdef inline bint is_refused(double value) noexcept:
    return isnan(value) if strictness == 1 else not isfinite(value)


cdef int check_number(
    PyObject* home, int opcode, int32_t first, int32_t second, double p, double q, double value
) except -1:
    """Raise if a gate that is about to be recorded has a value that is refused."""
    cdef Nodes* nodes = nodes_of(home)
    if strictness > 0 and is_refused(value) and opcode != INPUT and opcode != BLOCK:
        name = NAMES.get(opcode & ~POOLED, "a gate")
        operands = []
        if not opcode & POOLED and opcode != ELEMENT:
            operands.append(operand_value(nodes, first, p))
            if kernel(opcode).arity == 2:
                operands.append(operand_value(nodes, second, q))
        refuse_value(name, operands, value)
    return 0


cdef double operand_value(const Nodes* nodes, int32_t operand, double partial) noexcept:
    """The value of an operand; a constant is kept in the place of its partial."""
    if operand == NONE:
        return partial
    return nodes.value[operand] if operand >= 0 else nodes.leaf[~operand].link.value


cdef int check_numbers(PyObject* home, str name, object value) except -1:
    """Raise if a gate on blocks has a number that is refused."""
    if strictness == 0:
        return 0
    bad = np.isnan(value) if strictness == 1 else ~np.isfinite(value)
    if np.any(bad):
        place = "" if not np.ndim(value) else f" at {list(map(int, np.argwhere(bad)[0]))}"
        refuse_value(name, [], np.asarray(value)[bad].flat[0], place)
    return 0


cdef int refuse_value(str name, list operands, double value, str place="") except -1:
    here = sys._getframe()
    while here.f_back is not None and here.f_code.co_filename.startswith(PACKAGE):
        here = here.f_back
    given = f"({', '.join(f'{x:.6g}' for x in operands)})" if operands else ""
    raise FloatingPointError(f"{here.f_code.co_filename}:{here.f_lineno}: {name}{given} gave {value}{place}")
