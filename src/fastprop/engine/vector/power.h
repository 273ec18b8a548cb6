/* x**y = exp(y log x), with the logarithm in two doubles, for y multiplies its error by up to 745. */
#ifndef FASTPROP_VECTOR_POWER_H
#define FASTPROP_VECTOR_POWER_H

#include "exponential.h"

#define TWO_THIRDS 0.6666666666666666
#define TWO_THIRDS_LOW 3.700743415417188e-17

enum { POWER_TERMS = 9 };

/* (log((1 + s) / (1 - s)) - 2s - 2/3 s**3) / s**5 in s**2, for (1 + s) / (1 - s) from sqrt(1/2) to sqrt(2). */
static const double POWER_SERIES[POWER_TERMS] = {
    0.4, 0.28571428571428376, 0.22222222222290583, 0.18181818169250913, 0.15384616753550628, 0.13333240409174066,
    0.11768674899811986, 0.10422881028848642, 0.11013504878486695};

/* log(m * 2**k), high and low, to 2**-63 or so: with s = (m - 1) / (m + 1) it is 2s + s**3 (2/3 + s**2 P(s**2)). */
INLINE part precise_log(part m, part k, part *low) {
    part f = m - 1.0, d = m + 1.0, d_low = m - (d - 1.0), inverse = 1.0 / d;
    part s = f * inverse, s_low = (residue(s, d, f) - s * d_low) * inverse;
    part square_low, square = two_product_part(s, s, &square_low);
    square_low = fused_part(2.0 * s, s_low, square_low);
    part cube_low, cube = two_product_part(s, square, &cube_low);
    cube_low = fused_part(s, square_low, fused_part(s_low, square, cube_low));
    part rest = square * polynomial(square, POWER_SERIES, POWER_TERMS);
    part a_low, a = fast_two_sum(spread(TWO_THIRDS), rest, &a_low); /* 2/3 + s**2 P */
    part c_low, c = two_product_part(cube, a, &c_low);
    c_low = fused_part(cube, a_low + TWO_THIRDS_LOW, fused_part(cube_low, a, c_low));
    part sum_low, sum = fast_two_sum(k * LN2_HEAD, 2.0 * s, &sum_low); /* the product is exact */
    part total_low, total = fast_two_sum(sum, c, &total_low);
    total_low = (sum_low + total_low) + fused_part(k, spread(LN2_TAIL), fused_part(spread(2.0), s_low, c_low));
    return fast_two_sum(total, total_low, low);
}

/* x**y = z and its partials by the C library, where x is 0, infinite or NaN, or y is huge or no number. */
static __attribute__((noinline, cold)) double power_point(double x, double y, double *dx, double *dy) {
    double z = y == 2.0 ? x * x : pow(x, y), less = pow(x, y - 1.0), half;
    *dx = y == 0.0 || less == 0.0 ? 0.0 : y * less; /* x**0 is 1, also of NaN */
    if (x != 0.0 && isfinite(x) && isfinite(y)) *dx = y * (z / x);
    if (y == 2.0) *dx = 2.0 * x;
    if (x == 0.0) {
        *dy = y >= 0.0 ? 0.0 : y < 0.0 ? z * log(x) : y;
    } else if (z == 0.0 && x == INFINITY) {
        *dy = 0.0;
    } else if (x > 0.0 && isfinite(x) && !(1e-280 < z && z < 1e280)) {
        half = pow(x, 0.5 * y); /* neither overflows nor becomes subnormal */
        *dy = log(x) * half * half;
    } else {
        *dy = z * log(x);
    }
    return z;
}

INLINE int is_usual_power(double x, double y) { return 0.0 < fabs(x) && fabs(x) < INFINITY && fabs(y) < 1e30; }

INLINE int are_usual_powers(part x, part y) {
    part size = magnitude(x);
    mask usual = less(spread(0.0), size) & less(size, spread(INFINITY));
    return all(usual & less(magnitude(y), spread(1e30)));
}

/* 1, or where x is negative the sign of x**y: NaN unless y is an integer. */
INLINE part sign_of_power(part x, part y) {
    part half = 0.5 * y;
    part sign = choose(equal(nearest_part(half), half), spread(1.0), spread(-1.0));
    sign = choose(equal(nearest_part(y), y), sign, spread(NAN));
    return choose(less(x, spread(0.0)), sign, spread(1.0));
}

INLINE part power_lanes(part x, part y, part *dx, part *dy) {
    part size = magnitude(x), exponent, log_low, low, k;
    mask small = less(size, spread(SMALLEST_NORMAL));
    part m = split_exponent(choose(small, size * 0x1p54, size), &exponent);
    exponent = exponent - choose(small, spread(54.0), spread(0.0));
    part log = precise_log(m, exponent, &log_low), product = two_product_part(y, log, &low);
    part bounded = larger(spread(-3000.0), smaller(spread(3000.0), product));
    low = choose(equal(product, bounded), fused_part(y, log_low, low), spread(0.0));
    part power = 1.0 + exp_bounded(bounded, low, &k), smooth = power * log;
    if (any(less(x, spread(0.0)))) {
        power = power * sign_of_power(x, y);
        smooth = choose(less(x, spread(0.0)), spread(NAN), smooth);
    }
    mask two = equal(y, spread(2.0)), tiny = less(magnitude(y), spread(0x1p-200)); /* y may be subnormal */
    part down = k - exponent - choose(tiny, spread(200.0), spread(0.0));
    part slope = scale_far(choose(tiny, y * 0x1p200, y) * (power / flip_sign(m, x)), down);
    part value = choose(two, x * x, scale_far(power, k));
    *dx = choose(two, 2.0 * x, slope); /* y x**(y - 1) would feel the rounding of y - 1 */
    *dy = scale_far(smooth, k);
    if (__builtin_expect(!are_usual_powers(x, y), 0)) {
        double xs[PART_LANES], ys[PART_LANES], values[PART_LANES], dxs[PART_LANES], dys[PART_LANES];
        store_part(xs, x), store_part(ys, y), store_part(values, value), store_part(dxs, *dx), store_part(dys, *dy);
        for (int lane = 0; lane < PART_LANES; lane++) {
            if (!is_usual_power(xs[lane], ys[lane]))
                values[lane] = power_point(xs[lane], ys[lane], dxs + lane, dys + lane);
        }
        value = load_part(values), *dx = load_part(dxs), *dy = load_part(dys);
    }
    return value;
}

#endif
