"""What is one number for all lanes: read where it lies, if it can stay there; gradients where they are summed up."""
import numpy as np

from libc.stdint cimport int32_t, uint8_t
from libc.string cimport memcpy, memset


cdef enum:
    WORTH_POINTING = 1 << 12    # bytes of uniform inputs from which on it pays to read them where they are


cdef object places_where(truths):
    """Return where an array of bools is true."""
    return np.flatnonzero(truths).astype(np.int32)


cdef object counts_before(const uint8_t[::1] marks):
    """Return for each place of an array of 0 and 1, and behind the last, how many 1 there are before it."""
    cdef Py_ssize_t i
    found = np.empty(marks.shape[0] + 1, np.int32)
    cdef int32_t[::1] before = found
    before[0] = 0
    for i in range(marks.shape[0]):
        before[i + 1] = before[i] + marks[i]
    return found


cdef void take_numbers(LanesRun run, Py_ssize_t i, char* at, Py_ssize_t count) noexcept nogil:
    """Let uniform inputs be numbers side by side, which stay where they are if only matrices are made of them."""
    cdef Py_ssize_t k
    cdef bint apart = count * run.size >= WORTH_POINTING and are_apart(run, i, count) and lies_well(at, run.size)
    leave_none(run, i, count)
    if not apart:
        memcpy(run.numbers.start + i * run.size, at, <size_t>(count * run.size))
    for k in range(run.starts.shape[0] if apart else 0):
        if i <= run.starts[k, 0] < i + count:
            run.start[k] = at + (run.starts[k, 0] - i) * run.size


cdef void leave_none(LanesRun run, Py_ssize_t i, Py_ssize_t count) noexcept nogil:
    """Let no matrix of some inputs lie outside of the run's own numbers any more."""
    cdef Py_ssize_t k
    for k in range(run.starts.shape[0]):
        if i <= run.starts[k, 0] < i + count:
            run.start[k] = NULL


cdef bint are_apart(LanesRun run, Py_ssize_t i, Py_ssize_t count) noexcept nogil:
    """Whether inputs are read as matrices alone, none of which reaches beyond them."""
    cdef Py_ssize_t k
    if run.singles[i + count] > run.singles[i]:
        return False
    for k in range(run.starts.shape[0]):
        if run.starts[k, 1] < i + count and run.starts[k, 2] >= i:
            if run.starts[k, 1] < i or run.starts[k, 2] >= i + count:
                return False
    return True


cdef bint can_put(LanesRun run, Py_ssize_t i, const char* at, Py_ssize_t count) noexcept nogil:
    """Whether the gradients of some inputs can be put side by side: each is whole at once, all lanes are one block."""
    if run.strands != 1 or run.lanes > run.width or not lies_well(at, run.size):
        return False
    return run.entire[i + count] - run.entire[i] == count and are_apart(run, i, count)


cdef void put_gradients(LanesRun run, Py_ssize_t i, char* at, Py_ssize_t count) noexcept nogil:
    """Let the gradients of some inputs be put side by side, if they can be."""
    cdef Py_ssize_t k
    if not can_put(run, i, at, count):
        return
    for k in range(run.starts.shape[0]):
        if i <= run.starts[k, 0] < i + count:
            run.put[k] = at + (run.starts[k, 0] - i) * run.size
    run.puts += count


cdef bint are_put(LanesRun run, Py_ssize_t i, Py_ssize_t count) noexcept nogil:
    """Whether the gradients of some inputs were put where they go."""
    cdef Py_ssize_t k
    for k in range(run.starts.shape[0] if run.puts else 0):
        if i <= run.starts[k, 0] < i + count:
            return run.put[k] != NULL
    return False


cdef void put_none(LanesRun run) noexcept nogil:
    """Let all gradients be summed up."""
    memset(run.put, 0, <size_t>run.starts.shape[0] * sizeof(char*))
    run.puts = 0


cdef void clear_sums(LanesRun run, Py_ssize_t strand) noexcept nogil:
    """Let a strand's sums be 0: those of matrices' gradients, too, unless all of these are put elsewhere."""
    cdef bint all_put = run.puts == run.program.sums_end - run.program.sums_begin and run.program.outers_count == 0
    cdef Py_ssize_t nbytes = run.sums_per_strand() * run.sum_bytes() if all_put else run.sums_nbytes()
    memset(run.partial_sums(strand, 0), 0, <size_t>nbytes)


cdef inline double* outer_sums(LanesRun run, Py_ssize_t strand) noexcept nogil:
    """A strand's sums of outer products, by the output."""
    return run.matrix_sums(strand) + run.program.sums_end


cdef void add_outers(LanesRun run, Bench bench, Py_ssize_t strand) noexcept nogil:
    """Add up outer products."""
    cdef Py_ssize_t k
    cdef const int32_t* outer       # the first output, rows, columns, and where their slots are listed
    cdef const int32_t* slot
    for k in range(run.program.outers_count):
        outer = run.program.outer + 4 * k
        slot = run.program.index + outer[3]
        run.executor.add_outer(
            &bench.space, slot, outer[1], slot + outer[1], outer[2], outer_sums(run, strand) + outer[0], run.single
        )


cdef int take_outer_pulls(LanesRun run) except -1:
    """Lay the pulls on sums of outer products side by side, as numbers of the program."""
    cdef Py_ssize_t k, outputs = run.program.outputs_count
    if not run.program.gradient or run.program.outers_count == 0:
        return 0
    if run.outer_pulls is None:
        run.outer_pulls = Memory(outputs * run.size)
    for k in range(outputs):
        put_number_at(run.outer_pulls.start + k * run.size, run.pull[k].constant, run.single)
    return 0


cdef void pull_outers(LanesRun run, Bench bench) noexcept nogil:
    """Pull on the factors of outer products."""
    cdef Py_ssize_t k
    cdef const int32_t* outer
    cdef const int32_t* slot
    for k in range(run.program.outers_count):
        outer = run.program.outer + 4 * k
        slot = run.program.index + outer[3]
        run.executor.pull_outer(
            &bench.space, slot, outer[1], slot + outer[1], outer[2], run.outer_pulls.start + outer[0] * run.size,
            run.single
        )


cdef double value_sum(LanesRun run, Py_ssize_t k) noexcept nogil:
    """The sum of an output over all lanes."""
    cdef double total = 0.0
    cdef Py_ssize_t strand
    if run.value_row[k] >= 0:
        return run.sum_of((run.summed_inputs if run.program.gradient else 0) + run.value_row[k])
    for strand in range(run.strands):
        total += outer_sums(run, strand)[k]
    return total


cdef void value_sums(LanesRun run, double* sums) noexcept nogil:
    """Add the sums of all outputs over all lanes to numbers."""
    cdef Py_ssize_t k, n, strand
    cdef const int32_t* outer = run.program.outer
    cdef const double* part
    for k in run.in_rows:
        sums[k] += value_sum(run, k)
    for n in range(run.program.outers_count):
        if n > 0 and outer[4 * n] == outer[4 * n - 4]:      # another term of the same outputs
            continue
        for strand in range(run.strands):
            part = outer_sums(run, strand)
            for k in range(outer[4 * n], outer[4 * n] + outer[4 * n + 1] * outer[4 * n + 2]):
                sums[k] += part[k]


cdef double gradient_sum(LanesRun run, Py_ssize_t i) noexcept nogil:
    """The gradient of a uniform input, summed over all lanes."""
    cdef double total = run.sum_of(run.sum_row[i]) if run.sum_row[i] >= 0 else 0.0
    cdef Py_ssize_t strand
    for strand in range(run.strands if run.program.sums_begin <= i < run.program.sums_end else 0):
        total += run.matrix_sums(strand)[i]
    return total


cdef void gradient_sums(LanesRun run, double* sums, Py_ssize_t inputs) noexcept nogil:
    """Add the gradients of the first inputs, where they are uniform, summed over all lanes, to zeros."""
    cdef Py_ssize_t i, strand
    cdef const double* part
    for strand in range(run.strands):
        part = run.matrix_sums(strand)
        for i in range(run.program.sums_begin, min(run.program.sums_end, inputs)):
            sums[i] += part[i]
    for i in run.summed:
        if i < inputs:
            sums[i] += run.sum_of(run.sum_row[i])


cdef double* direct_sums(LanesRun run) noexcept nogil:
    """The gradients of uniform inputs where they were summed up, by the input, if that is so; else NULL."""
    if run.strands != 1 or run.summed_inputs or run.program.sums_end == 0:
        return NULL
    return run.matrix_sums(0)


cdef Py_ssize_t last_beside(LanesRun run, Py_ssize_t i) noexcept nogil:
    """The last of the inputs whose numbers lie side by side in every lane, from one on."""
    cdef Column* column = &run.input[i]
    if run.lane != NULL or not lies_well(column.data, run.size) or column.stride % run.size:
        return i
    while (
        i + 1 < run.program.inputs and not run.uniform[i + 1] and column[1].stride == column.stride
        and column[1].data == column.data + run.size
    ):
        i, column = i + 1, column + 1
    return i
