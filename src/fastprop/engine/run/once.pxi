"""Once: a draft at one point, gate by gate, for what is not worth a program."""
from libc.stdint cimport int32_t, uint8_t
from libc.string cimport memset

from fastprop.engine.executor.instructions cimport (
    BOTH, EITHER, EQUAL, FIRST_EXTRA, HELD, ITEM, LESS, LESS_EQUAL, NEITHER, NOT_EQUAL, PRODUCTS, REGION, RESULT,
    WITHIN,
)
from fastprop.engine.kernels cimport Kernel, kernel
from fastprop.engine.program cimport Gradient
from fastprop.engine.trace cimport Draft, apart, item_at, products_of


cdef class Once:
    """The numbers of a draft at one point, and its partials."""

    def __init__(self, Draft draft, bint single):
        draft = apart(draft)
        cdef const double[::1] numbers = draft.constants
        cdef Py_ssize_t n = len(draft), constants = numbers.shape[0], i
        self.draft, self.single = draft, single
        self.opcode, self.first, self.operand = draft.opcode, draft.first, draft.operand
        self.gates, self.inputs, self.constants = n, draft.inputs, constants
        self.memory = Memory((2 * (constants + draft.inputs + n) + 2 * len(draft.operand) + 8) * 8)
        self.value = <double*>self.memory.start + constants     # so that operands are places, constants' too
        self.adjoint = self.value + draft.inputs + n
        self.partial = self.adjoint + draft.inputs + n
        self.here = self.partial + len(draft.operand)
        for i in range(constants):
            self.value[~i] = self.rounded(numbers[i])

    cdef inline double rounded(self, double x) noexcept nogil:
        return <double><float>x if self.single else x

    cdef Py_ssize_t forward(self) except -2:
        """Compute all numbers from the inputs, in `value`; return the first guard that comes out otherwise, or -1."""
        cdef Py_ssize_t i, j
        cdef const int32_t* x
        cdef double found
        cdef const int32_t[::1] guards = self.draft.guards
        cdef const uint8_t[::1] expected = self.draft.expected
        for i in range(self.gates):
            if self.opcode[i] == REGION or self.opcode[i] == RESULT:    # whose partials stay 0
                if self.opcode[i] == REGION:
                    self.region(i)
                continue
            x = &self.operand[self.first[i]] if self.first[i + 1] > self.first[i] else NULL
            for j in range(self.first[i + 1] - self.first[i]):
                self.here[j] = self.value[x[j]]
            found = self.one(self.opcode[i], self.first[i + 1] - self.first[i], &self.partial[self.first[i]])
            self.value[self.inputs + i] = self.rounded(found)
        for i in range(guards.shape[0]):
            if (self.value[guards[i]] != 0.0) != (expected[i] != 0):
                return i
        return -1

    cdef double one(self, int opcode, Py_ssize_t n, double* partial) except? -1:
        """The value of a gate whose operands are `here`."""
        cdef const double* x = self.here
        cdef const Kernel* gate
        if opcode >= FIRST_EXTRA:
            memset(partial, 0, <size_t>n * sizeof(double))
            if opcode == ITEM:
                partial[1 + item_at(x[0], n - 1)] = 1.0
                return x[1 + item_at(x[0], n - 1)]
            if opcode == PRODUCTS:
                return products_of(n, x, partial)
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
            if opcode == NEITHER:
                return x[0] == 0.0
            if opcode == HELD:
                return x[0]
            raise NotImplementedError(f"opcode {opcode} is not a gate of one number")
        gate = kernel(opcode)
        if gate.arity == 1:
            return gate.one(x[0], partial)
        if gate.arity == 2:
            return gate.two(x[0], x[1], partial, partial + 1)
        if gate.arity == 3:
            return gate.three(x[0], x[1], x[2], partial, partial + 1, partial + 2)
        return gate.many(n, x, partial)

    cdef int region(self, Py_ssize_t i) except -1:
        """Let variables be what they stand for; or a gradient what is pulled on them."""
        cdef int32_t begin = self.first[i], end = self.first[i + 1], j, low
        cdef Py_ssize_t ends
        region = self.draft.payload[i]
        if not isinstance(region, Gradient):
            for j in range(begin, end):
                self.value[self.inputs + i + j - begin] = self.value[self.operand[j]]
            return 0
        ends = region.ends
        low = min(self.operand[j] for j in range(begin + 2 * ends, end))
        for j in range(begin + ends, begin + 2 * ends):
            if self.operand[j] >= low:
                self.adjoint[self.operand[j]] += self.value[self.operand[j - ends]]
        self.pull_down(i, low)
        for j in range(begin + 2 * ends, end):
            self.value[self.inputs + i + j - begin - 2 * ends] = self.adjoint[self.operand[j]]
        memset(&self.adjoint[low], 0, <size_t>(self.inputs + i - low) * sizeof(double))
        return 0

    cdef int backward(self) except -1:
        """Pull from `adjoint`, where the outputs have theirs."""
        return self.pull_down(self.gates, 0)

    cdef int pull_down(self, Py_ssize_t end, int32_t low) except -1:
        """Let the gates before one pull on their operands, from place `low` on."""
        cdef Py_ssize_t i
        cdef int32_t j, x
        cdef double pull
        for i in range(end - 1, max(low - self.inputs, <Py_ssize_t>0) - 1, -1):
            pull = self.adjoint[self.inputs + i]
            if pull == 0.0:
                continue
            for j in range(self.first[i], self.first[i + 1]):
                x = self.operand[j]
                if x >= low and self.partial[j] != 0.0:   # a strong zero
                    self.adjoint[x] = self.rounded(self.adjoint[x] + self.rounded(self.partial[j]) * pull)
        return 0
