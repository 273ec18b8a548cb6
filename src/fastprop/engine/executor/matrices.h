/* Linear algebra on small matrices of float64, row after row: what a gate gives, and what pulls on that bring.

   Each function returns whether it is done. What is not finite, and what is singular or so near to it that rounding
   decides, is left to LAPACK, whose answers and errors the same gates have where they are not compiled. */

#define CLOSE_TO_ZERO 1e-14 /* of a pivot, per row, beside the numbers that it comes from */

static int all_finite(ptrdiff_t n, const double *x) {
    int lost = 0;
    for (ptrdiff_t i = 0; i < n; i++) lost |= !(x[i] - x[i] == 0.0);
    return !lost;
}

/* Whether the half that is read, with the diagonal, is finite. */
static int half_finite(ptrdiff_t n, const double *a, int lower) {
    int found = 1;
    for (ptrdiff_t i = 0; i < n; i++) found &= lower ? all_finite(i + 1, a + i * n) : all_finite(n - i, a + i * n + i);
    return found;
}

static void turn_square(ptrdiff_t n, const double *a, double *turned) { /* not in its place */
    for (ptrdiff_t i = 0; i < n; i++)
        for (ptrdiff_t j = 0; j < n; j++) turned[j * n + i] = a[i * n + j];
}

/* row -= factor * other */
INLINE void take_row(ptrdiff_t n, double *row, double factor, const double *other) {
    for (ptrdiff_t i = 0; i < n; i++) row[i] -= factor * other[i];
}

/* Solves t x = b in the place of b, of k columns. One half of t is read, whose number at (i, j) is t[i * down + j * along]. */
static void substitute(
    ptrdiff_t n, ptrdiff_t k, const double *t, ptrdiff_t down, ptrdiff_t along, int lower, int unit, double *x
) {
    for (ptrdiff_t step = 0; step < n; step++) {
        const ptrdiff_t i = lower ? step : n - 1 - step;
        for (ptrdiff_t j = lower ? 0 : i + 1; j < (lower ? i : n); j++)
            take_row(k, x + i * k, t[i * down + j * along], x + j * k);
        if (unit) continue;
        for (ptrdiff_t c = 0; c < k; c++) x[i * k + c] /= t[i * (down + along)];
    }
}

/* Factors a into triangles with rows exchanged, lu; `order` says which row is where, as numbers like all that the room
   holds. Returns the sign, or 0: not done. */
static double exchange_and_factor(ptrdiff_t n, const double *a, double *lu, double *order) {
    double sign = 1.0, largest = 0.0;
    memcpy(lu, a, (size_t)(n * n) * sizeof(double));
    if (!all_finite(n * n, a)) return 0.0;
    for (ptrdiff_t i = 0; i < n * n; i++) largest = fabs(a[i]) > largest ? fabs(a[i]) : largest;
    for (ptrdiff_t i = 0; i < n; i++) order[i] = (double)i;
    for (ptrdiff_t j = 0; j < n; j++) {
        ptrdiff_t pivot = j;
        for (ptrdiff_t i = j + 1; i < n; i++) pivot = fabs(lu[i * n + j]) > fabs(lu[pivot * n + j]) ? i : pivot;
        if (!(fabs(lu[pivot * n + j]) > CLOSE_TO_ZERO * (double)n * largest)) return 0.0;
        if (pivot != j) {
            for (ptrdiff_t c = 0; c < n; c++) {
                const double kept = lu[j * n + c];
                lu[j * n + c] = lu[pivot * n + c], lu[pivot * n + c] = kept;
            }
            const double kept = order[j];
            order[j] = order[pivot], order[pivot] = kept, sign = -sign;
        }
        for (ptrdiff_t i = j + 1; i < n; i++) {
            const double factor = lu[i * n + j] / lu[j * n + j];
            lu[i * n + j] = factor;
            take_row(n - j - 1, lu + i * n + j + 1, factor, lu + j * n + j + 1);
        }
    }
    return sign;
}

/* Solves a x = b with the factors of a; b is not x. */
static void solve_factored(ptrdiff_t n, ptrdiff_t k, const double *lu, const double *order, const double *b, double *x) {
    for (ptrdiff_t i = 0; i < n; i++) memcpy(x + i * k, b + (ptrdiff_t)order[i] * k, (size_t)k * sizeof(double));
    substitute(n, k, lu, n, 1, 1, 1, x);
    substitute(n, k, lu, n, 1, 0, 0, x);
}

/* Solves a' x = b, where a' is a turned. */
static void solve_turned(
    ptrdiff_t n, ptrdiff_t k, const double *lu, const double *order, const double *b, double *x, double *room
) {
    memcpy(room, b, (size_t)(n * k) * sizeof(double));
    substitute(n, k, lu, 1, n, 1, 0, room);
    substitute(n, k, lu, 1, n, 0, 1, room);
    for (ptrdiff_t i = 0; i < n; i++) memcpy(x + (ptrdiff_t)order[i] * k, room + i * k, (size_t)k * sizeof(double));
}

static void set_to_identity(ptrdiff_t n, double *x) {
    memset(x, 0, (size_t)(n * n) * sizeof(double));
    for (ptrdiff_t i = 0; i < n; i++) x[i * n + i] = 1.0;
}

static void invert_factored(ptrdiff_t n, const double *lu, const double *order, double *inverse, double *room) {
    set_to_identity(n, room);
    solve_factored(n, n, lu, order, room, inverse);
}

/* The lower factor of a, of which the lower half is read, turned: its upper half is written. Returns whether it is done. */
static int factor_cholesky(ptrdiff_t n, const double *a, double *turned) {
    if (!half_finite(n, a, 1)) return 0;
    for (ptrdiff_t i = 0; i < n; i++)
        for (ptrdiff_t j = 0; j <= i; j++) turned[j * n + i] = a[i * n + j];
    for (ptrdiff_t j = 0; j < n; j++) {
        double *row = turned + j * n;
        if (!(row[j] > CLOSE_TO_ZERO * (double)n * a[j * n + j])) return 0;
        row[j] = sqrt(row[j]);
        for (ptrdiff_t c = j + 1; c < n; c++) row[c] /= row[j];
        for (ptrdiff_t i = j + 1; i < n; i++) take_row(n - i, turned + i * n + i, row[i], row + i);
    }
    return 1;
}

/* total -= left right', of n rows each, and k columns */
static void take_product(ptrdiff_t n, ptrdiff_t k, const double *left, const double *right, double *total, double *room) {
    for (ptrdiff_t i = 0; i < n; i++)
        for (ptrdiff_t c = 0; c < k; c++) room[c * n + i] = right[i * k + c];
    for (ptrdiff_t i = 0; i < n; i++)
        for (ptrdiff_t c = 0; c < k; c++) take_row(n, total + i * n, left[i * k + c], room + c * n);
}

static void keep_half(ptrdiff_t n, double *x, int lower) {
    for (ptrdiff_t i = 0; i < n; i++)
        for (ptrdiff_t j = lower ? i + 1 : 0; j < (lower ? n : i); j++) x[i * n + j] = 0.0;
}

/* The gate's value. `room` holds 4 n (n + k + 1) numbers. */
static int matrices_forward(const Matrices *of, const double *a, const double *b, double *value, double *room) {
    const ptrdiff_t n = of->rows, k = of->columns;
    double *lu = room, *order = room + n * n, *more = order + n;
    double sign;
    switch (of->kernel) {
    case SOLVE:
        if (exchange_and_factor(n, a, lu, order) == 0.0) return 0;
        solve_factored(n, k, lu, order, b, value);
        return all_finite(n * k, value);
    case SOLVE_LOWER:
    case SOLVE_UPPER:
        for (ptrdiff_t i = 0; i < n; i++)
            if (a[i * n + i] == 0.0) return 0;
        if (!half_finite(n, a, of->kernel == SOLVE_LOWER)) return 0;
        memcpy(value, b, (size_t)(n * k) * sizeof(double));
        substitute(n, k, a, n, 1, of->kernel == SOLVE_LOWER, 0, value);
        return all_finite(n * k, value);
    case CHOLESKY:
        if (!factor_cholesky(n, a, lu)) return 0;
        turn_square(n, lu, value);
        keep_half(n, value, 1);
        return 1;
    case INVERSE_MATRIX:
        if (exchange_and_factor(n, a, lu, order) == 0.0) return 0;
        invert_factored(n, lu, order, value, more);
        return all_finite(n * n, value);
    case DETERMINANT:
    case LOG_DETERMINANT:
        sign = exchange_and_factor(n, a, lu, order);
        if (sign == 0.0) return 0;
        double product = sign, logarithm = 0.0;
        int power = 0; /* of 2, apart, lest the product leave the range of numbers on its way */
        for (ptrdiff_t i = 0; i < n; i++) {
            const double pivot = lu[i * n + i];
            int more_power, rest;
            product = frexp(product * frexp(pivot, &more_power), &rest), power += more_power + rest;
            logarithm += log(fabs(pivot)), sign = pivot < 0.0 ? -sign : sign;
        }
        value[0] = of->kernel == DETERMINANT ? ldexp(product, power) : sign;
        if (of->kernel == DETERMINANT) return fabs(value[0]) >= DBL_MIN && all_finite(1, value);
        value[1] = logarithm;
        return 1;
    }
    return 0;
}

/* Adds what pulls on the value bring to the operands. */
static int matrices_backward(
    const Matrices *of, const double *a, const double *b, const double *pull, double *on_a, double *on_b, double *room
) {
    const ptrdiff_t n = of->rows, k = of->columns;
    const int lower = of->kernel == SOLVE_LOWER;
    double *lu = room, *order = room + n * n, *x = order + n, *y = x + n * (n > k ? n : k);
    double *more = y + n * (n > k ? n : k), scale;
    switch (of->kernel) {
    case SOLVE:
    case SOLVE_LOWER:
    case SOLVE_UPPER:
        if (!all_finite(n * k, pull) || !matrices_forward(of, a, b, x, room)) return 0;
        if (of->kernel == SOLVE)
            solve_turned(n, k, lu, order, pull, y, more);
        else {
            memcpy(y, pull, (size_t)(n * k) * sizeof(double));
            substitute(n, k, a, 1, n, !lower, 0, y);
        }
        if (!all_finite(n * k, y)) return 0;
        memset(lu, 0, (size_t)(n * n) * sizeof(double));
        take_product(n, k, y, x, lu, more);
        if (of->kernel != SOLVE) keep_half(n, lu, lower);
        for (ptrdiff_t i = 0; i < n * n; i++) on_a[i] += lu[i];
        for (ptrdiff_t i = 0; i < n * k; i++) on_b[i] += y[i];
        return all_finite(n * n, lu);
    case CHOLESKY: /* L^-T half(L^T g) L^-1, where half keeps the lower one and halves the diagonal */
        if (!factor_cholesky(n, a, lu) || !half_finite(n, pull, 1)) return 0;
        memset(x, 0, (size_t)(n * n) * sizeof(double));
        for (ptrdiff_t i = 0; i < n; i++)
            for (ptrdiff_t j = i; j < n; j++) take_row(i + 1, x + i * n, -lu[i * n + j], pull + j * n);
        for (ptrdiff_t i = 0; i < n; i++) x[i * n + i] *= 0.5;
        substitute(n, n, lu, n, 1, 0, 0, x);
        turn_square(n, x, y);
        substitute(n, n, lu, n, 1, 0, 0, y);
        if (!all_finite(n * n, y)) return 0;
        for (ptrdiff_t i = 0; i < n; i++) {
            for (ptrdiff_t j = 0; j < i; j++) on_a[i * n + j] += y[i * n + j] + y[j * n + i];
            on_a[i * n + i] += y[i * n + i];
        }
        return 1;
    case INVERSE_MATRIX: /* -X^T g X^T */
        if (exchange_and_factor(n, a, lu, order) == 0.0 || !all_finite(n * n, pull)) return 0;
        solve_turned(n, n, lu, order, pull, x, more);
        turn_square(n, x, y);
        solve_factored(n, n, lu, order, y, x);
        if (!all_finite(n * n, x)) return 0;
        for (ptrdiff_t i = 0; i < n; i++)
            for (ptrdiff_t j = 0; j < n; j++) on_a[i * n + j] -= x[j * n + i];
        return 1;
    case DETERMINANT:
    case LOG_DETERMINANT:
        if (!all_finite(of->kernel == DETERMINANT ? 1 : 2, pull)) return 0;
        if (!matrices_forward(of, a, b, x, room)) return 0;
        scale = of->kernel == DETERMINANT ? pull[0] * x[0] : pull[1];
        invert_factored(n, lu, order, x, more);
        if (!all_finite(n * n, x)) return 0;
        for (ptrdiff_t i = 0; i < n; i++)
            for (ptrdiff_t j = 0; j < n; j++) on_a[i * n + j] += scale * x[j * n + i];
        return all_finite(1, &scale);
    }
    return 0;
}
