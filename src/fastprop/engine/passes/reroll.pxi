"""reroll: sums of products that share what varies become one product of a matrix, forward and backward.

A layer written neuron by neuron is many sums of weights times the same numbers; a convolution written pixel by pixel,
the same for every patch; a recurrence, step by step. In lanes, where weights are the same in all of them, such sums are
the rows of a matrix. At one point, what varies is what is computed, or, of two inputs, the one that is used again
sooner, as what stays from sum to sum is: results then lie in the order of the source. Else it is the one that is used
more often.
A constant 0 beside a weight, as the padding of a convolution has them, counts as what varies: it is a column, too.
Where both factors vary, sums may be the results of a product of two matrices (see batches.pxi).
Terms may come in any order, sums in several pieces; what else is added stays as it was. What guards depend on stays,
too: a lane's way must not hang on how a sum was rounded. It takes linear time, but for the sorting of terms.
"""
import numpy as np

from libc.stdint cimport int32_t, uint8_t, uint64_t
from libc.string cimport memmove

from fastprop.engine.executor.instructions cimport BATCH_MATMUL, MATMUL, PRODUCTS, RESULT, TOTAL
from fastprop.engine.kernels cimport ADD

cdef enum:
    LEAST_NUMBERS = 24      # of a matrix in lanes: smaller ones are quicker sum by sum
    LEAST_AT_POINT = 32
    LEAST_PAIRS = 4         # of what is computed with what is computed, in a sum that is worth a number of a product


def reroll(Draft draft, uniform=None, dict report=None):
    """Return the draft with products of matrices in the place of the sums that are their rows.

    Parameters
    ----------
    draft : Draft
        After `combine`.
    uniform : array of bool, optional
        The inputs that are the same in all lanes; without it, the draft is of one point.
    report : dict, optional
        Gets how many products there are, by (rows, columns), and of two matrices by (rows, depth, columns); and how
        many sums of enough terms are nobody's row.
    """
    cdef Rolls rolls = Rolls(draft, uniform)
    cdef list sums = rolls.better_as_sums()
    if sums:
        draft = apart(rolls.draft, sums)
        rolls = Rolls(draft, uniform)
    rolls.take_apart()
    rolls.find_rows()
    rolls.find_products()
    if report is not None:
        rolls.tell(report)
    return rolls.rewritten() if rolls.rows or rolls.batches or rolls.recorded else draft


cdef inline int terms_apart(int opcode) noexcept:
    """How many operands a term of a sum has; 0: the gate is no sum."""
    return 2 if opcode == PRODUCTS else 1 if opcode == TOTAL or opcode == ADD else 0


cdef class Rolls(Products):
    """The sums of a draft, taken apart: terms of a row, one number that is added, and the rest."""

    cdef int32_t[::1] input_uses    # at one point
    cdef int32_t[::1] distance_of   # input, at one point: from a sum to the next one that uses it
    cdef int32_t one                # the constant 1
    cdef const uint8_t[::1] zero    # constant: whether it is 0
    cdef uint8_t[::1] absorbed      # gate: whether it is a piece of another sum
    cdef int32_t[::1] memory
    cdef Term* term                 # of all sums, one after the other
    cdef int32_t[::1] begin         # gate: its terms, sorted by what varies
    cdef int32_t[::1] end
    cdef int32_t[::1] added         # gate: the number that is added, or NO_NUMBER
    cdef int32_t[::1] rest          # of all sums: pairs
    cdef int32_t[::1] rest_begin    # gate
    cdef int32_t[::1] rest_end
    cdef dict rows                  # gate -> its product: a list of gates, in the order of the matrix
    cdef set leads                  # the first gate of each product
    cdef int32_t[::1] waiting       # pieces of a sum, and how many of their operands are done
    cdef Py_ssize_t terms, rests
    cdef int32_t[::1] pairs_end     # gate: where in the rest its pairs of computed numbers end
    cdef Factors factors
    cdef dict batches               # gate -> its product of two matrices: a list of rows of gates

    def __init__(self, Draft draft, uniform):
        cdef Py_ssize_t n = max(len(draft), 1), pairs = len(draft.operand) + 1
        if not np.any(draft.constants == 1.0):
            draft = replaced(draft, dict(constants=np.append(draft.constants, 1.0)))
        Products.__init__(self, draft, uniform)
        self.one = ~<int32_t>np.flatnonzero(draft.constants == 1.0)[0]
        self.zero = (draft.constants == 0.0).astype(np.uint8)
        self.input_uses = input_uses_of(draft) if not self.lanes else np.zeros(1, np.int32)
        self.distance_of = distances_of(draft) if not self.lanes else np.zeros(1, np.int32)
        self.absorbed = np.zeros(n, np.uint8)
        self.memory, self.rest = np.empty(3 * pairs, np.int32), np.empty(2 * pairs, np.int32)
        self.term = <Term*>&self.memory[0]
        self.begin, self.end = np.zeros(n, np.int32), np.zeros(n, np.int32)
        self.rest_begin, self.rest_end = np.zeros(n, np.int32), np.zeros(n, np.int32)
        self.added = np.full(n, NO_NUMBER, np.int32)
        self.rows, self.leads = {}, set()
        self.waiting = np.empty(2 * n, np.int32)
        self.pairs_end = np.zeros(n, np.int32)
        self.factors, self.batches = Factors(), {}

    cdef inline bint vary_alike(self, int32_t x, int32_t y) noexcept:
        """Whether both vary, or, in lanes, none of them does."""
        if self.lanes:
            return self.is_varying(x) == self.is_varying(y) and not self.is_zero(x) and not self.is_zero(y)
        return self.is_varying(x) and self.is_varying(y)

    cdef inline bint is_zero(self, int32_t x) noexcept:
        return x < 0 and self.zero[~x]

    cdef inline bint comes_first(self, int32_t x, int32_t y) noexcept:
        """Whether x varies more than y, which does not: at one point, of two inputs what stays from sum to sum."""
        if self.is_varying(x) or self.is_varying(y):
            return self.is_varying(x)
        if self.lanes:
            return self.is_zero(x)
        if x < 0 or y < 0:
            return x >= 0
        if self.distance_of[x] != self.distance_of[y]:
            return self.distance_of[x] < self.distance_of[y]
        return self.input_uses[x] > self.input_uses[y]

    # sums into terms

    cdef int take_apart(self) except -1:
        """List the terms of every sum that is long enough, pieces of it that are used nowhere else included."""
        cdef int32_t[::1] uses = uses_of(self.draft)
        cdef uint8_t[::1] unity = np.append(self.draft.constants == 1.0, False).astype(np.uint8)
        cdef Py_ssize_t i, n = len(self.draft)
        cdef int32_t j, x, step
        for i in range(n):
            step = terms_apart(self.opcode[i])
            j = self.first[i]
            while j < self.first[i + 1] and step > 0:       # a range of unknown step is an object
                x = self.operand[j] - self.inputs
                if x >= 0 and uses[x] == 1 and (step == 1 or self.is_one(unity, self.operand[j + 1])):
                    self.absorbed[x] = terms_apart(self.opcode[x]) > 0
                j += step
        for i in range(n):
            if terms_apart(self.opcode[i]) == 0 or self.absorbed[i] or self.deciding[i]:
                continue
            self.begin[i], self.rest_begin[i] = <int32_t>self.terms, <int32_t>self.rests
            self.add_terms(i, unity)
            self.end[i], self.rest_end[i] = <int32_t>self.terms, <int32_t>self.rests
            self.turn_zeros(i)
            if self.terms == self.begin[i] and self.is_paired(i):
                self.end[i] = self.begin[i]
                continue
            if self.terms - self.begin[i] < LEAST_COLUMNS:
                self.terms, self.rests = self.begin[i], self.rest_begin[i]
                self.end[i] = self.begin[i]
                continue
            sort_by_varying(self.term + self.begin[i], self.terms - self.begin[i])
        return 0

    cdef inline bint is_one(self, const uint8_t[::1] unity, int32_t x) noexcept:
        return x < 0 and unity[~x]

    cdef int add_terms(self, Py_ssize_t root, const uint8_t[::1] unity) except -1:
        """List the terms of a sum in the order of the source: pieces stand where what they add up is added."""
        cdef Py_ssize_t gate = root, done = 0, depth = 0    # a piece, how many operands of it are done, and who waits
        cdef int32_t x, y, step
        while True:
            while self.first[gate] + done < self.first[gate + 1]:
                step = terms_apart(self.opcode[gate])
                x = self.operand[self.first[gate] + done]
                y = self.operand[self.first[gate] + done + 1] if step == 2 else self.one
                done += step
                if self.is_one(unity, y) and x >= self.inputs and self.absorbed[x - self.inputs]:
                    self.waiting[depth], self.waiting[depth + 1] = <int32_t>gate, <int32_t>done
                    depth += 2
                    gate, done = x - self.inputs, 0
                else:
                    self.add_term(root, x, y, self.is_one(unity, y))
            if depth == 0:
                return 0
            depth -= 2
            gate, done = self.waiting[depth], self.waiting[depth + 1]

    cdef int add_term(self, Py_ssize_t root, int32_t x, int32_t y, bint plain) except -1:
        cdef bint turned = not self.comes_first(x, y)
        if not plain and not self.vary_alike(x, y):
            if turned:
                x, y = y, x
            self.term[self.terms] = Term(x, <int32_t>(self.terms - self.begin[root]), y)
            self.terms += 1
        elif plain and not self.is_varying(x) and self.added[root] == NO_NUMBER:
            self.added[root] = x
        else:
            self.rest[self.rests], self.rest[self.rests + 1] = x, y
            self.rests += 2
        return 0

    cdef int turn_zeros(self, Py_ssize_t i) noexcept:
        """Let, at one point, inputs beside a 0 be numbers of the matrix if those beside what is computed are."""
        cdef int32_t k, computed = 0
        cdef Term* term
        for k in range(self.begin[i], self.end[i] if not self.lanes else 0):
            computed += self.term[k].varying >= self.inputs
        for k in range(self.begin[i], self.end[i] if computed > 0 else 0):
            term = &self.term[k]
            if term.varying < self.inputs and self.is_zero(term.number):
                term.varying, term.number = term.number, term.varying
        return 0

    cdef bint is_paired(self, Py_ssize_t i) except -1:
        """Whether a sum is one of pairs of computed numbers: these come first in its rest, then all else."""
        cdef int32_t* rest = &self.rest[self.rest_begin[i]]
        cdef Term* pair = self.term + self.terms        # which are free from there on
        cdef Py_ssize_t k, n = 0, others = 0, last = -1, count = self.rests - self.rest_begin[i]
        for k in range(0, count, 2):
            n += self.is_computed(rest[k]) and self.is_computed(rest[k + 1])
        if n < LEAST_PAIRS:
            return False
        n = 0
        for k in range(0, count, 2):
            if self.is_computed(rest[k]) and self.is_computed(rest[k + 1]):
                pair[n] = Term(rest[k], <int32_t>n, rest[k + 1])
                last = max(last, <Py_ssize_t>max(rest[k], rest[k + 1]) - self.inputs)
                n += 1
            else:
                rest[others], rest[others + 1] = rest[k], rest[k + 1]
                others += 2
        memmove(rest + 2 * n, rest, <size_t>others * sizeof(int32_t))
        self.put_pairs(i, pair, n)
        if self.added[i] != NO_NUMBER:
            self.rest[self.rests], self.rest[self.rests + 1] = self.added[i], self.one
            self.rests += 2
        self.pairs_end[i], self.rest_end[i] = self.rest_begin[i] + 2 * <int32_t>n, <int32_t>self.rests
        self.factors.add(i, self.pairs_of(i), last)
        return True

    cdef int put_pairs(self, Py_ssize_t i, Term* pair, Py_ssize_t n) except -1:
        """Put pairs of factors at the beginning of a sum's rest, sorted by the first of them."""
        cdef int32_t* rest = &self.rest[self.rest_begin[i]]
        cdef Py_ssize_t k
        sort_by_varying(pair, n)
        for k in range(n):
            rest[2 * k], rest[2 * k + 1] = pair[k].varying, pair[k].number
        return 0

    cdef object pairs_of(self, Py_ssize_t i):
        return np.asarray(self.rest)[self.rest_begin[i] : self.pairs_end[i]]

    cdef int turn(self, Py_ssize_t i) except -1:
        """Put a sum's pairs of factors anew, the lower ones first."""
        cdef int32_t* rest = &self.rest[self.rest_begin[i]]
        cdef Term* pair = self.term + self.terms
        cdef Py_ssize_t k, n = (self.pairs_end[i] - self.rest_begin[i]) // 2
        for k in range(n):
            pair[k] = Term(rest[2 * k], <int32_t>k, rest[2 * k + 1])
        turn_pairs(pair, n)
        return self.put_pairs(i, pair, n)

    # sums into rows

    cdef int find_rows(self) except -1:
        """Find the sums of the same varying numbers: the rows of one product."""
        cdef Py_ssize_t i
        cdef dict found = {}
        cdef list alike, group
        for i in range(len(self.draft)):
            if self.end[i] == self.begin[i]:
                continue
            alike = found.setdefault(self.hash_of(i), [])
            for group in alike:
                if self.is_alike(i, <Py_ssize_t>group[0]):
                    group.append(i)
                    break
            else:
                alike.append([i])
        for alike in found.values():
            for group in alike:
                if self.is_worth_it(group):
                    for group in self.even_parts(group):
                        self.leads.add(min(group))
                        for gate in group:
                            self.rows[gate] = group
        return 0

    cdef int find_products(self) except -1:
        """Find the products of two matrices: as they are written, then of what is left with the lower factors first."""
        cdef Factors others = Factors()
        cdef Py_ssize_t gate
        self.take_products(self.factors)
        for gate in self.factors.last:
            if gate not in self.batches:
                self.turn(gate)
                others.add(gate, self.pairs_of(gate), self.factors.last[gate])
        self.take_products(others)
        return 0

    cdef int take_products(self, Factors factors) except -1:
        """Note products, each at the first of its sums."""
        cdef list product, gates
        for product in factors.products(self.lanes):
            self.leads.add(min([min(gates) for gates in product]))
            for gates in product:
                for gate in gates:
                    self.batches[gate] = product
        return 0

    cdef bint is_worth_it(self, list group) except -1:
        cdef Py_ssize_t i = group[0]
        cdef Py_ssize_t least = LEAST_NUMBERS if self.lanes else LEAST_AT_POINT
        if len(group) < LEAST_ROWS and not self.is_computed_side_by_side(i):
            return False
        return len(group) * (self.end[i] - self.begin[i]) >= least

    cdef bint is_computed_side_by_side(self, Py_ssize_t i) noexcept:
        """Whether, at one point, what varies in a sum was computed one after the other."""
        cdef int32_t k
        if self.lanes or self.term[self.begin[i]].varying < self.inputs:
            return False
        for k in range(self.begin[i] + 1, self.end[i]):
            if self.term[k].varying != self.term[k - 1].varying + 1:
                return False
        return True

    cdef list even_parts(self, list group):
        """Rows as their numbers follow each other, so that a matrix can be read where it lies: in parts if need be."""
        cdef Py_ssize_t gate
        cdef list numbered = [(self.term[self.begin[<Py_ssize_t>gate]].number, gate) for gate in group]
        cdef list ordered = [gate for _, gate in sorted(numbered)], parts = [[]], part
        cdef int32_t down = NO_NUMBER, further
        for gate in ordered:
            part = parts[len(parts) - 1]
            further = self.distance(part[len(part) - 1], gate) if part else NO_NUMBER
            if len(part) > 1 and further != down:
                parts.append([gate])
                continue
            down = further
            part.append(gate)
        return parts if all([self.is_worth_it(part) for part in parts]) else [ordered]

    cdef int32_t distance(self, Py_ssize_t i, Py_ssize_t other) noexcept:
        """How far the numbers of a row lie behind those of another one; NO_NUMBER if that is not one distance."""
        cdef int32_t k, found = self.term[self.begin[other]].number - self.term[self.begin[i]].number
        for k in range(1, self.end[i] - self.begin[i]):
            if self.term[self.begin[other] + k].number - self.term[self.begin[i] + k].number != found:
                return NO_NUMBER
        return found

    cdef uint64_t hash_of(self, Py_ssize_t i) noexcept:
        cdef uint64_t found = 14695981039346656037u
        cdef int32_t k
        for k in range(self.begin[i], self.end[i]):
            found = (found ^ <uint64_t>self.term[k].varying) * 1099511628211u
        return found

    cdef bint is_alike(self, Py_ssize_t i, Py_ssize_t other) noexcept:
        """Whether two sums have the same varying numbers."""
        cdef int32_t k, n = self.end[i] - self.begin[i]
        if self.end[other] - self.begin[other] != n:
            return False
        for k in range(n):
            if self.term[self.begin[i] + k].varying != self.term[self.begin[other] + k].varying:
                return False
        return True

    cdef int tell(self, dict report) except -1:
        """Say what was found."""
        cdef Py_ssize_t i
        cdef dict products = {}
        report["products"], report["alone"] = products, 0
        for i in self.leads:
            if i in self.batches:
                shape = (len(self.batches[i]), (self.pairs_end[i] - self.rest_begin[i]) // 2, len(self.batches[i][0]))
                products[shape] = products.get(shape, 0) + 1
        for i in self.recorded:
            shape, times = self.shape_of(i)
            products[shape] = products.get(shape, 0) + times
        for i in range(len(self.draft)):
            if self.end[i] == self.begin[i]:
                continue
            if i not in self.rows:
                report["alone"] += 1
            elif i in self.leads:
                shape = (len(self.rows[i]), self.end[i] - self.begin[i])
                products[shape] = products.get(shape, 0) + 1
        return 0

    # rows into products

    cdef bint may_lose(self, Py_ssize_t gate) except -1:
        return gate not in self.rows and gate not in self.batches

    cdef Draft rewritten(self):
        """Write every product where its first row was."""
        cdef Writer writer = Writer(self.draft, len(self.draft) + 16, len(self.draft.operand) + 64)
        cdef int32_t[::1] moved = np.zeros(max(len(self.draft), 1), np.int32)
        cdef uint8_t[::1] gone = np.zeros(max(len(self.draft), 1), np.uint8)
        cdef dict row = {}
        cdef Py_ssize_t i
        self.drop_pieces(gone)
        if self.recorded:
            self.take_added(gone)
        for i in range(len(self.draft)):
            if gone[i]:
                continue
            if i in self.recorded and self.recorded[i] != COMPUTED:
                self.write_recorded(writer, moved, i)
                np.asarray(gone)[i : i + results_of(self.opcode, len(self.draft), i)] = 1
                continue
            if self.has_lost(i):
                moved[i] = self.write_without(writer, moved, i)
                continue
            if i in self.batches:
                if i in self.leads:
                    self.write_batch(writer, moved, self.batches[i], row)
                moved[i] = self.write_rest(writer, moved, i, row[i], self.pairs_end[i])
                continue
            if self.end[i] == self.begin[i] or i not in self.rows:
                moved[i] = writer.copy(i, moved)
                continue
            if i in self.leads:
                self.write_product(writer, moved, self.rows[i], row)
            moved[i] = self.write_rest(writer, moved, i, row[i], self.rest_begin[i])
        return writer.finish(moved)

    cdef int drop_pieces(self, uint8_t[::1] gone) except -1:
        """Mark the pieces of sums that become rows."""
        cdef list waiting = [*self.rows, *self.batches]
        cdef Py_ssize_t gate
        cdef int32_t j, x, step
        while waiting:
            gate = waiting.pop()
            j, step = self.first[gate], terms_apart(self.opcode[gate])
            while j < self.first[gate + 1]:     # a range of unknown step is an object
                x = self.operand[j] - self.inputs
                if x >= 0 and self.absorbed[x] and not gone[x]:
                    gone[x] = 1
                    waiting.append(x)
                j += step
        return 0

    cdef int write_product(self, Writer writer, int32_t[::1] moved, list group, dict row) except -1:
        """Write a product of the sums of a group, its columns in the order of the first one's source.

        If its numbers are those of several matrices side by side, each is read where it lies: a product of its own.
        Each of them may add a number: both biases of a recurrent layer.
        """
        cdef Py_ssize_t rows = len(group), columns = self.end[group[0]] - self.begin[group[0]], i, k
        cdef Term* term
        cdef Py_ssize_t gate
        cdef bint adds = any([self.added[<Py_ssize_t>gate] != NO_NUMBER for gate in group])
        cdef int32_t nothing = writer.constant(-0.0) if adds else 0, x      # to which -0 may be added
        numbers, varying = np.empty((rows, columns), np.int32), np.empty(columns, np.int32)
        added = np.full(rows if adds else 0, nothing, np.int32)
        cdef int32_t[:, ::1] number = numbers
        cdef int32_t[::1] place = np.empty(columns, np.int32), of_column = varying, more = added
        for i in range(rows):
            term = self.term + self.begin[group[i]]
            for k in range(columns):
                if i == 0:
                    place[k] = term[k].place
                    of_column[place[k]] = renamed(term[k].varying, self.inputs, moved)
                number[i, place[k]] = term[k].number
            x = self.added[group[i]]
            if x != NO_NUMBER:
                more[i] = x
        products = []
        for block in column_blocks(numbers):
            if products:
                added = self.further_numbers(writer, group)
            operands = [[writer.constant(1.0)], numbers[:, block].ravel(), varying[block], added]
            products.append(self.write_results(
                writer, MATMUL, np.concatenate(operands).astype(np.int32), self.origins_of(group)
            ))
        for i in range(rows):
            row[group[i]] = self.write_total(writer, [one + i for one in products], self.draft.origin[group[i]])
        return 0

    cdef object further_numbers(self, Writer writer, list group):
        """Take one more number out of the rest of every sum, which a further product adds; none if there is none."""
        found = [self.taken_number(<Py_ssize_t>gate) for gate in group]
        if all([x == NO_NUMBER for x in found]):
            return np.zeros(0, np.int32)
        nothing = writer.constant(-0.0)
        return np.array([nothing if x == NO_NUMBER else x for x in found], np.int32)

    cdef int32_t taken_number(self, Py_ssize_t gate) noexcept:
        cdef int32_t k, x
        for k in range(self.rest_begin[gate], self.rest_end[gate], 2):
            x = self.rest[k]
            if self.rest[k + 1] == self.one and not self.is_varying(x):
                self.rest_end[gate] -= 2
                memmove(&self.rest[k], &self.rest[k] + 2, <size_t>(self.rest_end[gate] - k) * sizeof(int32_t))
                return x
        return NO_NUMBER

    cdef int write_batch(self, Writer writer, int32_t[::1] moved, list product, dict row) except -1:
        """Write a product of two matrices: how many rows there are, the left one by rows, the right one by columns."""
        cdef list gates = [gate for line in product for gate in line], factors = []
        cdef Py_ssize_t gate, k
        cdef int side
        for side, line in ((0, [line[0] for line in product]), (1, product[0])):
            for gate in line:
                for k in range(self.rest_begin[gate] + side, self.pairs_end[gate], 2):
                    factors.append(renamed(self.rest[k], self.inputs, moved))
        cdef int32_t[::1] operands = np.array([writer.constant(<double>len(product)), *factors], np.int32)
        written = self.write_results(writer, BATCH_MATMUL, operands, self.origins_of(gates))
        row.update(zip(gates, range(written, written + len(gates))))
        return 0

    cdef object origins_of(self, list gates):
        return self.draft.origin[gates]

    cdef int32_t write_rest(
        self, Writer writer, int32_t[::1] moved, Py_ssize_t i, int32_t row, int32_t begin
    ) except? -2147483647:
        """Write what else is added to a row, from one place in its rest on; returns the whole."""
        cdef Py_ssize_t n = self.rest_end[i] - begin, k
        cdef int32_t unity = writer.constant(1.0)
        cdef int32_t[::1] here
        if n == 0:
            return row
        here = np.empty(n + 2, np.int32)
        here[0], here[1] = row, unity
        for k in range(n):
            here[2 + k] = renamed(self.rest[begin + k], self.inputs, moved)
        for k in range(3, n + 2, 2):
            if here[k] != unity:
                return writer.gate(PRODUCTS, &here[0], n + 2, self.draft.origin[i])
        for k in range(n // 2 + 1):
            here[k] = here[2 * k]
        return writer.gate(<int>TOTAL if n > 2 else <int>ADD, &here[0], n // 2 + 1, self.draft.origin[i])


cdef int32_t[::1] input_uses_of(Draft draft):
    """How often each input is an operand."""
    cdef int32_t[::1] operand = draft.operand
    cdef int32_t[::1] uses = np.zeros(draft.inputs + 1, np.int32)
    cdef Py_ssize_t k
    for k in range(operand.shape[0]):
        if 0 <= operand[k] < draft.inputs:
            uses[operand[k]] += 1
    return uses
