/* The executor of one instruction set: the loops and the interpreters, for double and for float. */
#ifndef FASTPROP_EXECUTOR_H
#define FASTPROP_EXECUTOR_H

#include <float.h>
#include <math.h>
#include <string.h>

#include "vector/gates.h"
#include "executor/check.h"
#include "executor/flush.h"
#include "executor/program.h"
#include "executor/lifted.h"
#include "executor/strong.h"
#include "executor/coming.h"

_Static_assert((int)OPCODES <= (int)FIRST_EXTRA, "the table has more gates than there are numbers for them");

/* Of a loop that gathers or scatters: GCC's vectors of gathered numbers are slower than the numbers one by one. */
#define SCALAR __attribute__((optimize("no-tree-vectorize")))

#define REAL double
#define VEC vec
#define MASK ivec
#define COUNT 8
#define NAME(name) name
#define GATE_LOOPS "executor/gate_loops.h"
#include "executor/both.h"
#undef REAL
#undef VEC
#undef MASK
#undef COUNT
#undef NAME
#undef GATE_LOOPS

#define REAL float
#define VEC vecf
#define MASK ivecf
#define COUNT 16
#define NAME(name) name##f
#define GATE_LOOPS "executor/lifted_loops.h"
#include "executor/both.h"
#undef REAL
#undef VEC
#undef MASK
#undef COUNT
#undef NAME
#undef GATE_LOOPS

static void add_outer_of_lanes(
    const Space *space, const int32_t *left, ptrdiff_t rows, const int32_t *right, ptrdiff_t columns, double *sums, int single
) {
    if (single)
        add_outerf(space, left, rows, right, columns, sums);
    else
        add_outer(space, left, rows, right, columns, sums);
}

static void pull_outer_of_lanes(
    const Space *space, const int32_t *left, ptrdiff_t rows, const int32_t *right, ptrdiff_t columns, const void *pulls,
    int single
) {
    const unsigned before = flush_small(single);
    if (single)
        pull_outerf(space, left, rows, right, columns, pulls);
    else
        pull_outer(space, left, rows, right, columns, pulls);
    flush_as(before);
}

#include "executor/matrices.h"

#if defined(__AVX512F__)
#define INSTRUCTION_SET "avx512"
#elif defined(__AVX2__)
#define INSTRUCTION_SET "avx2"
#else
#define INSTRUCTION_SET "baseline"
#endif

static ptrdiff_t run_forward(const Stream *stream, const Space *space, ptrdiff_t begin, ptrdiff_t end, int single) {
    if (space->row != NULL)
        return single ? forward_lanesf(stream, space, begin, end) : forward_lanes(stream, space, begin, end);
    return single ? forward_pointf(stream, space, begin, end) : forward_point(stream, space, begin, end);
}

static ptrdiff_t run_backward(const Stream *stream, const Space *space, ptrdiff_t begin, ptrdiff_t end, int single) {
    if (space->row != NULL)
        return single ? backward_lanesf(stream, space, begin, end) : backward_lanes(stream, space, begin, end);
    return single ? backward_pointf(stream, space, begin, end) : backward_point(stream, space, begin, end);
}

static void turn_lanes(
    char *row, ptrdiff_t apart, const char *data, ptrdiff_t stride, ptrdiff_t n, ptrdiff_t columns, int single
) {
    if (single)
        turn_columnsf((float *)row, apart, data, stride, n, columns);
    else
        turn_columns((double *)row, apart, data, stride, n, columns);
}

static const Executor EXECUTOR = {
    INSTRUCTION_SET, run_forward, run_backward, run_words, run_wordsf, turn_lanes, add_outer_of_lanes,
    pull_outer_of_lanes, matrices_forward, matrices_backward
};

#endif
