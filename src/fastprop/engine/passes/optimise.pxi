"""The passes from draft to draft: each keeps what a program computes, and makes it cheaper.

expand    gates of many operands and small powers become + and *; what does nothing is left out
fold      gates of constants become constants
drop      gates that nothing needs are left out
hoist     what is the same in all lanes is computed once
combine   sums and products that are used once become one gate of many operands
"""
import numpy as np

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int32_t, uint8_t

from fastprop.engine.executor.instructions cimport (
    FIRST_EXTRA, LESS, LESS_EQUAL, EQUAL, NOT_EQUAL, BOTH, EITHER, WITHIN, HELD, PRODUCTS, TOTAL, REGION,
    RESULT, ITEM, BATCH_MATMUL,
)
from fastprop.engine.kernels cimport (
    ADD, DOT, MEAN, MULTIPLY, DIVIDE, POSITIVE, POWER, PROD, RECIPROCAL, SQUARE, SUM,
    WHERE, Kernel, kernel,
)

cdef enum:
    LONG_DOT = 8        # terms from which on a dot is left whole,
    LONG_WITH_ZERO = 4  # and one with a 0 in it, which would be hoisted: it may be a row of a product (see reroll.pxi)
    LONGEST = 64        # terms of a sum: longer ones are cut, so that what they add up need not wait for the last

ctypedef int32_t (*rewriting)(
    Writer writer, int opcode, int32_t* operand, Py_ssize_t n, int32_t origin
) except? -2147483647


cdef inline bint is_of_region(int opcode) noexcept:
    """Whether it is a number of a region or of a product, which a pass moves as it is."""
    return opcode == RESULT or has_results(opcode)


cdef Draft rewrite(Draft draft, rewriting rule):
    """Write every gate anew by a rule, which says what stands for it."""
    cdef uint8_t[::1] opcode = draft.opcode
    cdef int32_t[::1] first = draft.first
    cdef int32_t[::1] origin = draft.origin
    cdef Py_ssize_t n = len(draft)
    cdef Py_ssize_t i, length, most = 1
    cdef int32_t[::1] moved = np.empty(max(n, 1), np.int32)
    cdef Writer writer = Writer(draft, n, len(draft.operand))
    for i in range(n):
        most = max(most, first[i + 1] - first[i])
    cdef int32_t[::1] here = np.empty(most, np.int32)
    for i in range(n):
        if is_of_region(opcode[i]):
            moved[i] = writer.copy(i, moved)
            continue
        length = writer.renamed(i, moved, &here[0])
        moved[i] = rule(writer, opcode[i], &here[0], length, origin[i])
    return writer.finish(moved)


# ------------------------------------------------------------------------------------------------------- expand

def expand(Draft draft):
    """Write n-ary sums and products, short dots, means, fused multiplications and small powers with + and *."""
    return rewrite(draft, expand_gate)


cdef int32_t two(Writer writer, int opcode, int32_t x, int32_t y, int32_t origin) except? -2147483647:
    cdef int32_t[2] operand
    operand[0], operand[1] = x, y
    return writer.gate(opcode, operand, 2, origin)


cdef int32_t one(Writer writer, int opcode, int32_t x, int32_t origin) except? -2147483647:
    return writer.gate(opcode, &x, 1, origin)


cdef int32_t expand_gate(Writer writer, int opcode, int32_t* operand, Py_ssize_t n, int32_t origin) except? -2147483647:
    cdef Py_ssize_t i
    cdef int32_t result
    if opcode == POSITIVE:
        return operand[0]
    if opcode == MULTIPLY and operand[0] == operand[1] and operand[0] >= 0:
        return one(writer, SQUARE, operand[0], origin)
    if opcode == MULTIPLY and is_one(writer, operand[1]):
        return operand[0]
    if opcode == MULTIPLY and is_one(writer, operand[0]):
        return operand[1]
    if opcode == DIVIDE and is_one(writer, operand[1]):
        return operand[0]
    if (opcode == ADD or opcode == MULTIPLY) and operand[0] < 0 <= operand[1]:
        return two(writer, opcode, operand[1], operand[0], origin)
    if opcode == POWER and operand[1] < 0:
        return expand_power(writer, operand[0], operand[1], origin)
    if opcode in (SUM, PROD, MEAN) and n > 0:
        result = operand[0]
        for i in range(1, n):
            result = two(writer, MULTIPLY if opcode == PROD else ADD, result, operand[i], origin)
        return two(writer, DIVIDE, result, writer.constant(n), origin) if opcode == MEAN else result
    if opcode in (SUM, PROD, DOT) and n == 0:
        return writer.constant(1.0 if opcode == PROD else 0.0)
    if opcode == DOT and (n >= 2 * LONG_DOT or (n >= 2 * LONG_WITH_ZERO and has_zero(writer, operand, n))):
        return expand_dot(writer, operand, n // 2, origin)
    if opcode == DOT:
        n = n // 2
        result = two(writer, MULTIPLY, operand[0], operand[n], origin)
        for i in range(1, n):
            result = two(writer, ADD, result, two(writer, MULTIPLY, operand[i], operand[n + i], origin), origin)
        return result
    return writer.gate(opcode, operand, n, origin)


cdef bint has_zero(Writer writer, const int32_t* operand, Py_ssize_t n) noexcept:
    cdef Py_ssize_t i
    for i in range(n):
        if operand[i] < 0 and writer.constants[~operand[i]] == 0.0:
            return True
    return False


cdef int32_t expand_dot(Writer writer, const int32_t* operand, Py_ssize_t n, int32_t origin) except? -2147483647:
    """A dot as the gate of pairs that its products and sums would become."""
    cdef int32_t[::1] here = np.empty(2 * n, np.int32)
    cdef Py_ssize_t i
    for i in range(n):
        here[2 * i], here[2 * i + 1] = operand[i], operand[n + i]
    return writer.gate(PRODUCTS, &here[0], 2 * n, origin)


cdef int32_t expand_power(Writer writer, int32_t x, int32_t exponent, int32_t origin) except? -2147483647:
    """Powers to small integers, exact to about a rounding: no logarithm is wanted."""
    cdef double y = writer.constants[~exponent]
    if y == 1.0:
        return x
    if y == 2.0:
        return one(writer, SQUARE, x, origin)
    if y == 3.0:
        return two(writer, MULTIPLY, one(writer, SQUARE, x, origin), x, origin)
    if y == 4.0:
        return one(writer, SQUARE, one(writer, SQUARE, x, origin), origin)
    if y == -1.0:
        return one(writer, RECIPROCAL, x, origin)
    return two(writer, POWER, x, exponent, origin)


cdef inline bint is_one(Writer writer, int32_t operand) except -1:
    return operand < 0 and <double>writer.constants[~operand] == 1.0


# --------------------------------------------------------------------------------------------------------- fold

def fold(Draft draft):
    """Compute the gates whose operands are all constants."""
    return rewrite(draft, fold_gate) if has_constants(draft) else draft


cdef bint has_constants(Draft draft) except -1:
    """Whether a gate has nothing but constants to compute with, or is a choice that is made already."""
    cdef uint8_t[::1] opcode = draft.opcode
    cdef int32_t[::1] first = draft.first
    cdef int32_t[::1] operand = draft.operand
    cdef Py_ssize_t i
    cdef int32_t j
    for i in range(len(draft)):
        if is_of_region(opcode[i]):
            continue
        j = first[i]
        while j < first[i + 1] and operand[j] < 0 and opcode[i] != WHERE:
            j += 1
        if j == first[i + 1] or (opcode[i] == WHERE and operand[j] < 0):
            return True
    return False


cdef int32_t fold_gate(Writer writer, int opcode, int32_t* operand, Py_ssize_t n, int32_t origin) except? -2147483647:
    cdef Py_ssize_t i
    cdef bint constant = True
    if opcode == WHERE and operand[0] < 0:
        return operand[1] if <double>writer.constants[~operand[0]] != 0.0 else operand[2]
    for i in range(n):
        constant = constant and operand[i] < 0
    if not constant:
        return writer.gate(opcode, operand, n, origin)
    return writer.constant(value_of(writer, opcode, operand, n))


cdef double value_of(Writer writer, int opcode, int32_t* operand, Py_ssize_t n) except? -1:
    cdef const Kernel* gate = kernel(opcode)
    cdef double* x = <double*>PyMem_Malloc(<size_t>(2 * n + 2) * sizeof(double))
    cdef Py_ssize_t i
    if x == NULL:
        raise MemoryError(f"no memory for {n} constants")
    try:
        for i in range(n):
            x[i] = writer.constants[~operand[i]]
        if opcode >= FIRST_EXTRA:
            if opcode == PRODUCTS:
                return products_of(n, x, &x[n])
            return x[1 + item_at(x[0], n - 1)] if opcode == ITEM else truth_of(opcode, x)
        if gate.arity == 1:
            return gate.one(x[0], &x[n])
        if gate.arity == 2:
            return gate.two(x[0], x[1], &x[n], &x[n + 1])
        if gate.arity == 3:
            return gate.three(x[0], x[1], x[2], &x[n], &x[n + 1], &x[n + 2])
        return gate.many(n, x, &x[n])
    finally:
        PyMem_Free(x)


cdef Py_ssize_t item_at(double index, Py_ssize_t n) noexcept:
    """Which of n numbers an index means; the first, if it is none of theirs."""
    cdef Py_ssize_t place = <Py_ssize_t>index if -n <= index < n else 0
    return place + n if place < 0 else place


cdef double products_of(Py_ssize_t n, const double* x, double* partial) noexcept:
    """A sum of products of pairs, and its partials."""
    cdef double total = 0.0
    cdef Py_ssize_t i
    for i in range(0, n, 2):
        total = x[0] * x[1] if i == 0 else total + x[i] * x[i + 1]
        partial[i], partial[i + 1] = x[i + 1], x[i]
    return total


cdef double truth_of(int opcode, const double* x) noexcept:
    if opcode == LESS:
        return x[0] < x[1]
    if opcode == LESS_EQUAL:
        return x[0] <= x[1]
    if opcode == EQUAL:
        return x[0] == x[1]
    if opcode == NOT_EQUAL:
        return x[0] != x[1]
    if opcode == BOTH:
        return x[0] != 0.0 and x[1] != 0.0
    if opcode == EITHER:
        return x[0] != 0.0 or x[1] != 0.0
    if opcode == WITHIN:
        return -x[1] <= x[0] < x[1]
    return x[0] if opcode == HELD else x[0] == 0.0


# --------------------------------------------------------------------------------------------------------- drop

def drop(Draft draft):
    """Leave out the gates that no output and no guard needs, and rows and columns of products."""
    if np.any(draft.opcode == BATCH_MATMUL):
        used = used_numbers(draft)
        return draft if np.all(used[: len(draft)]) else narrower(draft, used)
    needed = needed_gates(draft, [draft.outputs, draft.guards])
    return draft if np.all(needed) else keep(draft, needed)


def needed_gates(Draft draft, roots):
    """Return for every gate whether one of the roots (arrays of operands) was computed from it."""
    cdef uint8_t[::1] needed = np.zeros(max(len(draft), 1), np.uint8)
    cdef uint8_t[::1] opcode = draft.opcode
    cdef int32_t[::1] first = draft.first
    cdef int32_t[::1] operand = draft.operand
    cdef int32_t inputs = draft.inputs
    cdef const int32_t[::1] root
    cdef Py_ssize_t i
    cdef int32_t j
    for operands in roots:
        root = np.ascontiguousarray(operands, np.int32)
        for i in range(root.shape[0]):
            if root[i] >= inputs:
                needed[root[i] - inputs] = 1
    for i in range(len(draft) - 1, -1, -1):
        if needed[i]:
            for j in range(first[i], first[i + 1]):
                if operand[j] >= inputs:
                    needed[operand[j] - inputs] = 1
            if has_results(opcode[i]):  # all its numbers, or none
                for j in range(<int32_t>i + 1, <int32_t>len(draft)):
                    if opcode[j] != RESULT:
                        break
                    needed[j] = 1
    return np.asarray(needed)[: len(draft)]


def keep(Draft draft, kept):
    """Return a draft of some of the gates, of which the others need none."""
    cdef uint8_t[::1] needed = np.ascontiguousarray(kept, np.uint8)
    cdef Py_ssize_t n = len(draft), i
    cdef int32_t[::1] moved = np.zeros(max(n, 1), np.int32)
    cdef Writer writer = Writer(draft, n, draft.operand.shape[0])
    for i in range(n):
        if needed[i]:
            moved[i] = writer.copy(i, moved)
    return writer.finish(moved)


# ------------------------------------------------------------------------------------------------------ combine

def combine(Draft draft):
    """Make one gate of a sum, in the order of the source, of what is used there alone: TOTAL, or PRODUCTS of pairs."""
    cdef uint8_t[::1] opcode = draft.opcode
    cdef int32_t[::1] first = draft.first
    cdef int32_t[::1] operand = draft.operand
    cdef int32_t[::1] origin = draft.origin
    cdef Py_ssize_t n = len(draft)
    cdef int32_t inputs = draft.inputs
    cdef int32_t[::1] uses = uses_of(draft)
    cdef uint8_t[::1] absorbed = np.zeros(max(n, 1), np.uint8)
    cdef int32_t[::1] terms = np.ones(max(n, 1), np.int32)
    cdef int32_t[::1] moved = np.zeros(max(n, 1), np.int32)
    cdef int32_t[2 * LONGEST] here
    cdef Py_ssize_t i, length
    cdef int32_t left, right, j
    cdef bint paired
    for i in range(n):
        if opcode[i] != ADD:
            continue
        left, right = operand[first[i]], operand[first[i] + 1]
        terms[i] = 2
        if left >= inputs and uses[left - inputs] == 1:
            if opcode[left - inputs] == ADD and terms[left - inputs] < LONGEST:
                absorbed[left - inputs] = 1
                terms[i] = terms[left - inputs] + 1
            elif is_product(opcode[left - inputs]):
                absorbed[left - inputs] = 1
        if right >= inputs and right != left and uses[right - inputs] == 1 and is_product(opcode[right - inputs]):
            absorbed[right - inputs] = 1
    if not np.any(absorbed):
        return draft
    cdef Writer writer = Writer(draft, n, 2 * operand.shape[0] + 2)
    for i in range(n):
        if absorbed[i]:
            continue
        if opcode[i] == ADD:
            length = gather_terms(draft.inputs, i, opcode, first, operand, absorbed, moved, writer, here, &paired)
            if paired:
                moved[i] = writer.gate(PRODUCTS, here, 2 * length, origin[i])
                continue
            if length > 2:
                for j in range(length):
                    here[j] = here[2 * j]
                moved[i] = writer.gate(TOTAL, here, length, origin[i])
                continue
        moved[i] = writer.copy(i, moved)
    return writer.finish(moved)


cdef inline bint is_product(int opcode) noexcept:
    return opcode == MULTIPLY or opcode == SQUARE


cdef int32_t[::1] uses_of(Draft draft):
    """How often each gate is an operand, an output or a guard."""
    cdef int32_t[::1] uses = np.zeros(max(len(draft), 1), np.int32)
    cdef const int32_t[::1] operand
    cdef int32_t inputs = draft.inputs
    cdef Py_ssize_t k
    for operands in (draft.operand, draft.outputs, draft.guards):
        operand = operands
        for k in range(operand.shape[0]):
            if operand[k] >= inputs:
                uses[operand[k] - inputs] += 1
    return uses


cdef Py_ssize_t gather_terms(
    int32_t inputs, Py_ssize_t root, uint8_t[::1] opcode, int32_t[::1] first, int32_t[::1] operand,
    uint8_t[::1] absorbed, int32_t[::1] moved, Writer writer, int32_t* here, bint* paired
) except -1:
    """The terms of a sum as pairs of factors, in order; a plain term's other factor is 1."""
    cdef int32_t[LONGEST + 1] term
    cdef Py_ssize_t length = 0, k
    cdef Py_ssize_t at = root
    cdef int32_t x, unity = writer.constant(1.0)
    paired[0] = False
    while True:     # from the last term to the first
        term[length] = operand[first[at] + 1]
        length += 1
        x = operand[first[at]]
        if x >= inputs and absorbed[x - inputs] and opcode[x - inputs] == ADD:
            at = x - inputs
            continue
        term[length] = x
        length += 1
        break
    for k in range(length):
        x = term[length - 1 - k]
        here[2 * k], here[2 * k + 1] = x, unity
        if x >= inputs:
            here[2 * k] = moved[x - inputs]
            if absorbed[x - inputs] and is_product(opcode[x - inputs]):
                paired[0] = True
                here[2 * k] = operand[first[x - inputs]]
                here[2 * k + 1] = here[2 * k] if opcode[x - inputs] == SQUARE else operand[first[x - inputs] + 1]
                if here[2 * k] >= inputs:
                    here[2 * k] = moved[here[2 * k] - inputs]
                if here[2 * k + 1] >= inputs:
                    here[2 * k + 1] = moved[here[2 * k + 1] - inputs]
    return length


# -------------------------------------------------------------------------------------------------------- hoist

def hoist(Draft draft, uniform):
    """Part a draft for lanes: what depends on uniform inputs and constants alone, and the rest.

    Parameters
    ----------
    draft : Draft
        The whole.
    uniform : array of bool
        The inputs that are the same in all lanes.

    Returns
    -------
    once : Draft
        Has the same inputs; its outputs are what the rest needs of it.
    rest : Draft
        Its inputs are those of the whole, then the outputs of `once`.
    """
    cdef uint8_t[::1] opcode = draft.opcode
    cdef int32_t[::1] first = draft.first
    cdef int32_t[::1] operand = draft.operand
    cdef const uint8_t[::1] same = np.ascontiguousarray(uniform, np.uint8)
    cdef Py_ssize_t n = len(draft), i
    cdef int32_t inputs = draft.inputs, j, x
    cdef uint8_t[::1] alone = np.zeros(max(n, 1), np.uint8)
    cdef uint8_t[::1] crosses = np.zeros(max(n, 1), np.uint8)
    cdef bint all_same
    for i in range(n):
        all_same = opcode[i] != REGION
        for j in range(first[i], first[i + 1]):
            x = operand[j]
            if x >= 0:
                all_same = all_same and (same[x] if x < inputs else alone[x - inputs])
        alone[i] = all_same
        if not all_same:
            for j in range(first[i], first[i + 1]):
                if operand[j] >= inputs and alone[operand[j] - inputs]:
                    crosses[operand[j] - inputs] = 1
    cdef const int32_t[::1] ends
    for operands in (draft.outputs, draft.guards):
        ends = operands
        for i in range(ends.shape[0]):
            if ends[i] >= inputs and alone[ends[i] - inputs]:
                crosses[ends[i] - inputs] = 1
    border = np.flatnonzero(np.asarray(crosses)[:n]).astype(np.int32)
    once = drop(replaced(draft, {"outputs": border + inputs, "guards": [], "expected": []}))
    if not np.any(alone):
        return once, draft
    return once, without(draft, np.asarray(alone)[:n], border)


def narrow(Draft draft):
    """Return the draft with no other inputs than it reads, and which of all they are."""
    inputs = draft.inputs
    taken = np.flatnonzero(are_read(draft)).astype(np.int32)
    moved = np.zeros(inputs, np.int32)
    moved[taken] = np.arange(len(taken))
    return with_inputs(draft, len(taken), moved), taken


cdef Draft without(Draft draft, gone, border):
    """The gates that are left when some are gone, of which those at the border have become inputs."""
    cdef Py_ssize_t n = len(draft)
    cdef int32_t inputs = draft.inputs
    left = np.flatnonzero(np.asarray(gone) == 0)
    moved = np.zeros(max(n, 1), np.int32)
    moved[left] = inputs + len(border) + np.arange(len(left), dtype=np.int32)
    moved[border] = inputs + np.arange(len(border), dtype=np.int32)
    lengths = np.diff(draft.first)
    kept = np.repeat(np.asarray(gone) == 0, lengths)
    first = np.zeros(len(left) + 1, np.int32)
    np.cumsum(lengths[left], out=first[1:])
    payload = {}
    for gate, what in draft.payload.items():
        payload[int(moved[gate]) - inputs - len(border)] = what
    return replaced(draft, dict(
        inputs=inputs + len(border), opcode=draft.opcode[left], first=first,
        operand=translate(draft.operand[kept], inputs, moved), origin=draft.origin[left],
        outputs=translate(draft.outputs, inputs, moved), guards=translate(draft.guards, inputs, moved),
        payload=payload,
    ))
