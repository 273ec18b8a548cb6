"""Draft: a finished tape on its way to a program, in arrays that passes read and write anew.

A draft holds what a program computes and nothing of how: gates in order, each with its operands; inputs, constants,
outputs and guards. A region, and a product of matrices, is a gate of n numbers, which take n places in a row:
itself, then a RESULT for each further one. A pass reads one with plain loops and writes another with a `Writer`.
"""
import numpy as np

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcmp, memcpy

from fastprop.engine.executor.instructions cimport (
    FIRST_EXTRA, LESS, LESS_EQUAL, EQUAL, NOT_EQUAL, BOTH, EITHER, WITHIN, NEITHER, HELD, PRODUCTS, TOTAL, REGION,
    RESULT, ITEM, MATMUL, BATCH_MATMUL,
)
from fastprop.engine.kernels cimport kernel
from fastprop.engine.tape cimport BLOCK, ELEMENT, INPUT, NONE, POOLED, Nodes
from fastprop.engine.tape cimport Trace

from fastprop.engine import kernels

EXTRA_NAMES = {
    LESS: "less", LESS_EQUAL: "less_equal", EQUAL: "equal", NOT_EQUAL: "not_equal", BOTH: "both", EITHER: "either",
    NEITHER: "not", HELD: "stop_gradient", PRODUCTS: "products", TOTAL: "total", REGION: "region",
    RESULT: "result", WITHIN: "within", ITEM: "item", MATMUL: "matmul", BATCH_MATMUL: "batch_matmul",
}
NAMES = {**{opcode: name for name, opcode in kernels.opcode_of.items()}, **EXTRA_NAMES}

DTYPES = {
    "constants": np.float64, "opcode": np.uint8, "first": np.int32, "operand": np.int32, "origin": np.int32,
    "outputs": np.int32, "guards": np.int32, "expected": np.uint8, "run": np.int32,
}

cdef enum:
    MOST = 2147483000


cdef class Draft:
    """Gates in order, each with its operands: inputs, gates before it, constants (negative: ~ their place)."""

    def __init__(self, inputs, constants, opcode, first, operand, origin, outputs, guards, expected, run=None,
                 payload=None):
        self.inputs = inputs
        self.constants = np.asarray(constants, DTYPES["constants"])
        self.opcode = np.asarray(opcode, DTYPES["opcode"])
        self.first = np.asarray(first, DTYPES["first"])
        self.operand = np.asarray(operand, DTYPES["operand"])
        self.origin = np.asarray(origin, DTYPES["origin"])
        self.outputs = np.asarray(outputs, DTYPES["outputs"])
        self.guards = np.asarray(guards, DTYPES["guards"])
        self.expected = np.asarray(expected, DTYPES["expected"])
        self.run = None if run is None else np.asarray(run, DTYPES["run"])
        self.payload = {} if payload is None else payload
        verify(self)

    def __len__(self):
        return self.opcode.shape[0]

    @property
    def nbytes(self):
        """Bytes that its arrays take."""
        cdef Py_ssize_t total = 0
        for array in (self.constants, self.opcode, self.first, self.operand, self.origin, self.outputs, self.run):
            total += 0 if array is None else array.nbytes
        return total

    def gate(self, Py_ssize_t i):
        """Return the name of a gate and its operands."""
        if not 0 <= i < len(self):
            raise IndexError(f"there is no gate {i} among {len(self)}")
        return NAMES[int(self.opcode[i])], self.operand[self.first[i] : self.first[i + 1]].tolist()

    def __reduce__(self):
        return Draft, (
            self.inputs, self.constants, self.opcode, self.first, self.operand, self.origin, self.outputs, self.guards,
            self.expected, self.run, self.payload,
        )

    def replace(self, **changed):
        """Return a copy with other arrays in the place of some."""
        cdef Draft made = replaced(self, changed)
        verify(made)
        return made


cdef Draft replaced(Draft draft, dict changed):
    """A copy with other arrays in the place of some; verified only if all that passes make is."""
    cdef Draft made = Draft.__new__(Draft)
    unknown = changed.keys() - DTYPES.keys() - {"inputs", "payload"}
    if unknown:
        raise TypeError(f"a draft has no {', '.join(sorted(unknown))}")
    made.inputs, made.payload = changed.get("inputs", draft.inputs), changed.get("payload", draft.payload)
    made.constants, made.opcode = part_of(draft, changed, "constants"), part_of(draft, changed, "opcode")
    made.first, made.operand = part_of(draft, changed, "first"), part_of(draft, changed, "operand")
    made.origin, made.outputs = part_of(draft, changed, "origin"), part_of(draft, changed, "outputs")
    made.guards, made.expected = part_of(draft, changed, "guards"), part_of(draft, changed, "expected")
    made.run = part_of(draft, changed, "run")
    if verifying:
        verify(made)
    return made


cdef object part_of(Draft draft, dict changed, str name):
    """One of the arrays: a new one, or that of a draft."""
    if name not in changed:
        return getattr(draft, name)
    return None if changed[name] is None else np.asarray(changed[name], DTYPES[name])


cdef inline object bits_of(double value):
    """A number's bits, which tell zeros from each other, and NaNs."""
    cdef int64_t bits
    memcpy(&bits, &value, sizeof(double))
    return bits


cdef class Writer:
    """Writes the gates of a new draft, which has the inputs of the old one."""

    def __init__(self, Draft draft, Py_ssize_t gates, Py_ssize_t operands, keep_constants=True):
        self.draft = draft
        self.old_opcode, self.old_first = draft.opcode, draft.first
        self.old_operand, self.old_origin = draft.operand, draft.origin
        self.payload = {}
        self.places = {}
        self.constants = []
        self.opcode = np.empty(max(gates, 1), np.uint8)
        self.origin = np.empty(max(gates, 1), np.int32)
        self.first = np.empty(gates + 1, np.int32)
        self.operand = np.empty(max(operands, 1), np.int32)
        self.first[0] = 0
        self.recent_place[:] = [0, 0, 0, 0]
        if keep_constants:
            for place, value in enumerate(draft.constants.tolist()):
                self.constants.append(value)
                self.places[bits_of(value)] = place

    cdef int32_t constant(self, double value) except? 0:
        """The operand that stands for a number; equal bits are one constant."""
        cdef int i
        for i in range(4):
            if self.recent_place[i] < 0 and memcmp(&self.recent[i], &value, sizeof(double)) == 0:
                return self.recent_place[i]
        key = bits_of(value)
        place = self.places.get(key)
        if place is None:
            place = len(self.constants)
            self.constants.append(value)
            self.places[key] = place
        self.recent[self.turn] = value
        self.recent_place[self.turn] = ~<int32_t>place
        self.turn = (self.turn + 1) % 4
        return ~<int32_t>place

    cdef int room(self, Py_ssize_t gates, Py_ssize_t operands) except -1:
        """Room for so many more."""
        if self.gates + gates > MOST or self.operands + operands > MOST:
            raise OverflowError(f"a program holds at most {MOST} gates and as many operands")
        if self.gates + gates > self.opcode.shape[0]:
            size = max(2 * self.opcode.shape[0], self.gates + gates)
            opcode, origin, first = np.empty(size, np.uint8), np.empty(size, np.int32), np.empty(size + 1, np.int32)
            opcode[: self.gates] = self.opcode[: self.gates]
            origin[: self.gates] = self.origin[: self.gates]
            first[: self.gates + 1] = self.first[: self.gates + 1]
            self.opcode, self.origin, self.first = opcode, origin, first
        if self.operands + operands > self.operand.shape[0]:
            operand = np.empty(max(2 * self.operand.shape[0], self.operands + operands), np.int32)
            operand[: self.operands] = self.operand[: self.operands]
            self.operand = operand
        return 0

    cdef int32_t gate(self, int opcode, const int32_t* operand, Py_ssize_t n, int32_t origin) except? -2147483647:
        """Write a gate; returns the operand that stands for it."""
        cdef Py_ssize_t i
        if self.gates + 1 > self.opcode.shape[0] or self.operands + n > self.operand.shape[0]:
            self.room(1, n)
        self.opcode[self.gates] = <uint8_t>opcode
        self.origin[self.gates] = origin
        for i in range(n):
            self.operand[self.operands + i] = operand[i]
        self.operands += n
        self.gates += 1
        self.first[self.gates] = <int32_t>self.operands
        return <int32_t>(self.draft.inputs + self.gates - 1)

    cdef int32_t copy(self, Py_ssize_t i, int32_t[::1] moved) except? -2147483647:
        """Write a gate of the old draft as it is; `moved` says what stands for the gates before it now."""
        cdef Py_ssize_t n = self.old_first[i + 1] - self.old_first[i]
        cdef int32_t made
        if self.gates + 1 > self.opcode.shape[0] or self.operands + n > self.operand.shape[0]:
            self.room(1, n)
        if n > 0:
            self.renamed(i, moved, &self.operand[self.operands])
        made = self.gate(
            self.old_opcode[i], &self.operand[self.operands] if n > 0 else NULL, n, self.old_origin[i]
        )
        if self.old_opcode[i] == REGION:
            self.payload[made - self.draft.inputs] = self.draft.payload[i]
        return made

    cdef Py_ssize_t renamed(self, Py_ssize_t i, int32_t[::1] moved, int32_t* here) noexcept:
        """Write the operands of a gate of the old draft to `here`, as they are called now; how many there are."""
        cdef int32_t begin = self.old_first[i], inputs = self.draft.inputs, x
        cdef Py_ssize_t n = self.old_first[i + 1] - begin, k
        for k in range(n):
            x = self.old_operand[begin + k]
            here[k] = moved[x - inputs] if x >= inputs else x
        return n

    cdef Draft finish(self, int32_t[::1] moved):
        """The new draft; `moved` says for each gate of the old one what stands for it now."""
        return replaced(self.draft, {
            "constants": self.constants, "opcode": trimmed(self.opcode, self.gates),
            "first": trimmed(self.first, self.gates + 1), "operand": trimmed(self.operand, self.operands),
            "origin": trimmed(self.origin, self.gates),
            "outputs": translate(self.draft.outputs, self.draft.inputs, moved),
            "guards": translate(self.draft.guards, self.draft.inputs, moved), "run": None, "payload": self.payload,
        })


cdef object trimmed(array, Py_ssize_t n):
    """Return the first numbers of an array, which lets go of the rest if that is much."""
    found = np.asarray(array)[:n]
    return found if 2 * n > len(array) else found.copy()


def translate(operands, int32_t inputs, int32_t[::1] moved):
    """Return operands of an old draft as operands of the new one."""
    found = np.array(operands, np.int32)
    cdef int32_t[::1] result = found
    cdef Py_ssize_t i
    for i in range(result.shape[0]):
        if result[i] >= inputs:
            result[i] = moved[result[i] - inputs]
    return found


# ------------------------------------------------------------------------------------------------- from a tape

def draft_of(Trace tape, variables, list outputs, list guards):
    """Return what a finished trace computes, and the leaves that it captured.

    Parameters
    ----------
    tape : Trace
        Which recorded the trace.
    variables : array of int32
        The slots of the inputs, in order.
    outputs : list of int or float
        The slots of the outputs; a number is a constant.
    guards : list of (int, bool)
        The slots of the conditions that decided a branch, and how they came out.

    Returns
    -------
    draft : Draft
        Its inputs are the variables, then the captured leaves.
    captured : list of (object, int)
        A Unit and -1, or an Array and the place of one of its numbers.
    """
    cdef Nodes* nodes = &tape.nodes
    cdef Py_ssize_t n = nodes.length
    cdef Py_ssize_t slot, i, length
    cdef int32_t[::1] name = np.empty(max(n, 1), np.int32)
    cdef list captured = []
    cdef dict leaves = {}
    cdef int32_t* pool
    cdef double* kept
    cdef uint8_t opcode
    cdef int32_t[2] two
    cdef const int32_t[::1] variable = variables
    for i in range(variable.shape[0]):
        name[variable[i]] = <int32_t>i
    find_captured(nodes, len(variables), leaves, captured)
    empty = Draft(len(variables) + len(captured), [], [], [0], [], [], [], [], [])
    cdef Writer writer = Writer(empty, n, 2 * n + nodes.pool_length)
    for slot in range(n):
        opcode = nodes.opcode[slot]
        if opcode == INPUT:
            continue
        if opcode == POOLED | REGION:
            writer.payload[writer.gates] = tape.regions[slot]
        if opcode == RESULT:
            two[0] = name[nodes.operand[slot].first]
            name[slot] = writer.gate(RESULT, two, 1, <int32_t>slot)
        elif opcode == ELEMENT:
            name[slot] = leaves[nodes.operand[slot].first, nodes.operand[slot].second]
        elif opcode == BLOCK:
            raise TypeError("an Array gate of captured Arrays alone can't be traced")
        elif opcode >= POOLED:
            length = nodes.operand[slot].second
            pool = &nodes.pool_operand[nodes.operand[slot].first]
            kept = &nodes.pool_partial[nodes.operand[slot].first]
            writer.room(1, length)
            for i in range(length):
                writer.operand[writer.operands + i] = name_of(writer, name, leaves, pool[i], kept[i])
            name[slot] = writer.gate(
                opcode & ~POOLED, &writer.operand[writer.operands] if length else NULL, length, <int32_t>slot
            )
        else:
            length = 2 if is_binary(opcode) else 1
            two[0] = name_of(writer, name, leaves, nodes.operand[slot].first, nodes.partial[slot].first)
            if length == 2:
                two[1] = name_of(writer, name, leaves, nodes.operand[slot].second, nodes.partial[slot].second)
            name[slot] = writer.gate(opcode, two, length, <int32_t>slot)
    ends, held, expected = [], [], []
    for output in outputs:
        ends.append(name[<Py_ssize_t>output] if type(output) is int else writer.constant(output))
    for slot, outcome in guards:
        held.append(name[slot])
        expected.append(outcome)
    moved = np.arange(writer.gates, dtype=np.int32) + writer.draft.inputs
    draft = replaced(writer.finish(moved), {"outputs": ends, "guards": held, "expected": expected})
    return draft, captured


cdef inline bint is_binary(uint8_t opcode) noexcept:
    if opcode >= FIRST_EXTRA:
        return opcode != NEITHER and opcode != HELD and opcode != RESULT
    return kernel(opcode).arity == 2


cdef int find_captured(Nodes* nodes, Py_ssize_t inputs, dict leaves, list captured) except -1:
    """Number the leaves: Units, and the numbers of Arrays that are used."""
    cdef Py_ssize_t i, slot
    for i in range(nodes.leaf_length):
        if nodes.leaf[i].link.size < 0:
            leaves[<int32_t>~i, -1] = inputs + len(captured)
            captured.append((<object>nodes.leaf[i].link.owner, -1))
    for slot in range(nodes.length):
        if nodes.opcode[slot] == ELEMENT:
            if nodes.operand[slot].first >= 0:
                raise TypeError("a number of an Array gate of captured Arrays alone can't be traced")
            key = nodes.operand[slot].first, nodes.operand[slot].second
            if key not in leaves:
                leaves[key] = inputs + len(captured)
                captured.append((<object>nodes.leaf[~nodes.operand[slot].first].link.owner, key[1]))
    return 0


cdef inline int32_t name_of(
    Writer writer, int32_t[::1] name, dict leaves, int32_t operand, double kept
) except? -2147483647:
    if operand >= 0:
        return name[operand]
    if operand == NONE:
        return writer.constant(kept)
    return leaves[operand, -1]
