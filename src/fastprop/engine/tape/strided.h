/* Blocks of numbers with strides of any kind: read in order, piece by piece, and added to; sums; small products. */
#ifndef FASTPROP_STRIDED_H
#define FASTPROP_STRIDED_H
#include <stddef.h>
#include <string.h>

enum { MOST_AXES = 64 };

typedef struct { /* a walk through the numbers of a block, in C order; axes that follow on each other are one */
    int axes;
    ptrdiff_t length[MOST_AXES];
    ptrdiff_t stride[MOST_AXES]; /* in bytes, 0 along an axis of one number for all */
    ptrdiff_t at[MOST_AXES];
    char *place;
} Walk;

static inline void start_walk(Walk *walk, int axes, const ptrdiff_t *length, const ptrdiff_t *stride, void *data) {
    int n = 0;
    for (int axis = 0; axis < axes; axis++) {
        if (length[axis] == 1)
            continue;
        if (n > 0 && walk->stride[n - 1] == stride[axis] * length[axis]) {
            walk->length[n - 1] *= length[axis];
            walk->stride[n - 1] = stride[axis];
            continue;
        }
        walk->length[n] = length[axis];
        walk->stride[n] = stride[axis];
        walk->at[n++] = 0;
    }
    if (n == 0) {
        walk->length[0] = 1;
        walk->stride[0] = 0;
        walk->at[n++] = 0;
    }
    walk->axes = n;
    walk->place = (char *)data;
}

/* How many numbers lie ahead along the last axis. */
static inline ptrdiff_t ahead(const Walk *walk) { return walk->length[walk->axes - 1] - walk->at[walk->axes - 1]; }

/* Go on by n numbers, which lie ahead along the last axis. */
static inline void step(Walk *walk, ptrdiff_t n) {
    int axis = walk->axes - 1;
    walk->place += n * walk->stride[axis];
    walk->at[axis] += n;
    while (axis > 0 && walk->at[axis] == walk->length[axis]) {
        walk->place -= walk->length[axis] * walk->stride[axis];
        walk->at[axis--] = 0;
        walk->place += walk->stride[axis];
        walk->at[axis]++;
    }
}

#define COPY(from_type, to_type)                                                                                       \
    do {                                                                                                               \
        to_type *to = (to_type *)out + done;                                                                           \
        const char *from = walk->place;                                                                                \
        if (stride == sizeof(from_type))                                                                               \
            for (ptrdiff_t i = 0; i < n; i++)                                                                          \
                to[i] = (to_type)((const from_type *)from)[i];                                                         \
        else                                                                                                           \
            for (ptrdiff_t i = 0; i < n; i++)                                                                          \
                to[i] = (to_type) * (const from_type *)(from + i * stride);                                            \
    } while (0)

/* The next numbers of a block, side by side. */
static void read_next(Walk *walk, int from_single, ptrdiff_t count, void *out, int to_single) {
    for (ptrdiff_t done = 0, n; done < count; done += n) {
        const ptrdiff_t stride = walk->stride[walk->axes - 1], left = ahead(walk);
        n = left < count - done ? left : count - done;
        if (from_single && to_single)
            COPY(float, float);
        else if (from_single)
            COPY(float, double);
        else if (to_single)
            COPY(double, float);
        else
            COPY(double, double);
        step(walk, n);
    }
}
#undef COPY

/* The sum by halves, which loses no more digits than a tree of sums does. */
static double sum_of_row(const double *x, ptrdiff_t n) {
    if (n < 8) {
        double total = 0.0;
        for (ptrdiff_t i = 0; i < n; i++)
            total += x[i];
        return total;
    }
    if (n <= 128) {
        double strand[8];
        ptrdiff_t i = 8;
        memcpy(strand, x, sizeof strand);
        for (; i + 8 <= n; i += 8)
            for (int s = 0; s < 8; s++)
                strand[s] += x[i + s];
        double total = ((strand[0] + strand[1]) + (strand[2] + strand[3])) +
                       ((strand[4] + strand[5]) + (strand[6] + strand[7]));
        for (; i < n; i++)
            total += x[i];
        return total;
    }
    const ptrdiff_t half = n / 2 - n / 2 % 8;
    return sum_of_row(x, half) + sum_of_row(x + half, n - half);
}

/* Add numbers to the next ones of a block of doubles; where that has one number for all, their sum. */
static void add_next(Walk *walk, const double *from, ptrdiff_t count, double factor) {
    for (ptrdiff_t done = 0, n; done < count; done += n) {
        const ptrdiff_t stride = walk->stride[walk->axes - 1], left = ahead(walk);
        const double *x = from + done;
        n = left < count - done ? left : count - done;
        if (stride == sizeof(double))
            for (ptrdiff_t i = 0; i < n; i++)
                ((double *)walk->place)[i] += factor * x[i];
        else if (stride == 0)
            *(double *)walk->place += factor * sum_of_row(x, n);
        else
            for (ptrdiff_t i = 0; i < n; i++)
                *(double *)(walk->place + i * stride) += factor * x[i];
        step(walk, n);
    }
}

/* Add `count` numbers of one block to those of another. */
static void add_block_to(Walk *to, Walk *from, int single, ptrdiff_t count, double factor) {
    double room[512];
    for (ptrdiff_t done = 0, n; done < count; done += n) {
        n = ahead(from);
        if (!single && n > 16 && from->stride[from->axes - 1] == sizeof(double)) {
            add_next(to, (const double *)from->place, n, factor);
            step(from, n);
        } else {
            n = count - done < 512 ? count - done : 512;
            read_next(from, single, n, room, 0);
            add_next(to, room, n, factor);
        }
    }
}

static void fill_numbers(void *row, ptrdiff_t n, double number, int single) {
    for (ptrdiff_t i = 0; i < n; i++)
        if (single)
            ((float *)row)[i] = (float)number;
        else
            ((double *)row)[i] = number;
}

static void widen_into(double *to, const float *from, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i++)
        to[i] = from[i];
}

static void narrow_into(float *to, const double *from, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i++)
        to[i] = (float)from[i];
}

static void add_doubles(double *to, const double *from, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i++)
        to[i] += from[i];
}

static void divide_numbers(double *x, ptrdiff_t n, double divisor) {
    for (ptrdiff_t i = 0; i < n; i++)
        x[i] /= divisor;
}

static void sum_doubles(double *to, const double *x, const double *y, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i++)
        to[i] = x[i] + y[i];
}

static void sum_to_floats(float *to, const float *x, const double *y, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i++)
        to[i] = x[i] + (float)y[i];
}

/* ---- small products of matrices: rows * inner by inner * columns, terms added in their order ---- */

typedef struct {
    const char *data;
    ptrdiff_t down, across; /* bytes to the next row, to the next column */
    int single;
} Matrix;

static inline double entry(const Matrix *x, ptrdiff_t row, ptrdiff_t column) {
    const char *place = x->data + row * x->down + column * x->across;
    return x->single ? *(const float *)place : *(const double *)place;
}

static inline double chained(double x, double y) { /* the chain rule's own product: a factor of 0 makes it 0 */
    const double product = x * y;
    return product != product && (x == 0.0 || y == 0.0) ? 0.0 : product;
}

/* One row of the product, where the right matrix has doubles side by side. */
static void multiply_row(const Matrix *a, const Matrix *b, ptrdiff_t row, ptrdiff_t inner, ptrdiff_t n, double *total) {
    for (ptrdiff_t k = 0; k < inner; k++) {
        const double x = entry(a, row, k);
        const double *y = (const double *)(b->data + k * b->down);
        for (ptrdiff_t j = 0; j < n; j++)
            total[j] += x * y[j];
    }
}

/* to = or += a @ b; `chain`: what is NaN is taken again by the chain rule. `to` lies side by side. */
static void multiply_matrices(
    const Matrix *a, const Matrix *b, ptrdiff_t rows, ptrdiff_t inner, ptrdiff_t columns, double *to, int add, int chain
) {
    double total[32];
    const int side_by_side = !b->single && b->across == sizeof(double);
    for (ptrdiff_t i = 0; i < rows; i++)
        for (ptrdiff_t first = 0; first < columns; first += 32) {
            const ptrdiff_t n = columns - first < 32 ? columns - first : 32;
            const Matrix part = {b->data + first * b->across, b->down, b->across, b->single};
            for (ptrdiff_t j = 0; j < n; j++)
                total[j] = 0.0;
            if (side_by_side)
                multiply_row(a, &part, i, inner, n, total);
            else
                for (ptrdiff_t j = 0; j < n; j++)
                    for (ptrdiff_t k = 0; k < inner; k++)
                        total[j] += entry(a, i, k) * entry(&part, k, j);
            for (ptrdiff_t j = 0; j < n; j++) {
                if (chain && total[j] != total[j]) {
                    total[j] = 0.0;
                    for (ptrdiff_t k = 0; k < inner; k++)
                        total[j] += chained(entry(a, i, k), entry(&part, k, j));
                }
                double *place = to + i * columns + first + j;
                *place = add ? *place + total[j] : total[j];
            }
        }
}

#endif
