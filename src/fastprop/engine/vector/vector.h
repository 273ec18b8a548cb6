/* Vectors of 8 doubles or 16 floats, for the loops over arrays; and how gates on parts are lifted to them. */
#ifndef FASTPROP_VECTOR_H
#define FASTPROP_VECTOR_H

#include "part.h"

#define LANES 8
#define PARTS (LANES / PART_LANES)

typedef double vec __attribute__((vector_size(64)));
typedef int64_t ivec __attribute__((vector_size(64)));
typedef float vecf __attribute__((vector_size(64)));
typedef int32_t ivecf __attribute__((vector_size(64)));

typedef union {
    vec whole;
    ivec integers;
    part parts[PARTS];
    ipart integer_parts[PARTS];
} pieces;

typedef union {
    vecf whole;
    ivecf integers;
    partf parts[PARTS];
    ipartf integer_parts[PARTS];
} piecesf;

/* For each part; unrolled where there are two, or GCC copies vectors in smaller pieces, which stalls the loads. */
#if PARTS == 2
#define FOR_PARTS(i) _Pragma("GCC unroll 2") for (int i = 0; i < PARTS; i++)
#else
#define FOR_PARTS(i) for (int i = 0; i < PARTS; i++)
#endif

/* Loads and stores, at any alignment: part by part, as memcpy would copy in smaller pieces, which stalls the loads --- */

INLINE vec load(const double *from) {
    pieces x;
    FOR_PARTS(i) x.parts[i] = load_part(from + i * PART_LANES);
    return x.whole;
}

INLINE void store(double *to, vec whole) {
    pieces x = {whole};
    FOR_PARTS(i) store_part(to + i * PART_LANES, x.parts[i]);
}

INLINE vecf loadf(const float *from) {
    piecesf x;
    FOR_PARTS(i) x.parts[i] = load_partf(from + 2 * i * PART_LANES);
    return x.whole;
}

INLINE void storef(float *to, vecf whole) {
    piecesf x = {whole};
    FOR_PARTS(i) store_partf(to + 2 * i * PART_LANES, x.parts[i]);
}

/* The first k lanes (1 to 7; of floats 1 to 15), the others filled; memory behind them isn't touched. */
#if defined(__AVX512F__)
INLINE vec load_some(const double *from, int k, double filler) {
    return (vec)_mm512_mask_loadu_pd(_mm512_set1_pd(filler), (__mmask8)((1u << k) - 1), from);
}

INLINE void store_some(double *to, vec x, int k) { _mm512_mask_storeu_pd(to, (__mmask8)((1u << k) - 1), x); }

INLINE vecf load_somef(const float *from, int k, float filler) {
    return (vecf)_mm512_mask_loadu_ps(_mm512_set1_ps(filler), (__mmask16)((1u << k) - 1), from);
}

INLINE void store_somef(float *to, vecf x, int k) { _mm512_mask_storeu_ps(to, (__mmask16)((1u << k) - 1), x); }
#elif defined(__AVX2__)
static const int64_t FIRST_LANES[16] = {-1, -1, -1, -1, -1, -1, -1, -1}; /* a window on it begins 8 - k entries in */
static const int32_t FIRST_LANESF[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};

INLINE __m256i window(const void *from) { return _mm256_loadu_si256((const __m256i *)from); }

INLINE vec load_some(const double *from, int k, double filler) {
    pieces x;
    FOR_PARTS(i) {
        __m256i chosen = window(FIRST_LANES + LANES - k + i * PART_LANES);
        __m256d some = _mm256_maskload_pd(from + i * PART_LANES, chosen);
        x.parts[i] = (part)_mm256_blendv_pd(spread(filler), some, (__m256d)chosen);
    }
    return x.whole;
}

INLINE void store_some(double *to, vec whole, int k) {
    pieces x = {whole};
    FOR_PARTS(i) {
        _mm256_maskstore_pd(to + i * PART_LANES, window(FIRST_LANES + LANES - k + i * PART_LANES), x.parts[i]);
    }
}

INLINE vecf load_somef(const float *from, int k, float filler) {
    piecesf x;
    FOR_PARTS(i) {
        __m256i chosen = window(FIRST_LANESF + 2 * LANES - k + 2 * i * PART_LANES);
        __m256 some = _mm256_maskload_ps(from + 2 * i * PART_LANES, chosen);
        x.parts[i] = (partf)_mm256_blendv_ps(_mm256_set1_ps(filler), some, (__m256)chosen);
    }
    return x.whole;
}

INLINE void store_somef(float *to, vecf whole, int k) {
    piecesf x = {whole};
    FOR_PARTS(i) {
        __m256i chosen = window(FIRST_LANESF + 2 * LANES - k + 2 * i * PART_LANES);
        _mm256_maskstore_ps(to + 2 * i * PART_LANES, chosen, x.parts[i]);
    }
}
#else
#define OUTSIDE static __attribute__((noinline)) /* for the last numbers of every loop: one copy does */
OUTSIDE vec load_some(const double *from, int k, double filler) {
    double lanes[LANES];
    for (int lane = 0; lane < LANES; lane++) lanes[lane] = filler;
    for (int lane = 0; lane < k; lane++) lanes[lane] = from[lane];
    return load(lanes);
}

OUTSIDE void store_some(double *to, vec x, int k) {
    double lanes[LANES];
    store(lanes, x);
    for (int lane = 0; lane < k; lane++) to[lane] = lanes[lane];
}

OUTSIDE vecf load_somef(const float *from, int k, float filler) {
    float lanes[2 * LANES];
    for (int lane = 0; lane < 2 * LANES; lane++) lanes[lane] = filler;
    for (int lane = 0; lane < k; lane++) lanes[lane] = from[lane];
    return loadf(lanes);
}

OUTSIDE void store_somef(float *to, vecf x, int k) {
    float lanes[2 * LANES];
    storef(lanes, x);
    for (int lane = 0; lane < k; lane++) to[lane] = lanes[lane];
}
#undef OUTSIDE
#endif

/* Primitives ------------------------------------------------------------------------------------------------------- */

INLINE vec broadcast(double x) { return (vec){x, x, x, x, x, x, x, x}; }

INLINE vecf broadcastf(float x) { return (vecf){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }

#define select(chosen, x, y) select_(chosen, x, y) /* the plain name is a system call's */

INLINE vec select_(ivec chosen, vec x, vec y) { return (vec)((chosen & (ivec)x) | (~chosen & (ivec)y)); }

INLINE vecf selectf(ivecf chosen, vecf x, vecf y) { return (vecf)((chosen & (ivecf)x) | (~chosen & (ivecf)y)); }

INLINE vec absolute(vec x) { return (vec)((ivec)x & INT64_MAX); }

INLINE vecf absolutef(vecf x) { return (vecf)((ivecf)x & INT32_MAX); }

INLINE vec square_root(vec x) {
    pieces from = {x}, to;
    FOR_PARTS(i) to.parts[i] = root(from.parts[i]);
    return to.whole;
}

INLINE vecf square_rootf(vecf x) {
    piecesf from = {x}, to;
    FOR_PARTS(i) to.parts[i] = rootf(from.parts[i]);
    return to.whole;
}

/* 1 / y, as quick_inverse has it. */
INLINE vec inverse(vec y) {
    pieces from = {y}, to;
    FOR_PARTS(i) to.parts[i] = quick_inverse(from.parts[i]);
    return to.whole;
}

INLINE vecf inversef(vecf y) { return 1.0f / y; }

/* x / y and z / y, as quotients_part has them. */
INLINE void quotients(vec x, vec z, vec y, vec *first, vec *second) {
    pieces a = {x}, b = {z}, below = {y}, to, other;
    FOR_PARTS(i) quotients_part(a.parts[i], b.parts[i], below.parts[i], to.parts + i, other.parts + i);
    *first = to.whole;
    *second = other.whole;
}

INLINE void quotientsf(vecf x, vecf z, vecf y, vecf *first, vecf *second) {
    *first = x / y;
    *second = z / y;
}

/* Comparisons. Written x < y, GCC would do them lane by lane where a vector is wider than a register. */
#define COMPARISON(name, operator)                                                                                    \
    INLINE ivec name(vec x, vec y) {                                                                                  \
        pieces a = {x}, b = {y}, to;                                                                                  \
        FOR_PARTS(i) to.integer_parts[i] = a.parts[i] operator b.parts[i];                                            \
        return to.integers;                                                                                           \
    }                                                                                                                 \
    INLINE ivecf name##f(vecf x, vecf y) {                                                                            \
        piecesf a = {x}, b = {y}, to;                                                                                 \
        FOR_PARTS(i) to.integer_parts[i] = a.parts[i] operator b.parts[i];                                            \
        return to.integers;                                                                                           \
    }
COMPARISON(is_less, <)
COMPARISON(is_at_most, <=)
COMPARISON(is_equal, ==)
COMPARISON(is_other, !=)

/* 16 floats as twice 8 doubles, and back, rounded. */
INLINE void widen(vecf x, vec *low, vec *high) {
    piecesf from = {x};
    pieces to[2];
    FOR_PARTS(i) {
        to[2 * i / PARTS].parts[2 * i % PARTS] = widened(from.parts[i], 0);
        to[(2 * i + 1) / PARTS].parts[(2 * i + 1) % PARTS] = widened(from.parts[i], 1);
    }
    *low = to[0].whole;
    *high = to[1].whole;
}

INLINE vecf narrow(vec low, vec high) {
    pieces from[2] = {{low}, {high}};
    piecesf to;
    FOR_PARTS(i) {
        part first = from[2 * i / PARTS].parts[2 * i % PARTS];
        part second = from[(2 * i + 1) / PARTS].parts[(2 * i + 1) % PARTS];
        to.parts[i] = narrowed(first, second);
    }
    return to.whole;
}

/* Gates on parts, named NAME_lanes, as gates on vectors, named NAME_gate. Partials that no one reads are dropped. -- */

#define UNARY_GATE(name, OPCODE)                                                                                              \
    INLINE vec name##_gate(vec x, vec *dx) {                                                                          \
        pieces from = {x}, to, slope;                                                                                 \
        FOR_PARTS(i) to.parts[i] = name##_lanes(from.parts[i], &slope.parts[i]);                                      \
        *dx = slope.whole;                                                                                            \
        return to.whole;                                                                                              \
    }

#define BINARY_GATE(name, OPCODE)                                                                                             \
    INLINE vec name##_gate(vec x, vec y, vec *dx, vec *dy) {                                                          \
        pieces first = {x}, second = {y}, to, first_slope, second_slope;                                              \
        FOR_PARTS(i) {                                                                                                \
            to.parts[i] =                                                                                             \
                name##_lanes(first.parts[i], second.parts[i], &first_slope.parts[i], &second_slope.parts[i]);         \
        }                                                                                                             \
        *dx = first_slope.whole;                                                                                      \
        *dy = second_slope.whole;                                                                                     \
        return to.whole;                                                                                              \
    }

#define TERNARY_GATE(name, OPCODE)                                                                                    \
    INLINE vec name##_gate(vec x, vec y, vec z, vec *dx, vec *dy, vec *dz) {                                          \
        pieces a = {x}, b = {y}, c = {z}, to, da, db, dc;                                                             \
        FOR_PARTS(i) {                                                                                                \
            to.parts[i] = name##_lanes(                                                                               \
                a.parts[i], b.parts[i], c.parts[i], &da.parts[i], &db.parts[i], &dc.parts[i]                          \
            );                                                                                                        \
        }                                                                                                             \
        *dx = da.whole;                                                                                               \
        *dy = db.whole;                                                                                               \
        *dz = dc.whole;                                                                                               \
        return to.whole;                                                                                              \
    }

#endif
