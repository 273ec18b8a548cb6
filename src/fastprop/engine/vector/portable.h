/* What part.h asks of a register, on any processor: in the compiler's own vectors of two doubles. */

INLINE part spread(double x) { return (part){x, x}; }

INLINE partf spreadf(float x) { return (partf){x, x, x, x}; }

INLINE part fused(part x, part y, part z) { return x * y + z; }

INLINE partf fusedf(partf x, partf y, partf z) { return x * y + z; }

INLINE part load_part(const double *from) {
    part x;
    memcpy(&x, from, sizeof x);
    return x;
}

INLINE partf load_partf(const float *from) {
    partf x;
    memcpy(&x, from, sizeof x);
    return x;
}

INLINE void store_part(double *to, part x) { memcpy(to, &x, sizeof x); }

INLINE void store_partf(float *to, partf x) { memcpy(to, &x, sizeof x); }

INLINE part widened(partf x, int upper) { return upper ? (part){x[2], x[3]} : (part){x[0], x[1]}; }

INLINE partf narrowed(part lower, part upper) {
    return (partf){(float)lower[0], (float)lower[1], (float)upper[0], (float)upper[1]};
}

INLINE part picked(ipart m, part x, part y) { return (part)((m & (ipart)x) | (~m & (ipart)y)); }

INLINE part smaller(part bound, part x) { return picked(bound < x, bound, x); } /* x where x is NaN */

INLINE part larger(part bound, part x) { return picked(bound > x, bound, x); }

INLINE partf smallerf(partf bound, partf x) {
    const ipartf m = bound < x;
    return (partf)((m & (ipartf)bound) | (~m & (ipartf)x));
}

INLINE partf largerf(partf bound, partf x) { return -smallerf(-bound, -x); }

INLINE part root(part x) { return (part){sqrt(x[0]), sqrt(x[1])}; }

INLINE partf rootf(partf x) { return (partf){sqrtf(x[0]), sqrtf(x[1]), sqrtf(x[2]), sqrtf(x[3])}; }

INLINE int signs(ipart m) { return (m[0] < 0) | (m[1] < 0) << 1; } /* a bit per lane */

INLINE void stream_part(void *to, part x) { memcpy(to, &x, sizeof x); }
