"""fuse: pulls that are known before a map is run, so that its lanes go forward and backward at once.

Where a map's sums reach the outputs through sums, and products with what does not depend on them, their pulls are
numbers like any others: a few gates, made of the pulls on the outputs, and operands of the map. Elsewhere (the
logarithm of a sum, say) the lanes go forward first, and again forward and backward when the pull has arrived.
"""
import numpy as np

from libc.stdint cimport int32_t, uint8_t

from fastprop.engine.kernels cimport (
    ADD, DIVIDE, MULTIPLY, NEGATIVE, POSITIVE, STRONG_MULTIPLY, SUBTRACT, WHERE,
)
from fastprop.engine.executor.instructions cimport HELD, REGION, RESULT

cdef enum:
    NOTHING = -2147483647   # no pull has arrived


def fuse(Draft draft):
    """Return the draft with the pulls on its outputs as further inputs, and with maps that have theirs as operands.

    None if there is no such map.
    """
    maps = [gate for gate, region in draft.payload.items() if region.takes_pulls]
    cones = {gate: cone_of(draft, gate) for gate in maps}
    while True:
        left = [gate for gate in maps if is_linear(draft, gate, cones, maps)]
        if len(left) == len(maps):
            break
        maps = left
    return rewritten(draft, sorted(maps), cones) if maps else None


def fuse_inside(Draft draft):
    """The same for the gradients inside of a draft, whose pulls are known; None if there is no such map."""
    cdef Draft found = draft
    cdef Py_ssize_t k, gradients = len(gradients_of(draft))
    for k in range(gradients if any([region.takes_pulls for region in draft.payload.values()]) else 0):
        found = fused_gradient(found, gradients_of(found)[k])
    return None if found is draft else found


cdef list gradients_of(Draft draft):
    return sorted([gate for gate, region in draft.payload.items() if getattr(region, "ends", 0)])


cdef list variables_of(Draft draft, Py_ssize_t gradient):
    cdef Py_ssize_t begin = draft.first[gradient] + 2 * draft.payload[gradient].ends
    return draft.operand[begin : draft.first[gradient + 1]].tolist()


cdef Draft fused_gradient(Draft draft, Py_ssize_t gradient):
    """The draft in the order: what no map of a gradient reaches, the pulls, the maps, and what they reach."""
    cdef int32_t[::1] first = draft.first
    operands = draft.operand[first[gradient] : first[gradient + 1]].tolist()
    ends = draft.payload[gradient].ends
    ways = ways_of(draft, gradient)
    others = [gate for gate in gradients_of(draft) if gate != gradient]
    if any([set(variables_of(draft, gate)) & set(variables_of(draft, gradient)) for gate in others]):
        return draft        # what lanes bring to arrays would mix
    maps = []
    for gate, region in sorted(draft.payload.items()):
        if region.takes_pulls and ways[gate] and first[gate + 1] - first[gate] == region.numbers:
            maps.append(gate)
    whole_cones = {gate: cone_of(draft, gate) for gate in maps}
    cones = {gate: np.where(ways, cone, 0).astype(np.uint8) for gate, cone in whole_cones.items()}
    while maps:
        left = [
            gate for gate in maps
            if is_linear(draft, gate, cones, maps) and not is_reached(draft, operands[:ends], whole_cones[gate])
        ]
        if len(left) == len(maps):
            break
        maps = left
    if not maps:
        return draft
    cdef Writer writer = Writer(draft, len(draft) + 16, len(draft.operand) + 64)
    cdef int32_t[::1] moved = np.zeros(max(len(draft), 1), np.int32)
    cdef uint8_t[::1] late = np.bitwise_or.reduce([whole_cones[gate] for gate in maps])
    copy_all(writer, moved, late, False)
    puts = [(end, renamed(pull, draft.inputs, moved)) for pull, end in zip(operands, operands[ends : 2 * ends])]
    pulls = [pulls_on(draft, gate, cones[gate], writer, moved, puts) for gate in maps]
    for gate, pull in zip(maps, pulls):
        copy_map(writer, gate, moved, pull)     # with its results
        np.asarray(late)[gate : gate + len(pull)] = 0
    copy_all(writer, moved, late, True)
    return writer.finish(moved)


cdef int copy_all(Writer writer, int32_t[::1] moved, uint8_t[::1] late, bint those) except -1:
    """Write the gates that are late, or those that are not."""
    cdef Py_ssize_t i
    for i in range(len(writer.draft)):
        if late[i] == those:
            moved[i] = writer.copy(i, moved)
    return 0


cdef bint is_reached(Draft draft, list operands, uint8_t[::1] cone) except -1:
    """Whether one of some operands is in a cone."""
    return any([x >= draft.inputs and cone[<Py_ssize_t>(x - draft.inputs)] for x in operands])


cdef object ways_of(Draft draft, Py_ssize_t gradient):
    """Which gates are on the ways from a gradient's variables to the numbers on which its pulls are put."""
    cdef uint8_t[::1] opcode = draft.opcode
    cdef int32_t[::1] first = draft.first
    cdef int32_t[::1] operand = draft.operand
    cdef int32_t inputs = draft.inputs, j
    cdef int32_t begin = first[gradient] + <int32_t>draft.payload[gradient].ends
    cdef int32_t end = begin + <int32_t>draft.payload[gradient].ends
    cdef uint8_t[::1] above = np.zeros(max(len(draft), 1), np.uint8)
    cdef uint8_t[::1] leads = np.zeros(max(len(draft), 1), np.uint8)
    cdef Py_ssize_t i, lowest = gradient
    for j in range(end, first[gradient + 1]):
        above[operand[j] - inputs] = 1
        lowest = min(lowest, <Py_ssize_t>(operand[j] - inputs))
    for i in range(lowest, gradient):
        for j in range(first[i], first[i + 1]):
            if operand[j] >= inputs and above[operand[j] - inputs]:
                above[i] = 1
    for j in range(begin, end):
        if operand[j] >= inputs:
            leads[operand[j] - inputs] = 1
    for i in range(gradient - 1, lowest - 1, -1):
        for j in range(first[i], first[i + 1] if leads[i] else 0):
            if operand[j] >= inputs:
                leads[operand[j] - inputs] = 1
    return np.asarray(above) & np.asarray(leads)


cdef object cone_of(Draft draft, Py_ssize_t root):
    """Which gates are computed from a region, itself included."""
    cdef uint8_t[::1] opcode = draft.opcode
    cdef int32_t[::1] first = draft.first
    cdef int32_t[::1] operand = draft.operand
    cdef int32_t inputs = draft.inputs, j
    cdef Py_ssize_t i
    found = np.zeros(max(len(draft), 1), np.uint8)
    cdef uint8_t[::1] cone = found
    cone[root] = 1
    for i in range(root + 1, len(draft)):
        for j in range(first[i], first[i + 1]):
            if operand[j] >= inputs and cone[operand[j] - inputs]:
                cone[i] = 1
    return found


cdef bint is_linear(Draft draft, Py_ssize_t root, dict cones, list maps) except -1:
    """Whether a region's results reach the outputs through gates whose partials depend on no map in `maps`."""
    cdef uint8_t[::1] opcode = draft.opcode
    cdef int32_t[::1] first = draft.first
    cdef int32_t[::1] operand = draft.operand
    cdef int32_t inputs = draft.inputs, j
    cdef uint8_t[::1] cone = cones[root]
    cdef uint8_t[::1] any_cone = np.bitwise_or.reduce([cones[gate] for gate in maps])
    cdef Py_ssize_t i
    cdef int32_t varying
    for i in range(root + 1, len(draft)):
        if not cone[i] or opcode[i] == RESULT:
            continue
        if opcode[i] in (ADD, SUBTRACT, NEGATIVE, POSITIVE, HELD):
            continue
        varying = 0
        for j in range(first[i], first[i + 1]):
            varying += operand[j] >= inputs and any_cone[operand[j] - inputs]
        if opcode[i] == MULTIPLY and varying == 1:
            continue
        if opcode[i] == DIVIDE and varying == 1 and is_divisor(draft, operand[first[i] + 1]):
            continue
        if opcode[i] == WHERE and (operand[first[i]] < inputs or not any_cone[operand[first[i]] - inputs]):
            continue
        return False
    return True


cdef bint is_divisor(Draft draft, int32_t x) except -1:
    """Whether an operand is a constant by which one can divide."""
    return x < 0 and np.isfinite(draft.constants[~x]) and draft.constants[~x] != 0.0


cdef Draft rewritten(Draft draft, list maps, dict cones):
    """The draft in the order: what no map reaches, the pulls, the maps, and what they reach."""
    cdef Py_ssize_t n = len(draft), outputs = len(draft.outputs), i
    cdef int32_t old_inputs = draft.inputs, inputs = <int32_t>(old_inputs + outputs)
    wide = replaced(draft, dict(
        inputs=inputs, operand=shifted(draft.operand, old_inputs, outputs),
        outputs=shifted(draft.outputs, old_inputs, outputs), guards=shifted(draft.guards, old_inputs, outputs),
    ))
    cdef Writer writer = Writer(wide, n + 16, len(draft.operand) + 64)
    cdef int32_t[::1] moved = np.zeros(max(n, 1), np.int32)
    cdef uint8_t[::1] late = np.bitwise_or.reduce([cones[gate] for gate in maps])
    copy_all(writer, moved, late, False)
    puts = [(end, old_inputs + k) for k, end in enumerate(wide.outputs.tolist())]
    pulls = [pulls_on(wide, gate, cones[gate], writer, moved, puts) for gate in maps]
    for gate, pull in zip(maps, pulls):
        copy_map(writer, gate, moved, pull)
    for i in range(n):
        if late[i] and moved[i] == 0:
            moved[i] = writer.copy(i, moved)
    return writer.finish(moved)


cdef object shifted(operands, int32_t inputs, Py_ssize_t by):
    """Operands of a draft that has got more inputs."""
    return np.where(operands >= inputs, operands + by, operands).astype(np.int32)


cdef int copy_map(Writer writer, Py_ssize_t gate, int32_t[::1] moved, list pulls) except -1:
    """Write a region with its pulls as further operands, and its results."""
    cdef Draft draft = writer.draft
    cdef int32_t[::1] first = draft.first
    cdef uint8_t[::1] opcode = draft.opcode
    cdef Py_ssize_t count = first[gate + 1] - first[gate], i
    cdef int32_t[::1] here = np.zeros(count + len(pulls) + 1, np.int32)
    writer.renamed(gate, moved, &here[0])
    for i in range(len(pulls)):
        here[count + i] = pulls[i]
    moved[gate] = writer.gate(REGION, &here[0], count + len(pulls), draft.origin[gate])
    writer.payload[moved[gate] - draft.inputs] = draft.payload[gate]
    i = gate + 1
    while i < len(draft) and opcode[i] == RESULT:
        moved[i] = writer.copy(i, moved)
        i += 1
    return 0


cdef list pulls_on(Draft draft, Py_ssize_t root, uint8_t[::1] cone, Writer writer, int32_t[::1] moved, list puts):
    """Write the gates of the pulls on a region's results; returns these as operands.

    `puts` are the numbers on which pulls are put, and these, as they are called in the new draft.
    """
    cdef uint8_t[::1] opcode = draft.opcode
    cdef int32_t[::1] first = draft.first
    cdef int32_t[::1] operand = draft.operand
    cdef int32_t inputs = draft.inputs, x, y
    cdef int32_t[::1] pull = np.full(max(len(draft), 1), NOTHING, np.int32)
    cdef Py_ssize_t i
    for x, y in puts:
        if x >= inputs and cone[x - inputs]:
            arrive(writer, pull, x - inputs, y)
    for i in range(len(draft) - 1, root, -1):
        if not cone[i] or pull[i] == NOTHING or opcode[i] == RESULT or opcode[i] == HELD:
            continue
        x = operand[first[i]]
        y = operand[first[i] + 1] if first[i + 1] - first[i] > 1 else 0
        if opcode[i] == WHERE:
            pull_on_where(writer, pull, cone, operand[first[i]:first[i + 1]], pull[i], moved)
            continue
        if x >= inputs and cone[x - inputs]:
            arrive(writer, pull, x - inputs, brought(writer, opcode[i], pull[i], y, moved, False))
        if first[i + 1] - first[i] > 1 and y >= inputs and cone[y - inputs]:
            arrive(writer, pull, y - inputs, brought(writer, opcode[i], pull[i], x, moved, True))
    found = []
    i = root
    while i == root or (i < len(draft) and opcode[i] == RESULT):
        found.append(writer.constant(0.0) if pull[i] == NOTHING else pull[i])
        i += 1
    return found


cdef int pull_on_where(
    Writer writer, int32_t[::1] pull, uint8_t[::1] cone, int32_t[::1] operand, int32_t here, int32_t[::1] moved
) except -1:
    cdef int32_t inputs = writer.draft.inputs, x
    cdef int32_t[3] choice
    cdef int j
    for j in range(1, 3):
        x = operand[j]
        if x >= inputs and cone[x - inputs]:
            choice[0] = renamed(operand[0], inputs, moved)
            choice[j], choice[3 - j] = here, writer.constant(0.0)
            arrive(writer, pull, x - inputs, writer.gate(WHERE, choice, 3, -1))
    return 0


cdef int32_t renamed(int32_t x, int32_t inputs, int32_t[::1] moved) noexcept:
    return moved[x - inputs] if x >= inputs else x


cdef int arrive(Writer writer, int32_t[::1] pull, Py_ssize_t gate, int32_t part) except -1:
    """Add a pull to what has arrived at a gate."""
    cdef int32_t[2] both
    if pull[gate] == NOTHING:
        pull[gate] = part
    else:
        both[0], both[1] = pull[gate], part
        pull[gate] = writer.gate(ADD, both, 2, -1)
    return 0


cdef int32_t brought(
    Writer writer, int opcode, int32_t pull, int32_t other, int32_t[::1] moved, bint second
) except? -2147483647:
    """What a pull on a gate brings to its first or second operand; `other` is the other one."""
    cdef int32_t[2] both
    if opcode == NEGATIVE or (opcode == SUBTRACT and second):
        return writer.gate(NEGATIVE, &pull, 1, -1)
    if opcode == MULTIPLY or opcode == DIVIDE:
        both[0], both[1] = pull, renamed(other, writer.draft.inputs, moved)
        return writer.gate(STRONG_MULTIPLY if opcode == MULTIPLY else DIVIDE, both, 2, -1)
    return pull
