/* Loops over numbers side by side, backward: what a pull brings. Included once for double and once for float. */

/* ---- a pull times a partial: 0 if either is 0 ---- */

INLINE VEC NAME(strong)(VEC pull, VEC partial, VEC product) { /* the product, taken again where it is NaN */
    const VEC again = pull * partial;
    const MASK nothing = NAME(is_other)(again, again) & (NAME(is_zero)(pull) | NAME(is_zero)(partial));
    return NAME(select)(NAME(is_other)(product, product), (VEC)(~nothing & (MASK)again), product);
}

/* One number, by a jump, not a choice, which would be waited for. */
INLINE REAL NAME(weighed)(REAL pull, REAL partial) {
    REAL product = pull * partial;
    if (__builtin_expect(product != product, 0)) {
        __asm__ volatile("");
        if (pull == 0 || partial == 0)
            product = 0;
    }
    return product;
}

/* `deliver` for every vector of n products, four of them tested at once (one, where it is four registers); they are in
   brought[s]. What is `quick` is the partial to two units, or NaN. */
#define FOUR (PARTS == 4 ? 1 : 4)
#define BY_FOURS _Pragma("GCC unroll 4") for (int s = 0; s < FOUR; s++, i += COUNT)
#define PRODUCT_LOOP(pull, quick, partial, deliver)                                                                            \
    do {                                                                                                               \
        ptrdiff_t start = 0;                                                                                           \
        for (; start + FOUR * COUNT <= n; start += FOUR * COUNT) {                                                     \
            const int k = COUNT;                                                                                       \
            VEC brought[FOUR];                                                                                         \
            ptrdiff_t i = start;                                                                                       \
            BY_FOURS brought[s] = (pull) * (quick);                                                                  \
            i = start;                                                                                                 \
            if (__builtin_expect(NAME(any_nan)(brought[0], brought[1 % FOUR], brought[2 % FOUR], brought[3 % FOUR]), 0))   \
                BY_FOURS brought[s] = NAME(strong)(pull, partial, brought[s]);                                         \
            i = start;                                                                                                 \
            BY_FOURS { deliver; }                                                                                      \
        }                                                                                                              \
        for (ptrdiff_t i = start; i < n; i += COUNT) {                                                                 \
            const int k = n - i < COUNT ? (int)(n - i) : COUNT, s = 0;                                                 \
            const VEC brought[1] = {NAME(strong)(pull, partial, (pull) * (quick))};                                  \
            deliver;                                                                                                   \
        }                                                                                                              \
    } while (0)

/* ---- pulls: target = or += what `pull` brings ---- */

#define ARRIVE(brought)                                                                                                 \
    do {                                                                                                               \
        if (add)                                                                                                       \
            LOOP(PUT(target, GET(target) + (brought)););                                                               \
        else                                                                                                           \
            LOOP(PUT(target, brought););                                                                               \
    } while (0)
#define ARRIVE_PRODUCT(partial) ARRIVE_QUICKLY(partial, partial)
#define ARRIVE_QUICKLY(quick, partial)                                                                                         \
    do {                                                                                                               \
        if (add)                                                                                                       \
            PRODUCT_LOOP(G, quick, partial, PUT(target, GET(target) + brought[s]));                                           \
        else                                                                                                           \
            PRODUCT_LOOP(G, quick, partial, PUT(target, brought[s]));                                                         \
    } while (0)
#define G GET(pull)
#define U GET(u)
#define W GET(w)

INLINE VEC NAME(unless_zero)(VEC pull, VEC brought) { /* `brought`, but exactly 0 where the pull is */
    return (VEC)(NAME(is_true)(pull) & (MASK)brought);
}

INLINE VEC NAME(quotient_pull)(VEC pull, VEC u, VEC value) { /* the partial, 1 / u, is 0 where u is infinite */
    const VEC quotient = pull / u;
    const MASK endless = NAME(is_equal)(NAME(absolute)(u), NAME(broadcast)((REAL)INFINITY));
    const MASK nothing = NAME(is_other)(quotient, quotient) & endless;
    const MASK outside = NAME(is_zero)(u) & NAME(is_other)(value, value); /* 0 / 0 lies outside of the domain */
    return NAME(unless_zero)(pull, NAME(select)(outside, value, (VEC)(~nothing & (MASK)quotient)));
}

INLINE VEC NAME(larger_pull)(VEC pull, VEC u, VEC w) {
    const VEC zero = NAME(broadcast)(0);
    const VEC shared = NAME(select)(NAME(is_equal)(u, w), pull * (REAL)0.5, zero);
    const VEC brought = NAME(select)(NAME(is_less)(w, u), pull, shared);
    return NAME(unless_zero)(pull, NAME(select)(NAME(is_other)(u, u) | NAME(is_other)(w, w), u + w, brought));
}

INLINE VEC NAME(sign_pull)(VEC pull, VEC u) { /* NaN goes through */
    const VEC zero = NAME(broadcast)(0);
    const VEC other = NAME(select)(NAME(is_zero)(u), zero, u);
    const VEC below = NAME(select)(NAME(is_less)(u, zero), -pull, other);
    const VEC brought = NAME(select)(NAME(is_less)(zero, u), pull, below);
    return NAME(unless_zero)(pull, brought);
}

INLINE VEC NAME(rectified_pull)(VEC pull, VEC u) {
    const VEC zero = NAME(broadcast)(0), other = NAME(select)(NAME(is_other)(u, u), u, zero);
    const VEC brought = NAME(select)(NAME(is_less)(zero, u), pull, other);
    return NAME(unless_zero)(pull, brought);
}

static void NAME(pull_product)(ptrdiff_t n, const REAL *pull, const REAL *u, int one_u, REAL *target, int add) {
    if (one_u) {
        const VEC b = NAME(broadcast)(*u);
        ARRIVE_PRODUCT(b);
    } else
        ARRIVE_PRODUCT(U);
}

static void NAME(pull_other)(
    int kind, ptrdiff_t n, const REAL *pull, const REAL *u, const REAL *w, REAL *target, int add
) {
    switch (kind) {
    case PASS: ARRIVE(G); break;
    case NEGATE: ARRIVE(-G); break;
    case TWICE: ARRIVE_PRODUCT(U + U); break;
    case QUOTIENT: ARRIVE(NAME(quotient_pull)(G, U, W)); break;
    case DIVISOR: ARRIVE_PRODUCT(-(W / U)); break;
    case ROOT: ARRIVE_QUICKLY((REAL)0.5 * NAME(inverse)(NAME(absolute)(U)), (REAL)0.5 / NAME(absolute)(U)); break;
    case INVERSE: ARRIVE_PRODUCT(-(U * U)); break;
    case RECTIFIED: ARRIVE(NAME(rectified_pull)(G, U)); break;
    case MAGNITUDE: ARRIVE(NAME(sign_pull)(G, U)); break;
    case LARGER: ARRIVE(NAME(larger_pull)(G, U, W)); break;
    case SMALLER: ARRIVE(NAME(larger_pull)(G, -U, -W)); break;
    case CHOSEN: ARRIVE(NAME(select)(NAME(is_true)(U), G, NAME(broadcast)(0))); break;
    default: ARRIVE(NAME(select)(NAME(is_true)(U), NAME(broadcast)(0), G)); break;
    }
}

#undef ARRIVE
#undef ARRIVE_PRODUCT
#undef ARRIVE_QUICKLY
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

/* ---- pulls on what is one number for all lanes: added up, lane i to total[i % COUNT]; n is a multiple of COUNT ---- */

#define ADD_UP(brought)                                                                                                 \
    do {                                                                                                               \
        VEC strand[4] = {NAME(load)(total)};                                                                           \
        ptrdiff_t i = 0;                                                                                               \
        while (i + 4 * COUNT <= n)                                                                                     \
            _Pragma("GCC unroll 4") for (int s = 0; s < 4; s++, i += COUNT) strand[s] += (brought);                    \
        for (int s = 0; i < n; s++, i += COUNT)                                                                        \
            strand[s] += (brought);                                                                                    \
        NAME(store)(total, (strand[0] + strand[1]) + (strand[2] + strand[3]));                                         \
    } while (0)
#define G NAME(load)(pull + i)

static void NAME(add_up)(ptrdiff_t n, const REAL *pull, REAL *total) { ADD_UP(G); }

/* A NaN among the sums may be a product with a factor of 0: they are then taken again. */
#define ADD_UP_PRODUCTS(u)                                                                                              \
    do {                                                                                                               \
        const VEC before = NAME(load)(total);                                                                          \
        ADD_UP(G * (u));                                                                                               \
        const VEC after = NAME(load)(total);                                                                           \
        if (__builtin_expect(NAME(any_nan)(after, after, after, after), 0)) {                                          \
            NAME(store)(total, before);                                                                                \
            ADD_UP(NAME(strong)(G, u, G * (u)));                                                                       \
        }                                                                                                              \
    } while (0)

static void NAME(add_up_product)(ptrdiff_t n, const REAL *pull, const REAL *u, int one_u, REAL *total) {
    if (one_u) {
        const VEC b = NAME(broadcast)(*u);
        ADD_UP_PRODUCTS(b);
    } else
        ADD_UP_PRODUCTS(NAME(load)(u + i));
}

#undef ADD_UP_PRODUCTS
#undef ADD_UP
#undef G
