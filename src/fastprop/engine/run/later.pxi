"""What the steps of a scan, in lanes, leave for later: results of products, and rows of which gradients are made.

A step is run forward once more before it is run backward: its products need not be computed again. And the gradient of
a matrix is a product, too, of rows of all lanes; of many steps at once, as it is here, it is a longer one.
"""
from fastprop.engine.executor.instructions cimport MATMUL, MATMUL_PULL, Instruction, Later

cdef enum:
    KEPT_BYTES = 1 << 26        # of products' results at most: if there are more, they are computed again
    TOGETHER = 256              # lanes, of some steps, of which gradients are summed up at once


cdef class LaterSteps:
    """Where it lies, for one program of a step and its workspace."""

    cdef Later later
    cdef LanesRun run
    cdef Py_ssize_t lanes       # steps
    cdef Py_ssize_t results     # bytes of a step's
    cdef Memory products
    cdef Memory factors

    def __init__(self, LanesRun run, Py_ssize_t lanes, bint at_once):
        cdef Py_ssize_t row = run.width * run.size, rows
        self.run, self.lanes = run, lanes
        self.results = self.count_results() * row
        if 0 < self.results <= KEPT_BYTES // max(lanes, <Py_ssize_t>1):
            self.products = Memory(self.results * lanes)
        rows = self.count_factors()
        self.later.steps = max(min(TOGETHER // run.width, lanes, KEPT_BYTES // max(rows * row, 1)), <Py_ssize_t>1)
        if at_once and rows and self.later.steps > 1:
            self.factors = Memory((rows * row + run.program.scratch * max(row, SCRATCH_ROW)) * self.later.steps)
            self.later.room = self.factors.start + rows * row * self.later.steps

    cdef Py_ssize_t count_results(self):
        cdef Py_ssize_t i, found = 0
        for i in range(self.run.program.ahead.length):
            if self.run.program.ahead.instruction[i].opcode == MATMUL:
                found += self.run.program.ahead.instruction[i].count
        return found

    cdef Py_ssize_t count_factors(self):
        """How many rows there are of which gradients are made."""
        cdef Py_ssize_t i, found = 0
        cdef Instruction step
        for i in range(self.run.program.back.length):
            step = self.run.program.back.instruction[i]
            if step.opcode == MATMUL_PULL and self.run.program.index[step.operand + 1] > 0:
                found += step.count + step.arity
        return found

    cdef void begin(self, Py_ssize_t step, bint both) noexcept nogil:
        """Begin a step: of all forward, or of all backward, the last one first, whose products are known."""
        cdef Py_ssize_t k = self.lanes - 1 - step
        self.later.known = both
        self.later.product = NULL if self.products is None else self.products.start + step * self.results
        self.later.factors = self.factors.start if both and self.factors is not None else NULL
        self.later.step = k % self.later.steps
        self.later.last = self.later.step == self.later.steps - 1 or step == 0


cdef LaterSteps later_steps(LanesRun run, Bench bench, Py_ssize_t lanes, bint at_once):
    """What a scan's steps leave; None of steps that have gradients in them, which run products in another order."""
    cdef Py_ssize_t i
    cdef LaterSteps found
    for i in range(run.program.ahead.length):
        if is_gradient(run.program.ahead.instruction[i]):
            return None
    found = LaterSteps(run, lanes, at_once)
    if found.products is None and found.factors is None:
        return None
    bench.space.later = &found.later
    return found
