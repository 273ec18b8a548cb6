/* Gates on floats as floats, where processors multiply and add at once: twice as many as doubles, and half of the terms.
 * The other gates on floats are computed as doubles, and rounded. Coefficients: near-minimax fits to mpmath, to 2**-27 or better. */
#ifndef FASTPROP_SINGLE_H
#define FASTPROP_SINGLE_H

#include "part.h"

#define FLOATS (PART_BYTES / 4)
#define NEAREST_FLOAT 0x1.8p23f /* added and subtracted: rounds to an integer */
#define LN2_HEADF 0x1.62e4p-1f  /* of 15 bits: exact times any exponent */
#define LN2_TAILF 0x1.7f7d1cp-20f

enum { EXP_TERMSF = 6 };

/* (exp(r) - 1 - r) / r**2 for abs(r) <= ln(2) / 2. */
static const float EXP_SERIESF[EXP_TERMSF] = {
    0.5f, 0.16666667f, 0.041666667f, 0.0083333333f, 0.0013888889f, 0.0001984127f};

INLINE partf magnitudef(partf x) { return (partf)((ipartf)x & 0x7fffffff); }

INLINE partf with_signf(partf size, partf sign) {
    return (partf)(((ipartf)size & 0x7fffffff) | ((ipartf)sign & (int32_t)0x80000000));
}

/* 2**k for an integer k from -126 to 127. */
INLINE partf power_of_twof(partf k) {
    const partf lifted = k + (NEAREST_FLOAT + 127.0f); /* whose last bits are the exponent */
    return (partf)((ipartf)lifted << 23);
}

/* exp(x) is (1 + the result) * 2**k, for x from -120 to 120. */
INLINE partf exp_boundedf(partf x, partf *k) {
    const partf whole = fusedf(x, spreadf(1.44269504f), spreadf(NEAREST_FLOAT)) - NEAREST_FLOAT;
    const partf r = fusedf(whole, spreadf(-LN2_TAILF), fusedf(whole, spreadf(-LN2_HEADF), x));
    partf total = spreadf(EXP_SERIESF[EXP_TERMSF - 1]);
#pragma GCC unroll 8
    for (int i = EXP_TERMSF - 2; i >= 0; i--) total = fusedf(total, r, spreadf(EXP_SERIESF[i]));
    *k = whole;
    return fusedf(r * r, total, r);
}

/* exp(-size) is the result times `rest`, which is 1 unless it is far below 1; `less` gets it minus 1. */
INLINE partf exp_of_negativef(partf size, partf *rest, partf *less) {
    partf k, fraction = exp_boundedf(largerf(spreadf(-120.0f), -size), &k);
    const partf bounded = largerf(spreadf(-100.0f), k), power = power_of_twof(bounded);
    *rest = power_of_twof(k - bounded);
    *less = fusedf(power, fraction, power - 1.0f);
    return fusedf(power, fraction, power);
}

INLINE partf exp_lanesf(partf x, partf *dx) {
    partf k, fraction = exp_boundedf(largerf(spreadf(-120.0f), smallerf(spreadf(120.0f), x)), &k);
    const partf half = fusedf(k, spreadf(0.5f), spreadf(NEAREST_FLOAT)) - NEAREST_FLOAT;
    return *dx = ((1.0f + fraction) * power_of_twof(half)) * power_of_twof(k - half);
}

/* 1 / d, to a unit: what is divided by it is put right. */
INLINE partf nearly_inversef(partf d) {
#if defined(__AVX512F__)
    const partf inverse = (partf)_mm512_rcp14_ps((__m512)d); /* division takes Intel's widest registers long */
    return fusedf(fusedf(-inverse, d, spreadf(1.0f)), inverse, inverse);
#else
    return 1.0f / d;
#endif
}

/* x / (d + low), and x / (d + low)**2, to about half a unit, from 1 / d; what is subtracted must not be rounded. */
INLINE partf dividedf(partf x, partf d, partf low, partf inverse) {
    const partf once = x * inverse;
    return fusedf(fusedf(-once, d, x) - once * low, inverse, once);
}

INLINE partf divided_twicef(partf x, partf d, partf low, partf inverse) {
    const partf square = d * d, error = fusedf(d, d, -square);
    return dividedf(x, square, fusedf(2.0f * d, low, error), inverse * inverse);
}

/* With q = exp(-2a): tanh = -(q - 1) / (2 + (q - 1)), its slope 4q / (2 + (q - 1))**2. */
INLINE partf tanh_lanesf(partf x, partf *dx) {
    partf rest, less, q = exp_of_negativef(2.0f * magnitudef(x), &rest, &less);
    const partf d = 2.0f + less, low = (2.0f - d) + less, inverse = nearly_inversef(d);
    *dx = divided_twicef(4.0f * q, d, low, inverse) * rest;
    return with_signf(dividedf(less, d, low, inverse), x);
}

/* With q = exp(-a): 1 / (1 + q), or q / (1 + q); the slope is q / (1 + q)**2. */
INLINE partf sigmoid_lanesf(partf x, partf *dx) {
    partf rest, less, q = exp_of_negativef(magnitudef(x), &rest, &less);
    const partf small = q * rest, d = 1.0f + small, low = (1.0f - d) + small, inverse = nearly_inversef(d);
    const ipartf negative = x < 0.0f;
    const partf above = dividedf(spreadf(1.0f), d, low, inverse), below = dividedf(q, d, low, inverse) * rest;
    *dx = divided_twicef(q, d, low, inverse) * rest;
    return (partf)((negative & (ipartf)below) | (~negative & (ipartf)above));
}

#endif
