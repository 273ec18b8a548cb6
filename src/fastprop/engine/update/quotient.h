/* x / y rounded as a division is, by products and sums alone: while a processor draws roots, it can do nothing else
   that its divider does, but these. Wants an inverse y that is a normal number. */
#ifndef FASTPROP_QUOTIENT_H
#define FASTPROP_QUOTIENT_H

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

/* An inverse, closer: its error is cubed. */
static inline TARGET float closer(float inverse, float y) {
    const float rest = __builtin_fmaf(-y, inverse, 1.0f);
    return __builtin_fmaf(inverse, __builtin_fmaf(rest, rest, rest), inverse);
}

static inline TARGET float quotient(float x, float y) {
    const int small = fabsf(x) < 0x1p-64f; /* whose remainder would be less than the least normal number */
    const float number = small ? x * 0x1p64f : x;
    int32_t bits;
    float guess;
    memcpy(&bits, &y, sizeof bits);
    bits = 0x7EF36000 - bits; /* the exponent changes its sign, and the rest is right to an eighth */
    memcpy(&guess, &bits, sizeof guess);
    const float inverse = closer(closer(closer(guess, y), y), y); /* rounded once, whatever y is */
    const float first = number * inverse;
    const float exact = __builtin_fmaf(__builtin_fmaf(-y, first, number), inverse, first); /* after Markstein */
    const float found = fabsf(first) <= FLT_MAX ? exact : first;
    return small ? found * 0x1p-64f : found;
}

#endif
