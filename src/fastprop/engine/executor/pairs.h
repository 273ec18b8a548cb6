/* One pull that goes to two rows, by two instructions that follow each other; and products that are written past the
   cache. Included once for double and once for float. */

/* Two products of each pull, in x[0] and y[0], tested for two vectors at once. */
#define BY_TWOS _Pragma("GCC unroll 2") for (int s = 0; s < 2; s++, i += COUNT)
#define PAIR_LOOP(deliver)                                                                                              \
    do {                                                                                                               \
        ptrdiff_t start = 0;                                                                                           \
        for (; start + 2 * COUNT <= n; start += 2 * COUNT) {                                                           \
            const int k = COUNT;                                                                                       \
            VEC x[2], y[2];                                                                                            \
            ptrdiff_t i = start;                                                                                       \
            BY_TWOS x[s] = GET(pull) * GET(u), y[s] = GET(pull) * GET(w);                                              \
            i = start;                                                                                                 \
            if (__builtin_expect(NAME(any_nan)(x[0], x[1], y[0], y[1]), 0))                                            \
                BY_TWOS {                                                                                              \
                    x[s] = NAME(strong)(GET(pull), GET(u), x[s]);                                                      \
                    y[s] = NAME(strong)(GET(pull), GET(w), y[s]);                                                      \
                }                                                                                                      \
            i = start;                                                                                                 \
            BY_TWOS { deliver; }                                                                                       \
        }                                                                                                              \
        for (ptrdiff_t i = start; i < n; i += COUNT) {                                                                 \
            const int k = n - i < COUNT ? (int)(n - i) : COUNT, s = 0;                                                 \
            const VEC x[1] = {NAME(strong)(GET(pull), GET(u), GET(pull) * GET(u))};                                    \
            const VEC y[1] = {NAME(strong)(GET(pull), GET(w), GET(pull) * GET(w))};                                    \
            deliver;                                                                                                   \
        }                                                                                                              \
    } while (0)

/* Two products. */
static void NAME(pull_two)(
    ptrdiff_t n, const REAL *pull, const REAL *u, REAL *to_x, int add_x, const REAL *w, REAL *to_y, int add_y
) {
    if (!add_x && !add_y)
        PAIR_LOOP(PUT(to_x, x[s]); PUT(to_y, y[s]));
    else if (!add_x)
        PAIR_LOOP(PUT(to_x, x[s]); PUT(to_y, GET(to_y) + y[s]));
    else if (!add_y)
        PAIR_LOOP(PUT(to_x, GET(to_x) + x[s]); PUT(to_y, y[s]));
    else
        PAIR_LOOP(PUT(to_x, GET(to_x) + x[s]); PUT(to_y, GET(to_y) + y[s]));
}

/* A product, past the cache: `target` begins on a line. Rows are whole vectors. */
static void NAME(stream_product)(ptrdiff_t n, const REAL *pull, const REAL *u, REAL *target) {
    PRODUCT_LOOP(GET(pull), GET(u), NAME(stream)(target + i, brought[s]));
}

/* Two of them. */
static void NAME(stream_two)(ptrdiff_t n, const REAL *pull, const REAL *u, REAL *to_x, const REAL *w, REAL *to_y) {
    PAIR_LOOP(NAME(stream)(to_x + i, x[s]); NAME(stream)(to_y + i, y[s]));
}

/* To x as it is, to y times u; both are added to. */
static void NAME(pull_and_product)(ptrdiff_t n, const REAL *pull, REAL *to_x, const REAL *u, REAL *to_y) {
    PRODUCT_LOOP(GET(pull), GET(u), PUT(to_x, GET(to_x) + GET(pull)); PUT(to_y, GET(to_y) + brought[s]));
}

#undef PAIR_LOOP
#undef BY_TWOS
#undef PRODUCT_LOOP
#undef BY_FOURS
