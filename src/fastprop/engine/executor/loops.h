/* Loops over numbers side by side: gates forward, pulls backward. Included once for double and once for float, with
   REAL, VEC (a vector of them), COUNT (how many it holds) and NAME (which makes a name of that type's own). */

/* `body` for every vector of n numbers, the last one filled up; i and k say where, and how many. By fours: a row of 256 is
   then 8 rounds, whose end a processor foresees. Where one vector is four registers, it is as much as a round should be. */
#define ROUND(...)                                                                                                     \
    {                                                                                                                  \
        const int k = COUNT;                                                                                           \
        __VA_ARGS__                                                                                                    \
        i += COUNT;                                                                                                    \
    }
#if PARTS == 4
#define FOUR_ROUNDS(...)
#else
#define FOUR_ROUNDS(...)                                                                                               \
    while (i + 4 * COUNT <= n) {                                                                                       \
        ROUND(__VA_ARGS__) ROUND(__VA_ARGS__) ROUND(__VA_ARGS__) ROUND(__VA_ARGS__)                                    \
    }
#endif
#define LOOP(...)                                                                                                      \
    do {                                                                                                               \
        ptrdiff_t i = 0;                                                                                               \
        FOUR_ROUNDS(__VA_ARGS__)                                                                                       \
        while (i + COUNT <= n)                                                                                         \
            ROUND(__VA_ARGS__)                                                                                         \
        if (i < n) {                                                                                                   \
            const int k = (int)(n - i);                                                                                \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    } while (0)

/* The same for a long body, of which one copy must do. */
#define LONG_LOOP(...)                                                                                                  \
    for (ptrdiff_t i = 0; i < n; i += COUNT) {                                                                         \
        const int k = n - i < COUNT ? (int)(n - i) : COUNT;                                                            \
        __VA_ARGS__                                                                                                    \
    }

INLINE VEC NAME(take)(const REAL *x, int k) {
    return k == COUNT ? NAME(load)(x) : k == 1 ? NAME(broadcast)(*x) : NAME(load_some)(x, k, 1);
}

INLINE void NAME(put)(REAL *x, VEC value, int k) {
    if (k == COUNT)
        NAME(store)(x, value);
    else if (k == 1)
        *x = value[0];
    else
        NAME(store_some)(x, value, k);
}

#define GET(x) NAME(take)((x) + i, k)
#define PUT(x, value) NAME(put)((x) + i, value, k)

/* ---- elementwise gates: value, and partials if `saved` is given ---- */

typedef void (*NAME(unary_loop))(ptrdiff_t n, const REAL *x, REAL *value, REAL *saved);
typedef void (*NAME(binary_loop))(ptrdiff_t n, const REAL *x, const REAL *y, REAL *value, REAL *saved);
typedef void (*NAME(ternary_loop))(
    ptrdiff_t n, const REAL *x, const REAL *y, const REAL *z, REAL *value, REAL *saved
);

#include GATE_LOOPS

/* Of a gate that has no vector form: its scalar kernel, point by point. */
static void NAME(unary_points)(ptrdiff_t n, unary_point f, const REAL *x, REAL *value, REAL *saved) {
    double dx;
    for (ptrdiff_t i = 0; i < n; i++) {
        value[i] = (REAL)f((double)x[i], &dx);
        if (saved != NULL)
            saved[i] = (REAL)dx;
    }
}

static void NAME(binary_points)(ptrdiff_t n, binary_point f, const REAL *x, const REAL *y, REAL *value, REAL *saved) {
    double dx, dy;
    for (ptrdiff_t i = 0; i < n; i++) {
        value[i] = (REAL)f((double)x[i], (double)y[i], &dx, &dy);
        if (saved != NULL) {
            saved[i] = (REAL)dx;
            saved[n + i] = (REAL)dy;
        }
    }
}

static void NAME(ternary_points)(
    ptrdiff_t n, ternary_point f, const REAL *x, const REAL *y, const REAL *z, REAL *value, REAL *saved
) {
    double dx, dy, dz;
    for (ptrdiff_t i = 0; i < n; i++) {
        value[i] = (REAL)f((double)x[i], (double)y[i], (double)z[i], &dx, &dy, &dz);
        if (saved != NULL) {
            saved[i] = (REAL)dx;
            saved[n + i] = (REAL)dy;
            saved[2 * n + i] = (REAL)dz;
        }
    }
}

/* ---- gates whose partials are made of values that are there anyway; of + - * / one operand may be a single number ---- */

#define ARITHMETIC(gate, sign)                                                                                          \
    static void NAME(gate)(ptrdiff_t n, const REAL *x, int one_x, const REAL *y, int one_y, REAL *value) {             \
        if (one_x) {                                                                                                   \
            const VEC a = NAME(broadcast)(*x);                                                                         \
            LOOP(PUT(value, a sign GET(y)););                                                                          \
        } else if (one_y) {                                                                                            \
            const VEC b = NAME(broadcast)(*y);                                                                         \
            LOOP(PUT(value, GET(x) sign b););                                                                          \
        } else                                                                                                         \
            LOOP(PUT(value, GET(x) sign GET(y)););                                                                     \
    }

ARITHMETIC(sum, +)
ARITHMETIC(difference, -)
ARITHMETIC(product, *)
ARITHMETIC(quotient, /)
#undef ARITHMETIC

INLINE MASK NAME(is_true)(VEC x) { return NAME(is_other)(x, NAME(broadcast)(0)); }

INLINE MASK NAME(is_zero)(VEC x) { return NAME(is_equal)(x, NAME(broadcast)(0)); }

INLINE VEC NAME(truth)(MASK mask) { return NAME(select)(mask, NAME(broadcast)(1), NAME(broadcast)(0)); }

INLINE VEC NAME(largest)(VEC x, VEC y) { /* NaN if either is; of two zeros, the positive one */
    const VEC larger = NAME(select)(NAME(is_less)(y, x), x, y);
    const MASK zeros = NAME(is_equal)(x, y) & NAME(is_equal)(x, NAME(broadcast)(0));
    return NAME(select)(zeros | NAME(is_other)(x, x) | NAME(is_other)(y, y), x + y, larger);
}

static void NAME(logic)(int opcode, ptrdiff_t n, const REAL *x, const REAL *y, REAL *value) {
    switch (opcode) {
    case LESS: LOOP(PUT(value, NAME(truth)(NAME(is_less)(GET(x), GET(y))));); break;
    case LESS_EQUAL: LOOP(PUT(value, NAME(truth)(NAME(is_at_most)(GET(x), GET(y))));); break;
    case EQUAL: LOOP(PUT(value, NAME(truth)(NAME(is_equal)(GET(x), GET(y))));); break;
    case NOT_EQUAL: LOOP(PUT(value, NAME(truth)(NAME(is_other)(GET(x), GET(y))));); break;
    case BOTH: LOOP(PUT(value, NAME(truth)(NAME(is_true)(GET(x)) & NAME(is_true)(GET(y))));); break;
    case EITHER: LOOP(PUT(value, NAME(truth)(NAME(is_true)(GET(x)) | NAME(is_true)(GET(y))));); break;
    case WITHIN: LOOP(PUT(value, NAME(truth)(NAME(is_at_most)(-GET(y), GET(x)) & NAME(is_less)(GET(x), GET(y))));); break;
    default: LOOP(PUT(value, NAME(truth)(NAME(is_zero)(GET(x))));); break;
    }
}

/* Which of n numbers an index means. One that is none of theirs means the first: a guard looks after it. */
INLINE ptrdiff_t NAME(item_at)(REAL index, ptrdiff_t n) {
    if (!(index >= (REAL)-n && index < (REAL)n))
        return 0;
    const ptrdiff_t place = (ptrdiff_t)index;
    return place < 0 ? place + n : place;
}

static void NAME(choice)(ptrdiff_t n, const REAL *c, const REAL *x, const REAL *y, REAL *value) {
    LOOP(PUT(value, NAME(select)(NAME(is_true)(GET(c)), GET(x), GET(y))););
}

INLINE VEC NAME(rectified)(VEC x) { /* NaN stays */
    const VEC zero = NAME(broadcast)(0);
    return NAME(select)(NAME(is_at_most)(x, zero), zero, x);
}

static void NAME(simple)(int opcode, ptrdiff_t n, const REAL *x, REAL *value) {
    switch (opcode) {
    case NEGATIVE: LOOP(PUT(value, -GET(x));); break;
    case RECIPROCAL: LOOP(PUT(value, 1 / GET(x));); break;
    case SQUARE: LOOP(const VEC a = GET(x); PUT(value, a * a);); break;
    case SQRT: LOOP(PUT(value, NAME(square_root)(GET(x)));); break;
    case ABSOLUTE: LOOP(PUT(value, NAME(absolute)(GET(x)));); break;
    case RELU: LOOP(PUT(value, NAME(rectified)(GET(x)));); break;
    default: LOOP(PUT(value, GET(x));); break;
    }
}

static void NAME(extreme)(ptrdiff_t n, const REAL *x, const REAL *y, REAL *value, int smallest) {
    if (smallest)
        LOOP(PUT(value, -NAME(largest)(-GET(x), -GET(y))););
    else
        LOOP(PUT(value, NAME(largest)(GET(x), GET(y))););
}
