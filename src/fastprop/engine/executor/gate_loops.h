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

#include "executor/gates_with_loops.h"
#undef UNARY
#undef BINARY
