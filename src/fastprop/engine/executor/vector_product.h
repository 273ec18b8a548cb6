/* A matrix times numbers at one point, and its pulls. Included once for double and once for float.

   The index says of it what matmul.h says: where the matrix begins, from row to row and from column to column, the same of
   what is added; the slots of the numbers; those of the matrix and of what is added if they are listed. Backward: where
   all that is; the operand that the numbers' adjoints are (-1: none is wanted); the slot of the first adjoint of the
   matrix, and of what is added (-1: none is wanted, -2: they are listed); then the lists. */

#define REALS (PART_BYTES / (int)sizeof(REAL)) /* in a register */

typedef struct { /* the number at (i, j) is numbers[i * down + j * across] */
    ptrdiff_t rows, columns;
    const REAL *numbers;
    ptrdiff_t down, across; /* one of them is 1 */
} NAME(Grid);

static NAME(Grid) NAME(grid_of)(const NAME(Machine) *m, const int32_t *index, ptrdiff_t rows, ptrdiff_t columns, REAL *room) {
    const ptrdiff_t down = index[1], across = index[2];
    if (index[0] >= 0 && (down == 1 || across == 1))
        return (NAME(Grid)){rows, columns, m->base + index[0], down, across};
    const int32_t *list = index + 5 + columns;
    for (ptrdiff_t i = 0, k = 0; i < rows; i++)
        for (ptrdiff_t j = 0; j < columns; j++, k++)
            room[k] = m->base[index[0] >= 0 ? index[0] + i * down + j * across : list[k]];
    return (NAME(Grid)){rows, columns, room, columns, 1};
}

INLINE REAL NAME(sum_of_part)(NAME(part) x) {
    REAL number[REALS];
    NAME(store_part)(number, x);
    for (int half = REALS / 2; half > 0; half /= 2)
        for (int r = 0; r < half; r++)
            number[r] += number[r + half];
    return number[0];
}

/* Rows whose numbers lie side by side, each times x. */
INLINE void NAME(times_rows)(
    const NAME(Grid) *grid, ptrdiff_t row, const int rows, const REAL *x, REAL nothing, const REAL *begins,
    ptrdiff_t apart, REAL *result
) {
    const REAL *from = grid->numbers + row * grid->down;
    NAME(part) sum[4];
    REAL rest[4];
    ptrdiff_t k = 0;
    for (int i = 0; i < rows; i++)
        sum[i] = NAME(spread)(nothing), rest[i] = begins == NULL ? nothing : begins[(row + i) * apart];
    for (; k + REALS <= grid->columns; k += REALS) {
        const NAME(part) right = NAME(load_part)(x + k);
        _Pragma("GCC unroll 4") for (int i = 0; i < rows; i++)
            sum[i] = NAME(fused)(NAME(load_part)(from + i * grid->down + k), right, sum[i]);
    }
    for (; k < grid->columns; k++)
        _Pragma("GCC unroll 4") for (int i = 0; i < rows; i++) rest[i] += from[i * grid->down + k] * x[k];
    for (int i = 0; i < rows; i++)
        result[row + i] = rest[i] + NAME(sum_of_part)(sum[i]);
}

/* Columns whose numbers lie side by side: as many rows as `parts` registers hold. */
INLINE void NAME(times_columns)(
    const NAME(Grid) *grid, ptrdiff_t row, const int parts, const REAL *x, REAL nothing, const REAL *begins,
    ptrdiff_t apart, REAL *result
) {
    NAME(part) sum[4];
    REAL first[4 * REALS];
    for (int r = 0; r < parts * REALS; r++)
        first[r] = begins == NULL ? nothing : begins[(row + r) * apart];
    for (int p = 0; p < parts; p++)
        sum[p] = NAME(load_part)(first + p * REALS);
    const REAL *from = grid->numbers + row;
    for (ptrdiff_t k = 0; k < grid->columns; k++) {
        const NAME(part) right = NAME(spread)(x[k]);
        _Pragma("GCC unroll 4") for (int p = 0; p < parts; p++)
            sum[p] = NAME(fused)(NAME(load_part)(from + k * grid->across + p * REALS), right, sum[p]);
    }
    for (int p = 0; p < parts; p++)
        NAME(store_part)(result + row + p * REALS, sum[p]);
}

/* result = begins, or `nothing`, + the matrix times x; nothing is -0, to which -0 may be added, but in gradients. */
static void NAME(times)(
    const NAME(Grid) *grid, const REAL *x, REAL nothing, const REAL *begins, ptrdiff_t apart, REAL *result
) {
    ptrdiff_t row = 0;
    if (grid->across == 1) {
        for (; row + 4 <= grid->rows; row += 4)
            NAME(times_rows)(grid, row, 4, x, nothing, begins, apart, result);
        for (; row < grid->rows; row++)
            NAME(times_rows)(grid, row, 1, x, nothing, begins, apart, result);
        return;
    }
    for (; row + 4 * REALS <= grid->rows; row += 4 * REALS)
        NAME(times_columns)(grid, row, 4, x, nothing, begins, apart, result);
    for (; row + REALS <= grid->rows; row += REALS)
        NAME(times_columns)(grid, row, 1, x, nothing, begins, apart, result);
    for (; row < grid->rows; row++) {
        REAL total = begins == NULL ? nothing : begins[row * apart];
        for (ptrdiff_t k = 0; k < grid->columns; k++)
            total += grid->numbers[row + k * grid->across] * x[k];
        result[row] = total;
    }
}

static void NAME(vector_product)(const NAME(Machine) *m, const Instruction *step, REAL *result) {
    const ptrdiff_t rows = step->count, columns = step->arity;
    const int32_t *index = m->stream->index + step->operand, *list = index + 5 + columns;
    REAL *x = m->scratch, *begins = x + columns, *room = begins + rows;
    for (ptrdiff_t k = 0; k < columns; k++)
        x[k] = m->base[index[5 + k]];
    list += index[0] >= 0 ? 0 : rows * columns;
    for (ptrdiff_t i = 0; i < (index[3] == -2 ? rows : 0); i++)
        begins[i] = m->base[list[i]];
    const NAME(Grid) grid = NAME(grid_of)(m, index, rows, columns, room);
    if (index[3] == -1)
        NAME(times)(&grid, x, -(REAL)0, NULL, 0, result);
    else if (index[3] == -2)
        NAME(times)(&grid, x, -(REAL)0, begins, 1, result);
    else
        NAME(times)(&grid, x, -(REAL)0, m->base + index[3], index[4], result);
}

/* What the numbers are pulled: the matrix turned, times the pull, and a factor of 0 makes a term 0. */
static void NAME(pull_numbers)(
    const NAME(Machine) *m, const Operand *target, const NAME(Grid) *grid, const REAL *pull, REAL *brought
) {
    const NAME(Grid) turned = {grid->columns, grid->rows, grid->numbers, grid->across, grid->down};
    const ptrdiff_t n = grid->columns;
    const int direct = target->place == CONTIGUOUS && target->mode == ASSIGN;
    REAL *to = direct ? m->base + target->start : brought;
    NAME(assert_operand)(m, target, n);
    NAME(times)(&turned, pull, 0, NULL, 0, to);
    for (ptrdiff_t k = 0; k < n; k++)
        if (__builtin_expect(to[k] - to[k] != 0, 0)) {
            REAL total = 0;
            for (ptrdiff_t i = 0; i < grid->rows; i++)
                total += NAME(weighed)(pull[i], grid->numbers[i * grid->down + k * grid->across]);
            to[k] = total;
        }
    if (target->place == CONTIGUOUS && !direct)
        NAME(pull_other)(PASS, n, brought, NULL, NULL, m->base + target->start, 1);
    NAME(deliver)(m, target, n, brought);
}

/* The pulls on the matrix, which lie as it does, or are listed. */
static void NAME(pull_matrix)(
    const NAME(Machine) *m, const int32_t *index, int32_t at, const int32_t *list, ptrdiff_t rows, ptrdiff_t columns,
    const REAL *x, const REAL *pull
) {
    const ptrdiff_t down = index[1], across = index[2];
    if (at >= 0 && across != 1 && down == 1) {
        for (ptrdiff_t k = 0; k < columns; k++)
            if (x[k] != 0)
                NAME(pull_product)(rows, pull, x + k, 1, m->base + at + k * across, 1);
        return;
    }
    for (ptrdiff_t i = 0; i < rows; i++) {
        if (pull[i] == 0)
            continue;
        if (at >= 0 && across == 1)
            NAME(pull_product)(columns, x, pull + i, 1, m->base + at + i * down, 1);
        else
            for (ptrdiff_t k = 0; k < columns; k++)
                m->base[at >= 0 ? at + i * down + k * across : list[i * columns + k]] += NAME(weighed)(pull[i], x[k]);
    }
}

static void NAME(pull_vector_product)(const NAME(Machine) *m, const Instruction *step, const REAL *pull) {
    const ptrdiff_t rows = step->count, columns = step->arity;
    const int32_t *from = m->stream->index + step->operand, *index = m->stream->index + from[0], *list = from + 4;
    REAL *x = m->scratch, *brought = x + columns, *room = brought + columns;
    for (ptrdiff_t k = 0; k < columns; k++)
        x[k] = m->base[index[5 + k]];
    if (from[1] >= 0) {
        const NAME(Grid) grid = NAME(grid_of)(m, index, rows, columns, room);
        NAME(pull_numbers)(m, m->stream->operand + from[1], &grid, pull, brought);
    }
    if (from[2] != -1)
        NAME(pull_matrix)(m, index, from[2], list, rows, columns, x, pull);
    list += from[2] == -2 ? rows * columns : 0;
    for (ptrdiff_t i = 0; i < (from[3] == -1 ? 0 : rows); i++)
        m->base[from[3] >= 0 ? from[3] + i * index[4] : list[i]] += pull[i];
}

/* A matrix times another one at one point, and its pulls: what both numbers are is gathered (see batch_matmul.h for the
   index; backward, every number has a slot to which it can be added). Room: the numbers, then `rest`. */

static void NAME(gathered)(const NAME(Machine) *m, const int32_t *slot, ptrdiff_t n, REAL *to) {
    for (ptrdiff_t k = 0; k < n; k++)
        to[k] = m->base[slot[k]];
}

static void NAME(matrix_product)(const NAME(Machine) *m, const Instruction *step, REAL *result) {
    const int32_t *index = m->stream->index + step->operand, *right = index + 2 + index[0] * step->arity;
    const ptrdiff_t rows = index[0], columns = index[1], depth = step->arity;
    REAL *x = m->scratch, *y = x + rows * depth;
    NAME(gathered)(m, index + 2, rows * depth, x);
    NAME(Grid) grid = {columns, depth, y, 1, columns};
    if (columns < REALS)
        grid.down = depth, grid.across = 1;
    for (ptrdiff_t j = 0; j < columns; j++)
        for (ptrdiff_t k = 0; k < depth; k++)
            y[j * grid.down + k * grid.across] = m->base[right[j * depth + k]];
    for (ptrdiff_t i = 0; i < rows; i++)
        NAME(times)(&grid, x + i * depth, -(REAL)0, NULL, 0, result + i * columns);
}

/* Add to some slots what a pull brings them: the matrix turned, times the pull, and a factor of 0 makes a term 0. */
static void NAME(pull_row)(
    const NAME(Machine) *m, const NAME(Grid) *turned, const REAL *pull, const int32_t *target, REAL *brought
) {
    NAME(times)(turned, pull, 0, NULL, 0, brought);
    for (ptrdiff_t k = 0; k < turned->rows; k++) {
        if (__builtin_expect(brought[k] - brought[k] != 0, 0)) {
            brought[k] = 0;
            for (ptrdiff_t i = 0; i < turned->columns; i++)
                brought[k] += NAME(weighed)(pull[i], turned->numbers[k * turned->down + i * turned->across]);
        }
        m->base[target[k]] += brought[k];
    }
}

static void NAME(pull_matrix_product)(const NAME(Machine) *m, const Instruction *step, const REAL *pull) {
    const int32_t *from = m->stream->index + step->operand, *index = m->stream->index + from[0], *target = from + 3;
    const ptrdiff_t rows = index[0], columns = index[1], depth = step->arity;
    REAL *x = m->scratch, *y = x + rows * depth, *brought = y + columns * depth, *down = brought + depth;
    NAME(gathered)(m, index + 2, (rows + columns) * depth, x);
    const NAME(Grid) left = {depth, rows, x, 1, depth}, right = {depth, columns, y, 1, depth};
    for (ptrdiff_t i = 0; i < (from[1] ? rows : 0); i++)
        NAME(pull_row)(m, &right, pull + i * columns, target + i * depth, brought);
    target += rows * depth;
    for (ptrdiff_t j = 0; j < (from[2] ? columns : 0); j++) {
        for (ptrdiff_t i = 0; i < rows; i++)
            down[i] = pull[i * columns + j];
        NAME(pull_row)(m, &left, down, target + j * depth, brought);
    }
}

#undef REALS
