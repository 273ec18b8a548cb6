/* Roots, choices and steps. */
#ifndef FASTPROP_ARITHMETIC_H
#define FASTPROP_ARITHMETIC_H

#include "part.h"

#define CBRT2 1.2599210498948732

enum { CBRT_TERMS = 5 };

/* m**(-1/3) to 2**-14, for m from sqrt(1/2) to sqrt(2): a near-minimax fit. */
static const double CBRT_START[CBRT_TERMS] = {1.8743812293963589, -1.8612779262960706, 1.5604902675390087,
                                              -0.7018628521145568, 0.12824566919373015};

/* x as c * 2**(3j), c from 1/3 to 3; c**(-1/3) by a polynomial and a step of third order, then one of Newton's. */
INLINE part cbrt_lanes(part x, part *dx) {
    part size = magnitude(x), k, low, cube_low;
    mask small = less(size, spread(0x1p-1000));
    mask special = equal(size, spread(0.0)) | beyond(size, spread(1.7976931348623157e308));
    part m = split_exponent(choose(small, size * 0x1p60, size), &k);
    part j = near_integer(k * 0.3333333333333333), i = k - 3.0 * j, c = m * power_of_two(i);
    part r = polynomial(m, CBRT_START, CBRT_TERMS);
    part below = choose(less(i, spread(0.0)), spread(CBRT2), spread(1.0 / CBRT2));
    r = r * choose(equal(i, spread(0.0)), spread(1.0), below);
    part h = fused_part(-c * r, r * r, spread(1.0));
    r = fused_part(r * h, fused_part(h, spread(0.2222222222222222), spread(0.3333333333333333)), r);
    part result = c * (r * r), square = two_product_part(result, result, &low);
    part cube = two_product_part(square, result, &cube_low);
    result = result - ((cube - c) + fused_part(low, result, cube_low)) * (r * r) * 0.3333333333333333;
    j = choose(special, spread(0.0), choose(small, j - 20.0, j));
    *dx = choose(special, 1.0 / size, result / (3.0 * c) * power_of_two(-2.0 * j)); /* a rounding fewer than 1 / 3cc */
    return choose(special, x, with_sign(result * power_of_two(j), x));
}

/* hypot where x**2 + y**2 isn't a normal number: by the C library, lane by lane, at another scale. */
static __attribute__((noinline, cold)) double hypot_point(double x, double y, double *dx, double *dy) {
    double size = fmax(fabs(x), fabs(y)), scale = size < 1.0 ? 0x1p600 : 0.25, scaled = hypot(x * scale, y * scale);
    *dx = x * scale / scaled;
    *dy = y * scale / scaled;
    if (x != x || y != y || (isinf(x) && isinf(y))) {
        *dx = *dy = NAN;
    } else if (size == 0.0) {
        *dx = *dy = 0.0;
    } else if (isinf(size)) {
        *dx = isinf(x) ? copysign(1.0, x) : 0.0;
        *dy = isinf(y) ? copysign(1.0, y) : 0.0;
    }
    return hypot(x, y);
}

/* Whether the larger of two has a square that is far from overflow and from the subnormals. */
INLINE int squares_well(double x, double y) {
    double size = fmax(fabs(x), fabs(y));
    return 1e-140 <= size && size <= 1e140 && x == x && y == y;
}

INLINE int all_square_well(part x, part y) {
    part size = larger(magnitude(x), magnitude(y));
    return all(at_most(spread(1e-140), size) & at_most(size, spread(1e140)) & equal(x, x) & equal(y, y));
}

INLINE part hypot_lanes(part x, part y, part *dx, part *dy) {
    part value = root(fused_part(x, x, y * y));
    *dx = x / value;
    *dy = y / value;
    if (__builtin_expect(!all_square_well(x, y), 0)) {
        double xs[PART_LANES], ys[PART_LANES], values[PART_LANES], dxs[PART_LANES], dys[PART_LANES];
        store_part(xs, x), store_part(ys, y), store_part(values, value), store_part(dxs, *dx), store_part(dys, *dy);
        for (int lane = 0; lane < PART_LANES; lane++) {
            if (!squares_well(xs[lane], ys[lane]))
                values[lane] = hypot_point(xs[lane], ys[lane], dxs + lane, dys + lane);
        }
        value = load_part(values), *dx = load_part(dxs), *dy = load_part(dys);
    }
    return value;
}

INLINE part share_lanes(part x, part y, part *dx, part *dy) {
    const part whole = x + y, share = x / whole;
    *dx = y / whole / whole;
    *dy = -share / whole;
    return share;
}

/* The partial of a gate that is flat: 0, and NaN at NaN. */
INLINE part flat(part x) { return choose(is_nan_part(x), x, spread(0.0)); }

/* +-1, by the sign of x; at 0 it is 0, at NaN NaN. */
INLINE part signum(part x) {
    part unit = with_sign(spread(1.0), x);
    return choose(less(spread(0.0), magnitude(x)), unit, x + 0.0);
}

INLINE part sign_lanes(part x, part *dx) {
    *dx = flat(x);
    return signum(x);
}

INLINE part floor_lanes(part x, part *dx) {
    *dx = flat(x);
    return floor_part(x);
}

INLINE part ceil_lanes(part x, part *dx) {
    *dx = flat(x);
    return ceil_part(x);
}

INLINE part round_lanes(part x, part *dx) {
    *dx = flat(x);
    return nearest_part(x);
}

INLINE part trunc_lanes(part x, part *dx) {
    *dx = flat(x);
    return trunc_part(x);
}

INLINE part maximum_part(part x, part y) {
    part value = choose(less(y, x), x, y);
    value = choose(equal(x, y), (part)((ipart)x & (ipart)y), value); /* of +0 and -0, +0 */
    return choose(unordered(x, y), spread(NAN), value);
}

INLINE part minimum_part(part x, part y) { return -maximum_part(-x, -y); }

/* As NumPy's: the upper bound has the last word, and a bound that is reached leaves the slope to x. */
INLINE part clip_lanes(part x, part low, part high, part *dx, part *dlow, part *dhigh) {
    mask nan = unordered(x, low) | unordered(high, high);
    mask above = less(high, low) | less(high, x), below = less(x, low);
    part zero = spread(0.0), one = spread(1.0), none = choose(nan, spread(NAN), zero);
    *dhigh = choose(nan, none, choose(above, one, zero));
    *dlow = choose(nan, none, choose(above, zero, choose(below, one, zero)));
    *dx = choose(nan, none, choose(above, zero, choose(below, zero, one)));
    return minimum_part(maximum_part(x, low), high);
}

#endif
