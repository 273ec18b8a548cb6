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
UNARY(log)
#undef UNARY

INLINE vecf clip_gatef(vecf x, vecf low, vecf high, vecf *dx, vecf *dlow, vecf *dhigh) {
    vec x0, x1, low0, low1, high0, high1, dx0, dx1, dlow0, dlow1, dhigh0, dhigh1;
    widen(x, &x0, &x1);
    widen(low, &low0, &low1);
    widen(high, &high0, &high1);
    x0 = clip_gate(x0, low0, high0, &dx0, &dlow0, &dhigh0);
    x1 = clip_gate(x1, low1, high1, &dx1, &dlow1, &dhigh1);
    *dx = narrow(dx0, dx1);
    *dlow = narrow(dlow0, dlow1);
    *dhigh = narrow(dhigh0, dhigh1);
    return narrow(x0, x1);
}
