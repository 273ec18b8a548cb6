/* Activations. */
#ifndef FASTPROP_ACTIVATION_H
#define FASTPROP_ACTIVATION_H

#include "error_function.h"
#include "exponential.h"

INLINE part sigmoid_lanes(part x, part *dx) {
    part q = exp_of_negative(-magnitude(x)), inverse = inverse_above_one(q), other = q * inverse;
    *dx = other * inverse;
    return choose(less(x, spread(0.0)), other, inverse);
}

/* max(x, 0) + log(1 + q) with q = exp(-a). */
INLINE part softplus_lanes(part x, part *dx) {
    part q = exp_of_negative(-magnitude(x)), inverse = inverse_above_one(q);
    *dx = choose(less(x, spread(0.0)), q * inverse, inverse);
    return larger(spread(0.0), x) + log1p_of_unit(q);
}

INLINE part log_sigmoid_lanes(part x, part *dx) { return -softplus_lanes(-x, dx); }

/* x / (1 + exp(-x)). Where x < 0 a power of two is left out until the end, or subnormal roundings would grow by x. */
INLINE part silu_lanes(part x, part *dx) {
    mask negative = less(x, spread(0.0));
    part k, power = 1.0 + exp_reduced(-magnitude(x), spread(0.0), &k), q = scale(power, k);
    part inverse = inverse_above_one(q);
    part reach = choose(negative, larger(spread(-1400.0), x), smaller(spread(1400.0), x) * q);
    part factor = choose(negative, power, spread(1.0));
    k = choose(negative, k, spread(0.0));
    *dx = scale(factor * (inverse * fused_part(reach, inverse, spread(1.0))), k);
    return scale(larger(spread(-1400.0), x) * (factor * inverse), k);
}

/* x * ndtr(x). Its slope at -a is T - a exp(-a*a/2) / sqrt(2 pi), T = ndtr(-a), and the slope at a is 1 minus that. */
INLINE part gelu_lanes(part x, part *dx) {
    part k, bounded = smaller(spread(42.0), magnitude(x)), power = gaussian(bounded, 0.5, &k);
    part tail = tail_of_normal(bounded, power, k);
    part low, density = two_product_part(power, spread(NDTR_SLOPE), &low);
    low = fused_part(power, spread(NDTR_SLOPE_LOW), low);
    part below = scale(residue(bounded, density, tail) - bounded * low, k);
    mask negative = less(x, spread(0.0));
    *dx = choose(negative, below, 1.0 - below);
    return choose(negative, -scale(bounded * tail, k), x * (1.0 - scale(tail, k)));
}

INLINE part leaky_relu_lanes(part x, part slope, part *dx, part *dslope) {
    mask positive = less(spread(0.0), x);
    part least = larger(spread(0.0), smaller(spread(1.0), slope)); /* at 0: the subgradient of least norm */
    part below = choose(equal(x, spread(0.0)), least, choose(is_nan_part(x), x, slope));
    *dx = choose(positive, spread(1.0), below);
    *dslope = choose(positive, spread(0.0), x);
    return choose(positive, x, slope * x);
}

INLINE part elu_lanes(part x, part alpha, part *dx, part *dalpha) {
    mask positive = less(spread(0.0), x), far = less(x, spread(-600.0)); /* there alpha comes before the power of two */
    part k, fraction = exp_reduced(x, spread(0.0), &k), power = 1.0 + fraction;
    part less_one = choose(equal(x, spread(0.0)), x, minus_one(fraction, k, power));
    power = choose(less(x, spread(-1400.0)), spread(0.0), power); /* times an alpha that is huge, too */
    part scaled = scale(choose(far, (0.25 * alpha) * power, power), choose(far, k + 2.0, k));
    *dx = choose(positive, spread(1.0), choose(far, scaled, alpha * scaled));
    *dalpha = choose(positive, spread(0.0), less_one);
    return choose(positive, x, alpha * less_one);
}

#endif
