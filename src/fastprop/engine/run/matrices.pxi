"""Gates of linear algebra on small matrices, in C: at one point, and in lanes. What C leaves, Python is asked for."""
import math

import numpy as np
from numpy.linalg import LinAlgError

from libc.stdint cimport int32_t
from libc.string cimport memset

from fastprop.engine.executor.instructions cimport (
    CHOLESKY, DETERMINANT, INVERSE_MATRIX, LOG_DETERMINANT, SOLVE, SOLVE_LOWER, SOLVE_UPPER, Executor, Matrices,
)
from fastprop.engine.program cimport Wiring, executor

MATRIX_KERNELS = {
    "solve": SOLVE,
    "solve lower": SOLVE_LOWER,
    "solve upper": SOLVE_UPPER,
    "cholesky": CHOLESKY,
    "inv": INVERSE_MATRIX,
    "det": DETERMINANT,
    "slogdet": LOG_DETERMINANT,
}


cdef class MatrixGate:
    """A gate of linear algebra as C has it, and room for one thread to use it.

    Parameters
    ----------
    kernel : str
        One of MATRIX_KERNELS.
    templates : sequence of ndarray
        The operands as they were recorded: batches of square matrices, and of right-hand sides if there are any.
    places : sequence of (int, int)
        For every number that is recorded: of which operand it is, and where in it.
    """

    cdef Matrices of
    cdef const Executor* executor
    cdef Py_ssize_t batch
    cdef Py_ssize_t numbers             # of the operands, all together
    cdef Py_ssize_t size                # of the value of one matrix
    cdef Py_ssize_t[:, ::1] start       # of the operands' matrices, for each of the batch
    cdef int32_t[::1] place             # recorded number -> where it is among the numbers
    cdef Memory memory
    cdef double* operand
    cdef double* pulled
    cdef double* value
    cdef double* pull
    cdef double* room

    def __init__(self, str kernel, templates, places):
        shapes = [(template.shape[: template.ndim - 2], template.shape[template.ndim - 2 :]) for template in templates]
        cdef Py_ssize_t n = shapes[0][1][0], k = shapes[1][1][1] if len(templates) > 1 else 0
        self.of = Matrices(MATRIX_KERNELS[kernel], n, k)
        self.executor = executor()
        self.size = {"det": 1, "slogdet": 2}.get(kernel, n * (k if len(templates) > 1 else n))
        begins = np.cumsum([0, *[template.size for template in templates]])
        batch = np.broadcast_shapes(*[own for own, _ in shapes])
        starts = np.zeros((math.prod(batch), 2), np.intp)
        for i, (own, matrix) in enumerate(shapes):
            which = np.broadcast_to(np.arange(math.prod(own)).reshape(own), batch)
            starts[:, i] = begins[i] + which.reshape(math.prod(batch)) * math.prod(matrix)
        self.start, self.batch, self.numbers = starts, starts.shape[0], begins[len(templates)]
        self.place = np.array([begins[i] + place for i, place in places], np.int32)
        self.memory = Memory((2 * self.numbers + 2 * self.batch * self.size + 4 * n * (n + k + 1)) * 8)
        self.operand = <double*>self.memory.start
        self.pulled = self.operand + self.numbers
        self.value = self.pulled + self.numbers
        self.pull = self.value + self.batch * self.size
        self.room = self.pull + self.batch * self.size
        for i, number in enumerate(np.concatenate([template.ravel() for template in templates]).tolist()):
            self.operand[i] = number

    cdef bint forward(self) noexcept nogil:
        """Whether C gave the value of every matrix."""
        cdef Py_ssize_t m
        for m in range(self.batch):
            if not self.executor.matrices_forward(
                &self.of, self.operand + self.start[m, 0], self.operand + self.start[m, 1],
                self.value + m * self.size, self.room
            ):
                return False
        return True

    cdef bint is_pulled(self) noexcept nogil:
        cdef Py_ssize_t k
        for k in range(self.batch * self.size):
            if self.pull[k] != 0.0:
                return True
        return False

    cdef bint backward(self) noexcept nogil:
        """Whether C gave what the pulls bring to the operands."""
        cdef Py_ssize_t m
        memset(self.pulled, 0, <size_t>self.numbers * sizeof(double))
        for m in range(self.batch):
            if not self.executor.matrices_backward(
                &self.of, self.operand + self.start[m, 0], self.operand + self.start[m, 1],
                self.pull + m * self.size, self.pulled + self.start[m, 0], self.pulled + self.start[m, 1], self.room
            ):
                return False
        return True


cdef class MatricesAtPoint(CalledAtPoint):
    """A gate of linear algebra at one point."""

    cdef MatrixGate gate

    def __init__(self, Wiring wiring, MatrixGate gate):
        CalledAtPoint.__init__(self, wiring)
        self.gate = gate

    cdef void read(self, PointRun run) noexcept:
        cdef Py_ssize_t k
        for k in range(self.gate.place.shape[0]):
            self.gate.operand[self.gate.place[k]] = run.get(self.wiring.operand[k])

    cdef int forward(self, PointRun run) except -1:
        cdef Py_ssize_t k
        self.read(run)
        if not self.gate.forward():
            return CalledAtPoint.forward(self, run)
        for k in range(self.wiring.results):
            run.put(self.wiring.result + k, self.gate.value[k])
        return 0

    cdef int backward(self, PointRun run) except -1:
        cdef Py_ssize_t k
        cdef int32_t target
        for k in range(self.wiring.results):
            self.gate.pull[k] = run.get(self.wiring.pull + k)
        if not self.gate.is_pulled():
            return 0
        self.read(run)
        if not self.gate.backward():
            return CalledAtPoint.backward(self, run)
        for k in range(self.gate.place.shape[0]):
            target = self.wiring.target[k]
            if target >= 0:
                run.put(target, run.get(target) + self.gate.pulled[self.gate.place[k]])
        return 0


cdef class MatricesInLanes(CalledInLanes):
    """A gate of linear algebra in lanes: one after the other, and then all at once those that C leaves."""

    cdef MatrixGate gate
    cdef Memory left                # which lanes these are
    cdef Memory brought             # what pulls bring: a row of lanes for every number that is recorded

    def __init__(self, Wiring wiring, MatrixGate gate, LanesRun run):
        CalledInLanes.__init__(self, wiring)
        self.gate = gate
        self.left = Memory(run.width * <Py_ssize_t>sizeof(Py_ssize_t))
        self.brought = Memory(gate.place.shape[0] * run.width * run.size)

    cdef double in_row(self, LanesRun run, Bench bench, Py_ssize_t slot, Py_ssize_t lane) noexcept nogil:
        cdef char* row = <char*>bench.space.row[slot]
        if slot < run.program.adjoints and run.is_number(slot):
            lane = 0
        return run.number(row + lane * run.size)

    cdef void read(self, LanesRun run, Bench bench, Py_ssize_t lane) noexcept nogil:
        cdef Py_ssize_t k
        for k in range(self.gate.place.shape[0]):
            self.gate.operand[self.gate.place[k]] = self.in_row(run, bench, self.wiring.operand[k], lane)

    cdef int forward(self, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count) except -1 nogil:
        cdef Py_ssize_t lane, k, left = 0
        for lane in range(count):
            self.read(run, bench, lane)
            if self.gate.forward():
                for k in range(self.wiring.results):
                    put_number(<char*>bench.space.row[self.wiring.result + k], lane, self.gate.value[k], run.single)
            else:
                (<Py_ssize_t*>self.left.start)[left] = lane
                left += 1
        if left:
            with gil:
                self.ask(run, bench, begin, count, left)
        for k in range(self.wiring.result, self.wiring.result + self.wiring.results):
            run.repeat_last(<char*>bench.space.row[k], count)
        return 0

    cdef int backward(self, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count) except -1 nogil:
        cdef Py_ssize_t lane, k, left = 0
        cdef bint pulled
        cdef double number
        for lane in range(count):
            for k in range(self.wiring.results):
                self.gate.pull[k] = self.in_row(run, bench, self.wiring.pull + k, lane)
            pulled = self.gate.is_pulled()
            if pulled:
                self.read(run, bench, lane)
                if not self.gate.backward():
                    (<Py_ssize_t*>self.left.start)[left] = lane
                    left += 1
                    continue
            for k in range(self.gate.place.shape[0]):
                number = self.gate.pulled[self.gate.place[k]] if pulled else 0.0
                put_number(self.row_of_pulls(run, k), lane, number, run.single)
        if left:
            with gil:
                self.ask_back(run, bench, begin, count, left)
        for k in range(self.gate.place.shape[0]):
            self.deliver(run, bench, self.wiring.target[k], self.row_of_pulls(run, k), count)
        return 0

    cdef char* row_of_pulls(self, LanesRun run, Py_ssize_t k) noexcept nogil:
        return self.brought.start + k * run.width * run.size

    cdef void deliver(
        self, LanesRun run, Bench bench, int32_t target, const char* row, Py_ssize_t count
    ) noexcept nogil:
        if target < 0:
            return
        if run.is_sum(target):
            add_up_row(<char*>bench.space.row[target], count, row, run.single)
        else:
            add_row(bench.space.row[target], count, row, run.single)

    cdef object left_of(self, columns, Py_ssize_t left):
        """The lanes that are left, and their part of columns."""
        cdef Py_ssize_t i
        lanes = np.empty(left, np.intp)
        for i in range(left):
            lanes[i] = (<Py_ssize_t*>self.left.start)[i]
        return lanes, [column[lanes] if isinstance(column, np.ndarray) else column for column in columns]

    cdef int ask(
        self, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count, Py_ssize_t left
    ) except -1:
        cdef Py_ssize_t k, i
        lanes, columns = self.left_of(self.columns(run, bench, count), left)
        try:
            found = self.wiring.region.forward_lanes(columns, left)
        except LinAlgError as error:
            raise in_lane_of(run, error, begin, lanes) from None
        for k, column in enumerate(found):
            for i in range(left):
                put_number(<char*>bench.space.row[self.wiring.result + k], lanes[i], column[i], run.single)
        return 0

    cdef int ask_back(
        self, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count, Py_ssize_t left
    ) except -1:
        cdef Py_ssize_t k, i
        pulls = []
        for k in range(self.wiring.pull, self.wiring.pull + self.wiring.results):
            pulls.append(read_row(run, bench, k, count))
        lanes, columns = self.left_of(self.columns(run, bench, count), left)
        _, pulls = self.left_of(pulls, left)
        try:
            found = self.wiring.region.backward_lanes(pulls, columns, left)
        except LinAlgError as error:
            raise in_lane_of(run, error, begin, lanes) from None
        for k, column in enumerate(found):
            for i in range(left):
                put_number(self.row_of_pulls(run, k), lanes[i], column[i], run.single)
        return 0


cdef inline void put_number(char* row, Py_ssize_t lane, double number, bint single) noexcept nogil:
    if single:
        (<float*>row)[lane] = <float>number
    else:
        (<double*>row)[lane] = number
