/* Circular functions and their inverses.
 *
 * sin, cos: x = n pi/2 + r, the multiple of pi/2 taken away in parts (Cody and Waite), and a polynomial for each on
 * abs(r) <= pi/4. Lanes whose arguments are too large for that are reduced one by one (Payne and Hanek). */
#ifndef FASTPROP_TRIGONOMETRIC_H
#define FASTPROP_TRIGONOMETRIC_H

#include "arithmetic.h"

#define HALF_PI 1.5707963267948966
#define HALF_PI_LOW 6.123233995736766e-17

enum { SIN_TERMS = 6, COS_TERMS = 6, ARCTAN_TERMS = 12, ARCSIN_TERMS = 13 };

/* (sin(r) - r) / r**3 and (cos(r) - 1 + r**2 / 2) / r**4 in r**2, for r up to pi/4. */
static const double SIN_SERIES[SIN_TERMS] = {-0.16666666666666632, 0.0083333333333223, -0.0001984126982971588,
                                             2.755731365926775e-06, -2.5050752871274786e-08, 1.5896483882718728e-10};
static const double COS_SERIES[COS_TERMS] = {0.0416666666666666, -0.0013888888888873945, 2.4801587289365575e-05,
                                             -2.7557314317505926e-07, 2.0875718416644425e-09, -1.135939122932897e-11};

/* (arctan(t) - t) / t**3 in t**2, for t up to tan(pi/8); (arcsin(t) - t) / t**3 in t**2, for t up to 1/2. */
static const double ARCTAN_SERIES[ARCTAN_TERMS] = {
    -0.33333333333333326, 0.1999999999999768, -0.1428571428538978, 0.11111111088294737, -0.09090908148911969,
    0.07692282860503015, -0.06666228292246826, 0.05877037070225945, -0.052185039830247124, 0.04503958815852822,
    -0.03348407697621334, 0.015205003496934814};
static const double ARCSIN_SERIES[ARCSIN_TERMS] = {
    0.16666666666666763, 0.07499999999970283, 0.044642857175090735, 0.030381942685306248, 0.022372215609207304,
    0.01735160103933404, 0.013980949964430492, 0.011397869940462371, 0.010786006220382956, 0.003684994806194845,
    0.02175881187718775, -0.021070757210033677, 0.03267286616817462};

#if defined(__FMA__)
#define CIRCLE_LIMIT 0x1p42 /* x - n * pi/2 is exact for the leading part of pi/2, and n about the nearest */
#else
#define CIRCLE_LIMIT 0x1p19 /* n times the leading parts of pi/2, of 33 bits each, is exact */
#endif

INLINE mask is_uneven(ipart n) {
#if defined(__AVX512F__)
    return _mm512_test_epi64_mask((__m512i)n, _mm512_set1_epi64(1));
#else
    return -(n & 1);
#endif
}

/* 2/pi in binary, behind 64 zeros: as far as the last bits that the largest double asks for. */
static const uint64_t TWO_OVER_PI[22] = {
    0, 0xa2f9836e4e441529, 0xfc2757d1f534ddc0, 0xdb6295993c439041, 0xfe5163abdebbc561,
    0xb7246e3a424dd2e0, 0x06492eea09d1921c, 0xfe1deb1cb129a73e, 0xe88235f52ebb4484, 0xe99c7026b45f7e41,
    0x3991d639835339f4, 0x9c845f8bbdf9283b, 0x1ff897ffde05980f, 0xef2f118b5a0a6d1f, 0x6d367ecf27cb09b7,
    0x4f463f669e5fea2d, 0x7527bac7ebe5f17b, 0x3d0739f78a5292ea, 0x6bfb5fb11f8d5d08, 0x56033046fc7b6bab,
    0xf0cfbc209af4361d, 0xa9e391615ee61b08};

/* x - n * pi/2 for large x (Payne and Hanek): of x * 2/pi only the bits below 4 and above 2**-190 are computed; the two
   highest are the quadrant. (The C library's reduction leaves some 40 right bits next to multiples of pi/2.) */
static __attribute__((noinline, cold)) double reduce_large(double x, double *low, int64_t *quadrant) {
    if (!isfinite(x)) return NAN;
    int exponent;
    uint64_t mantissa = (uint64_t)ldexp(frexp(fabs(x), &exponent), 53), window[3];
    int from = exponent - 53 + 62, word = from >> 6, bit = from & 63;
    for (int i = 0; i < 3; i++) {
        window[i] = TWO_OVER_PI[word + i] << bit;
        if (bit > 0) window[i] |= TWO_OVER_PI[word + i + 1] >> (64 - bit);
    }
    unsigned __int128 last = (unsigned __int128)mantissa * window[2];
    unsigned __int128 middle = (unsigned __int128)mantissa * window[1] + (last >> 64);
    uint64_t first = mantissa * window[0] + (uint64_t)(middle >> 64);
    unsigned __int128 turns = (unsigned __int128)first << 64 | (uint64_t)middle; /* in 2**-126 of pi/2 */
    __int128 rest = (__int128)(turns << 2 | (uint64_t)last >> 62); /* in 2**-128, from the nearest multiple */
    double high = (double)rest, tail = (double)(rest - (__int128)high) * 0x1p-128, sign = copysign(1.0, x);
    high *= 0x1p-128;
    double r = high * HALF_PI, r_low = fma(high, HALF_PI, -r) + high * HALF_PI_LOW + tail * HALF_PI, sum = r + r_low;
    *quadrant = (int64_t)sign * ((int64_t)(first >> 62) + (rest < 0));
    *low = sign * (r_low - (sum - r));
    return sign * sum;
}

/* Put in what is left of the lanes that are beyond the fast reduction. */
INLINE part mend_large(part x, part r, part *low, ipart *quadrant) {
    if (__builtin_expect(any(beyond(magnitude(x), spread(CIRCLE_LIMIT))), 0)) {
        double from[PART_LANES], rests[PART_LANES], lows[PART_LANES];
        int64_t quadrants[PART_LANES];
        store_part(from, x), store_part(rests, r), store_part(lows, *low);
        memcpy(quadrants, quadrant, sizeof quadrants);
        for (int lane = 0; lane < PART_LANES; lane++) {
            if (!(fabs(from[lane]) <= CIRCLE_LIMIT))
                rests[lane] = reduce_large(from[lane], lows + lane, quadrants + lane);
        }
        r = load_part(rests), *low = load_part(lows);
        memcpy(quadrant, quadrants, sizeof quadrants);
    }
    return r;
}

/* x - n * pi/2 for the nearest n, whose last bits are the quadrant: to a unit. */
INLINE part reduce_circle(part x, ipart *quadrant) {
    part shifted = fused_part(x, spread(0.6366197723675814), spread(INTEGRAL)), n = shifted - INTEGRAL, low = n;
    *quadrant = (ipart)shifted;
#if defined(__FMA__)
    part r = fused_part(n, spread(-0x1.921fb54442d18p+0), x);
    r = fused_part(n, spread(-0x1.1a62633145c07p-54), r);
    r = fused_part(n, spread(0x1.f1976b7ed8fbcp-110), r);
#else
    part r = ((x - n * 0x1.921fb544p+0) - n * 0x1.0b4611a6p-34) - n * 0x1.3198a2ep-69;
    r = r - n * 0x1.b839a252049c1p-104;
#endif
    return mend_large(x, r, &low, quadrant);
}

/* The same to twice the digits. */
INLINE part reduce_circle_twice(part x, ipart *quadrant, part *low) {
    part shifted = fused_part(x, spread(0.6366197723675814), spread(INTEGRAL)), n = shifted - INTEGRAL, r, rest, error;
    *quadrant = (ipart)shifted;
#if defined(__FMA__)
    part second = two_product_part(n, spread(0x1.1a62633145c07p-54), &error);
    r = two_sum(fused_part(n, spread(-0x1.921fb54442d18p+0), x), -second, &rest);
    rest = rest - fused_part(n, spread(-0x1.f1976b7ed8fbcp-110), error);
#else
    r = two_sum(x - n * 0x1.921fb544p+0, n * -0x1.0b4611a6p-34, &rest); /* the products are exact */
    r = two_sum(r, n * -0x1.3198a2ep-69, &error);
    rest = (rest + error) - n * 0x1.b839a252049c1p-104;
#endif
    r = fast_two_sum(r, rest, low);
    return mend_large(x, r, low, quadrant);
}

/* Sine and cosine, each in its polynomial; with `low`, what r was rounded by, they are right to half a unit or so. */
INLINE part sine_of_rest(part r, part low) {
    part square = r * r, series = polynomial(square, SIN_SERIES, SIN_TERMS);
    return r + fused_part(r * square, series, low);
}

INLINE part cosine_of_rest(part r, part low) {
    part square = r * r, half = 0.5 * square, near = 1.0 - half;
    part rest = ((1.0 - near) - half) - r * low;
    return near + fused_part(square * square, polynomial(square, COS_SERIES, COS_TERMS), rest);
}

/* By the quadrant, sine and cosine of x from those of what is left of it. */
INLINE part turn(part x, ipart quadrant, part s, part c, part *cosine) {
    mask swap = is_uneven(quadrant);
    part sine = flip_sign(choose(swap, c, s), (part)((upart)quadrant << 62));
    *cosine = flip_sign(choose(swap, s, c), (part)((upart)(quadrant + 1) << 62));
    return choose(equal(x, spread(0.0)), x, sine); /* -0 too */
}

INLINE part sine_cosine(part x, part *cosine) {
    ipart quadrant;
    part r = reduce_circle(x, &quadrant), square = r * r;
    part s = fused_part(r * square, polynomial(square, SIN_SERIES, SIN_TERMS), r);
    part c = fused_part(square, polynomial(square, COS_SERIES, COS_TERMS), spread(-0.5));
    return turn(x, quadrant, s, fused_part(square, c, spread(1.0)), cosine);
}

INLINE part sin_lanes(part x, part *dx) { return sine_cosine(x, dx); }

INLINE part cos_lanes(part x, part *dx) {
    part cosine;
    *dx = -sine_cosine(x, &cosine);
    return cosine;
}

INLINE part tan_lanes(part x, part *dx) { /* the slope has twice the error of the cosine */
    ipart quadrant;
    part low, cosine, r = reduce_circle_twice(x, &quadrant, &low);
    part sine = turn(x, quadrant, sine_of_rest(r, low), cosine_of_rest(r, low), &cosine);
    *dx = 1.0 / (cosine * cosine);
    return sine / cosine;
}

/* The angle of (x, y), both from 0 up, or of (-x, y) if `left`: a multiple of pi/4, and the arctangent of a small t. */
INLINE part angle(part y, part x, mask left) {
    mask steep = less(2.414213562373095 * x, y), middle = less(0.41421356237309503 * x, y);
    part up = choose(steep, -x, choose(middle, y - x, y)), down = choose(steep, y, choose(middle, x + y, x));
    part turns = choose(steep, spread(2.0), choose(middle, spread(1.0), spread(0.0))); /* of pi/4 */
    turns = choose(left, 4.0 - turns, turns);
    part t = up / down, square = t * t, flipped = choose(left, -t, t);
    part rest = polynomial(square, ARCTAN_SERIES, ARCTAN_TERMS);
    rest = fused_part(flipped * square, rest, turns * (0.5 * HALF_PI_LOW));
    part base = turns * (0.5 * HALF_PI), high = base + flipped;
    return high + (((base - high) + flipped) + rest);
}

INLINE part arctan_lanes(part x, part *dx) {
    part size = magnitude(x);
    mask far = less(spread(1e8), size), none = less(size, spread(0.0));
    part inverse = 1.0 / choose(far, size, fused_part(size, size, spread(1.0)));
    *dx = choose(far, inverse * inverse, inverse);
    return with_sign(angle(size, spread(1.0), none), x);
}

/* arctan2 where x**2 + y**2 isn't a normal number: by the C library, lane by lane, at another scale. */
static __attribute__((noinline, cold)) double arctan2_point(double y, double x, double *dy, double *dx) {
    double size = fmax(fabs(y), fabs(x)), scale = size < 1.0 ? 0x1p600 : 0.25, h, across;
    if (x != x || y != y || size == 0.0) {
        *dy = *dx = NAN;
    } else if (isinf(size)) {
        *dy = *dx = 0.0;
    } else {
        h = hypot(y * scale, x * scale);
        across = x * scale / h, *dy = across / h * scale;
        across = y * scale / h, *dx = -(across / h * scale);
    }
    return atan2(y, x);
}

INLINE part arctan2_lanes(part y, part x, part *dy, part *dx) {
    part value = with_sign(angle(magnitude(y), magnitude(x), sign_bit(x)), y);
    part square = fused_part(x, x, y * y);
    *dy = x / square;
    *dx = -y / square;
    if (__builtin_expect(!all_square_well(x, y), 0)) {
        double ys[PART_LANES], xs[PART_LANES], values[PART_LANES], dys[PART_LANES], dxs[PART_LANES];
        store_part(ys, y), store_part(xs, x), store_part(values, value), store_part(dys, *dy), store_part(dxs, *dx);
        for (int lane = 0; lane < PART_LANES; lane++) {
            if (!squares_well(ys[lane], xs[lane]))
                values[lane] = arctan2_point(ys[lane], xs[lane], dys + lane, dxs + lane);
        }
        value = load_part(values), *dy = load_part(dys), *dx = load_part(dxs);
    }
    return value;
}

/* Up to 1/2 its series, else pi/2 - 2 arcsin(sqrt((1 - x) / 2)). */
INLINE part arcsin_series(part x) {
    part square = x * x;
    return fused_part(x * square, polynomial(square, ARCSIN_SERIES, ARCSIN_TERMS), x);
}

INLINE part arcsin_lanes(part x, part *dx) {
    part size = magnitude(x), half = 0.5 - 0.5 * size;
    mask far = less(spread(0.5), size);
    part series = arcsin_series(choose(far, root(half), size));
    *dx = 1.0 / root((1.0 - x) * (1.0 + x));
    return with_sign(choose(far, HALF_PI - (2.0 * series - HALF_PI_LOW), series), x);
}

INLINE part arccos_lanes(part x, part *dx) {
    part size = magnitude(x), half = 0.5 - 0.5 * size;
    mask far = less(spread(0.5), size), negative = less(x, spread(0.0));
    part series = arcsin_series(choose(far, root(half), x));
    part twice = 2.0 * series;
    *dx = -1.0 / root((1.0 - x) * (1.0 + x));
    twice = choose(negative, 2.0 * HALF_PI - (twice - 2.0 * HALF_PI_LOW), twice);
    return choose(far, twice, HALF_PI - (series - HALF_PI_LOW));
}

#endif
