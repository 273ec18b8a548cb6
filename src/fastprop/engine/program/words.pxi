"""From instructions over runs to steps of single gates, as executor/words.h takes them, for a program at one point.

A short run is taken apart into its gates, a long one becomes a step that hands it to the executor's loops. An adjoint
that is to be cleared is not, where the first pull that arrives can be assigned instead.
"""
import numpy as np

from libc.stdint cimport int32_t, uint8_t

from fastprop.engine.executor.instructions cimport *
from fastprop.engine.kernels cimport (
    ADD, CBRT, DIGAMMA, DIVIDE, EXP, GAMMALN, MULTIPLY, NEGATIVE, SECH, SQRT, SQUARE, SUBTRACT, kernel,
)

cdef enum:
    SHORT = 4               # gates: a run that is taken apart
    LISTED = 16             # operands: a list that is taken apart
    CLEARED = 64            # slots that are not cleared at once, in the hope that something is assigned to them
    FORESEEN = 1000         # instructions: in a longer program a processor does not remember which step follows
    ROW = 64                # gates: a run of a gate of one operand that is a step
    ALONE = 3               # gates: a run that is taken apart, of gates that take long
    PATIENCE = 200000       # gates between two pauses
    NONE = -1


cdef class Writer:
    """Writes the steps of one direction, and knows what they leave in registers."""

    cdef Program program
    cdef Words* words
    cdef int32_t last           # the slot whose number the last step left
    cdef int32_t pulled         # the slot whose number is the pull in hand
    cdef uint8_t[::1] unclear   # by slot: it counts as zero, though nothing has been put there
    cdef list ranges            # where such slots are
    cdef Py_ssize_t worked      # gates since the last pause
    cdef int32_t short          # how long what is taken apart may be
    cdef int32_t alone
    cdef int32_t listed

    def __init__(self, Program program):
        self.program = program
        self.unclear = np.zeros(program.slots + 1, np.uint8)
        self.ranges = []
        cdef bint foreseen = program.ahead.length + program.back.length <= FORESEEN
        self.short = SHORT if foreseen else 1
        self.alone = ALONE if foreseen else 1
        self.listed = LISTED if foreseen else 0
        self.forget()

    cdef int forget(self) noexcept:
        self.last = self.pulled = NONE
        return 0

    cdef int push(self, int32_t a) except -1:
        return self.program.push_word(self.words, a)

    cdef int push_all(self, tuple words) except -1:
        for word in words:
            self.push(word)
        return 0

    cdef int32_t slot(self, const Operand* operand, Py_ssize_t k) noexcept:
        """Where the number for gate k of a run is."""
        return self.program.slot_of(operand, k)

    cdef int hand_over(self, int action, Py_ssize_t i) except -1:
        """Leave instruction i to the executor's loops, with those before it that were left to them, too."""
        cdef int32_t* word
        self.forget()
        if self.words.length - self.words.latest == 3:
            word = self.words.word + self.words.latest
            if word[0] == action and word[2] == i:
                word[2] = <int32_t>i + 1
                return 0
        self.begin()
        self.push(action)
        self.push(<int32_t>i)
        return self.push(<int32_t>i + 1)

    cdef inline int begin(self) noexcept:
        """A step begins here."""
        self.words.latest = self.words.length
        return 0

    cdef int end(self) except -1:
        self.begin()
        self.forget()
        return self.push(HALT)

    cdef int pause(self, Py_ssize_t gates) except -1:
        self.worked += gates
        if self.worked > PATIENCE:
            self.worked = 0
            self.begin()
            self.forget()
            self.push(PAUSE)
        return 0

    cdef int leave(self, int32_t number) except -1:
        """Let the caller do it."""
        self.begin()
        self.forget()
        self.push(ENTER)
        return self.push(number)

    # forward

    cdef int forward(self) except -1:
        cdef Py_ssize_t i, end = 0
        cdef const Instruction* step
        self.words = &self.program.ahead_words
        for i in range(self.program.ahead.length):
            step = &self.program.ahead.instruction[i]
            if i < end:
                self.back(step, i)
                if i == end - 1:
                    self.settle()
                    self.forget()
                continue
            if is_gradient(step[0]):
                end = step.count
                self.forget()
                continue
            if step.opcode == REGION:
                self.leave(step.count)
            elif not self.take_apart(step):
                self.hand_over(RUNS, i)
            self.pause(step.count)
        return self.end()

    cdef bint take_apart(self, const Instruction* step) except -1:
        """Write the gates of a run as steps, or nothing if it is too long."""
        cdef const Operand* operand = self.program.operand + step.operand
        cdef int opcode = step.opcode
        cdef int32_t k, n = step.count
        if opcode == LIST_PRODUCTS or opcode == LIST_TOTAL:
            return step.count <= self.short and self.lists(step, operand)
        if opcode == CHAIN_ADD or opcode == CHAIN_MULTIPLY:
            if n <= 2 * self.short:
                opcode = ADD if opcode == CHAIN_ADD else MULTIPLY
                for k in range(n):
                    self.gate_of_two(
                        opcode, step.result + k, operand.start if k == 0 else step.result + k - 1,
                        self.slot(operand + 1, k),
                    )
                return True
            return False
        if is_arithmetic(opcode):
            if n <= self.short:
                for k in range(n):
                    self.gate_of_two(opcode, step.result + k, self.slot(operand, k), self.slot(operand + 1, k))
            return n <= self.short
        if opcode == NEGATIVE or opcode == SQUARE or opcode == SQRT:
            if n <= self.short:
                for k in range(n):
                    self.gate_of_one(opcode, step.result + k, self.slot(operand, k))
            return n <= self.short
        return self.any_gate(step, operand)

    cdef bint any_gate(self, const Instruction* step, const Operand* operand) except -1:
        """Write the gates of a short run: by their scalar kernel, which is quicker for one number, or as a row."""
        cdef int opcode = step.opcode, arity = step.arity
        cdef int32_t j, k
        if takes_many(opcode):
            return False
        if opcode < FIRST_EXTRA and step.count <= (self.alone if arity == 1 else 1) and not is_quicker_in_rows(opcode):
            for k in range(step.count):
                self.begin()
                self.push_all((ONE_UNARY if arity == 1 else ONE_BINARY if arity == 2 else ONE_TERNARY, opcode))
                self.push(step.result + k)
                for j in range(arity):
                    self.push(self.slot(operand + j, k))
                self.push(NONE if step.saved < 0 else step.saved + k)
        elif step.count == 1 or (arity == 1 and operand.place == CONTIGUOUS and step.count <= ROW):
            self.begin()
            self.push_all((ONE_ROW, opcode, arity, step.result))
            for j in range(3):
                self.push(operand[min(j, arity - 1)].start)
            self.push_all((step.count, NONE if opcode == EXP else step.saved))
        else:
            return False
        self.forget()
        return True

    cdef int gate_of_one(self, int opcode, int32_t result, int32_t x) except -1:
        cdef int action = ONE_NEGATIVE if opcode == NEGATIVE else ONE_SQUARE if opcode == SQUARE else ONE_ROOT
        self.begin()
        self.push(action + (FIRST_FROM_LAST if x == self.last else 0))
        self.push(result)
        self.push(x)
        self.last = result
        return 0

    cdef int gate_of_two(self, int opcode, int32_t result, int32_t x, int32_t y) except -1:
        cdef int action
        self.begin()
        if (opcode == ADD or opcode == MULTIPLY) and y == self.last:
            x, y = y, x
        if opcode == ADD or opcode == MULTIPLY:
            action = ONE_SUM if opcode == ADD else ONE_PRODUCT
        else:
            action = ONE_DIFFERENCE if opcode == SUBTRACT else ONE_QUOTIENT
        if x == self.last:
            action += FIRST_FROM_LAST
        elif y == self.last:
            action += OTHER_FROM_LAST
        self.push(action)
        self.push(result)
        self.push(x)
        self.push(y)
        self.last = result
        return 0

    cdef bint lists(self, const Instruction* step, const Operand* operand) except -1:
        """Write sums of products or of terms, gate after gate."""
        cdef int32_t i, j, size = step.arity * (2 if step.opcode == LIST_PRODUCTS else 1)
        cdef const int32_t* at = self.program.index + operand.start
        for i in range(step.count):
            if step.opcode == LIST_PRODUCTS and step.arity == 2:
                self.two_products(step.result + i, at[0], at[1], at[2], at[3])
            else:
                self.begin()
                self.push(ONE_SUM_OF_PRODUCTS if step.opcode == LIST_PRODUCTS else ONE_TOTAL)
                self.push(step.result + i)
                self.push(step.arity)
                for j in range(size):
                    self.push(at[j])
                self.last = step.result + i
            at += size
        return True

    cdef int two_products(self, int32_t result, int32_t x, int32_t y, int32_t z, int32_t w) except -1:
        """Write x*y + z*w, either of which may be a single term."""
        cdef int action
        if self.is_unity(x) or self.is_unity(y):
            x, y, z, w = z, w, x, y
        if y == self.last:
            x, y = y, x
        if w == self.last or self.is_unity(z):
            z, w = w, z
        action = ONE_PRODUCT_AND_SUM if self.is_unity(w) else ONE_SUM_OF_TWO
        self.begin()
        if x == self.last:
            self.push(action + FIRST_FROM_LAST)
        else:
            self.push(action + (OTHER_FROM_LAST if z == self.last else 0))
        self.push_all((result, x, y, z))
        if action == ONE_SUM_OF_TWO:
            self.push(w)
        self.last = result
        return 0

    cdef bint is_unity(self, int32_t slot) except -1:
        cdef Py_ssize_t number = slot - self.program.inputs
        return 0 <= number < self.program.constants_count and self.program.constants[number] == 1.0

    # backward

    cdef int backward(self) except -1:
        cdef Py_ssize_t i
        self.words = &self.program.back_words
        for i in range(self.program.back.length):
            if i == self.program.prologue:
                self.settle()
                self.end()
                self.program.prologue_words = self.words.length
            self.back(&self.program.back.instruction[i], i)
        if self.program.prologue == self.program.back.length:
            self.settle()
            self.end()
            self.program.prologue_words = self.words.length
        self.settle()
        return self.end()

    cdef int back(self, const Instruction* step, Py_ssize_t i) except -1:
        """Write the steps of an instruction backward."""
        if step.opcode == REGION_PULL:
            self.settle()
            self.leave(~step.count)
        elif not self.take_pulls_apart(step):
            self.settle()
            self.hand_over(RUNS_BACK, i)
        return self.pause(step.count)

    cdef bint take_pulls_apart(self, const Instruction* step) except -1:
        """Write the pulls of a run's gates as steps, or nothing if it is too long."""
        cdef const Operand* operand = self.program.operand + step.operand
        cdef int kind = step.opcode
        cdef int32_t k
        if kind == CLEAR:
            if step.count <= CLEARED:
                self.note_clear(step.result, step.count)
            return step.count <= CLEARED
        if kind == LIST_PRODUCT or kind == LIST_PASS:
            if step.arity > self.listed:
                return False
            return self.list_of_pulls(step, operand)
        if kind == CHAIN_PASS or kind == CHAIN_PRODUCT or kind == ITEM_PULL:
            return False
        if kind == MATMUL_PULL or kind == BATCH_MATMUL_PULL:
            return False
        if pulling(kind) >= 0:
            if step.count <= self.short:
                for k in range(step.count):
                    self.pull(
                        kind, self.slot(operand, k), ADD_TO if k and operand.place == BROADCAST else operand.mode,
                        step.result + k,
                        self.slot(operand + 1, k) if step.arity > 1 else NONE,
                        self.slot(operand + 2, k) if step.arity > 2 else NONE,
                    )
            return step.count <= self.short
        if step.count > 1:
            return False
        return self.pull_other(step, operand)

    cdef bint list_of_pulls(self, const Instruction* step, const Operand* operand) except -1:
        cdef const int32_t* at = self.program.index + operand.start
        cdef int32_t i, _j
        for i in range(step.count):
            for _j in range(step.arity):
                if step.opcode == LIST_PASS:
                    self.pull(PASS, at[0], ADD_TO, step.result + i, NONE, NONE)
                    at += 1
                else:
                    self.pull(PRODUCT, at[1], ADD_TO, step.result + i, at[0], NONE)
                    at += 2
        return True

    cdef int pull(self, int kind, int32_t target, int mode, int32_t pull, int32_t u, int32_t w) except -1:
        """Write one pull on one number."""
        cdef int action
        if kind == PRODUCT and self.is_unity(u):
            kind, u = PASS, NONE
        self.read(pull)
        if not self.pull_with_latest(kind, target, mode, pull, u, w):
            action = pulling(kind)
            if pull == self.pulled:
                action += SAME_PULL
            elif pull == self.last:
                action += PULL_FROM_LAST
            self.begin()
            self.push(action + (ADDED if self.is_added(target, mode) else 0))
            self.push(target)
            self.push(pull)
            if u != NONE:
                self.push(u)
            if w != NONE:
                self.push(w)
        self.pulled = NONE if target == pull else pull
        self.last = target
        return 0

    cdef bint pull_with_latest(self, int kind, int32_t target, int mode, int32_t pull, int32_t u, int32_t w) except -1:
        """Write a pull into the step before, if that is of the same pull and there are steps for both."""
        cdef int32_t* latest = self.words.word + self.words.latest
        cdef int action, single
        if pull != self.pulled or target == latest[1]:      # both are computed before either is put
            return False
        if kind == PASS and is_one_of(latest[0], PULL_PASS):
            action, single = PULL_PASSES, PULL_PASS
        elif kind == NEGATE and is_one_of(latest[0], PULL_PASS):
            action, single = PULL_PASS_AND_NEGATE, PULL_PASS
        elif kind == PRODUCT and is_one_of(latest[0], PULL_PRODUCT):
            action, single = PULL_PRODUCTS, PULL_PRODUCT
        elif kind == DIVISOR and is_one_of(latest[0], PULL_QUOTIENT) and latest[3] == u and latest[4] == w:
            action, single = PULL_DIVISION, PULL_QUOTIENT
        else:
            return False
        latest[0] += action - single + (OTHER_ADDED if self.is_added(target, mode) else 0)
        self.push(target)
        if kind == PRODUCT:
            self.push(u)
        return True

    cdef bint pull_other(self, const Instruction* step, const Operand* operand) except -1:
        cdef int32_t k
        self.read(step.result)
        self.begin()
        self.push_all((PULL_OTHER, step.opcode))
        self.push(ADD_TO if self.is_added(operand.start, operand.mode) else ASSIGN)
        self.push(operand.start)
        self.push(step.result)
        for k in range(1, 3):
            self.push(operand[k if k < step.arity else 0].start)
        self.forget()
        return True

    # adjoints that are zero, though nothing has been put there

    cdef int note_clear(self, int32_t start, int32_t count) except -1:
        cdef int32_t i
        for i in range(start, start + count):
            self.unclear[i] = True
        self.ranges.append((start, count))
        return 0

    cdef bint is_added(self, int32_t target, int mode) noexcept:
        """Whether a pull is added to what is at the target: not to a zero that has not been put."""
        cdef bint added = mode == ADD_TO and not self.unclear[target]
        self.unclear[target] = False
        return added

    cdef int read(self, int32_t slot) except -1:
        """A number is going to be read."""
        if self.unclear[slot]:
            self.unclear[slot] = False
            self.clear(slot, 1)
        return 0

    cdef int settle(self) except -1:
        """Put the zeros that have not been put."""
        cdef int32_t start, i, end, count
        for start, count in self.ranges:
            i = start
            while i < start + count:
                end = i
                while end < start + count and self.unclear[end]:
                    self.unclear[end] = False
                    end += 1
                if end > i:
                    self.clear(i, end - i)
                i = end + 1
        self.ranges.clear()
        return 0

    cdef int clear(self, int32_t start, int32_t count) except -1:
        self.begin()
        self.forget()
        self.push(ONE_CLEAR)
        self.push(start)
        return self.push(count)


cdef inline int pulling(int kind) noexcept:
    """The step for a kind of pull; -1: there is none for it alone."""
    if kind == PASS:
        return PULL_PASS
    if kind == NEGATE:
        return PULL_NEGATE
    if kind == PRODUCT:
        return PULL_PRODUCT
    if kind == TWICE:
        return PULL_TWICE
    if kind == ROOT:
        return PULL_ROOT
    if kind == QUOTIENT:
        return PULL_QUOTIENT
    return PULL_DIVISOR if kind == DIVISOR else -1


cdef inline bint is_one_of(int action, int kind) noexcept:
    """Whether a step is some form of one pull."""
    return kind <= action < kind + OTHER_ADDED


cdef inline bint is_quicker_in_rows(int opcode) noexcept:
    """Whether the scalar kernel of a gate takes longer than its vector form, of which one number is wanted."""
    return opcode == CBRT or opcode == DIGAMMA or opcode == GAMMALN or opcode == SECH


cdef inline bint is_arithmetic(int opcode) noexcept:
    return opcode == ADD or opcode == SUBTRACT or opcode == MULTIPLY or opcode == DIVIDE


cdef inline bint takes_many(int opcode) noexcept:
    """Whether a gate takes any number of operands."""
    if opcode >= FIRST_EXTRA:
        return opcode == PRODUCTS or opcode == TOTAL or opcode == ITEM or opcode == MATMUL or \
            opcode == BATCH_MATMUL
    return kernel(opcode).many != NULL


cdef int write_words(Program program) except -1:
    """Write the steps of a program at one point."""
    cdef Writer writer = Writer(program)
    writer.forward()
    if program.gradient:
        writer.forget()
        writer.backward()
    return 0
