"""verify: one pass over a draft that proves what whoever reads it relies on.

Passes and the assembler follow its indices without looking; so what comes from outside is verified when it is made, all
that is assembled is, and with `let_verify` (in a build of the kind "check" from the start) what every pass makes.
"""
import numpy as np

from libc.stdint cimport int8_t, int32_t, uint8_t

from fastprop.engine.executor.instructions cimport (
    FIRST_EXTRA, NEITHER, HELD, PRODUCTS, TOTAL, REGION, RESULT, ITEM, MATMUL, BATCH_MATMUL,
)
from fastprop.engine.kernels cimport ADD, DOT, MULTIPLY, PROD, SUM, kernel

cdef extern from *:
    """
    #ifndef FASTPROP_CHECK
    #define FASTPROP_CHECK 0
    #endif
    """
    const bint FASTPROP_CHECK

cdef enum:      # how many operands, where it is not a fixed number
    UNKNOWN = -1
    ANY = -2
    SOME = -3           # one at least
    HALVES = -4         # an even number
    PAIRS = -5          # an even number, two at least
    SEVERAL = -6        # two at least

cdef int8_t[256] ARITY
cdef bint verifying = FASTPROP_CHECK
cdef int every
for every in range(256):
    ARITY[every] = arity_of(every)


cdef int8_t arity_of(int opcode) noexcept:
    if opcode < FIRST_EXTRA:
        if kernel(opcode) == NULL:
            return UNKNOWN
        if kernel(opcode).arity >= 0:
            return <int8_t>kernel(opcode).arity
        return ANY if opcode == SUM or opcode == PROD else HALVES if opcode == DOT else SOME
    if opcode == REGION:
        return ANY
    if opcode == MATMUL or opcode == BATCH_MATMUL:
        return SEVERAL
    if opcode == PRODUCTS:
        return PAIRS
    if opcode == TOTAL:
        return SOME
    if opcode == ITEM:
        return SEVERAL
    if opcode == NEITHER or opcode == HELD or opcode == RESULT:
        return 1
    return 2 if opcode in NAMES else UNKNOWN


def let_verify(bint on):
    """Say whether all that passes make is verified, too; returns whether it was."""
    global verifying
    before = bool(verifying)
    verifying = on
    return before


def is_verifying():
    """Return whether all that passes make, and all programs, are verified."""
    return bool(verifying)


def verify(Draft draft):
    """Raise a ValueError that says what is wrong with a draft, unless all its indices are right.

    Parameters
    ----------
    draft : Draft
        Of any origin.
    """
    verify_arrays(draft)
    cdef const uint8_t[::1] opcode = draft.opcode
    cdef const int32_t[::1] first = draft.first
    cdef const int32_t[::1] operand = draft.operand
    cdef Py_ssize_t n = opcode.shape[0], wrong
    wrong = first_wrong(n, opcode, first, operand, draft.inputs, <int32_t>draft.constants.shape[0])
    if wrong < n:
        raise ValueError(what_is_wrong(draft, wrong))
    for name, ends in (("output", draft.outputs), ("guard", draft.guards)):
        verify_ends(draft, name, ends)
    verify_payload(draft, opcode)
    verify_products(draft)
    if draft.run is not None:
        verify_runs(draft)


# ------------------------------------------------------------------------------------------------------- arrays

cdef int verify_arrays(Draft draft) except -1:
    """Check the kinds and lengths of a draft's arrays, and where the operands of its gates begin."""
    for name, dtype in DTYPES.items():
        array = getattr(draft, name)
        if array is None and name == "run":
            continue
        if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != 1:
            kind = f"{array.dtype}{list(array.shape)}" if isinstance(array, np.ndarray) else type(array).__name__
            raise ValueError(f"{name} is {kind}; expected one row of {np.dtype(dtype)}")
        if not array.flags.c_contiguous or not array.flags.aligned:
            raise ValueError(f"{name} has gaps; expected numbers side by side")
    gates, operands = len(draft.opcode), len(draft.operand)
    if draft.inputs < 0 or draft.inputs + gates > MOST or operands > MOST or len(draft.constants) > MOST:
        raise ValueError(f"there are {draft.inputs} inputs and {gates} gates of {operands} operands; at most {MOST}")
    for name, found, expected in (
        ("first", len(draft.first), gates + 1), ("origin", len(draft.origin), gates),
        ("expected", len(draft.expected), len(draft.guards)),
    ):
        if found != expected:
            raise ValueError(f"{name} has {found} numbers; expected {expected}")
    if draft.first[0] != 0 or draft.first[gates] != operands:
        raise ValueError(f"first goes from {draft.first[0]} to {draft.first[gates]}; expected 0 to {operands}")
    if type(draft.payload) is not dict:
        raise ValueError(f"payload is {type(draft.payload).__name__}; expected a dict")
    return 0


cdef int verify_ends(Draft draft, str name, ends) except -1:
    """Check that outputs or guards are inputs, gates or constants."""
    cdef Py_ssize_t last = draft.inputs + len(draft) - 1, constants = len(draft.constants), k
    if len(ends) == 0 or (ends.max() <= last and ends.min() >= -constants):
        return 0
    k = np.flatnonzero((ends > last) | (ends < -constants))[0]
    raise ValueError(f"{name} {k} is {operand_name(draft, int(ends[k]))}; {what_there_is(draft)}")


# -------------------------------------------------------------------------------------------------------- gates

cdef Py_ssize_t first_wrong(
    Py_ssize_t n, const uint8_t[::1] opcode, const int32_t[::1] first, const int32_t[::1] operand, int32_t inputs,
    int32_t constants
) noexcept nogil:
    """The first gate of which something is wrong; the number of gates if there is none."""
    cdef Py_ssize_t i, region = -1
    cdef int32_t begin = 0, end, j, limit
    cdef int32_t length = <int32_t>operand.shape[0]
    for i in range(n):
        end = first[i + 1]
        if end < begin or end > length or not is_number(ARITY[opcode[i]], end - begin):
            return i
        limit = inputs + <int32_t>i
        for j in range(begin, end):
            if operand[j] >= limit or operand[j] < -constants:
                return i
        if opcode[i] == RESULT:
            if region < 0 or operand[begin] != inputs + region:
                return i
        else:
            region = i if has_results(opcode[i]) else -1
        begin = end
    return n


cdef inline bint has_results(int opcode) noexcept nogil:
    """Whether a gate may be followed by further results."""
    return opcode == REGION or opcode == MATMUL or opcode == BATCH_MATMUL


cdef inline bint is_number(int arity, int32_t operands) noexcept nogil:
    """Whether a gate can have so many operands."""
    if arity >= 0:
        return operands == arity
    if arity == UNKNOWN:
        return False
    if arity == SEVERAL:
        return operands > 1
    if arity == SOME or arity == PAIRS:
        return operands > 0 and (arity == SOME or operands % 2 == 0)
    return arity == ANY or operands % 2 == 0


cdef str what_is_wrong(Draft draft, Py_ssize_t i):
    """Say what is wrong with a gate."""
    cdef Py_ssize_t begin = draft.first[i], end = draft.first[i + 1]
    cdef int opcode = draft.opcode[i]
    if ARITY[opcode] == UNKNOWN:
        return f"gate {i} has the opcode {opcode}, which there is not"
    said = f"gate {i} ({NAMES[opcode]})"
    if end < begin or end > len(draft.operand):
        return f"the operands of {said} go from {begin} to {end}; expected places up to {len(draft.operand)}, in order"
    if not is_number(ARITY[opcode], <int32_t>(end - begin)):
        wanted = {
            ANY: "any number", SOME: "one or more", HALVES: "an even number", PAIRS: "one or more pairs",
            SEVERAL: "two or more",
        }
        return f"{said} has {end - begin} operands; expected {wanted.get(ARITY[opcode], ARITY[opcode])}"
    for x in draft.operand[begin:end].tolist():
        if x == draft.inputs + i:
            return f"{said} reads itself; expected an input, an earlier gate or a constant"
        if draft.inputs + i < x < draft.inputs + len(draft):
            return f"{said} reads {operand_name(draft, x)}, which comes after it"
        if x >= draft.inputs + len(draft) or x < -len(draft.constants):
            return f"{said} reads {operand_name(draft, x)}; {what_there_is(draft)}"
    return f"{said} reads {operand_name(draft, int(draft.operand[begin]))}; expected the region right before it"


cdef str operand_name(Draft draft, Py_ssize_t x):
    if x < 0:
        return f"constant {~x}"
    return f"input {x}" if x < draft.inputs else f"gate {x - draft.inputs}"


cdef str what_there_is(Draft draft):
    return f"there are {draft.inputs} inputs, {len(draft)} gates and {len(draft.constants)} constants"


cdef int verify_payload(Draft draft, const uint8_t[::1] opcode) except -1:
    """Check that every region, and nothing else, has something to do."""
    for gate, what in draft.payload.items():
        if not isinstance(gate, int) or not 0 <= gate < opcode.shape[0] or opcode[gate] != REGION:
            raise ValueError(f"payload has {gate!r}; expected the numbers of regions")
        numbers = getattr(what, "numbers", None)
        given = draft.first[gate + 1] - draft.first[gate]
        if not isinstance(numbers, int):
            raise ValueError(f"gate {gate} (region) has the payload {type(what).__name__}; expected a Region")
        if not 0 <= numbers <= given:
            raise ValueError(f"gate {gate} (region) is a function of {numbers} numbers, and has {given} operands")
    regions = np.flatnonzero(draft.opcode == REGION) if draft.payload or REGION in draft.opcode else ()
    for gate in regions:
        if int(gate) not in draft.payload:
            raise ValueError(f"gate {gate} (region) has no payload; expected a Region")
    return 0


cdef int verify_products(Draft draft) except -1:
    """Check that products have the numbers of a matrix and of vectors, and what is added, or not; or two matrices'."""
    cdef const uint8_t[::1] opcode = draft.opcode
    cdef const int32_t[::1] first = draft.first
    cdef Py_ssize_t gate, m, n = len(draft)
    for gate in range(n):
        if opcode[gate] != MATMUL and opcode[gate] != BATCH_MATMUL:
            continue
        m = 1
        while gate + m < n and opcode[gate + m] == RESULT:
            m += 1
        verify_product(draft, gate, opcode[gate] == BATCH_MATMUL, m, first[gate + 1] - first[gate])
    return 0


cdef int verify_product(Draft draft, Py_ssize_t gate, bint batch, Py_ssize_t results, Py_ssize_t operands) except -1:
    """Check that a product says how many vectors or rows it has, and has all numbers."""
    cdef int32_t said = draft.operand[draft.first[gate]] if operands > 0 else 0
    cdef double count = draft.constants[~said] if said < 0 else 0.0
    cdef Py_ssize_t rows, left
    if operands > 1 and 1.0 <= count <= results and count == <Py_ssize_t>count and results % count == 0:
        rows = <Py_ssize_t>(results // count)
        left = (operands - 1) % (rows + <Py_ssize_t>count)
        if operands > rows + count and (left == 0 or (left == rows and not batch)):
            return 0
    what = f"batch_matmul) has {results} results of {count} rows" if batch else \
        f"matmul) has {results} results of {count} vectors"
    raise ValueError(
        f"gate {gate} ({what} and {operands} operands, which is no {'two matrices' if batch else 'matrix and vectors'}"
    )


# --------------------------------------------------------------------------------------------------------- runs

cdef int verify_runs(Draft draft) except -1:
    """Check that runs are of one kind, and that their gates don't wait for each other, but for chains and regions."""
    cdef const int32_t[::1] run = draft.run
    cdef const uint8_t[::1] opcode = draft.opcode
    cdef const int32_t[::1] first = draft.first
    cdef const int32_t[::1] operand = draft.operand
    cdef Py_ssize_t r, n = len(draft), wrong
    if run.shape[0] < 1 or run[0] != 0 or run[run.shape[0] - 1] != n or np.any(np.diff(draft.run) <= 0):
        raise ValueError(f"run is {draft.run}; expected numbers that rise from 0 to {n}, where runs begin")
    for r in range(run.shape[0] - 1):
        wrong = wrong_in_run(run[r], run[r + 1], opcode, first, operand, draft.inputs)
        if wrong >= 0:
            break
    else:
        return 0
    said = f"gate {wrong} ({NAMES[opcode[wrong]]})"
    whole = f"the run of gates {run[r]} to {run[r + 1] - 1} ({NAMES[opcode[run[r]]]})"
    if opcode[wrong] == RESULT:
        raise ValueError(f"{said} begins {whole}; expected it in the run of its region")
    if opcode[wrong] != opcode[run[r]] or has_results(opcode[wrong]):
        raise ValueError(f"{said} is in {whole}; expected gates of one kind, and every region alone")
    if first[wrong + 1] - first[wrong] != first[run[r] + 1] - first[run[r]]:
        found = first[wrong + 1] - first[wrong]
        raise ValueError(f"{said} has {found} operands in {whole}; expected one number of them")
    x = [int(operand[j]) for j in range(first[wrong], first[wrong + 1]) if operand[j] >= draft.inputs + run[r]]
    read = operand_name(draft, x[len(x) - 1]) if x else "no gate of it"
    raise ValueError(f"{said} reads {read} in {whole}; expected nothing of the run, or the gate before it (a chain)")


cdef Py_ssize_t wrong_in_run(
    Py_ssize_t begin, Py_ssize_t end, const uint8_t[::1] opcode, const int32_t[::1] first,
    const int32_t[::1] operand, int32_t inputs
) noexcept nogil:
    """The first gate that does not belong to a run; -1: none."""
    cdef Py_ssize_t i
    cdef int32_t j, arity = first[begin + 1] - first[begin], own = inputs + <int32_t>begin
    cdef bint chain
    if opcode[begin] == RESULT:
        return begin
    if has_results(opcode[begin]):
        for i in range(begin + 1, end):
            if opcode[i] != RESULT:
                return i
        return -1
    chain = end - begin > 1 and (opcode[begin] == ADD or opcode[begin] == MULTIPLY) and \
        first[begin + 2] - first[begin + 1] == 2 and operand[first[begin + 1]] == own
    for i in range(begin + 1, end):
        if opcode[i] != opcode[begin] or first[i + 1] - first[i] != arity:
            return i
        if chain and operand[first[i]] != inputs + <int32_t>i - 1:
            return i
        for j in range(first[i] + chain, first[i + 1]):
            if operand[j] >= own:
                return i
    return -1
