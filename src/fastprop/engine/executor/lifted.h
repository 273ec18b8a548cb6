/* Gates on a vector of floats: computed as doubles, and rounded. (Loops over rows of floats: lifted_loops.h.) */
#define UNARY(gate)                                                                                                     \
    INLINE vecf gate##_gatef(vecf x, vecf *dx) {                                                                       \
        vec low, high, dlow, dhigh;                                                                                    \
        widen(x, &low, &high);                                                                                         \
        low = gate##_gate(low, &dlow);                                                                                 \
        high = gate##_gate(high, &dhigh);                                                                              \
        *dx = narrow(dlow, dhigh);                                                                                     \
        return narrow(low, high);                                                                                      \
    }
UNARY(exp)
UNARY(log1p)
#undef UNARY
