"""Products of two matrices that were recorded as such: of a matrix with vectors, of two matrices, or sums after all.

In lanes, where one of the matrices is the same in all of them, a product is one of that with the vectors of the other
one; at one point, where its numbers are inputs or constants. It takes with it a bias that is added to every one of its
results. Where both are computed, it stays as it is. What guards depend on is written as sums, which are rounded in one
way wherever they are computed.
"""
import numpy as np

from libc.stdint cimport int32_t, uint8_t
from libc.string cimport memchr

from fastprop.engine.executor.instructions cimport BATCH_MATMUL, MATMUL, PRODUCTS, RESULT, TOTAL
from fastprop.engine.kernels cimport ADD

cdef enum:
    LEAST_COLUMNS = 4       # terms from which on a sum is worth a row
    LEAST_ROWS = 3          # at one point fewer do where what varies is computed side by side: it is not gathered
    LEAST_RESULTS = 3       # of a product of two matrices, in lanes
    LEAST_SIDE = 4          # at one point, of both sides: what is gathered should be used again and again
    NO_NUMBER = 2147483647
    FEWEST = 2              # less than one of so many numbers of rows and columns: each is quicker by itself

cdef enum Side:             # of a product, which the matrix is that does not vary
    LEFT
    RIGHT
    COMPUTED                # none: both are computed
    IN_SUMS                 # the product is better written as sums


# ------------------------------------------------------------------------------------------------- on their way

cpdef Draft apart(Draft draft, list products=None):
    """Return the draft with sums of pairs in the place of some products, all by default."""
    cdef uint8_t[::1] opcode = draft.opcode
    cdef int32_t[::1] operand = draft.operand, first = draft.first, here
    cdef int32_t[::1] moved = np.zeros(max(len(draft), 1), np.int32)
    cdef Py_ssize_t i, j, row, column, rows, columns, depth, results, n = len(draft)
    cdef int32_t left, right
    cdef set those = set(np.flatnonzero(draft.opcode == BATCH_MATMUL).tolist() if products is None else products)
    if not those:
        return draft
    cdef Writer writer = Writer(draft, n, 2 * operand.shape[0])
    for i in range(n):
        if opcode[i] == RESULT and operand[first[i]] - draft.inputs in those:
            continue
        if i not in those:
            moved[i] = writer.copy(i, moved)
            continue
        results = results_of(opcode, n, i)
        rows = rows_said(draft, i)
        columns = results // rows
        depth = (first[i + 1] - first[i] - 1) // (rows + columns)
        here = np.empty(2 * depth, np.int32)
        for row in range(rows):
            left = first[i] + 1 + <int32_t>(row * depth)
            for column in range(columns):
                right = first[i] + 1 + <int32_t>((rows + column) * depth)
                for j in range(depth):
                    here[2 * j] = renamed(operand[left + j], draft.inputs, moved)
                    here[2 * j + 1] = renamed(operand[right + j], draft.inputs, moved)
                j = i + row * columns + column
                moved[j] = writer.gate(PRODUCTS, &here[0], 2 * depth, draft.origin[j])
    return writer.finish(moved)


cdef Draft narrower(Draft draft, const uint8_t[::1] used):
    """The draft without gates of which no number is used, and with products of no more rows and columns than are."""
    cdef uint8_t[::1] opcode = draft.opcode
    cdef int32_t[::1] moved = np.zeros(max(len(draft), 1), np.int32)
    cdef Py_ssize_t i = 0, end, k, n = len(draft)
    cdef Writer writer = Writer(draft, n, len(draft.operand))
    numbers = np.asarray(used).view(np.bool_)
    while i < n:
        end = i + results_of(opcode, n, i)
        if memchr(&used[i], 1, <size_t>(end - i)) == NULL:
            i = end
            continue
        if opcode[i] == BATCH_MATMUL:
            write_narrower(writer, moved, i, numbers[i:end])
        else:
            for k in range(i, end):
                moved[k] = writer.copy(k, moved)
        i = end
    return writer.finish(moved)


cdef int write_narrower(Writer writer, int32_t[::1] moved, Py_ssize_t gate, used) except -1:
    """Write the rows and columns of a product of which numbers are used; if these are few, as sums of pairs."""
    cdef Draft draft = writer.draft
    cdef int32_t x
    cdef int32_t[::1] operand
    left, right = matrices_of(draft, gate)
    used = used.reshape(len(left), len(right))
    rows, columns = np.flatnonzero(used.any(axis=1)), np.flatnonzero(used.any(axis=0))
    if FEWEST * np.count_nonzero(used) < len(rows) * len(columns):
        for place in np.flatnonzero(used).tolist():
            pairs = np.stack([left[place // len(right)], right[place % len(right)]], axis=1)
            operand = translate(pairs.ravel(), draft.inputs, moved)
            moved[gate + place] = writer.gate(PRODUCTS, &operand[0], operand.shape[0], draft.origin[gate + place])
        return 0
    operands = np.concatenate([left[rows].ravel(), right[columns].ravel()])
    operand = np.append(np.int32(writer.constant(<double>len(rows))), translate(operands, draft.inputs, moved))
    places = (gate + rows[:, None] * len(right) + columns).ravel()
    origins = draft.origin[places]
    x = writer.gate(BATCH_MATMUL, &operand[0], operand.shape[0], origins[0])
    for origin in origins[1:]:
        writer.gate(RESULT, &x, 1, origin)
    np.asarray(moved)[places] = np.arange(x, x + len(places))
    return 0


cdef object used_numbers(Draft draft):
    """Which gates an output, a guard or a gate that is used needs: of a region or product, each number by itself."""
    cdef uint8_t[::1] opcode = draft.opcode
    cdef int32_t[::1] operand = draft.operand, first = draft.first
    cdef int32_t inputs = draft.inputs, j, k
    cdef Py_ssize_t i
    found = np.zeros(max(len(draft), 1), np.uint8)
    cdef uint8_t[::1] used = found, whole = np.zeros(max(len(draft), 1), np.uint8)
    cdef const int32_t[::1] root
    for root in (draft.outputs, draft.guards):
        for i in range(root.shape[0]):
            if root[i] >= inputs:
                used[root[i] - inputs] = 1
    for i in range(len(draft) - 1, -1, -1):
        if opcode[i] == RESULT:
            k = operand[first[i]] - inputs
            whole[k] = whole[k] or used[i]
        elif opcode[i] == BATCH_MATMUL and (used[i] or whole[i]):
            left, right = matrices_of(draft, i)
            numbers = found[i : i + len(left) * len(right)].reshape(len(left), len(right))
            taken = np.concatenate([left[numbers.any(axis=1)].ravel(), right[numbers.any(axis=0)].ravel()])
            found[taken[taken >= inputs] - inputs] = 1
        elif used[i] or whole[i]:
            for j in range(first[i], first[i + 1]):
                if operand[j] >= inputs:
                    used[operand[j] - inputs] = 1
    return found


def uses_of_inputs(Draft draft):
    """Return how often each input is an operand: of a product, in how many products of numbers it is."""
    there = (draft.operand >= 0) & (draft.operand < draft.inputs)
    times = np.ones(len(draft.operand))
    cdef Py_ssize_t gate, middle
    for gate in np.flatnonzero(draft.opcode == BATCH_MATMUL).tolist():
        left, right = matrices_of(draft, gate)
        middle = draft.first[gate] + 1 + left.size
        times[draft.first[gate] : middle] = len(right)
        times[middle : draft.first[gate + 1]] = len(left)
    return np.bincount(draft.operand[there], times[there], draft.inputs).astype(np.int64)


cdef tuple matrices_of(Draft draft, Py_ssize_t gate):
    """The operands of a product, as two matrices: the right one by columns."""
    cdef Py_ssize_t rows = rows_said(draft, gate), results = results_of(draft.opcode, len(draft), gate)
    operands = draft.operand[draft.first[gate] + 1 : draft.first[gate + 1]]
    cdef Py_ssize_t depth = len(operands) // (rows + results // rows)
    return operands[: rows * depth].reshape(rows, depth), operands[rows * depth :].reshape(-1, depth)


cdef inline Py_ssize_t rows_said(Draft draft, Py_ssize_t gate) except -1:
    """How many rows a product of two matrices has."""
    return <Py_ssize_t><double>draft.constants[~draft.operand[draft.first[gate]]]


# ---------------------------------------------------------------------------------------------- which side is which

cdef class Products:
    """What is known of the numbers of a draft, and of the products in it."""

    cdef Draft draft
    cdef bint lanes
    cdef const uint8_t[::1] uniform
    cdef uint8_t[::1] opcode
    cdef int32_t[::1] first
    cdef int32_t[::1] operand
    cdef int32_t inputs
    cdef uint8_t[::1] stands        # gate: whether it stands for what is the same in all lanes
    cdef uint8_t[::1] deciding      # gate: whether a guard depends on it
    cdef dict recorded              # product -> which side is the matrix
    cdef dict added_to              # product -> what is added to the rows of each of its vectors
    cdef int32_t[:, ::1] lost       # gate: which of its operands are added by products instead, or -1
    cdef bint loses                 # whether there are such

    def __init__(self, Draft draft, uniform):
        cdef Py_ssize_t n = max(len(draft), 1), i
        self.lanes = uniform is not None
        self.draft, self.uniform = draft, np.ascontiguousarray(uniform if self.lanes else [0], np.uint8)
        self.opcode, self.first, self.operand, self.inputs = draft.opcode, draft.first, draft.operand, draft.inputs
        self.stands = self.uniform_variables() if self.lanes else np.zeros(n, np.uint8)
        self.deciding = np.append(needed_gates(draft, [draft.guards]), np.uint8(0))
        self.recorded, self.added_to = {}, {}
        for i in np.flatnonzero(draft.opcode == BATCH_MATMUL).tolist():
            self.recorded[i] = self.side_of(i)

    cdef list better_as_sums(self):
        return [gate for gate, side in self.recorded.items() if side == IN_SUMS]

    cdef object uniform_variables(self):
        """Which gates stand for what is the same in all lanes: variables of a gradient inside of the draft."""
        found = np.zeros(max(len(self.draft), 1), np.uint8)
        cdef Py_ssize_t gate, j
        cdef int32_t x
        for gate, region in sorted(self.draft.payload.items()):
            if not region.inside or getattr(region, "ends", 0):
                continue
            for j in range(self.first[gate + 1] - self.first[gate]):
                x = self.operand[self.first[gate] + j]
                found[gate + j] = found[x - self.inputs] if x >= self.inputs else not self.is_varying(x)
        return found

    cdef inline bint is_computed(self, int32_t x) noexcept:
        """Whether a number is one of what two matrices are made of: in lanes, a row."""
        return self.is_varying(x) and (x < self.inputs or not self.stands[x - self.inputs])

    cdef inline bint is_varying(self, int32_t x) noexcept:
        return x >= self.inputs or (self.lanes and x >= 0 and not self.uniform[x])

    # which side is the matrix

    cdef int side_of(self, Py_ssize_t gate) except -1:
        left, right = matrices_of(self.draft, gate)
        cdef bint left_varies = self.any_varies(left.ravel()), right_varies = self.any_varies(right.ravel())
        cdef Py_ssize_t i
        cdef int side
        for i in range(gate, gate + len(left) * len(right)):
            if self.deciding[i]:
                return IN_SUMS
        if left_varies and right_varies:
            if not self.all_computed(left.ravel()) or not self.all_computed(right.ravel()):
                return IN_SUMS
            if self.lanes:
                return COMPUTED if len(left) * len(right) >= LEAST_RESULTS else IN_SUMS
            return COMPUTED if min(len(left), len(right)) >= LEAST_SIDE else IN_SUMS
        if left_varies or right_varies:
            side = RIGHT if left_varies else LEFT
        elif self.lanes:
            return IN_SUMS
        elif left.min() < 0 or right.min() < 0:     # constants are the matrix
            side = RIGHT if left.min() >= 0 else LEFT
        else:
            side = LEFT if len(right) == 1 else RIGHT
        matrix, vectors = (left, right) if side == LEFT else (right, left)
        if len(matrix) < LEAST_ROWS and not self.are_computed_side_by_side(vectors[0]):
            return IN_SUMS
        return side

    cdef bint any_varies(self, const int32_t[::1] operands) noexcept:
        cdef Py_ssize_t k
        for k in range(operands.shape[0]):
            if self.is_varying(operands[k]):
                return True
        return False

    cdef bint all_computed(self, const int32_t[::1] operands) noexcept:
        cdef Py_ssize_t k
        for k in range(operands.shape[0]):
            if not self.is_computed(operands[k]):
                return False
        return True

    cdef bint are_computed_side_by_side(self, const int32_t[::1] operands) noexcept:
        """Whether, at one point, numbers were computed one after the other."""
        cdef Py_ssize_t k
        if self.lanes or operands[0] < self.inputs:
            return False
        for k in range(1, operands.shape[0]):
            if operands[k] != operands[k - 1] + 1:
                return False
        return True

    cdef tuple shape_of(self, Py_ssize_t gate):
        """What kinds of products a product becomes, (rows, columns) or (rows, depth, columns), and how many."""
        left, right = matrices_of(self.draft, gate)
        if self.recorded[gate] == COMPUTED:
            return (len(left), left.shape[1], len(right)), 1
        matrix, vectors = (left, right) if self.recorded[gate] == LEFT else (right, left)
        return matrix.shape, len(vectors)

    # what is added to the results

    cdef int take_added(self, const uint8_t[::1] gone) except -1:
        """Let products add what is added to their results alone, if that is the same for all of their vectors."""
        cdef Py_ssize_t n = len(self.draft), gate
        cdef int32_t[::1] uses = uses_of(self.draft), user = np.full(max(n, 1), -1, np.int32)
        cdef const uint8_t[::1] unity = np.append(self.draft.constants == 1.0, False).astype(np.uint8)
        cdef int32_t j, x, step
        for gate in self.recorded:      # whose further numbers are no use of the first
            uses[gate] -= <int32_t>results_of(self.opcode, n, gate) - 1
        self.lost, self.loses = np.full((max(n, 1), 2), -1, np.int32), True
        for gate in range(n):
            step, j = terms_apart(self.opcode[gate]), self.first[gate]
            if gone[gate] or not self.may_lose(gate):
                continue
            while step > 0 and j < self.first[gate + 1]:
                x = self.operand[j] - self.inputs
                if x >= 0 and uses[x] == 1 and is_of_product(self.opcode[x]) and self.is_plain(unity, j, step):
                    user[x] = <int32_t>gate
                j += step
        for gate in self.recorded:
            if self.recorded[gate] != COMPUTED:
                self.find_added(gate, user, unity)
        return 0

    cdef bint may_lose(self, Py_ssize_t gate) except -1:
        raise NotImplementedError("Rolls know which sums become something else")

    cdef inline bint is_plain(self, const uint8_t[::1] unity, int32_t j, int32_t step) noexcept:
        """Whether the term at operand j is a number, and no product."""
        return step == 1 or (self.operand[j + 1] < 0 and unity[~self.operand[j + 1]])

    cdef int find_added(self, Py_ssize_t gate, const int32_t[::1] user, const uint8_t[::1] unity) except -1:
        """Note what can be added to the rows of a product's vectors."""
        left, right = matrices_of(self.draft, gate)
        cdef bint turned = self.recorded[gate] == LEFT
        cdef Py_ssize_t rows = len(left) if turned else len(right), vectors = len(right) if turned else len(left)
        cdef Py_ssize_t down = len(right) if turned else 1, across = 1 if turned else len(right), i, k
        cdef int32_t[::1] added = np.full(rows, NO_NUMBER, np.int32)
        cdef int32_t x, at, of_sum
        cdef bint any_added = False
        for i in range(rows):
            x = NO_NUMBER
            for k in range(vectors):
                of_sum = user[gate + i * down + k * across]
                at = -1 if of_sum < 0 else self.addend(of_sum, unity)
                if at < 0 or (k > 0 and self.operand[at] != x):
                    self.give_back(gate, i * down, across, k, user)
                    x = NO_NUMBER
                    break
                x = self.operand[at]
                self.lost[of_sum, 1 if self.lost[of_sum, 0] >= 0 else 0] = at
            added[i] = x
            any_added = any_added or x != NO_NUMBER
        if any_added:
            self.added_to[gate] = np.asarray(added)
        return 0

    cdef int give_back(self, Py_ssize_t gate, Py_ssize_t begin, Py_ssize_t across, Py_ssize_t n, user) except -1:
        """Let the sums of the first vectors have again what was taken of them last."""
        cdef Py_ssize_t k
        cdef int32_t of_sum
        for k in range(n):
            of_sum = user[gate + begin + k * across]
            self.lost[of_sum, 1 if self.lost[of_sum, 1] >= 0 else 0] = -1
        return 0

    cdef int32_t addend(self, Py_ssize_t gate, const uint8_t[::1] unity) noexcept:
        """Which operand of a sum a product can add: one that does not vary, and is not lost yet; -1: none."""
        cdef int32_t step = terms_apart(self.opcode[gate]), j = self.first[gate]
        if self.lost[gate, 1] >= 0:
            return -1
        while j < self.first[gate + 1]:
            if not self.is_varying(self.operand[j]) and j != self.lost[gate, 0] and self.is_plain(unity, j, step):
                return j
            j += step
        return -1

    cdef inline bint has_lost(self, Py_ssize_t gate) noexcept:
        """Whether products add operands of a sum in its place."""
        return self.loses and self.lost[gate, 0] >= 0

    cdef int32_t write_without(self, Writer writer, int32_t[::1] moved, Py_ssize_t gate) except? -2147483647:
        """Write a sum without what products add in its place."""
        cdef int32_t step = terms_apart(self.opcode[gate]), j = self.first[gate]
        cdef list terms = []
        while j < self.first[gate + 1]:
            if j != self.lost[gate, 0] and j != self.lost[gate, 1]:
                terms += [renamed(self.operand[j + k], self.inputs, moved) for k in range(step)]
            j += step
        cdef int32_t[::1] here = np.array(terms, np.int32)
        if step == 2 and here.shape[0] > 2:
            return writer.gate(PRODUCTS, &here[0], here.shape[0], self.draft.origin[gate])
        return self.write_total(writer, terms[::step], self.draft.origin[gate])

    # writing

    cdef int write_recorded(self, Writer writer, int32_t[::1] moved, Py_ssize_t gate) except -1:
        """Write a product of a matrix with vectors; of matrices side by side, each is read where it lies."""
        left, right = matrices_of(self.draft, gate)
        cdef bint turned = self.recorded[gate] == LEFT
        matrix, vectors = (left, right) if turned else (right, left)
        cdef Py_ssize_t results = len(left) * len(right), i
        cdef int32_t[::1] vector = np.array(vectors.ravel()), place, origin
        cdef list parts = []
        cdef int32_t start
        for i in range(vector.shape[0]):
            vector[i] = renamed(vector[i], self.inputs, moved)
        places = np.arange(results, dtype=np.int32).reshape(len(left), len(right))
        place = np.ascontiguousarray(places.T if turned else places).ravel()     # as they lie, vector after vector
        origin = self.draft.origin[gate : gate + results][np.asarray(place)]
        renamed_vectors = np.asarray(vector).reshape(vectors.shape)
        for block in column_blocks(matrix):
            operands = [[writer.constant(<double>len(vectors))], matrix[:, block].ravel(),
                        renamed_vectors[:, block].ravel(), self.added_rows(writer, gate, not parts)]
            parts.append(self.write_results(writer, MATMUL, np.concatenate(operands).astype(np.int32), origin))
        start = parts[0]
        for i in range(results):
            moved[gate + place[i]] = start + <int32_t>i if len(parts) == 1 else \
                self.write_total(writer, [part + i for part in parts], origin[i])
        return 0

    cdef object added_rows(self, Writer writer, Py_ssize_t gate, bint first):
        """What a product adds, none if nothing."""
        if not first or gate not in self.added_to:
            return np.zeros(0, np.int32)
        found = self.added_to[gate]
        if (found == NO_NUMBER).any():
            found = np.where(found == NO_NUMBER, writer.constant(-0.0), found)      # to which -0 may be added
        return found

    cdef int32_t write_results(
        self, Writer writer, int opcode, const int32_t[::1] operands, const int32_t[::1] origin
    ) except? -2147483647:
        """Write a gate with a result for each of some origins; returns the first of these, which lie side by side."""
        cdef int32_t x = writer.gate(opcode, &operands[0], operands.shape[0], origin[0])
        cdef Py_ssize_t i
        for i in range(1, origin.shape[0]):
            writer.gate(RESULT, &x, 1, origin[i])
        return x

    cdef int32_t write_total(self, Writer writer, list parts, int32_t origin) except? -2147483647:
        """Write the sum of some gates."""
        cdef int32_t[::1] here = np.array(parts, np.int32)
        if len(parts) == 1:
            return here[0]
        return writer.gate(<int>TOTAL if len(parts) > 2 else <int>ADD, &here[0], len(parts), origin)


cdef inline bint is_of_product(int opcode) noexcept:
    """Whether a gate may be a number of a product."""
    return opcode == RESULT or opcode == BATCH_MATMUL


cdef list column_blocks(numbers):
    """Return the columns of a matrix of input numbers: in blocks, if each of them lies evenly; else as they are."""
    for order in (np.arange(numbers.shape[1]), np.argsort(numbers[0], kind="stable")):
        steps = np.diff(numbers[:, order], axis=1)
        alike = np.all(steps == steps[:1], axis=0).tolist()
        step, begin, cuts = steps[0].tolist(), 0, []
        for k in range(len(step)):
            if not alike[k] or step[k] != step[begin]:
                begin = k + 1
                cuts.append(begin)
        blocks = np.split(order, cuts)
        if all([len(block) >= LEAST_COLUMNS and is_evenly_spaced(numbers[:, block[0]]) for block in blocks]):
            return blocks
    return [np.arange(numbers.shape[1])]


cdef bint is_evenly_spaced(numbers):
    steps = np.diff(numbers)
    return bool(np.all(steps == steps[:1]))
