/* Gates on a vector of floats: computed as doubles, and rounded. (Loops over rows of floats: lifted_loops.h.) */
INLINE vecf square_rootf(vecf x) { /* exact to the last bit: a double has more than twice the digits */
    vec low, high;
    widen(x, &low, &high);
    return narrow(square_root(low), square_root(high));
}

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
