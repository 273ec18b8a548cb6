/* A part: as many doubles as one register of the build holds (8, 4 or 2), and the primitives on it.
 *
 * The gates are written on parts; vector.h lifts them to vectors of 8 lanes. (GCC takes vectors wider than a register
 * to pieces, comparisons even lane by lane.) No primitive looks at a neighbour: a lane's result is its own. */
#ifndef FASTPROP_PART_H
#define FASTPROP_PART_H

#if !defined(__SSE2__) && !defined(FASTPROP_PORTABLE)
#define FASTPROP_PORTABLE 1 /* no intrinsics: portable.h instead; to be set by hand, too, so that it can be tried */
#endif
#if !defined(FASTPROP_PORTABLE) || defined(__AVX2__)
#undef FASTPROP_PORTABLE
#include <immintrin.h>
#endif
#include <math.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)
#define PART_BYTES 64
typedef __mmask8 mask; /* one bit per lane; elsewhere a part of integers, all bits set or none */
#elif defined(__AVX2__)
#define PART_BYTES 32
#else
#define PART_BYTES 16
#endif
#define PART_LANES (PART_BYTES / 8)

typedef double part __attribute__((vector_size(PART_BYTES)));
typedef int64_t ipart __attribute__((vector_size(PART_BYTES)));
typedef float partf __attribute__((vector_size(PART_BYTES)));
typedef int32_t ipartf __attribute__((vector_size(PART_BYTES)));
typedef uint64_t upart __attribute__((vector_size(PART_BYTES)));
#if !defined(__AVX512F__)
typedef ipart mask;
#endif

#if defined(FASTPROP_PORTABLE)
#include "portable.h"
#else

/* Where the registers' widths differ only in the names of their intrinsics: _mm512_add_pd, _mm_add_pd, and so on. */
#if defined(__AVX512F__)
#define REGISTER(operation) _mm512_##operation
#elif defined(__AVX2__)
#define REGISTER(operation) _mm256_##operation
#else
#define REGISTER(operation) _mm_##operation
#endif

INLINE part spread(double x) { return (part)REGISTER(set1_pd)(x); }

INLINE partf spreadf(float x) { return (partf)REGISTER(set1_ps)(x); }

INLINE part load_part(const double *from) { return (part)REGISTER(loadu_pd)(from); }

INLINE partf load_partf(const float *from) { return (partf)REGISTER(loadu_ps)(from); }

INLINE void store_part(double *to, part x) { REGISTER(storeu_pd)(to, x); }

INLINE void store_partf(float *to, partf x) { REGISTER(storeu_ps)(to, x); }

/* The lower or upper half of a part of floats as doubles, and two parts of doubles as one of floats. */
#if defined(__AVX512F__)
INLINE part widened(partf x, int upper) {
    __m256 half = upper ? _mm512_extractf32x8_ps(x, 1) : _mm512_castps512_ps256(x);
    return (part)_mm512_cvtps_pd(half);
}

INLINE partf narrowed(part lower, part upper) {
    return (partf)_mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(lower)), _mm512_cvtpd_ps(upper), 1);
}
#elif defined(__AVX2__)
INLINE part widened(partf x, int upper) {
    return (part)_mm256_cvtps_pd(upper ? _mm256_extractf128_ps(x, 1) : _mm256_castps256_ps128(x));
}

INLINE partf narrowed(part lower, part upper) {
    return (partf)_mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps(lower)), _mm256_cvtpd_ps(upper), 1);
}
#else
INLINE part widened(partf x, int upper) { return (part)_mm_cvtps_pd(upper ? _mm_movehl_ps(x, x) : (__m128)x); }

INLINE partf narrowed(part lower, part upper) { return (partf)_mm_movelh_ps(_mm_cvtpd_ps(lower), _mm_cvtpd_ps(upper)); }
#endif

/* x * y + z, rounded once where the processor can. */
#if defined(__FMA__)
INLINE part fused(part x, part y, part z) { return (part)REGISTER(fmadd_pd)(x, y, z); }

INLINE partf fusedf(partf x, partf y, partf z) { return (partf)REGISTER(fmadd_ps)(x, y, z); }
#else
INLINE part fused(part x, part y, part z) { return x * y + z; }

INLINE partf fusedf(partf x, partf y, partf z) { return x * y + z; }
#endif

INLINE part smaller(part bound, part x) { return (part)REGISTER(min_pd)(bound, x); } /* x where x is NaN */

INLINE part larger(part bound, part x) { return (part)REGISTER(max_pd)(bound, x); }

INLINE partf smallerf(partf bound, partf x) { return (partf)REGISTER(min_ps)(bound, x); }

INLINE partf largerf(partf bound, partf x) { return (partf)REGISTER(max_ps)(bound, x); }

INLINE part root(part x) { return (part)REGISTER(sqrt_pd)(x); }

INLINE partf rootf(partf x) { return (partf)REGISTER(sqrt_ps)(x); }

#if !defined(__AVX512F__)
INLINE int signs(ipart m) { return REGISTER(movemask_pd)((part)m); } /* a bit per lane */
#endif

/* Write a part past the cache, to an address that is a multiple of its size. */
INLINE void stream_part(void *to, part x) { REGISTER(stream_pd)((double *)to, x); }

#endif /* not portable */

/* Masks ------------------------------------------------------------------------------------------------------------ */

#if defined(__AVX512F__)
INLINE mask less(part x, part y) { return _mm512_cmp_pd_mask(x, y, _CMP_LT_OQ); }
INLINE mask at_most(part x, part y) { return _mm512_cmp_pd_mask(x, y, _CMP_LE_OQ); }
INLINE mask equal(part x, part y) { return _mm512_cmp_pd_mask(x, y, _CMP_EQ_OQ); }
INLINE mask unordered(part x, part y) { return _mm512_cmp_pd_mask(x, y, _CMP_UNORD_Q); }
INLINE mask beyond(part x, part y) { return _mm512_cmp_pd_mask(x, y, _CMP_NLE_UQ); } /* also if one is NaN */
INLINE int any(mask m) { return m != 0; }
INLINE int all(mask m) { return m == 0xff; }
INLINE part choose(mask m, part x, part y) { return (part)_mm512_mask_blend_pd(m, y, x); }
INLINE mask sign_bit(part x) { return _mm512_movepi64_mask((__m512i)x); }
#else
INLINE mask less(part x, part y) { return (mask)(x < y); }
INLINE mask at_most(part x, part y) { return (mask)(x <= y); }
INLINE mask equal(part x, part y) { return (mask)(x == y); }
INLINE mask unordered(part x, part y) { return (mask)((x != x) | (y != y)); }
INLINE mask beyond(part x, part y) { return ~(mask)(x <= y); } /* also if one is NaN */
INLINE int any(mask m) { return signs(m) != 0; }
INLINE int all(mask m) { return signs(m) == (1 << PART_LANES) - 1; }
#if defined(__AVX2__)
INLINE part choose(mask m, part x, part y) { return (part)_mm256_blendv_pd(y, x, (part)m); }
#else
INLINE part choose(mask m, part x, part y) { return (part)((m & (ipart)x) | (~m & (ipart)y)); }
#endif
#if defined(__AVX2__) || defined(FASTPROP_PORTABLE)
INLINE mask sign_bit(part x) { return (mask)((ipart)x < 0); }
#else
INLINE mask sign_bit(part x) {
    __m128i high = _mm_srai_epi32((__m128i)x, 31);
    return (mask)_mm_shuffle_epi32(high, _MM_SHUFFLE(3, 3, 1, 1));
}
#endif
#endif

INLINE mask is_nan_part(part x) { return unordered(x, x); }

/* Signs ------------------------------------------------------------------------------------------------------------ */

INLINE part magnitude(part x) { return (part)((ipart)x & INT64_MAX); }

INLINE part with_sign(part size, part sign) { return (part)(((ipart)size & INT64_MAX) | ((ipart)sign & INT64_MIN)); }

/* -x where the sign bit is set, else x. */
INLINE part flip_sign(part x, part sign) { return (part)((ipart)x ^ ((ipart)sign & INT64_MIN)); }

/* Arithmetic ------------------------------------------------------------------------------------------------------- */

#if defined(__FMA__)
INLINE part fused_part(part x, part y, part z) { return (part)REGISTER(fmadd_pd)(x, y, z); }
#else
INLINE part fused_part(part x, part y, part z) { return x * y + z; }
#endif

/* The sum of two, and its rounding error (Knuth; Dekker's if x is the larger). */
INLINE part two_sum(part x, part y, part *low) {
    part sum = x + y, other = sum - x;
    *low = (x - (sum - other)) + (y - other);
    return sum;
}

INLINE part fast_two_sum(part x, part y, part *low) {
    part sum = x + y;
    *low = y - (sum - x);
    return sum;
}

/* The product of two, and its rounding error: by fma, else by Veltkamp's split (for factors below 2**995). */
INLINE part two_product_part(part x, part y, part *low) {
    part product = x * y;
#if defined(__FMA__)
    *low = fused_part(x, y, -product);
#else
    part x_scaled = x * 134217729.0, y_scaled = y * 134217729.0;
    part x_head = x_scaled - (x_scaled - x), y_head = y_scaled - (y_scaled - y);
    part x_tail = x - x_head, y_tail = y - y_head;
    *low = ((x_head * y_head - product) + x_head * y_tail + x_tail * y_head) + x_tail * y_tail;
#endif
    return product;
}

/* z - x * y, as if the product weren't rounded. */
INLINE part residue(part x, part y, part z) {
#if defined(__FMA__)
    return fused_part(-x, y, z);
#else
    part low, product = two_product_part(x, y, &low);
    return (z - product) - low;
#endif
}

/* 1 / y to a unit, or NaN where it, or y, is 0 or subnormal, or infinite. Division takes Intel's widest registers 16
   cycles, and this 5. */
INLINE part quick_inverse(part y) {
#if defined(__AVX512F__)
    part inverse = (part)_mm512_rcp14_pd(y);
    inverse = fused_part(inverse, residue(inverse, y, spread(1.0)), inverse);
    return fused_part(inverse, residue(inverse, y, spread(1.0)), inverse);
#else
    return 1.0 / y;
#endif
}

/* x / y and z / y, each to two units; where y is subnormal or no number that has an inverse, the first is NaN or right. */
INLINE void quotients_part(part x, part z, part y, part *first, part *second) {
#if defined(__FMA__)
    part inverse = quick_inverse(y), once = x * inverse;
    *first = fused_part(inverse, residue(once, y, x), once);
    *second = z * inverse;
#else
    *first = x / y;
    *second = z / y;
#endif
}

/* 1 / (1 + q), for q from 0 to 1: rounded once or nearly so, as if the sum weren't rounded. */
INLINE part inverse_above_one(part q) {
    part once = 1.0 / (1.0 + q);
    return fused_part(once, residue(q, once, 1.0 - once), once);
}

/* 1 / (y + low), rounded once or nearly so. */
INLINE part inverse_of(part y, part low) {
    part once = 1.0 / y;
    return fused_part(once, residue(y, once, spread(1.0)) - low * once, once);
}

/* x / (y + low), given its inverse: without another division. */
INLINE part divided(part x, part y, part low, part inverse) {
    part once = x * inverse;
    return fused_part(inverse, residue(once, y, x) - once * low, once);
}

/* Every step-th coefficient from `first` on, as a polynomial in x: Horner's rule. */
INLINE part horner(part x, const double *coefficient, int n, int first, int step) {
    int last = first + (n - 1 - first) / step * step;
    part total = spread(coefficient[last]);
#pragma GCC unroll 32
    for (int k = last - step; k >= first; k -= step) total = fused_part(total, x, spread(coefficient[k]));
    return total;
}

/* The polynomial of n coefficients, lowest first, in two or four chains: one alone would wait for itself. */
INLINE part polynomial(part x, const double *coefficient, int n) {
    part square = x * x;
    if (n < 16)
        return fused_part(horner(square, coefficient, n, 1, 2), x, horner(square, coefficient, n, 0, 2));
    part fourth = square * square;
    part low = fused_part(horner(fourth, coefficient, n, 1, 4), x, horner(fourth, coefficient, n, 0, 4));
    part high = fused_part(horner(fourth, coefficient, n, 3, 4), x, horner(fourth, coefficient, n, 2, 4));
    return fused_part(high, square, low);
}

/* Integers and exponents ------------------------------------------------------------------------------------------- */

#define INTEGRAL 0x1.8p52 /* adding it rounds a double below 2**51 to an integer, in the low bits of the sum */

INLINE part near_integer(part x) { return (x + INTEGRAL) - INTEGRAL; } /* for magnitudes below 2**51 */

/* 2**k for an integer k from -1022 to 1023. */
INLINE part power_of_two(part k) { return (part)((upart)(k + (INTEGRAL + 1023.0)) << 52); }

/* x * 2**k for an integer k up to 2044 in magnitude, rounded once also as a subnormal, if x is near 1. */
INLINE part scale(part x, part k) {
#if defined(__AVX512F__)
    return (part)_mm512_scalef_pd(x, k);
#else
    part half = near_integer(0.5 * k);
    return (x * power_of_two(half)) * power_of_two(k - half);
#endif
}

/* The same for any k; what is out of range is infinite or 0. */
INLINE part scale_far(part x, part k) {
#if defined(__AVX512F__)
    return scale(x, k);
#else
    return scale(x, larger(spread(-2040.0), smaller(spread(2040.0), k)));
#endif
}

/* x as m * 2**k, with m from sqrt(1/2) to sqrt(2), for positive finite x that is not subnormal. */
INLINE part split_exponent(part x, part *k) {
    const uint64_t one = 0x3ff0000000000000, root_half = 0x3fe6a09e667f3bcd;
    upart shifted = (upart)x + (one - root_half), exponent = shifted >> 52;
#if defined(__AVX512DQ__)
    *k = (part)_mm512_cvtepi64_pd((__m512i)(exponent - 1023));
#else
    *k = (part)(exponent | 0x4330000000000000) - (0x1p52 + 1023.0);
#endif
    return (part)((shifted & 0x000fffffffffffff) + root_half);
}

/* Rounding to integers, right for all inputs: signed zeros, infinities, large ones. */
#if defined(__AVX512F__)
#define ROUNDED(x, way) (part)_mm512_roundscale_pd(x, (way) | _MM_FROUND_NO_EXC)
#elif defined(__AVX2__)
#define ROUNDED(x, way) (part)_mm256_round_pd(x, (way) | _MM_FROUND_NO_EXC)
#endif

#if defined(ROUNDED)
INLINE part nearest_part(part x) { return ROUNDED(x, _MM_FROUND_TO_NEAREST_INT); }
INLINE part floor_part(part x) { return ROUNDED(x, _MM_FROUND_TO_NEG_INF); }
INLINE part ceil_part(part x) { return ROUNDED(x, _MM_FROUND_TO_POS_INF); }
INLINE part trunc_part(part x) { return ROUNDED(x, _MM_FROUND_TO_ZERO); }
#else
INLINE part nearest_part(part x) {
    part size = magnitude(x), whole = (size + 0x1p52) - 0x1p52;
    return with_sign(choose(less(size, spread(0x1p52)), whole, size), x);
}
INLINE part floor_part(part x) {
    part whole = nearest_part(x);
    return with_sign(choose(less(x, whole), whole - 1.0, whole), x);
}
INLINE part ceil_part(part x) { return -floor_part(-x); }
INLINE part trunc_part(part x) { return with_sign(floor_part(magnitude(x)), x); }
#endif

#endif
