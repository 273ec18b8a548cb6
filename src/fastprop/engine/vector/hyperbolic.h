/* Hyperbolic functions by exp and expm1, their inverses by log1p. */
#ifndef FASTPROP_HYPERBOLIC_H
#define FASTPROP_HYPERBOLIC_H

#include "exponential.h"

enum { SINH_TERMS = 7 };

/* (sinh(x) - x) / x**3 in x**2, for x up to 1. */
static const double SINH_SERIES[SINH_TERMS] = {
    0.16666666666666669, 0.008333333333333139, 0.00019841269841437828, 2.7557319155297513e-06, 2.505212340411815e-08,
    1.6057239943955428e-10, 7.759323482173253e-13};

/* tanh = (1 - q) / (1 + q) with q = exp(-2a); its slope is 4q / (1 + q)**2, for 1 - tanh**2 has no digits beyond 19. */
INLINE part tanh_lanes(part x, part *dx) {
    part k, fraction = exp_reduced(-2.0 * magnitude(x), spread(0.0), &k), power = 1.0 + fraction;
    part q = power * power_of_two(larger(spread(-1000.0), k));
    part m = choose(equal(k, spread(0.0)), -fraction, 1.0 - q); /* 1 - q */
    part d = 2.0 - m, low = (2.0 - d) - m, inverse = inverse_of(d, low);
    *dx = scale(4.0 * (power * (inverse * inverse)), k);
    return with_sign(divided(m, d, low, inverse), x);
}

/* cosh, and sinh of the size of x: half of exp(a), and a quarter of its inverse. */
INLINE part cosh_sinh(part x, part *sinh) {
    part size = magnitude(x), square = size * size;
    part k, fraction = exp_reduced(size, spread(0.0), &k), half = scale(0.5 + 0.5 * fraction, k), other = 0.25 / half;
    part near = fused_part(size * square, polynomial(square, SINH_SERIES, SINH_TERMS), size);
    *sinh = with_sign(choose(less(size, spread(1.0)), near, half - other), x);
    return half + other;
}

INLINE part cosh_lanes(part x, part *dx) { return cosh_sinh(x, dx); }

INLINE part sinh_lanes(part x, part *dx) {
    part sinh;
    *dx = cosh_sinh(x, &sinh);
    return sinh;
}

/* sech = 2p / (1 + q) with p = exp(-a), q = exp(-2a); its slope is -sech * tanh. */
INLINE part sech_lanes(part x, part *dx) {
    part k, size = magnitude(x), ignored, tanh = tanh_lanes(size, &ignored);
    part power = 1.0 + exp_reduced(-size, spread(0.0), &k), q = exp_part(-2.0 * size);
    part inverse = inverse_above_one(q);
    *dx = -flip_sign(scale(2.0 * (power * inverse) * tanh, k), x);
    return scale(2.0 * (power * inverse), k);
}

/* log(a + sqrt(1 + a*a)), where a is large log(2a). */
INLINE part arcsinh_lanes(part x, part *dx) {
    part size = magnitude(x), square = size * size, s = root(1.0 + square);
    mask large = less(spread(0x1p27), size);
    part low, u = two_sum(spread(1.0), size + square / (1.0 + s), &low);
    part lift = choose(large, spread(1.0), spread(0.0));
    part value = log_sum(choose(large, size, u), choose(large, spread(0.0), low), lift);
    *dx = 1.0 / choose(large, size, s);
    return with_sign(choose(less(spread(0.0), size), value, x), x);
}

INLINE part arccosh_lanes(part x, part *dx) {
    part above = x - 1.0, s = root(above * (x + 1.0));
    mask large = less(spread(0x1p27), x), outside = less(x, spread(1.0));
    part low, u = two_sum(spread(1.0), above + s, &low);
    part value = log_sum(choose(large, x, u), choose(large, spread(0.0), low), choose(large, spread(1.0), spread(0.0)));
    *dx = choose(outside, spread(NAN), 1.0 / choose(large, x, s));
    return choose(outside, spread(NAN), value);
}

INLINE part arctanh_lanes(part x, part *dx) {
    part size = magnitude(x), low, u = two_sum(spread(1.0), 2.0 * size / (1.0 - size), &low);
    *dx = choose(at_most(size, spread(1.0)), 1.0 / ((1.0 - x) * (1.0 + x)), spread(NAN));
    return with_sign(0.5 * log_sum(u, low, spread(0.0)), x);
}

#endif
