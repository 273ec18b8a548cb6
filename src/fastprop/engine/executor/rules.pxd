"""How the operands of a gate are pulled: one rule for what is swept at once, and for the instructions of programs."""
from libc.stdint cimport int32_t

from fastprop.engine.executor.instructions cimport *
from fastprop.engine.kernels cimport (
    ABSOLUTE, ADD, DIVIDE, EXP, MAXIMUM, MINIMUM, MULTIPLY, NEGATIVE, POSITIVE, RECIPROCAL, RELU, SQRT, SQUARE,
    STRONG_MULTIPLY, SUBTRACT, WHERE,
)

cdef enum:
    NOTHING = -1
    VALUE = -2          # where a partial is to be found: in the gate's value,
    KEPT = -3           # in what was saved for this operand, or in operand 0, 1 …

cdef struct Rule:       # how an operand is pulled
    int kind            # NOTHING: not at all
    int u
    int w


cdef inline Rule rule_of(int opcode, int32_t j) noexcept nogil:
    """How the operand j of a gate is pulled, and what that needs."""
    if opcode == ADD or opcode == TOTAL or opcode == POSITIVE:
        return Rule(PASS, NOTHING, NOTHING)
    if opcode == SUBTRACT:
        return Rule(NEGATE if j else PASS, NOTHING, NOTHING)
    if opcode == MULTIPLY or opcode == PRODUCTS or opcode == STRONG_MULTIPLY:
        return Rule(PRODUCT, j ^ 1, NOTHING)
    if opcode == DIVIDE:
        return Rule(DIVISOR if j else QUOTIENT, 1, VALUE)
    if opcode == NEGATIVE:
        return Rule(NEGATE, NOTHING, NOTHING)
    if opcode == RECIPROCAL:
        return Rule(INVERSE, VALUE, NOTHING)
    if opcode == SQUARE:
        return Rule(TWICE, 0, NOTHING)
    if opcode == SQRT:
        return Rule(ROOT, VALUE, NOTHING)
    if opcode == ABSOLUTE:
        return Rule(MAGNITUDE, 0, NOTHING)
    if opcode == RELU:
        return Rule(RECTIFIED, 0, NOTHING)
    if opcode == MAXIMUM or opcode == MINIMUM:
        return Rule(LARGER if opcode == MAXIMUM else SMALLER, j, 1 - j)
    if opcode == WHERE:
        return Rule(NOTHING, NOTHING, NOTHING) if j == 0 else Rule(CHOSEN if j == 1 else UNCHOSEN, 0, NOTHING)
    if opcode == EXP:
        return Rule(PRODUCT, VALUE, NOTHING)
    if opcode >= FIRST_EXTRA:
        return Rule(NOTHING, NOTHING, NOTHING)
    return Rule(PRODUCT, KEPT, NOTHING)
