/* Products of two matrices that both differ from lane to lane: a row of lanes for each of their numbers. Included once
   for double and once for float.

   A program's index holds, for every product of rows x columns: how many rows and columns; then the slots of the left
   matrix, row after row, and of the right one, column after column. Backward: where that is; whether something of the
   left side is pulled, and of the right one; for every number of both the row that is pulled (-1: none), and how. */

#define REALS (PART_BYTES / (int)sizeof(REAL)) /* in a register */
#define TILE_ROWS 4
#define TILE_COLUMNS (PART_BYTES == 64 ? 4 : 2) /* of a tile, whose sums stay in registers */

#define EACH_ROW _Pragma("GCC unroll 4") for (int i = 0; i < rows; i++)
#define EACH_COLUMN _Pragma("GCC unroll 4") for (int j = 0; j < columns; j++)

typedef struct { /* the number at (i, k) has the row slot[i * down + k * along] */
    const int32_t *slot;
    ptrdiff_t down, along;
} NAME(Numbers);

typedef struct {
    const NAME(Lanes) *m;
    NAME(Numbers) left, right, result; /* the right side's numbers at (column, k) */
    const int32_t *modes;              /* of the result, as its slots are; NULL: of a forward product */
    ptrdiff_t rows, columns, depth;
} NAME(Batch);

INLINE REAL *NAME(row_at)(const NAME(Lanes) *m, const NAME(Numbers) *x, ptrdiff_t i, ptrdiff_t k) {
    return NAME(row_of)(m, x->slot[i * x->down + k * x->along]);
}

/* What came out infinite or NaN, again: term by term, and a factor of 0 makes a term 0. */
static __attribute__((noinline, cold)) NAME(part) NAME(mended)(
    const NAME(Batch) *batch, ptrdiff_t i, ptrdiff_t j, ptrdiff_t at, NAME(part) sum
) {
    REAL number[REALS];
    NAME(store_part)(number, sum);
    for (int r = 0; r < REALS; r++) {
        if (number[r] - number[r] == 0)
            continue;
        number[r] = 0;
        for (ptrdiff_t k = 0; k < batch->depth; k++)
            number[r] += NAME(weighed)(
                NAME(row_at)(batch->m, &batch->left, i, k)[at + r], NAME(row_at)(batch->m, &batch->right, j, k)[at + r]
            );
    }
    return NAME(load_part)(number);
}

INLINE int NAME(is_finite)(NAME(part) x) {
    REAL number[REALS];
    int found = 1;
    NAME(store_part)(number, x - x);
    for (int r = 0; r < REALS; r++)
        found &= number[r] == 0;
    return found;
}

/* A tile of a product, for a register of lanes. */
INLINE void NAME(batch_tile)(
    const NAME(Batch) *batch, ptrdiff_t row, ptrdiff_t column, ptrdiff_t at, const int rows, const int columns,
    const int strong
) {
    const NAME(Lanes) *m = batch->m;
    NAME(part) sum[TILE_ROWS][TILE_COLUMNS], right[TILE_COLUMNS];
    EACH_ROW EACH_COLUMN sum[i][j] = NAME(spread)(strong ? 0 : -(REAL)0); /* -0, to which -0 may be added */
    for (ptrdiff_t k = 0; k < batch->depth; k++) {
        EACH_COLUMN right[j] = NAME(load_part)(NAME(row_at)(m, &batch->right, column + j, k) + at);
        EACH_ROW {
            const NAME(part) left = NAME(load_part)(NAME(row_at)(m, &batch->left, row + i, k) + at);
            EACH_COLUMN sum[i][j] = NAME(fused)(left, right[j], sum[i][j]);
        }
    }
    if (strong) {
        NAME(part) rest = NAME(spread)(0);
        EACH_ROW EACH_COLUMN rest += sum[i][j] - sum[i][j];
        if (__builtin_expect(!NAME(is_finite)(rest), 0))
            EACH_ROW EACH_COLUMN sum[i][j] = NAME(mended)(batch, row + i, column + j, at, sum[i][j]);
    }
    EACH_ROW EACH_COLUMN {
        const ptrdiff_t place = (row + i) * batch->result.down + (column + j) * batch->result.along;
        if (strong && batch->result.slot[place] < 0)
            continue;
        REAL *to = NAME(row_of)(m, batch->result.slot[place]) + at;
        if (strong && batch->modes[place] == ADD_TO)
            sum[i][j] += NAME(load_part)(to);
        NAME(store_part)(to, sum[i][j]);
    }
}

INLINE void NAME(multiply_batch)(const NAME(Batch) *batch, const int strong) {
    const ptrdiff_t rows = batch->rows, columns = batch->columns;
    for (ptrdiff_t at = 0; at < batch->m->width; at += REALS) {
        ptrdiff_t row = 0;
        for (; row + TILE_ROWS <= rows; row += TILE_ROWS) {
            ptrdiff_t column = 0;
            for (; column + TILE_COLUMNS <= columns; column += TILE_COLUMNS)
                NAME(batch_tile)(batch, row, column, at, TILE_ROWS, TILE_COLUMNS, strong);
            for (; column < columns; column++)
                NAME(batch_tile)(batch, row, column, at, TILE_ROWS, 1, strong);
        }
        for (; row < rows; row++) {
            ptrdiff_t column = 0;
            for (; column + TILE_COLUMNS <= columns; column += TILE_COLUMNS)
                NAME(batch_tile)(batch, row, column, at, 1, TILE_COLUMNS, strong);
            for (; column < columns; column++)
                NAME(batch_tile)(batch, row, column, at, 1, 1, strong);
        }
    }
}

#undef EACH_ROW
#undef EACH_COLUMN

/* The slots of a product's results, which lie one behind the other. */
static const int32_t *NAME(results_of)(const NAME(Lanes) *m, const Instruction *step) {
    int32_t *slot = (int32_t *)m->scratch;
    for (int32_t k = 0; k < step->count; k++)
        slot[k] = step->result + k;
    return slot;
}

static void NAME(batch_matmul)(const NAME(Lanes) *m, const Stream *stream, const Instruction *step) {
    const int32_t *index = stream->index + step->operand;
    const ptrdiff_t rows = index[0], columns = index[1], depth = step->arity;
    const NAME(Batch) batch = {
        m, {index + 2, depth, 1}, {index + 2 + rows * depth, depth, 1}, {NAME(results_of)(m, step), columns, 1}, NULL,
        rows, columns, depth,
    };
    NAME(multiply_batch)(&batch, 0);
}

static void NAME(pull_batch)(const NAME(Lanes) *m, const Stream *stream, const Instruction *step) {
    const int32_t *index = stream->index + step->operand, *of = stream->index + index[0];
    const ptrdiff_t rows = of[0], columns = of[1], depth = step->arity, numbers = (rows + columns) * depth;
    const int32_t *left = of + 2, *right = left + rows * depth, *target = index + 3, *pull = NAME(results_of)(m, step);
    const NAME(Batch) to_left = {
        m, {pull, columns, 1}, {right, 1, depth}, {target, depth, 1}, target + numbers, rows, depth, columns,
    };
    target += rows * depth;
    const NAME(Batch) to_right = {
        m, {pull, 1, columns}, {left, 1, depth}, {target, depth, 1}, target + numbers, columns, depth, rows,
    };
    if (index[1])
        NAME(multiply_batch)(&to_left, 1);
    if (index[2])
        NAME(multiply_batch)(&to_right, 1);
}

#undef REALS
#undef TILE_ROWS
#undef TILE_COLUMNS
