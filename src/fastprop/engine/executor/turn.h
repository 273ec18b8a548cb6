/* Numbers turned: those of a lane side by side become rows of lanes, and back. Included once for double and once for float. */

#define REALS (PART_BYTES / (int)sizeof(REAL)) /* in a register */
#define EACH_REGISTER _Pragma("GCC unroll 16") for (int k = 0; k < REALS; k++)

typedef __typeof__((NAME(part)){0} == (NAME(part)){0}) NAME(Places); /* of numbers in a register */

/* As many registers as each of them holds numbers, as rows of a matrix, which is turned: halves, quarters … change places. */
INLINE void NAME(turn_registers)(NAME(part) *row) {
    _Pragma("GCC unroll 4") for (int half = REALS / 2; half > 0; half /= 2) {
        NAME(Places) upper, lower;
        EACH_REGISTER {
            upper[k] = k & half ? REALS + k - half : k;
            lower[k] = k & half ? REALS + k : k + half;
        }
        EACH_REGISTER if (!(k & half)) {
            const NAME(part) one = row[k], other = row[k + half];
            row[k] = __builtin_shuffle(one, other, upper);
            row[k + half] = __builtin_shuffle(one, other, lower);
        }
    }
}

/* Columns that lie side by side in each of n lanes: each goes to a row, which are `apart` numbers apart. */
static void NAME(turn_columns)(
    REAL *row, ptrdiff_t apart, const char *data, ptrdiff_t stride, ptrdiff_t n, ptrdiff_t columns
) {
    ptrdiff_t c = 0;
    for (; c + REALS <= columns; c += REALS) {
        ptrdiff_t lane = 0;
        for (; lane + REALS <= n; lane += REALS) {
            NAME(part) turned[REALS];
            EACH_REGISTER turned[k] = NAME(load_part)((const REAL *)(data + (lane + k) * stride) + c);
            NAME(turn_registers)(turned);
            EACH_REGISTER NAME(store_part)(row + (c + k) * apart + lane, turned[k]);
        }
        for (; lane < n; lane++)
            for (int k = 0; k < REALS; k++)
                row[(c + k) * apart + lane] = ((const REAL *)(data + lane * stride))[c + k];
    }
    for (ptrdiff_t lane = 0; lane < n; lane++)
        for (ptrdiff_t k = c; k < columns; k++)
            row[k * apart + lane] = ((const REAL *)(data + lane * stride))[k];
}

/* A square of numbers, turned. */
static void NAME(turn_parts)(REAL (*square)[COUNT]) {
#if PART_BYTES == 64
    NAME(part) row[REALS];
    EACH_REGISTER row[k] = NAME(load_part)(square[k]);
    NAME(turn_registers)(row);
    EACH_REGISTER NAME(store_part)(square[k], row[k]);
#else
    for (int i = 0; i < COUNT; i++)
        for (int k = 0; k < i; k++) {
            const REAL one = square[i][k];
            square[i][k] = square[k][i];
            square[k][i] = one;
        }
#endif
}

#undef REALS
#undef EACH_REGISTER
