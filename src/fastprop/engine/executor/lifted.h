/* Gates on a vector of floats: as floats, or computed as doubles, and rounded. (Loops over rows of floats: lifted_loops.h.) */
#define UNARY(gate)                                                                                                     \
    INLINE vecf gate##_gatef(vecf x, vecf *dx) {                                                                       \
        vec low, high, dlow, dhigh;                                                                                    \
        widen(x, &low, &high);                                                                                         \
        low = gate##_gate(low, &dlow);                                                                                 \
        high = gate##_gate(high, &dhigh);                                                                              \
        *dx = narrow(dlow, dhigh);                                                                                     \
        return narrow(low, high);                                                                                      \
    }
#define NATIVE(gate)                                                                                                    \
    INLINE vecf gate##_gatef(vecf x, vecf *dx) {                                                                       \
        piecesf from = {x}, to, slope;                                                                                 \
        FOR_PARTS(i) to.parts[i] = gate##_lanesf(from.parts[i], &slope.parts[i]);                                      \
        *dx = slope.whole;                                                                                             \
        return to.whole;                                                                                               \
    }
#if defined(__FMA__)
NATIVE(exp)
#else
UNARY(exp)
#endif
UNARY(log1p)
#undef NATIVE
#undef UNARY
