/* exp, log, the sigmoid and the normal distribution of eight doubles at a time, for the baselines written by hand.

   Vectors are GCC's own: one source for every instruction set, which the compiler splits where registers are narrower.
   The polynomials interpolate the functions at Chebyshev's points, computed with 50 digits. Arguments are taken to be
   what the workloads have, finite and within +-700: a baseline need not be hostile-proof, and is faster for it. */
#ifndef FUNCTIONS_H
#define FUNCTIONS_H

#ifdef __AVX512F__
#include <immintrin.h>
#endif

#define LANES 8
#define INLINE static inline __attribute__((always_inline))

typedef double vec __attribute__((vector_size(64)));
typedef double anywhere __attribute__((vector_size(64), aligned(8), may_alias)); /* in memory, not aligned */
typedef long ivec __attribute__((vector_size(64)));

INLINE vec load(const double *from) { return *(const anywhere *)from; }
INLINE void store(double *to, vec x) { *(anywhere *)to = x; }
INLINE vec broadcast(double x) { return (vec){x, x, x, x, x, x, x, x}; }
INLINE vec choose(ivec mask, vec a, vec b) { return (vec)((mask & (ivec)a) | (~mask & (ivec)b)); }
INLINE double lane_sum(vec x) { return ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7])); }

INLINE vec square_root(vec x)
{
#ifdef __AVX512F__
    return (vec)_mm512_sqrt_pd((__m512d)x);
#else
    for (int i = 0; i < LANES; i++) x[i] = __builtin_sqrt(x[i]);
    return x;
#endif
}

/* exp(x) = 2^k exp(r), |r| <= log(2)/2; the polynomial's error is 1.5e-17 of the value */
INLINE vec exponential(vec x)
{
    const double round = 0x1.8p52; /* adding it leaves k in the low bits */
    vec shifted = x * 1.4426950408889634 + round, k = shifted - round;
    vec r = (x - k * 0.6931471805599453) - k * 2.3190468138462996e-17, square = r * r;
    vec odd = square * 2.5100472505694996e-08 + 2.7557268276905696e-06;
    vec even = square * 2.7620201591031547e-07 + 2.4801521057868204e-05;
    odd = odd * square + 0.00019841269863171557;
    even = even * square + 0.0013888888917367081;
    odd = odd * square + 0.008333333333330039;
    even = even * square + 0.041666666666623824;
    odd = odd * square + 0.16666666666666669;
    even = even * square + 0.5;
    vec power = square * (even + r * odd) + r + 1.0;
    return (vec)((ivec)power + ((ivec)shifted << 52));
}

/* log(2^e m) = e log(2) + 2 atanh(f), f = (m - 1)/(m + 1), m from sqrt(1/2) to sqrt(2); the polynomial's error is 4e-18 */
INLINE vec logarithm(vec x)
{
    const long root_half = 0x3fe6a09e667f3bcd;
    ivec exponent = ((ivec)x - root_half) >> 52;
    vec m = (vec)((ivec)x - (exponent << 52)), f = (m - 1.0) / (m + 1.0), u = f * f;
    vec p = u * 0.1461916477718642 + 0.1533150172120742;
    p = p * u + 0.18182895746801428;
    p = p * u + 0.22222211043822487;
    p = p * u + 0.28571428626533335;
    p = p * u + 0.3999999999989827;
    p = p * u + 0.666666666666667;
    return __builtin_convertvector(exponent, vec) * 0.6931471805599453 + (f + f + f * u * p);
}

INLINE vec sigmoid(vec x) { return 1.0 / (1.0 + exponential(-x)); }

/* (1 + erf(x/sqrt(2)))/2 by erfc(z) = exp(-z^2) p(t), t = (z - K)/(z + K), z from 0 to 6; the error is 1e-16 of 1 */
INLINE vec normal_distribution(vec x)
{
    const double K = 3.75;
    vec z = (vec)((ivec)x & 0x7fffffffffffffff) * 0.7071067811865476;
    z = choose(z < 6.0, z, broadcast(6.0));
    vec t = (z - K) / (z + K), square = t * t;
    vec even = square * 2.459968153852537e-07 + 1.6369890421839057e-06;
    vec odd = square * 1.4939080677870602e-06 + -5.635644330525859e-06;
    even = even * square + 3.749432581405605e-06;
    odd = odd * square + 4.789079395152372e-05;
    even = even * square + -0.00015248610978666285;
    odd = odd * square + -2.554120586792629e-05;
    even = even * square + 0.0018029628154916748;
    odd = odd * square + -0.008220620781115925;
    even = even * square + 0.024143224001935065;
    odd = odd * square + -0.05480232670247931;
    even = even * square + 0.10260431203116653;
    odd = odd * square + -0.1635718955238852;
    even = even * square + 0.22600806691663;
    odd = odd * square + -0.2734219314954264;
    even = even * square + 0.14558972127503853;
    vec tail = 0.5 * exponential(-(z * z)) * (even + t * odd);
    return choose(x < 0.0, tail, 1.0 - tail);
}

#endif
