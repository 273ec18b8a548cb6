/* Error functions. */
#ifndef FASTPROP_ERROR_FUNCTION_H
#define FASTPROP_ERROR_FUNCTION_H

#include "exponential.h"

#define ERF_SLOPE 1.1283791670955126 /* of erf at 0 */
#define ERF_SLOPE_LOW 1.533545961316588e-17
#define NDTR_SLOPE 0.3989422804014327 /* of ndtr at 0 */
#define NDTR_SLOPE_LOW -2.49232720227773e-17
#define SQRT2 1.4142135623730951
#define SQRT_HALF 0.7071067811865476

enum { ERF_TERMS = 12, ERF_TAIL_TERMS = 13, TAIL_TERMS = 24 };

/* erf(x) / x in x**2, for x below 1. */
static const double ERF_SERIES[ERF_TERMS] = {
    1.1283791670955126, -0.3761263890318355, 0.11283791670945247, -0.026866170643275133, 0.005223977607415053,
    -0.0008548325989315286, 0.00012055295309680483, -1.4924744465968247e-05, 1.6447515358884871e-06,
    -1.6209158961774908e-07, 1.3722906141796604e-08, -7.801063420973023e-10};

/* exp(x**2) * erfc(x) / ERF_SLOPE in (x - 2) / (x + 2), for x from 1 to 6. */
static const double ERF_TAIL[ERF_TAIL_TERMS] = {
    0.2263385249905873, -0.378583600150602, 0.21416399849397003, -0.06999294503077703, 0.003308189753416103,
    0.0062013390423243985, -0.0007507605846081257, -0.0008702539699916783, 3.8583286049992225e-05,
    0.00015445976334213732, 2.4477920980118265e-05, -2.3593688790038477e-05, -1.1215134292583759e-05};

/* (1 + 2x) * exp(x**2) * erfc(x) in (x - 3.5) / (x + 3.5), for x from 0 to 30. */
static const double TAIL[TAIL_TERMS] = {
    1.2423492448711544, -0.14000918013761943, -0.010555596332216585, 0.09751909515325925, -0.11508959816029685,
    0.08798315382486273, -0.04882332582537362, 0.019099330942182708, -0.004215019939248485, -0.0003022678734157948,
    0.0005643846478208931, -0.00012151245434202625, -4.2783287850281886e-05, 2.4261100316826705e-05,
    2.3314391006236972e-06, -3.814959436875928e-06, -5.020881692595698e-08, 6.01465398667757e-07,
    -8.44952889053656e-10, -9.489411336081945e-08, -4.1869366486883515e-09, 1.1915907631527907e-08,
    1.3841477660936555e-09, -5.264689599757261e-10};

/* exp(-rate * x * x) without its 2**k, to a unit, for rate 1 or 1/2 and x up to 37 or 52: the rounding of x * x is put
   back. */
INLINE part gaussian(part x, double rate, part *k) {
    part low, square = two_product_part(x, x, &low);
    return 1.0 + exp_bounded(-rate * square, -rate * low, k);
}

/* height * exp(-rate * x * x). */
INLINE part bell(part x, double rate, double height, double height_low) {
    part k, power = gaussian(smaller(spread(rate == 1.0 ? 37.0 : 52.0), magnitude(x)), rate, &k);
    return scale(fused_part(power, spread(height), power * height_low), k);
}

/* erf(x), for x from 0 to 1. */
INLINE part erf_near(part x) { return x * polynomial(x * x, ERF_SERIES, ERF_TERMS); }

/* erf(x) / x - ERF_SLOPE, for x from 0 to 1, given the square. */
INLINE part erf_bend(part square) { return square * polynomial(square, ERF_SERIES + 1, ERF_TERMS - 1); }

/* erfc(x) for x from 0 to 30, and ndtr(-x) for x from 0 to 42, given the power and k of their bells; times 2**-k.
   Near 0 by the series of erf, for t has too few digits there. */
INLINE part tail_of_error(part x, part power, part k) {
    part d = 1.0 + 2.0 * x, low = (1.0 - d) + 2.0 * x, far = polynomial((x - 3.5) / (x + 3.5), TAIL, TAIL_TERMS);
    far = power * divided(far, d, low, 1.0 / d);
    part near = residue(x, spread(ERF_SLOPE), spread(1.0)) - x * (erf_bend(x * x) + ERF_SLOPE_LOW);
    return choose(less(x, spread(0.7)), near * power_of_two(smaller(spread(1000.0), -k)), far);
}

INLINE part tail_of_normal(part x, part power, part k) {
    part shrunk = x * SQRT_HALF, far = polynomial((shrunk - 3.5) / (shrunk + 3.5), TAIL, TAIL_TERMS);
    part error, double_x = two_product_part(x, spread(SQRT2), &error);
    part d = 1.0 + double_x, low = (1.0 - d) + double_x + error;
    far = 0.5 * (power * divided(far, d, low, 1.0 / d));
    part near = 0.5 * (x * SQRT_HALF) * erf_bend(0.5 * (x * x));
    near = residue(x, spread(NDTR_SLOPE), spread(0.5)) - fused_part(x, spread(NDTR_SLOPE_LOW), near);
    return choose(less(x, spread(1.0)), near * power_of_two(smaller(spread(1000.0), -k)), far);
}

INLINE part erf_lanes(part x, part *dx) {
    part size = magnitude(x), slope = bell(x, 1.0, ERF_SLOPE, ERF_SLOPE_LOW);
    part t = 1.0 - 4.0 / (smaller(spread(6.0), size) + 2.0);
    part far = fused_part(-slope, polynomial(t, ERF_TAIL, ERF_TAIL_TERMS), spread(1.0));
    *dx = slope;
    return with_sign(choose(less(size, spread(1.0)), erf_near(size), far), x);
}

INLINE part erfc_lanes(part x, part *dx) {
    part k, bounded = smaller(spread(30.0), magnitude(x)), power = gaussian(bounded, 1.0, &k);
    part tail = scale(tail_of_error(bounded, power, k), k);
    *dx = scale(fused_part(power, spread(-ERF_SLOPE), power * -ERF_SLOPE_LOW), k);
    return choose(less(x, spread(0.0)), 2.0 - tail, tail);
}

INLINE part ndtr_lanes(part x, part *dx) {
    part k, bounded = smaller(spread(42.0), magnitude(x)), power = gaussian(bounded, 0.5, &k);
    part tail = scale(tail_of_normal(bounded, power, k), k);
    *dx = scale(fused_part(power, spread(NDTR_SLOPE), power * NDTR_SLOPE_LOW), k);
    return choose(less(spread(0.0), x), 1.0 - tail, tail);
}

#endif
