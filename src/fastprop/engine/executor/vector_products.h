/* One matrix times several vectors at one point, and its pulls, as rows of a batch are: as products of matrices, tile
   by tile (see matmul.h). Included once for double and once for float. All that is read is read, and all that comes out is
   computed, before the first of it is written: slots may be used again. */

#define REALS (PART_BYTES / (int)sizeof(REAL)) /* in a register */

INLINE ptrdiff_t NAME(filled_up)(ptrdiff_t n) { return (n + REALS - 1) / REALS * REALS; }

static REAL *NAME(room_for_rows)(char **room, ptrdiff_t rows, ptrdiff_t columns) {
    return NAME(room_for)(room, rows * NAME(filled_up)(columns), sizeof(REAL));
}

/* The numbers at some slots: where they lie, if that is side by side, else a copy. */
static const REAL *NAME(vector_at)(const NAME(Machine) *m, const int32_t *slot, ptrdiff_t n, char **room) {
    int32_t off = 0;
    for (ptrdiff_t k = 0; k < n; k++)
        off |= slot[k] ^ (slot[0] + (int32_t)k);
    if (off == 0)
        return m->base + slot[0];
    REAL *copy = NAME(room_for_rows)(room, 1, n);
    for (ptrdiff_t k = 0; k < n; k++)
        copy[k] = m->base[slot[k]];
    return copy;
}

/* The rows of a matrix, or of the same turned; what fills them up is another number, or 0. */
static const REAL **NAME(rows_of_grid)(const NAME(Grid) *grid, int turned, char **room) {
    const ptrdiff_t rows = turned ? grid->columns : grid->rows, columns = turned ? grid->rows : grid->columns;
    const ptrdiff_t down = turned ? grid->across : grid->down, across = turned ? grid->down : grid->across;
    const REAL **row = NAME(room_for)(room, rows, sizeof(REAL *));
    const ptrdiff_t apart = across == 1 ? down : NAME(filled_up)(columns);
    const REAL *matrix = grid->numbers;
    if (across != 1) {
        REAL *copy = NAME(room_for_rows)(room, rows, columns);
        NAME(turn_columns)(copy, apart, (const char *)matrix, across * (ptrdiff_t)sizeof(REAL), columns, rows);
        for (ptrdiff_t i = 0; i < rows; i++)
            for (ptrdiff_t j = columns; j < apart; j++)
                copy[i * apart + j] = 0;
        matrix = copy;
    }
    for (ptrdiff_t i = 0; i < rows; i++)
        row[i] = matrix + i * apart;
    return row;
}

/* Room for so many rows, which comes with the pointers to them. */
static REAL **NAME(new_rows)(ptrdiff_t rows, ptrdiff_t columns, char **room) {
    REAL **row = NAME(room_for)(room, rows, sizeof(REAL *)), *table = NAME(room_for_rows)(room, rows, columns);
    for (ptrdiff_t i = 0; i < rows; i++)
        row[i] = table + i * NAME(filled_up)(columns);
    return row;
}

static void NAME(add_numbers)(ptrdiff_t n, const REAL *brought, REAL *target, int add) {
    NAME(pull_other)(PASS, n, brought, NULL, NULL, target, add);
}

static void NAME(vector_products)(const NAME(Machine) *m, const Instruction *step, ptrdiff_t n) {
    const ptrdiff_t rows = step->count, columns = step->arity;
    const int32_t *index = m->stream->index, *of = index + step->operand;
    char *room = (char *)m->scratch;
    const REAL **vector = NAME(room_for)(&room, n, sizeof(REAL *));
    for (ptrdiff_t v = 0; v < n; v++)
        vector[v] = NAME(vector_at)(m, index + step[v].operand + 5, columns, &room);
    REAL **result = NAME(new_rows)(n, rows, &room), *copy = NAME(room_for)(&room, rows * columns, sizeof(REAL));
    const NAME(Grid) grid = NAME(grid_of)(m, of, rows, columns, copy);
    const NAME(Product) product = {n, columns, vector, 1, NAME(rows_of_grid)(&grid, 1, &room)};
    NAME(multiply_rows)(&product, NAME(filled_up)(rows), NULL, 0, result);
    for (ptrdiff_t v = 0; v < n; v++) {
        REAL *value = m->base + step[v].result;
        const int32_t *added = index + step[v].operand + 3;
        const REAL *begins = m->base + added[0];
        if (added[0] >= 0 && added[1] == 1)
            NAME(sum)(rows, begins, 0, result[v], 0, value);
        else
            for (ptrdiff_t i = 0; i < rows; i++)
                value[i] = added[0] >= 0 ? begins[i * added[1]] + result[v][i] : result[v][i];
    }
}

/* The sums of x[v][i] * y[v][j] over all v, in rows. */
static REAL *NAME(outer_products)(
    ptrdiff_t n, REAL *const *x, ptrdiff_t rows, REAL *const *y, ptrdiff_t columns, char *room
) {
    const REAL **left = NAME(room_for)(&room, rows, sizeof(REAL *)), **right = NAME(room_for)(&room, n, sizeof(REAL *));
    REAL *table = NAME(room_for_rows)(&room, rows, columns);
    for (ptrdiff_t i = 0; i < rows; i++)
        left[i] = x[0] + i;
    NAME(in_panels)(y, n, columns, (REAL *)room, right);
    const NAME(Product) product = {rows, n, left, NAME(filled_up)(rows), right};
    NAME(add_matrix)(&product, columns, &(NAME(Sums)){NULL, table, columns, 1});
    return table;
}

/* What is pulled on a matrix, all in all: its numbers lie evenly from a slot on, or at listed slots. */
static void NAME(pull_matrix_by_all)(
    const NAME(Machine) *m, const NAME(Grid) *grid, ptrdiff_t n, REAL *const *pull, REAL *const *x, int32_t at,
    const int32_t *list, char *room
) {
    const ptrdiff_t rows = grid->rows, columns = grid->columns, down = grid->down, across = grid->across;
    const REAL *found;
    if (at >= 0 && across != 1 && down == 1) {
        found = NAME(outer_products)(n, x, columns, pull, rows, room);
        for (ptrdiff_t k = 0; k < columns; k++)
            NAME(add_numbers)(rows, found + k * rows, m->base + at + k * across, 1);
        return;
    }
    found = NAME(outer_products)(n, pull, rows, x, columns, room);
    for (ptrdiff_t i = 0; i < rows; i++, found += columns)
        if (at >= 0 && across == 1)
            NAME(add_numbers)(columns, found, m->base + at + i * down, 1);
        else
            for (ptrdiff_t k = 0; k < columns; k++)
                m->base[at >= 0 ? at + i * down + k * across : list[i * columns + k]] += found[k];
}

static void NAME(pull_vector_products)(const NAME(Machine) *m, const Instruction *step, ptrdiff_t n) {
    const ptrdiff_t rows = step->count, columns = step->arity;
    const int32_t *index = m->stream->index, *from = index + step->operand, *of = index + from[0];
    char *room = (char *)m->scratch, *mine;
    REAL **pull = NAME(new_rows)(n, rows, &room), **x = NAME(new_rows)(n, columns, &room);
    int any = 0;
    for (ptrdiff_t v = 0; v < n; v++) {
        const int32_t *own = index + step[v].operand;
        memcpy(pull[v], m->base + step[v].result, (size_t)rows * sizeof(REAL));
        mine = (char *)x[v];
        const REAL *found = NAME(vector_at)(m, index + own[0] + 5, columns, &mine);
        if (found != x[v])
            memcpy(x[v], found, (size_t)columns * sizeof(REAL));
        any |= own[1] >= 0;
    }
    REAL **brought = any ? NAME(new_rows)(n, columns, &room) : NULL;
    mine = room;
    if (any) {
        REAL *copy = NAME(room_for)(&mine, rows * columns, sizeof(REAL));
        const NAME(Grid) grid = NAME(grid_of)(m, of, rows, columns, copy);
        const NAME(Product) product = {n, rows, (const REAL **)pull, 1, NAME(rows_of_grid)(&grid, 0, &mine)};
        NAME(pull_rows)(&product, NAME(filled_up)(columns), brought, memset(mine, 0, (size_t)n));
    }
    if (from[2] != -1) {
        const NAME(Grid) evenly = {rows, columns, NULL, of[1], of[2]};
        NAME(pull_matrix_by_all)(m, &evenly, n, pull, x, from[2], from + 4, room);
    }
    for (ptrdiff_t v = 0; v < n; v++) {
        const int32_t *own = index + step[v].operand;
        const Operand *target = m->stream->operand + own[1];
        if (own[1] >= 0 && target->place == CONTIGUOUS)
            NAME(add_numbers)(columns, brought[v], m->base + target->start, target->mode == ADD_TO);
        else if (own[1] >= 0)
            NAME(deliver)(m, target, columns, brought[v]);
        if (own[3] >= 0)
            for (ptrdiff_t i = 0; i < rows; i++)
                m->base[own[3] + i * index[own[0] + 4]] += pull[v][i];
    }
}

/* Take as many products together as the first of them says, if they are run in one go; returns how many follow it. */
static ptrdiff_t NAME(products_together)(
    const NAME(Machine) *m, const Instruction *step, const Instruction *end,
    void (*run)(const NAME(Machine) *, const Instruction *, ptrdiff_t)
) {
    const ptrdiff_t n = end - step < step->closed ? end - step : step->closed;
    run(m, step, n);
    return n - 1;
}

#undef REALS
