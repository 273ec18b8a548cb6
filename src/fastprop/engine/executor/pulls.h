/* Loops over numbers side by side, backward: what a pull brings. Included once for double and once for float. */

/* ---- pulls: target = or += what `pull` brings; a pull of exactly 0 brings exactly 0 ---- */

#define ARRIVE(brought)                                                                                                 \
    do {                                                                                                               \
        if (add)                                                                                                       \
            LOOP(PUT(target, GET(target) + (brought)););                                                               \
        else                                                                                                           \
            LOOP(PUT(target, brought););                                                                               \
    } while (0)
#define G GET(pull)
#define U GET(u)
#define W GET(w)

INLINE VEC NAME(quotient_pull)(VEC pull, VEC u, VEC value) { /* 0 / 0 lies outside of the domain */
    const VEC brought = NAME(select)(NAME(is_zero)(u) & NAME(is_other)(value, value), value, pull / u);
    return NAME(strong)(pull, brought);
}

INLINE VEC NAME(larger_pull)(VEC pull, VEC u, VEC w) {
    const VEC zero = NAME(broadcast)(0);
    const VEC shared = NAME(select)(NAME(is_equal)(u, w), pull * (REAL)0.5, zero);
    const VEC brought = NAME(select)(NAME(is_less)(w, u), pull, shared);
    return NAME(strong)(pull, NAME(select)(NAME(is_other)(u, u) | NAME(is_other)(w, w), u + w, brought));
}

INLINE VEC NAME(sign_pull)(VEC pull, VEC u) { /* NaN goes through */
    const VEC zero = NAME(broadcast)(0);
    const VEC other = NAME(select)(NAME(is_zero)(u), zero, u);
    const VEC below = NAME(select)(NAME(is_less)(u, zero), -pull, other);
    const VEC brought = NAME(select)(NAME(is_less)(zero, u), pull, below);
    return NAME(strong)(pull, brought);
}

INLINE VEC NAME(rectified_pull)(VEC pull, VEC u) {
    const VEC zero = NAME(broadcast)(0), other = NAME(select)(NAME(is_other)(u, u), u, zero);
    const VEC brought = NAME(select)(NAME(is_less)(zero, u), pull, other);
    return NAME(strong)(pull, brought);
}

INLINE VEC NAME(strongest)(VEC pull, VEC u) {
    return NAME(strong)(pull, NAME(strong)(u, pull * u));
}

static void NAME(pull_product)(
    ptrdiff_t n, int strongly, const REAL *pull, const REAL *u, int one_u, REAL *target, int add
) {
    if (strongly)
        ARRIVE(NAME(strongest)(G, U));
    else if (one_u) {
        const VEC b = NAME(broadcast)(*u);
        ARRIVE(NAME(strong)(G, G * b));
    } else
        ARRIVE(NAME(strong)(G, G * U));
}

static void NAME(pull_other)(
    int kind, ptrdiff_t n, const REAL *pull, const REAL *u, const REAL *w, REAL *target, int add
) {
    switch (kind) {
    case PASS: ARRIVE(G); break;
    case NEGATE: ARRIVE(-G); break;
    case TWICE: ARRIVE(NAME(strong)(G, G * (U + U))); break;
    case QUOTIENT: ARRIVE(NAME(quotient_pull)(G, U, W)); break;
    case DIVISOR: ARRIVE(NAME(strong)(G, -(G * (W / U)))); break;
    case ROOT: ARRIVE(NAME(strong)(G, G * ((REAL)0.5 / NAME(absolute)(U)))); break;
    case INVERSE: ARRIVE(NAME(strong)(G, -(G * U * U))); break;
    case RECTIFIED: ARRIVE(NAME(rectified_pull)(G, U)); break;
    case MAGNITUDE: ARRIVE(NAME(sign_pull)(G, U)); break;
    case LARGER: ARRIVE(NAME(larger_pull)(G, U, W)); break;
    case SMALLER: ARRIVE(NAME(larger_pull)(G, -U, -W)); break;
    case CHOSEN: ARRIVE(NAME(select)(NAME(is_true)(U), G, NAME(broadcast)(0))); break;
    default: ARRIVE(NAME(select)(NAME(is_true)(U), NAME(broadcast)(0), G)); break;
    }
}

#undef ARRIVE
#undef G
#undef U
#undef W

/* Store past the cache, to an address that is a multiple of a line. */
INLINE void NAME(stream)(REAL *target, VEC whole) {
    union {
        VEC whole;
        part parts[PARTS];
    } x = {whole};
    FOR_PARTS(p) stream_part((char *)target + p * PART_BYTES, x.parts[p]);
}

/* ---- pulls on what is one number for all lanes: added up, lane i to total[i % COUNT]; n is a multiple of 4 COUNT ---- */

#define ADD_UP(brought)                                                                                                 \
    do {                                                                                                               \
        VEC strand[4] = {NAME(load)(total)};                                                                           \
        for (ptrdiff_t i = 0; i < n;)                                                                                  \
            _Pragma("GCC unroll 4") for (int s = 0; s < 4; s++, i += COUNT) strand[s] += (brought);                    \
        NAME(store)(total, (strand[0] + strand[1]) + (strand[2] + strand[3]));                                         \
    } while (0)
#define G NAME(load)(pull + i)

static void NAME(add_up)(ptrdiff_t n, const REAL *pull, REAL *total) { ADD_UP(G); }

static void NAME(add_up_product)(ptrdiff_t n, const REAL *pull, const REAL *u, int one_u, REAL *total) {
    if (one_u) {
        const VEC b = NAME(broadcast)(*u);
        ADD_UP(NAME(strong)(G, G * b));
    } else
        ADD_UP(NAME(strong)(G, G * NAME(load)(u + i)));
}

#undef ADD_UP
#undef G
