/* The loops of the gates that have a vector form, on doubles. */
#define UNARY(gate, OPCODE)                                                                                           \
    static void gate##_loop(ptrdiff_t n, const double *x, double *value, double *saved) {                             \
        vec dx;                                                                                                       \
        if (saved == NULL)                                                                                            \
            LONG_LOOP(PUT(value, gate##_gate(GET(x), &dx));)                                                          \
        else                                                                                                          \
            LONG_LOOP(PUT(value, gate##_gate(GET(x), &dx)); PUT(saved, dx);)                                          \
    }

#define BINARY(gate, OPCODE)                                                                                          \
    static void gate##_loop(ptrdiff_t n, const double *x, const double *y, double *value, double *saved) {            \
        vec dx, dy;                                                                                                   \
        if (saved == NULL)                                                                                            \
            LONG_LOOP(PUT(value, gate##_gate(GET(x), GET(y), &dx, &dy));)                                             \
        else                                                                                                          \
            LONG_LOOP(PUT(value, gate##_gate(GET(x), GET(y), &dx, &dy)); PUT(saved, dx); PUT(saved + n, dy);)         \
    }

#define TERNARY(gate, OPCODE)                                                                                         \
    static void gate##_loop(                                                                                          \
        ptrdiff_t n, const double *x, const double *y, const double *z, double *value, double *saved                  \
    ) {                                                                                                               \
        vec dx, dy, dz;                                                                                               \
        LONG_LOOP(PUT(value, gate##_gate(GET(x), GET(y), GET(z), &dx, &dy, &dz)); if (saved != NULL) {                \
            PUT(saved, dx);                                                                                           \
            PUT(saved + n, dy);                                                                                       \
            PUT(saved + 2 * n, dz);                                                                                   \
        })                                                                                                            \
    }

FORMS_OF_ONE(UNARY)
FORMS_OF_TWO(BINARY)
FORMS_OF_THREE(TERNARY)
#undef UNARY
#undef BINARY
#undef TERNARY
