/* The loops of the gates that have a vector form, on floats: as floats, or as doubles, so many at a time, and rounded. */
#define AT_ONCE 128

typedef double Doubles[AT_ONCE] __attribute__((aligned(64)));

static void widen_row(ptrdiff_t n, const float *from, double *to) {
    ptrdiff_t i = 0;
    for (; i + 16 <= n; i += 16) {
        vec low, high;
        widen(loadf(from + i), &low, &high);
        store(to + i, low);
        store(to + i + 8, high);
    }
    for (; i < n; i++)
        to[i] = from[i];
}

static void narrow_row(ptrdiff_t n, const double *from, float *to) {
    ptrdiff_t i = 0;
    for (; i + 16 <= n; i += 16)
        storef(to + i, narrow(load(from + i), load(from + i + 8)));
    for (; i < n; i++)
        to[i] = (float)from[i];
}

static void lifted_unary(unary_loop loop, ptrdiff_t n, const float *x, float *value, float *saved) {
    Doubles wide_x, wide_value, wide_saved;
    for (ptrdiff_t i = 0; i < n; i += AT_ONCE) {
        const ptrdiff_t k = n - i < AT_ONCE ? n - i : AT_ONCE;
        widen_row(k, x + i, wide_x);
        loop(k, wide_x, wide_value, saved == NULL ? NULL : wide_saved);
        narrow_row(k, wide_value, value + i);
        if (saved != NULL)
            narrow_row(k, wide_saved, saved + i);
    }
}

static void lifted_binary(
    binary_loop loop, ptrdiff_t n, const float *x, const float *y, float *value, float *saved
) {
    Doubles wide_x, wide_y, wide_value, wide_saved[2];
    for (ptrdiff_t i = 0; i < n; i += AT_ONCE) {
        const ptrdiff_t k = n - i < AT_ONCE ? n - i : AT_ONCE;
        widen_row(k, x + i, wide_x);
        widen_row(k, y + i, wide_y);
        loop(k, wide_x, wide_y, wide_value, saved == NULL ? NULL : *wide_saved);
        narrow_row(k, wide_value, value + i);
        if (saved != NULL) {
            narrow_row(k, *wide_saved, saved + i);
            narrow_row(k, *wide_saved + k, saved + n + i);
        }
    }
}

static void lifted_ternary(
    ternary_loop loop, ptrdiff_t n, const float *x, const float *y, const float *z, float *value, float *saved
) {
    Doubles wide_x, wide_y, wide_z, wide_value, wide_saved[3];
    for (ptrdiff_t i = 0; i < n; i += AT_ONCE) {
        const ptrdiff_t k = n - i < AT_ONCE ? n - i : AT_ONCE;
        widen_row(k, x + i, wide_x);
        widen_row(k, y + i, wide_y);
        widen_row(k, z + i, wide_z);
        loop(k, wide_x, wide_y, wide_z, wide_value, saved == NULL ? NULL : *wide_saved);
        narrow_row(k, wide_value, value + i);
        if (saved != NULL)
            for (ptrdiff_t operand = 0; operand < 3; operand++)
                narrow_row(k, *wide_saved + operand * k, saved + operand * n + i);
    }
}

#define UNARY(gate, OPCODE)                                                                                             \
    static void gate##_loopf(ptrdiff_t n, const float *x, float *value, float *saved) {                                \
        lifted_unary(gate##_loop, n, x, value, saved);                                                                 \
    }

#define BINARY(gate, OPCODE)                                                                                            \
    static void gate##_loopf(ptrdiff_t n, const float *x, const float *y, float *value, float *saved) {                \
        lifted_binary(gate##_loop, n, x, y, value, saved);                                                             \
    }

#define TERNARY(gate, OPCODE)                                                                                           \
    static void gate##_loopf(                                                                                          \
        ptrdiff_t n, const float *x, const float *y, const float *z, float *value, float *saved                        \
    ) {                                                                                                                \
        lifted_ternary(gate##_loop, n, x, y, z, value, saved);                                                         \
    }

#define NATIVE(gate, OPCODE)                                                                                            \
    static void gate##_loopf(ptrdiff_t n, const float *x, float *value, float *saved) {                                \
        partf dx;                                                                                                      \
        ptrdiff_t i = 0;                                                                                               \
        for (; i + FLOATS <= n; i += FLOATS) {                                                                         \
            store_partf(value + i, gate##_lanesf(load_partf(x + i), &dx));                                             \
            if (saved != NULL)                                                                                         \
                store_partf(saved + i, dx);                                                                            \
        }                                                                                                              \
        if (i < n) {                                                                                                   \
            float last[FLOATS] = {0};                                                                                  \
            memcpy(last, x + i, (size_t)(n - i) * sizeof(float));                                                      \
            store_partf(last, gate##_lanesf(load_partf(last), &dx));                                                   \
            memcpy(value + i, last, (size_t)(n - i) * sizeof(float));                                                  \
            store_partf(last, dx);                                                                                     \
            if (saved != NULL)                                                                                         \
                memcpy(saved + i, last, (size_t)(n - i) * sizeof(float));                                              \
        }                                                                                                              \
    }

#if defined(__FMA__)
LIFTED_OF_ONE(UNARY)
NATIVE_OF_ONE(NATIVE)
#else
FORMS_OF_ONE(UNARY)
#endif
FORMS_OF_TWO(BINARY)
FORMS_OF_THREE(TERNARY)
#undef NATIVE
#undef UNARY
#undef BINARY
#undef TERNARY
