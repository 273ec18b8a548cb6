/* What LanesRun does with whole rows of `n` numbers, beside what programs do. */
#ifndef FASTPROP_ROWS_H
#define FASTPROP_ROWS_H

#include <stddef.h>
#include <string.h>

enum {
    SUM_BYTES = 64, /* of the partial sums of one sum: number k is added to sum k modulo their count */
    WIDE_SUMS = SUM_BYTES / sizeof(float),
    SINGLE_SUM_BYTES = SUM_BYTES + WIDE_SUMS * sizeof(double), /* kernels add floats up in a block alone, then … */
};

#define ROWS(REAL, NAME)                                                                                                \
    static void NAME(fill)(REAL *restrict row, ptrdiff_t n, REAL number) {                                             \
        for (ptrdiff_t k = 0; k < n; k++)                                                                              \
            row[k] = number;                                                                                           \
    }                                                                                                                  \
    static void NAME(add)(REAL *restrict row, ptrdiff_t n, const REAL *restrict other) {                               \
        for (ptrdiff_t k = 0; k < n; k++)                                                                              \
            row[k] += other[k];                                                                                        \
    }                                                                                                                  \
    static void NAME(add_up)(double *restrict sums, ptrdiff_t n, const REAL *restrict row) {                           \
        enum { SUMS = SUM_BYTES / sizeof(REAL) };                                                                      \
        ptrdiff_t k = 0;                                                                                               \
        for (; k + SUMS <= n; k += SUMS)                                                                               \
            for (int s = 0; s < SUMS; s++)                                                                             \
                sums[s] += (double)row[k + s];                                                                         \
        for (int s = 0; k < n; k++, s++)                                                                               \
            sums[s] += (double)row[k];                                                                                 \
    }
#define OF_DOUBLE(name) name##_double
#define OF_FLOAT(name) name##_float
ROWS(double, OF_DOUBLE)
ROWS(float, OF_FLOAT)
#undef ROWS

#undef OF_DOUBLE
#undef OF_FLOAT

static void fill_row(void *row, ptrdiff_t n, double number, int single) {
    if (single)
        fill_float((float *)row, n, (float)number);
    else
        fill_double((double *)row, n, number);
}

static void add_row(void *row, ptrdiff_t n, const void *other, int single) {
    if (single)
        add_float((float *)row, n, (const float *)other);
    else
        add_double((double *)row, n, (const double *)other);
}

static void add_up_row(char *sums, ptrdiff_t n, const void *row, int single) {
    if (single)
        add_up_float((double *)(sums + SUM_BYTES), n, (const float *)row);
    else
        add_up_double((double *)sums, n, (const double *)row);
}

/* … they are added up as doubles. */
static void widen_sums(char *sums) {
    float *restrict narrow = (float *)sums;
    double *restrict wide = (double *)(sums + SUM_BYTES);
    for (int s = 0; s < WIDE_SUMS; s++) {
        wide[s] += (double)narrow[s];
        narrow[s] = 0;
    }
}

static double total_of(const char *sums, int single) {
    const double *sum = (const double *)(single ? sums + SUM_BYTES : sums);
    double total = 0;
    for (int s = 0; s < (single ? WIDE_SUMS : SUM_BYTES / (int)sizeof(double)); s++)
        total += sum[s];
    return total;
}

/* The same of the sums of several strands, which lie so many bytes apart: strand after strand, all sums of one at once. */
static double total_of_strands(const char *sums, ptrdiff_t strands, ptrdiff_t apart, int single) {
    double together[WIDE_SUMS] = {0}, total = 0;
    const int count = single ? WIDE_SUMS : SUM_BYTES / (int)sizeof(double);
    for (ptrdiff_t strand = 0; strand < strands; strand++) {
        const double *sum = (const double *)(sums + strand * apart + (single ? SUM_BYTES : 0));
        for (int s = 0; s < count; s++)
            together[s] += sum[s];
    }
    for (int s = 0; s < count; s++)
        total += together[s];
    return total;
}

/* Add a number to one at any alignment. */
static void add_number(void *to, const void *more, int single) {
    double wide[2];
    float narrow[2];
    if (single) {
        memcpy(narrow, to, sizeof(float));
        memcpy(narrow + 1, more, sizeof(float));
        narrow[0] += narrow[1];
        memcpy(to, narrow, sizeof(float));
    } else {
        memcpy(wide, to, sizeof(double));
        memcpy(wide + 1, more, sizeof(double));
        wide[0] += wide[1];
        memcpy(to, wide, sizeof(double));
    }
}

/* Let other threads see what was written past the cache. */
static void publish(void) {
#if defined(__x86_64__)
    __asm__ volatile("sfence" : : : "memory");
#endif
}

#endif
