/* One pull that goes to two rows, by two instructions that follow each other; and products that are written past the
   cache. Included once for double and once for float. */

/* What a pull brings to the two operands of a product; and again where that is NaN. */
INLINE void NAME(two_products)(VEC pull, VEC u, VEC w, VEC *x, VEC *y) {
    *x = pull * u;
    *y = pull * w;
}

INLINE void NAME(two_products_again)(VEC pull, VEC u, VEC w, VEC *x, VEC *y) {
    *x = NAME(strong)(pull, u, *x);
    *y = NAME(strong)(pull, w, *y);
}

/* The same of a quotient w = … / u. A lane is taken again by itself: its last digit isn't its neighbours' affair. */
INLINE void NAME(division_pulls)(VEC pull, VEC u, VEC w, VEC *x, VEC *y) {
    VEC slope;
    NAME(quotients)(pull, w, u, x, &slope);
    *y = pull * -slope;
}

INLINE void NAME(division_pulls_again)(VEC pull, VEC u, VEC w, VEC *x, VEC *y) {
    const MASK odd = NAME(is_other)(*x, *x) | NAME(is_other)(*y, *y);
    const VEC slope = -(w / u);
    *x = NAME(select)(odd, NAME(quotient_pull)(pull, u, w), *x);
    *y = NAME(select)(odd, NAME(strong)(pull, slope, pull * slope), *y);
}

/* `deliver` for what `pulls` brings, in x[s] and y[s]; two vectors of both are tested at once (one, as above). */
#define TWO (FOUR / 2 + FOUR % 2)
#define BY_TWOS _Pragma("GCC unroll 2") for (int s = 0; s < TWO; s++, i += COUNT)
#define OF_TWO GET(pull), GET(u), GET(w), x + s, y + s
#define PAIR_LOOP(pulls, deliver)                                                                                       \
    do {                                                                                                               \
        VEC x[TWO], y[TWO];                                                                                                \
        ptrdiff_t start = 0;                                                                                           \
        for (; start + TWO * COUNT <= n; start += TWO * COUNT) {                                                           \
            const int k = COUNT;                                                                                       \
            ptrdiff_t i = start;                                                                                       \
            BY_TWOS NAME(pulls)(OF_TWO);                                                                               \
            i = start;                                                                                                 \
            if (__builtin_expect(NAME(any_nan)(x[0], x[TWO - 1], y[0], y[TWO - 1]), 0))                                            \
                BY_TWOS NAME(pulls##_again)(OF_TWO);                                                                   \
            i = start;                                                                                                 \
            BY_TWOS { deliver; }                                                                                       \
        }                                                                                                              \
        for (ptrdiff_t i = start; i < n; i += COUNT) {                                                                 \
            const int k = n - i < COUNT ? (int)(n - i) : COUNT, s = 0;                                                 \
            NAME(pulls)(OF_TWO);                                                                                       \
            NAME(pulls##_again)(OF_TWO);                                                                               \
            deliver;                                                                                                   \
        }                                                                                                              \
    } while (0)

#define PULL_TWO(pulls)                                                                                                 \
    do {                                                                                                               \
        if (!add_x && !add_y)                                                                                          \
            PAIR_LOOP(pulls, PUT(to_x, x[s]); PUT(to_y, y[s]));                                                        \
        else if (!add_x)                                                                                               \
            PAIR_LOOP(pulls, PUT(to_x, x[s]); PUT(to_y, GET(to_y) + y[s]));                                            \
        else if (!add_y)                                                                                               \
            PAIR_LOOP(pulls, PUT(to_x, GET(to_x) + x[s]); PUT(to_y, y[s]));                                            \
        else                                                                                                           \
            PAIR_LOOP(pulls, PUT(to_x, GET(to_x) + x[s]); PUT(to_y, GET(to_y) + y[s]));                                \
    } while (0)

/* Two products. */
static void NAME(pull_two)(
    ptrdiff_t n, const REAL *pull, const REAL *u, REAL *to_x, int add_x, const REAL *w, REAL *to_y, int add_y
) {
    PULL_TWO(two_products);
}

/* Both pulls of a quotient w = … / u. */
static void NAME(pull_division)(
    ptrdiff_t n, const REAL *pull, const REAL *u, const REAL *w, REAL *to_x, int add_x, REAL *to_y, int add_y
) {
    PULL_TWO(division_pulls);
}

/* A product, past the cache: `target` begins on a line. Rows are whole vectors. */
static void NAME(stream_product)(ptrdiff_t n, const REAL *pull, const REAL *u, REAL *target) {
    PRODUCT_LOOP(GET(pull), GET(u), GET(u), NAME(stream)(target + i, brought[s]));
}

/* Two of them. */
static void NAME(stream_two)(ptrdiff_t n, const REAL *pull, const REAL *u, REAL *to_x, const REAL *w, REAL *to_y) {
    PAIR_LOOP(two_products, NAME(stream)(to_x + i, x[s]); NAME(stream)(to_y + i, y[s]));
}

/* To x as it is, to y times u; both are added to. */
static void NAME(pull_and_product)(ptrdiff_t n, const REAL *pull, REAL *to_x, const REAL *u, REAL *to_y) {
    PRODUCT_LOOP(GET(pull), GET(u), GET(u), PUT(to_x, GET(to_x) + GET(pull)); PUT(to_y, GET(to_y) + brought[s]));
}

#undef PULL_TWO
#undef OF_TWO
#undef PAIR_LOOP
#undef BY_TWOS
#undef TWO
#undef PRODUCT_LOOP
#undef BY_FOURS
#undef FOUR
