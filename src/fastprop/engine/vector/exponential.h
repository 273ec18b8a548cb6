/* exp and log, and the cores that other gates build on.
 *
 * exp: x = k ln 2 + r with abs(r) <= ln(2) / 2, and exp(r) by a polynomial. log: x = m 2**k with m from sqrt(1/2) to
 * sqrt(2), and log(m) by a polynomial in m - 1. Coefficients here and in the other headers: near-minimax fits to
 * mpmath (least squares on Chebyshev nodes, reweighted by Lawson's rule), to 2**-57 or better. */
#ifndef FASTPROP_EXPONENTIAL_H
#define FASTPROP_EXPONENTIAL_H

#include "part.h"

#define LN2 0.6931471805599453
#define LN2_LOW 2.3190468138462996e-17
#define LN2_HEAD 0x1.62e42fefa38p-1 /* of 42 bits: exact times any exponent */
#define LN2_TAIL 0x1.ef35793c7673p-45
#define LOG2_E 1.4426950408889634
#define LOG2_E_LOW 2.0355273740931033e-17
#define LOG10_E 0.4342944819032518
#define LOG10_E_LOW 1.098319650216765e-17
#define LOG10_2_HEAD 0x1.34413509f78p-2 /* of 42 bits */
#define LOG10_2_TAIL 2.8363394551044964e-14
#define SMALLEST_NORMAL 0x1p-1022

enum { EXP_TERMS = 11, LOG_TERMS = 20 };

/* (exp(r) - 1 - r) / r**2 for abs(r) <= ln(2) / 2. */
static const double EXP_SERIES[EXP_TERMS] = {
    0.5, 0.16666666666666677, 0.0416666666666667, 0.008333333333321565, 0.0013888888888866952, 0.00019841269886298628,
    2.480158736031349e-05, 2.7557244029840023e-06, 2.7557242977813984e-07, 2.5109101376864138e-08,
    2.092437358144292e-09};

/* (log(1 + f) - f + f**2 / 2) / f**3 for 1 + f from sqrt(1/2) to sqrt(2). */
static const double LOG_SERIES[LOG_TERMS] = {
    0.33333333333333454, -0.24999999999998915, 0.19999999999945683, -0.16666666666915614, 0.14285714293891372,
    -0.12499999981935736, 0.1111111051347971, -0.10000000385460016, 0.09090933576494553, -0.08333345740311549,
    0.07691713355147237, -0.0714200002501815, 0.06675158737873241, -0.0626980200946823, 0.05817717626216817,
    -0.05326783718414061, 0.05416246030841726, -0.06275063273215052, 0.05696086116387972, -0.024269632680418058};

/* exp(x + low) - 1 before it is scaled: exp(x + low) is (1 + the result) * 2**k; low is at most a few units of x. */
INLINE part exp_bounded(part x, part low, part *k) {
    part whole = fused_part(x, spread(LOG2_E), spread(INTEGRAL)) - INTEGRAL;
    part high = fused_part(whole, spread(-LN2_HEAD), x); /* exact */
    part r = high - (whole * LN2_TAIL - low); /* to half a unit of ln(2) / 2 */
    *k = whole;
    return fused_part(r * r, polynomial(r, EXP_SERIES, EXP_TERMS), r);
}

/* The same for any x, infinities included; k is then at most 2020 in magnitude. */
INLINE part exp_reduced(part x, part low, part *k) {
    return exp_bounded(larger(spread(-1400.0), smaller(spread(1400.0), x)), low, k);
}

INLINE part exp_part(part x) {
    part k, fraction = exp_reduced(x, spread(0.0), &k);
    return scale(1.0 + fraction, k);
}

/* For x up to 0. */
INLINE part exp_of_negative(part x) {
    part k, fraction = exp_bounded(larger(spread(-1400.0), x), spread(0.0), &k);
    return scale(1.0 + fraction, k);
}

INLINE part exp_lanes(part x, part *dx) { return *dx = exp_part(x); }

/* exp2: the fraction of x times ln 2 in two terms. */
INLINE part exp2_lanes(part x, part *dx) {
    part bounded = larger(spread(-1400.0), smaller(spread(1400.0), x));
    part k = near_integer(bounded), fraction = bounded - k;
    part low, r = two_product_part(fraction, spread(LN2), &low), ignored;
    part power = 1.0 + exp_bounded(r, fused_part(fraction, spread(LN2_LOW), low), &ignored);
    *dx = scale(LN2 * power, k); /* finite a little longer than the value */
    return scale(power, k);
}

/* 2**k (1 + fraction) - 1, where 2**k - 1 is exact: in halves, which don't overflow. */
INLINE part minus_one(part fraction, part k, part power) {
    part half = power_of_two(larger(spread(-100.0), smaller(spread(1000.0), k)) - 1.0);
    part value = 2.0 * fused_part(half, fraction, half - 0.5);
    return choose(less(k, spread(100.0)), choose(equal(k, spread(0.0)), fraction, value), power);
}

INLINE part expm1_lanes(part x, part *dx) {
    part k, fraction = exp_reduced(x, spread(0.0), &k), power = scale(1.0 + fraction, k);
    *dx = power;
    return choose(equal(x, spread(0.0)), x, minus_one(fraction, k, power)); /* -0 too */
}

/* log(m) in two terms, for m from sqrt(1/2) to sqrt(2): m - 1, and the rest. */
INLINE part log_near_one(part m, part *rest) {
    part f = m - 1.0;
    *rest = (f * f) * fused_part(f, polynomial(f, LOG_SERIES, LOG_TERMS), spread(-0.5));
    return f;
}

INLINE int is_odd(part x) { /* whether a lane isn't a positive normal number */
    return !all(at_most(spread(SMALLEST_NORMAL), x) & less(x, spread(INFINITY)));
}

/* x as m * 2**k, also where it is subnormal (then `odd`). */
INLINE part split_number(part x, part *k, int odd) {
    part lift = spread(0.0), normal = x;
    if (__builtin_expect(odd, 0)) {
        mask small = less(x, spread(SMALLEST_NORMAL));
        normal = choose(small, x * 0x1p54, x);
        lift = choose(small, spread(-54.0), lift);
    }
    part m = split_exponent(normal, k);
    *k = *k + lift;
    return m;
}

/* Put right the value of a logarithm that has none of its own: of 0, negative numbers, infinity, NaN. */
INLINE part log_special(part x, part value, int odd) {
    if (__builtin_expect(odd, 0)) {
        value = choose(less(x, spread(INFINITY)), value, x);
        value = choose(less(spread(0.0), x), value, choose(equal(x, spread(0.0)), spread(-INFINITY), spread(NAN)));
    }
    return value;
}

/* rate * log(x): the logarithm of the base that rate is 1 / log of, and in which log(2) is head + tail. */
INLINE part log_of_base(part x, double rate, double rate_low, double head, double tail) {
    int odd = is_odd(x);
    part k, rest, error, m = split_number(x, &k, odd), f = log_near_one(m, &rest);
    part product = two_product_part(f, spread(rate), &error), whole = k * head;
    error = fused_part(rest, spread(rate), error) + fused_part(f, spread(rate_low), k * tail);
    part high = whole + product;
    return log_special(x, high + (((whole - high) + product) + error), odd);
}

INLINE part log_part(part x) {
    int odd = is_odd(x);
    part k, rest, m = split_number(x, &k, odd), f = log_near_one(m, &rest);
    part whole = k * LN2_HEAD, high = whole + f; /* the product is exact */
    return log_special(x, high + (rest + fused_part(k, spread(LN2_TAIL), (whole - high) + f)), odd);
}

/* log((u + low) * 2**lift), for u + low from 1 on; low is below a unit of u, or anything if u is 1. */
INLINE part log_sum(part u, part low, part lift) {
    int odd = is_odd(u);
    part k, rest, m = split_exponent(u, &k), f = log_near_one(m, &rest);
    part shift = low * power_of_two(larger(spread(-1000.0), -k)); /* log(m + shift): the slope is 1 / m */
    rest = fused_part(shift, fused_part(f, f, 1.0 - f), rest);
    k = k + lift;
    part whole = k * LN2_HEAD, high = whole + f;
    return log_special(u, high + (rest + fused_part(k, spread(LN2_TAIL), (whole - high) + f)), odd);
}

/* log(1 + q), for q from 0 to 1: the sum isn't rounded, for f is q, or (q - 1) / 2 of the half of it. */
INLINE part log1p_of_unit(part q) {
    mask large = less(spread(0.41421356237309503), q);
    part f = choose(large, 0.5 * (q - 1.0), q);
    part rest = (f * f) * fused_part(f, polynomial(f, LOG_SERIES, LOG_TERMS), spread(-0.5));
    part whole = choose(large, spread(LN2), spread(0.0)), high = whole + f;
    return high + (rest + ((whole - high) + f));
}

INLINE part log1p_part(part x) {
    part low, u = two_sum(spread(1.0), x, &low);
    return choose(equal(x, spread(0.0)), x, log_sum(u, low, spread(0.0))); /* -0 too */
}

/* height / x: +inf at -0 too, NaN outside of the domain. */
INLINE part log_slope(double height, part x) {
    return choose(at_most(spread(0.0), x), height / magnitude(x), spread(NAN));
}

INLINE part log_lanes(part x, part *dx) {
    *dx = log_slope(1.0, x);
    return log_part(x);
}

INLINE part log2_lanes(part x, part *dx) {
    *dx = log_slope(LOG2_E, x);
    return log_of_base(x, LOG2_E, LOG2_E_LOW, 1.0, 0.0);
}

INLINE part log10_lanes(part x, part *dx) {
    *dx = log_slope(LOG10_E, x);
    return log_of_base(x, LOG10_E, LOG10_E_LOW, LOG10_2_HEAD, LOG10_2_TAIL);
}

INLINE part log1p_lanes(part x, part *dx) {
    *dx = log_slope(1.0, 1.0 + x);
    return log1p_part(x);
}

INLINE part logaddexp_lanes(part x, part y, part *dx, part *dy) {
    mask first = less(y, x), tie = equal(x, y), nan = unordered(x, y);
    part high = choose(first, x, y), low = choose(first, y, x), k;
    part gap = low - high, rounded = gap + high; /* the rounding of low - high, or q is 500 units off */
    part error = (low - rounded) - (high - (rounded - gap));
    error = choose(less(spread(-750.0), gap), error, spread(0.0));
    part power = 1.0 + exp_reduced(gap, error, &k);
    part q = scale(power, k), inverse = inverse_above_one(q), other = q * inverse;
    part shared = choose(equal(x, spread(-INFINITY)), spread(0.0), spread(0.5));
    *dx = choose(tie, shared, choose(nan, spread(NAN), choose(first, inverse, other)));
    *dy = choose(tie, shared, choose(nan, spread(NAN), choose(first, other, inverse)));
    part value = high + log1p_of_unit(q);
    return choose(tie, x + LN2, choose(nan, spread(NAN), value));
}

#endif
