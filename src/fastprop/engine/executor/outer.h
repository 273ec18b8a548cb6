/* Products of rows of lanes, each of some with each of others, summed up over the lanes; and their pulls, which are the
   same in all lanes. Included once for double and once for float, after matmul.h.

   A program's index holds the slots of the rows on the left, and of those on the right; backward, too, the rows that
   are pulled (-1: one is not), and how. */

/* Products of rows, each of the left with each of the right ones, summed up over the lanes that are there. */
static void NAME(add_outer)(
    const Space *space, const int32_t *left, ptrdiff_t rows, const int32_t *right, ptrdiff_t columns, double *sums
) {
    NAME(Matrix) x = {.room = (char *)space->scratch};
    REAL **row = NAME(taken)(&x, (rows + columns) * (ptrdiff_t)sizeof(REAL *));
    for (ptrdiff_t i = 0; i < rows; i++)
        row[i] = (REAL *)space->row[left[i]];
    for (ptrdiff_t j = 0; j < columns; j++)
        row[rows + j] = (REAL *)space->row[right[j]];
    const NAME(Product) product = {
        rows, space->count, (const REAL **)row, 1, NAME(transposed)(&x, row + rows, columns, space->count)
    };
    NAME(add_matrix)(&product, columns, &(NAME(Sums)){sums, NULL, columns, 1});
}

/* The pulls on the rows of one side, sums over the other one's: the pull (i, k) is pulls[i * down + k * across]. */
static void NAME(pull_side)(
    const Space *space, NAME(Matrix) x, const REAL *pulls, ptrdiff_t down, ptrdiff_t across, const int32_t *target,
    const int32_t *mode, ptrdiff_t rows, const int32_t *other, ptrdiff_t columns
) {
    REAL **pulled = NAME(taken)(&x, rows * (ptrdiff_t)sizeof(REAL *));
    const REAL **row = NAME(taken)(&x, columns * (ptrdiff_t)sizeof(REAL *));
    uint8_t *adds = NAME(taken)(&x, rows);
    int any = 0;
    for (ptrdiff_t i = 0; i < rows; i++) {
        pulled[i] = target[i] < 0 ? NULL : (REAL *)space->row[target[i]];
        adds[i] = mode[i] == ADD_TO;
        any |= target[i] >= 0;
    }
    for (ptrdiff_t k = 0; k < columns; k++)
        row[k] = (const REAL *)space->row[other[k]];
    if (!any)
        return;
    const NAME(Product) product = {rows, columns, NAME(lines_of)(&x, pulls, down, rows), across, row};
    NAME(pull_rows)(&product, space->width, pulled, adds);
    for (ptrdiff_t i = 0; i < rows && space->count < space->width; i++) /* nothing pulls on lanes that fill up */
        if (pulled[i] != NULL)
            memset(pulled[i] + space->count, 0, (size_t)(space->width - space->count) * sizeof(REAL));
}

/* The pulls on rows of the left, then of the right, from those on the sums. */
static void NAME(pull_outer)(
    const Space *space, const int32_t *left, ptrdiff_t rows, const int32_t *right, ptrdiff_t columns, const REAL *pulls
) {
    const int32_t *target = right + columns, *mode = target + rows + columns;
    const NAME(Matrix) x = {.room = (char *)space->scratch};
    NAME(pull_side)(space, x, pulls, columns, 1, target, mode, rows, right, columns);
    NAME(pull_side)(space, x, pulls, 1, columns, target + rows, mode + rows, columns, left, rows);
}
