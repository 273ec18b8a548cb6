/* What LanesRun does with whole rows of `n` numbers, beside what programs do. */
#ifndef FASTPROP_ROWS_H
#define FASTPROP_ROWS_H

#include <stddef.h>
#include <string.h>

enum { SUM_BYTES = 64 }; /* of the partial sums of one sum: number k is added to sum k modulo their count */

#define ROWS(REAL, NAME)                                                                                               \
    static inline void NAME(fill)(REAL *restrict row, ptrdiff_t n, REAL number) {                                      \
        for (ptrdiff_t k = 0; k < n; k++)                                                                              \
            row[k] = number;                                                                                           \
    }                                                                                                                  \
    static inline void NAME(add)(REAL *restrict row, ptrdiff_t n, const REAL *restrict other) {                        \
        for (ptrdiff_t k = 0; k < n; k++)                                                                              \
            row[k] += other[k];                                                                                        \
    }                                                                                                                  \
    static inline void NAME(add_up)(REAL *restrict sums, ptrdiff_t n, const REAL *restrict row) {                      \
        enum { SUMS = SUM_BYTES / sizeof(REAL) };                                                                      \
        ptrdiff_t k = 0;                                                                                               \
        for (; k + SUMS <= n; k += SUMS)                                                                               \
            for (int s = 0; s < SUMS; s++)                                                                             \
                sums[s] += row[k + s];                                                                                 \
        for (int s = 0; k < n; k++, s++)                                                                               \
            sums[s] += row[k];                                                                                         \
    }
#define OF_DOUBLE(name) name##_double
#define OF_FLOAT(name) name##_float
ROWS(double, OF_DOUBLE)
ROWS(float, OF_FLOAT)
#undef ROWS

#undef OF_DOUBLE
#undef OF_FLOAT

static inline void fill_row(void *row, ptrdiff_t n, double number, int single) {
    if (single)
        fill_float((float *)row, n, (float)number);
    else
        fill_double((double *)row, n, number);
}

static inline void add_row(void *row, ptrdiff_t n, const void *other, int single) {
    if (single)
        add_float((float *)row, n, (const float *)other);
    else
        add_double((double *)row, n, (const double *)other);
}

static inline void add_up_row(void *sums, ptrdiff_t n, const void *row, int single) {
    if (single)
        add_up_float((float *)sums, n, (const float *)row);
    else
        add_up_double((double *)sums, n, (const double *)row);
}

static inline double total_of(const void *sums, int single) {
    double total = 0;
    for (int s = 0; s < SUM_BYTES / (single ? 4 : 8); s++)
        total += single ? (double)((const float *)sums)[s] : ((const double *)sums)[s];
    return total;
}

/* Add a number to one at any alignment. */
static inline void add_number(void *to, const void *more, int single) {
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
static inline void publish(void) {
#if defined(__x86_64__)
    __asm__ volatile("sfence" : : : "memory");
#endif
}

#endif
