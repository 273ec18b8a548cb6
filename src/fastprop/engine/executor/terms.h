/* Loops over gates of many operands, operand after operand: x[t] holds n numbers, or one if single[t]. Included once for
   double and once for float. */

INLINE VEC NAME(term)(const REAL *x, int single, ptrdiff_t i, int k) {
    return single ? NAME(broadcast)(*x) : NAME(take)(x + i, k);
}

/* As many vectors as fit in half of the registers, so that a sum stays there while its terms come and go. */
#define STRIP (8 / PARTS)
#define EACH_OF_STRIP _Pragma("GCC unroll 8") for (int s = 0; s < STRIP; s++)
#define OF_STRIP(x) NAME(load)((x) + i + s * COUNT)

/* sum += x * y, or sum = x * y, for the strip at i. */
INLINE void NAME(strip_product)(
    VEC *sum, int first, ptrdiff_t i, const REAL *x, int one_x, const REAL *y, int one_y
) {
    if (one_x && !one_y) {
        const REAL *other = x;
        x = y, y = other;
        one_x = 0, one_y = 1;
    }
    if (!one_y)
        EACH_OF_STRIP sum[s] = first ? OF_STRIP(x) * OF_STRIP(y) : sum[s] + OF_STRIP(x) * OF_STRIP(y);
    else if (one_x) {
        const VEC constant = NAME(broadcast)(*x * *y);
        EACH_OF_STRIP sum[s] = first ? constant : sum[s] + constant;
    } else if (*y == 1) {
        EACH_OF_STRIP sum[s] = first ? OF_STRIP(x) : sum[s] + OF_STRIP(x);
    } else {
        const VEC rate = NAME(broadcast)(*y);
        EACH_OF_STRIP sum[s] = first ? OF_STRIP(x) * rate : sum[s] + OF_STRIP(x) * rate;
    }
}

static void NAME(products)(ptrdiff_t n, int terms, const REAL **x, const uint8_t *single, REAL *value) {
    ptrdiff_t i = 0;
    for (; i + STRIP * COUNT <= n; i += STRIP * COUNT) {
        VEC sum[STRIP];
        NAME(strip_product)(sum, 1, i, x[0], single[0], x[1], single[1]);
        for (int t = 2; t < 2 * terms; t += 2)
            NAME(strip_product)(sum, 0, i, x[t], single[t], x[t + 1], single[t + 1]);
        EACH_OF_STRIP NAME(store)(value + i + s * COUNT, sum[s]);
    }
    for (; i < n; i += COUNT) {
        const int k = n - i < COUNT ? (int)(n - i) : COUNT;
        VEC total = NAME(term)(x[0], single[0], i, k) * NAME(term)(x[1], single[1], i, k);
        for (int t = 2; t < 2 * terms; t += 2)
            total += NAME(term)(x[t], single[t], i, k) * NAME(term)(x[t + 1], single[t + 1], i, k);
        PUT(value, total);
    }
}

static void NAME(totals)(ptrdiff_t n, int terms, const REAL **x, const uint8_t *single, REAL *value) {
    ptrdiff_t i = 0;
    for (; i + STRIP * COUNT <= n; i += STRIP * COUNT) {
        VEC sum[STRIP];
        EACH_OF_STRIP sum[s] = single[0] ? NAME(broadcast)(*x[0]) : OF_STRIP(x[0]);
        for (int t = 1; t < terms; t++) {
            if (single[t])
                EACH_OF_STRIP sum[s] += NAME(broadcast)(*x[t]);
            else
                EACH_OF_STRIP sum[s] += OF_STRIP(x[t]);
        }
        EACH_OF_STRIP NAME(store)(value + i + s * COUNT, sum[s]);
    }
    for (; i < n; i += COUNT) {
        const int k = n - i < COUNT ? (int)(n - i) : COUNT;
        VEC total = NAME(term)(x[0], single[0], i, k);
        for (int t = 1; t < terms; t++)
            total += NAME(term)(x[t], single[t], i, k);
        PUT(value, total);
    }
}

#undef STRIP
#undef EACH_OF_STRIP
#undef OF_STRIP

static void NAME(extremes)(
    ptrdiff_t n, int terms, const REAL **x, const uint8_t *single, REAL *value, REAL *saved, int smallest
) {
    LONG_LOOP(VEC best = NAME(term)(x[0], single[0], i, k); for (int t = 1; t < terms; t++) {
        const VEC next = NAME(term)(x[t], single[t], i, k);
        best = smallest ? -NAME(largest)(-best, -next) : NAME(largest)(best, next);
    } PUT(value, best);
         if (saved != NULL) {
             VEC ties = NAME(broadcast)(0);
             for (int t = 0; t < terms; t++) ties += NAME(truth)(NAME(is_equal)(NAME(term)(x[t], single[t], i, k), best));
             for (int t = 0; t < terms; t++) {
                 const VEC chosen = NAME(truth)(NAME(is_equal)(NAME(term)(x[t], single[t], i, k), best)) / ties;
                 PUT(saved + t * n, NAME(select)(NAME(is_other)(best, best), best, chosen));
             }
         });
}

#define AT_A_TIME 32 /* terms: small sums are added up to large ones, which rounds less */

static void NAME(logsumexps)(
    ptrdiff_t n, int terms, const REAL **x, const uint8_t *single, REAL *value, REAL *saved, REAL *spare
) {
    REAL *power = saved != NULL ? saved : spare; /* without: one vector's worth, as nothing is kept */
    const ptrdiff_t step = saved != NULL ? n : 0;
    VEC ignored;
    LONG_LOOP(VEC top = NAME(term)(x[0], single[0], i, k);
              for (int t = 1; t < terms; t++) top = NAME(largest)(top, NAME(term)(x[t], single[t], i, k));
              const MASK endless = NAME(is_equal)(NAME(absolute)(top), NAME(broadcast)((REAL)INFINITY));
              VEC others = NAME(broadcast)(0), some = others, more = NAME(broadcast)(-1); /* of those equal to top one is left to log1p */
              for (int t = 0; t < terms; t++) {
                  const VEC a = NAME(term)(x[t], single[t], i, k);
                  const MASK equal = NAME(is_equal)(a, top);
                  const VEC gap = a - top, rounded = gap + top; /* or the partial is off by what the gap was rounded */
                  VEC e = NAME(exp_gate)(gap, &ignored);
                  e += NAME(select)(NAME(is_zero)(e), e, e * ((a - rounded) - (top - (rounded - gap))));
                  e = NAME(select)(endless, NAME(truth)(equal & NAME(is_less)(NAME(broadcast)(0), a)), e);
                  some += NAME(select)(equal, NAME(broadcast)(0), e);
                  more += NAME(truth)(equal);
                  if (t % AT_A_TIME == 0) others += some, some = NAME(broadcast)(0);
                  if (saved != NULL) PUT(power + t * step, e);
              }
              others += some + more;
              const VEC sum = NAME(broadcast)(1) + others;
              PUT(value, NAME(select)(endless, top, top + NAME(log1p_gate)(others, &ignored)));
              if (saved != NULL) for (int t = 0; t < terms; t++) {
                  const VEC e = GET(power + t * step);
                  PUT(power + t * step, NAME(select)(NAME(is_zero)(e), e, e / sum));
              })
}

#undef AT_A_TIME
