/* Products of a matrix that is the same in all lanes with rows: tile by tile, each kept in registers while what it adds
   up comes and goes. Included once for double and once for float.

   A program's index holds, for every product: where the matrix begins (-1: its slots are listed), from row to row and
   from column to column of it; the same of the numbers added to every row (-1: none, -2: listed); then the slots of
   the columns' rows, of the matrix, of the added numbers. Backward: where all that is; how many inputs there are whose
   gradients are summed up (0: none is wanted); which of the program's starts the matrix is, and the added numbers (-1:
   none); then for every column the row that is pulled (-1: none), and how. */

#define REALS (PART_BYTES / (int)sizeof(REAL)) /* in a register */
#define MOST_PARTS (PART_BYTES == 64 ? 4 : 2)  /* of a tile: with 6 rows, they fill three quarters of the registers */
#define MOST_ROWS 8
#define PANEL (MOST_PARTS * REALS)             /* columns that a tile takes at most */
#define NEAR (1 << 15) /* bytes of the rows of a product's columns that stay in the nearest cache; */
#define LEAST_DEPTH 64 /* so many columns at least */
#define FAR (1 << 19)  /* bytes of what is turned that stay in the next one */
#define ROWS_OF(parts) ((parts) == MOST_PARTS ? 6 : MOST_ROWS)

typedef struct {
    ptrdiff_t rows, columns;
    const REAL **left; /* where each row of the matrix begins, */
    ptrdiff_t step;    /* from one number of it to the next, */
    const REAL **right; /* and the row of each of its columns */
} NAME(Product);

typedef NAME(part) NAME(Tile)[MOST_ROWS][MOST_PARTS];

#define EACH_ROW _Pragma("GCC unroll 8") for (int i = 0; i < rows; i++)
#define EACH_PART _Pragma("GCC unroll 4") for (int p = 0; p < parts; p++)

INLINE void NAME(add_products)(
    const NAME(Product) *product, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t row, ptrdiff_t at, const int rows,
    const int parts, NAME(Tile) sum
) {
    const REAL *const *left = product->left + row;
    for (ptrdiff_t k = begin; k < end; k++) {
        const REAL *x = product->right[k] + at;
        NAME(part) right[MOST_PARTS];
        EACH_PART right[p] = NAME(load_part)(x + p * REALS);
        EACH_ROW {
            const NAME(part) number = NAME(spread)(left[i][k * product->step]);
            EACH_PART sum[i][p] = NAME(fused)(number, right[p], sum[i][p]);
        }
    }
}

/* Whether some number of a tile is infinite or NaN. */
INLINE int NAME(is_endless)(const int rows, const int parts, NAME(Tile) sum) {
    NAME(part) rest = NAME(spread)(0);
    EACH_ROW EACH_PART rest += sum[i][p] - sum[i][p];
    REAL number[REALS];
    int found = 0;
    NAME(store_part)(number, rest);
    for (int r = 0; r < REALS; r++)
        found |= number[r] != 0;
    return found;
}

/* What came out infinite or NaN, again: term by term, and a factor of 0 makes a term 0. */
static __attribute__((noinline, cold)) void NAME(mend)(
    const NAME(Product) *product, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t row, ptrdiff_t at, int rows, int numbers,
    REAL *sum
) {
    for (int i = 0; i < rows; i++)
        for (int r = 0; r < numbers; r++)
            if (sum[i * MOST_PARTS * REALS + r] - sum[i * MOST_PARTS * REALS + r] != 0) {
                REAL total = 0;
                for (ptrdiff_t k = begin; k < end; k++)
                    total += NAME(weighed)(product->left[row + i][k * product->step], product->right[k][at + r]);
                sum[i * MOST_PARTS * REALS + r] = total;
            }
}

/* One tile of some columns' products: rows of results from what each begins with (NULL: 0), or added to what is there. */
INLINE void NAME(one_tile)(
    const NAME(Product) *product, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t row, ptrdiff_t at, const int rows,
    const int parts, const REAL *begins, ptrdiff_t apart, REAL **result, const uint8_t *adds, const int strong
) {
    NAME(Tile) sum;
    EACH_ROW {
        const REAL nothing = strong ? 0 : -(REAL)0; /* to which -0 may be added, in what is no gradient */
        const NAME(part) first = NAME(spread)(begins == NULL ? nothing : begins[(row + i) * apart]);
        EACH_PART sum[i][p] = begin > 0 && !strong ? NAME(load_part)(result[row + i] + at + p * REALS) : first;
    }
    NAME(add_products)(product, begin, end, row, at, rows, parts, sum);
    if (strong && __builtin_expect(NAME(is_endless)(rows, parts, sum), 0)) {
        REAL number[MOST_ROWS * MOST_PARTS * REALS];
        EACH_ROW EACH_PART NAME(store_part)(number + (i * MOST_PARTS + p) * REALS, sum[i][p]);
        NAME(mend)(product, begin, end, row, at, rows, parts * REALS, number);
        EACH_ROW EACH_PART sum[i][p] = NAME(load_part)(number + (i * MOST_PARTS + p) * REALS);
    }
    EACH_ROW {
        REAL *to = result[row + i];
        if (to == NULL)
            continue;
        to += at;
        if (strong && (begin > 0 || adds[row + i]))
            EACH_PART NAME(store_part)(to + p * REALS, NAME(load_part)(to + p * REALS) + sum[i][p]);
        else
            EACH_PART NAME(store_part)(to + p * REALS, sum[i][p]);
    }
}

#define ALL_TILES(n, tile)                                                                                              \
    do {                                                                                                               \
        ptrdiff_t at = 0;                                                                                              \
        for (; at + MOST_PARTS * REALS <= (n); at += MOST_PARTS * REALS)                                               \
            ALL_ROWS(MOST_PARTS, tile);                                                                                \
        if (MOST_PARTS > 2 && at + 2 * REALS <= (n)) {                                                                 \
            ALL_ROWS(2, tile);                                                                                         \
            at += 2 * REALS;                                                                                           \
        }                                                                                                              \
        for (; at < (n); at += REALS)                                                                                  \
            ALL_ROWS(1, tile);                                                                                         \
    } while (0)
#define ALL_ROWS(parts, tile)                                                                                           \
    do {                                                                                                               \
        ptrdiff_t row = 0;                                                                                             \
        for (; row + ROWS_OF(parts) <= product->rows; row += ROWS_OF(parts))                                           \
            tile(ROWS_OF(parts), parts);                                                                               \
        for (; row + 2 <= product->rows; row += 2)                                                                     \
            tile(2, parts);                                                                                            \
        if (row < product->rows)                                                                                       \
            tile(1, parts);                                                                                            \
    } while (0)

#define ALL_COLUMNS(rows)                                                                                               \
    do {                                                                                                               \
        ptrdiff_t at = 0;                                                                                              \
        for (; at + MOST_PARTS * REALS <= whole; at += MOST_PARTS * REALS)                                             \
            SUMMED_TILE(rows, MOST_PARTS);                                                                             \
        for (; at < whole; at += REALS)                                                                                \
            SUMMED_TILE(rows, 1);                                                                                      \
    } while (0)

#define PLAIN_TILE(rows, parts)                                                                                         \
    NAME(one_tile)(product, begin, end, row, at, rows, parts, begins, apart, result, NULL, 0)
#define PULLED_TILE(rows, parts)                                                                                        \
    NAME(one_tile)(product, begin, end, row, at, rows, parts, NULL, 0, result, adds, 1)
#define SUMMED_TILE(rows, parts) NAME(sums_of_tile)(product, row, at, rows, parts, sums, columns)
#define BY_DEPTH(depth, tile)                                                                                           \
    for (ptrdiff_t begin = 0, end; begin < product->columns; begin = end) {                                            \
        end = begin + (depth) < product->columns ? begin + (depth) : product->columns;                                 \
        ALL_TILES(n, tile);                                                                                            \
    }

static void NAME(multiply_rows)(
    const NAME(Product) *product, ptrdiff_t n, const REAL *begins, ptrdiff_t apart, REAL **result
) {
    const ptrdiff_t fit = NEAR / (n * (ptrdiff_t)sizeof(REAL));
    BY_DEPTH(fit > LEAST_DEPTH ? fit : LEAST_DEPTH, PLAIN_TILE)
}

/* At one depth, however wide a block is: each adds its own sum, and lanes have the same bits in any number of them. */
static void NAME(pull_rows)(const NAME(Product) *product, ptrdiff_t n, REAL **result, const uint8_t *adds) {
    BY_DEPTH(LEAST_DEPTH, PULLED_TILE)
}

typedef struct { /* where the gradients of a matrix go */
    double *sums;    /* to which they are added, */
    REAL *put;       /* or, if they are whole at once, where they are put; else NULL */
    ptrdiff_t down, across; /* so many numbers apart from row to row, and from column to column */
} NAME(Sums);

/* A tile of a matrix's gradients to where they go; what came out infinite or NaN is summed up again, in float64. */
static __attribute__((noinline, cold)) void NAME(leave_mended)(
    const NAME(Product) *product, ptrdiff_t row, ptrdiff_t at, int rows, int count, const REAL *number,
    const NAME(Sums) *sums, ptrdiff_t first
) {
    for (int i = 0; i < rows; i++)
        for (int c = 0; c < count; c++) {
            const ptrdiff_t to = first + i * sums->down + c * sums->across;
            double total = (double)number[i * MOST_PARTS * REALS + c];
            if (total - total != 0) {
                total = 0;
                for (ptrdiff_t k = 0; k < product->columns; k++)
                    total += (double)NAME(weighed)(product->left[row + i][k * product->step], product->right[k][at + c]);
            }
            if (sums->put != NULL)
                sums->put[to] = (REAL)total;
            else
                sums->sums[to] += total;
        }
}

/* One tile of a matrix's gradients; the product's right side lies in panels. */
INLINE void NAME(sums_of_tile)(
    const NAME(Product) *product, ptrdiff_t row, ptrdiff_t at, const int rows, const int parts,
    const NAME(Sums) *sums, ptrdiff_t columns
) {
    NAME(Tile) sum;
    REAL number[MOST_ROWS * MOST_PARTS * REALS];
    EACH_ROW EACH_PART sum[i][p] = NAME(spread)(0);
    const ptrdiff_t in_panel = at / PANEL * PANEL * product->columns + at % PANEL;
    NAME(add_products)(product, 0, product->columns, row, in_panel, rows, parts, sum);
    EACH_ROW EACH_PART sum[i][p] += NAME(spread)(0); /* a sum that begins with 0 is never -0 */
    const int endless = NAME(is_endless)(rows, parts, sum);
    const ptrdiff_t down = sums->down, across = sums->across, first = row * down + at * across;
    if (__builtin_expect(!endless && sums->put != NULL && across == 1 && at + parts * REALS <= columns, 1)) {
        EACH_ROW EACH_PART NAME(store_part)(sums->put + first + i * down + p * REALS, sum[i][p]);
        return;
    }
    EACH_ROW EACH_PART NAME(store_part)(number + (i * MOST_PARTS + p) * REALS, sum[i][p]);
    const int count = columns - at < parts * REALS ? (int)(columns - at) : parts * REALS;
    if (__builtin_expect(endless, 0)) {
        NAME(leave_mended)(product, row, in_panel, rows, count, number, sums, first);
        return;
    }
    EACH_ROW {
        const ptrdiff_t begin = first + i * down;
        const REAL *from = number + i * MOST_PARTS * REALS;
        if (sums->put != NULL)
            for (int c = 0; c < count; c++)
                sums->put[begin + c * across] = from[c];
        else if (across == 1)
            for (int c = 0; c < count; c++)
                sums->sums[begin + c] += (double)from[c];
        else
            for (int c = 0; c < count; c++)
                sums->sums[begin + c * across] += (double)from[c];
    }
}

static void NAME(add_matrix)(const NAME(Product) *product, ptrdiff_t columns, const NAME(Sums) *sums) {
    const ptrdiff_t whole = (columns + REALS - 1) / REALS * REALS;
    if (whole * product->columns * (ptrdiff_t)sizeof(REAL) > FAR) {
        ALL_TILES(whole, SUMMED_TILE);
        return;
    }
    ptrdiff_t row = 0; /* rows first: what is written lies side by side */
    for (; row + 6 <= product->rows; row += 6)
        ALL_COLUMNS(6);
    if (row + 4 <= product->rows) {
        ALL_COLUMNS(4);
        row += 4;
    }
    if (row + 2 <= product->rows) {
        ALL_COLUMNS(2);
        row += 2;
    }
    if (row < product->rows)
        ALL_COLUMNS(1);
}

#undef ALL_TILES
#undef ALL_ROWS
#undef ALL_COLUMNS
#undef PLAIN_TILE
#undef PULLED_TILE
#undef BY_DEPTH
#undef SUMMED_TILE
#undef EACH_ROW
#undef EACH_PART

/* ---- what an instruction's index says ---- */

typedef struct {
    ptrdiff_t rows, columns;
    const REAL *matrix;       /* the number at (i, j) is matrix[i * down + j * across] */
    ptrdiff_t down, across;
    const REAL *begins;       /* NULL, or what row i begins with: begins[i * apart] */
    ptrdiff_t apart;
    const int32_t *column;    /* slots of the columns' rows */
    const int32_t *listed;    /* the matrix's slots, or NULL */
    const int32_t *added;     /* the added numbers' slots, or NULL */
    char *room;               /* what is left of the scratch */
} NAME(Matrix);

/* Take room for so many things of a size; what follows begins at a cache line. */
static void *NAME(room_for)(char **room, ptrdiff_t count, size_t size) {
    void *found = *room;
    *room += (count * size + 63) / 64 * 64;
    return found;
}

static void *NAME(taken)(NAME(Matrix) *x, ptrdiff_t bytes) { return NAME(room_for)(&x->room, bytes, 1); }

/* Read it; numbers that do not lie evenly are copied side by side. */
static NAME(Matrix) NAME(matrix_of)(const NAME(Lanes) *m, const int32_t *index, ptrdiff_t rows, ptrdiff_t columns) {
    NAME(Matrix) x = {.rows = rows, .columns = columns, .column = index + 5, .room = (char *)m->scratch};
    const int32_t *list = x.column + columns;
    if (index[0] >= 0) {
        x.matrix = NAME(row_of)(m, index[0]), x.down = index[1], x.across = index[2];
    } else {
        REAL *copy = NAME(taken)(&x, rows * columns * (ptrdiff_t)sizeof(REAL));
        for (ptrdiff_t k = 0; k < rows * columns; k++)
            copy[k] = *NAME(row_of)(m, list[k]);
        x.matrix = copy, x.down = columns, x.across = 1, x.listed = list;
        list += rows * columns;
    }
    if (index[3] >= 0) {
        x.begins = NAME(row_of)(m, index[3]), x.apart = index[4];
    } else if (index[3] == -2) {
        REAL *copy = NAME(taken)(&x, rows * (ptrdiff_t)sizeof(REAL));
        for (ptrdiff_t i = 0; i < rows; i++)
            copy[i] = *NAME(row_of)(m, list[i]);
        x.begins = copy, x.apart = 1, x.added = list;
    }
    return x;
}

/* Rows of the program, by slots (NULL: of as many from `start` on). */
static REAL **NAME(rows_at)(const NAME(Lanes) *m, NAME(Matrix) *x, const int32_t *slot, int32_t start, ptrdiff_t n) {
    REAL **row = NAME(taken)(x, n * (ptrdiff_t)sizeof(REAL *));
    for (ptrdiff_t i = 0; i < n; i++)
        row[i] = slot == NULL ? NAME(row_of)(m, start + (int32_t)i) : slot[i] < 0 ? NULL : NAME(row_of)(m, slot[i]);
    return row;
}

static const REAL **NAME(lines_of)(NAME(Matrix) *x, const REAL *numbers, ptrdiff_t apart, ptrdiff_t n) {
    const REAL **line = NAME(taken)(x, n * (ptrdiff_t)sizeof(REAL *));
    for (ptrdiff_t i = 0; i < n; i++)
        line[i] = numbers + i * apart;
    return line;
}

/* The results of a product to where they are kept, or from there. */
static void NAME(keep_rows)(const NAME(Lanes) *m, const Instruction *step, REAL *kept, int known) {
    for (int32_t i = 0; i < step->count; i++) {
        REAL *row = NAME(row_of)(m, step->result + i);
        for (ptrdiff_t lane = 0; lane < m->width; lane += REALS, kept += REALS)
            NAME(store_part)(known ? row + lane : kept, NAME(load_part)(known ? kept : row + lane));
    }
}

static void NAME(matmul)(const NAME(Lanes) *m, const Stream *stream, const Instruction *step, Later *later) {
    REAL *kept = later == NULL ? NULL : (REAL *)later->product;
    if (kept != NULL)
        later->product += step->count * m->width * (ptrdiff_t)sizeof(REAL);
    if (kept != NULL && later->known) {
        NAME(keep_rows)(m, step, kept, 1);
        return;
    }
    NAME(Matrix) x = NAME(matrix_of)(m, stream->index + step->operand, step->count, step->arity);
    const NAME(Product) product = {
        x.rows, x.columns, NAME(lines_of)(&x, x.matrix, x.down, x.rows), x.across,
        (const REAL **)NAME(rows_at)(m, &x, x.column, 0, x.columns),
    };
    REAL **result = NAME(rows_at)(m, &x, NULL, step->result, x.rows);
    if (step->closed) /* a factor of exactly 0 makes a product 0 */
        NAME(pull_rows)(&product, m->width, result, memset(NAME(taken)(&x, x.rows), 0, (size_t)x.rows));
    else
        NAME(multiply_rows)(&product, m->width, x.begins, x.apart, result);
    if (kept != NULL)
        NAME(keep_rows)(m, step, kept, 0);
}

/* Rows as columns, in panels of so many: n lanes, one after the other, in each; those that fill up a register are 0. */
static const REAL **NAME(transposed)(NAME(Matrix) *x, REAL *const *row, ptrdiff_t rows, ptrdiff_t n) {
    const ptrdiff_t panels = (rows + PANEL - 1) / PANEL, whole = (rows + REALS - 1) / REALS * REALS;
    REAL *to = NAME(taken)(x, panels * PANEL * n * (ptrdiff_t)sizeof(REAL));
    for (ptrdiff_t i = 0; i < whole; i += REALS) {
        REAL *here = to + i / PANEL * PANEL * n + i % PANEL;
        const int count = rows - i < REALS ? (int)(rows - i) : REALS;
        for (ptrdiff_t lane = 0; lane < n; lane += REALS) {
            NAME(part) turned[REALS];
            _Pragma("GCC unroll 16") for (int k = 0; k < REALS; k++)
                turned[k] = k < count ? NAME(load_part)(row[i + k] + lane) : NAME(spread)(0);
            NAME(turn_registers)(turned);
            _Pragma("GCC unroll 16") for (int k = 0; k < REALS; k++)
                if (lane + k < n)
                    NAME(store_part)(here + (lane + k) * PANEL, turned[k]);
        }
    }
    return NAME(lines_of)(x, to, PANEL, n);
}

/* Rows of numbers side by side in panels, as the right side of a matrix's gradients: zeros fill up the last one. */
static void NAME(in_panels)(REAL *const *row, ptrdiff_t rows, ptrdiff_t columns, REAL *to, const REAL **line) {
    for (ptrdiff_t i = 0; i < rows; i++) {
        line[i] = to + i * PANEL;
        for (ptrdiff_t at = 0; at < columns; at += PANEL) {
            const ptrdiff_t count = columns - at < PANEL ? columns - at : PANEL;
            REAL *here = to + at * rows + i * PANEL;
            memcpy(here, row[i] + at, (size_t)count * sizeof(REAL));
            memset(here + count, 0, (size_t)(PANEL - count) * sizeof(REAL));
        }
    }
}

/* The sum of a row; two by two, as one after the other would wait for each other. */
static double NAME(sum_of_row)(ptrdiff_t n, const REAL *row) {
    REAL part[COUNT] = {0};
    double total[COUNT / 2];
    NAME(add_up)(n, row, part);
    _Pragma("GCC unroll 8") for (int k = 0; k < COUNT / 2; k++)
        total[k] = (double)part[k] + (double)part[k + COUNT / 2];
    _Pragma("GCC unroll 3") for (int half = COUNT / 4; half > 0; half /= 2)
        _Pragma("GCC unroll 4") for (int k = 0; k < half; k++)
            total[k] += total[k + half];
    if (__builtin_expect(total[0] - total[0] != 0, 0)) {
        total[0] = 0;
        for (ptrdiff_t k = 0; k < n; k++)
            total[0] += (double)row[k];
    }
    return total[0];
}

/* The sums of as many rows as there are parts of a sum: each as above, all at once. */
static void NAME(sums_of_rows)(ptrdiff_t n, REAL *const *row, double *sums) {
    REAL parts[COUNT][COUNT] = {{0}};
    double total[COUNT / 2][COUNT];
    for (int r = 0; r < COUNT; r++)
        NAME(add_up)(n, row[r], parts[r]);
    NAME(turn_parts)(parts);
    for (int k = 0; k < COUNT / 2; k++)
        for (int r = 0; r < COUNT; r++)
            total[k][r] = (double)parts[k][r] + (double)parts[k + COUNT / 2][r];
    _Pragma("GCC unroll 3") for (int half = COUNT / 4; half > 0; half /= 2)
        _Pragma("GCC unroll 4") for (int k = 0; k < half; k++)
            for (int r = 0; r < COUNT; r++)
                total[k][r] += total[k + half][r];
    for (int r = 0; r < COUNT; r++)
        sums[r] = total[0][r] - total[0][r] != 0 ? NAME(sum_of_row)(n, row[r]) : total[0][r];
}

/* The sums of a matrix's gradients, and of the added numbers', over n lanes of rows of a width; `from` says how many
   inputs there are, and which starts. */
static void NAME(sum_up)(
    ptrdiff_t n, ptrdiff_t width, NAME(Matrix) *x, const int32_t *index, const int32_t *from, REAL *const *pull,
    REAL *const *right, const Space *space
) {
    const int32_t *list = x->column + x->columns;
    const int32_t inputs = from[0];
    double *sums = space->sums;
    NAME(Sums) whole = {
        sums + index[0], from[1] < 0 || space->put == NULL ? NULL : (REAL *)space->put[from[1]], x->down, x->across
    };
    if (x->listed != NULL) {
        double *apart = NAME(taken)(x, x->rows * x->columns * (ptrdiff_t)sizeof(double));
        memset(apart, 0, (size_t)(x->rows * x->columns) * sizeof(double));
        const NAME(Product) product = {
            x->rows, n, (const REAL **)pull, 1, NAME(transposed)(x, right, x->columns, n)
        };
        NAME(add_matrix)(&product, x->columns, &(NAME(Sums)){apart, NULL, x->columns, 1});
        for (ptrdiff_t k = 0; k < x->rows * x->columns; k++)
            if (list[k] < inputs)
                sums[list[k]] += apart[k];
        list += x->rows * x->columns;
    } else if ((x->down == 1 && x->across != 1) || (x->rows <= REALS && x->rows < x->columns)) { /* turn the fewer */
        const NAME(Product) product = {
            x->columns, n, (const REAL **)right, 1, NAME(transposed)(x, pull, x->rows, n)
        };
        whole.down = x->across, whole.across = x->down;
        NAME(add_matrix)(&product, x->rows, &whole);
    } else {
        const NAME(Product) product = {
            x->rows, n, (const REAL **)pull, 1, NAME(transposed)(x, right, x->columns, n)
        };
        NAME(add_matrix)(&product, x->columns, &whole);
    }
    REAL *put = from[2] < 0 || space->put == NULL ? NULL : (REAL *)space->put[from[2]];
    for (ptrdiff_t i = 0, end; i < (x->begins == NULL ? 0 : x->rows); i = end) {
        double sum[COUNT];
        end = i + COUNT <= x->rows ? i + COUNT : i + 1;
        if (end - i == COUNT)
            NAME(sums_of_rows)(width, pull + i, sum);
        else
            sum[0] = NAME(sum_of_row)(width, pull[i]);
        for (ptrdiff_t k = i; k < end; k++) {
            const ptrdiff_t slot = x->added != NULL ? list[k] : index[3] + k * x->apart;
            if (put != NULL)
                put[k * x->apart] = (REAL)sum[k - i];
            else if (slot < inputs)
                sums[slot] += sum[k - i];
        }
    }
}

/* Put the rows of a step beside those of the steps before it; of them all, they are n numbers each. */
static void NAME(put_aside)(
    const NAME(Lanes) *m, const NAME(Matrix) *x, Later *later, REAL **pull, REAL **right, ptrdiff_t *n
) {
    const ptrdiff_t apart = later->steps * m->width, before = later->step * m->width;
    REAL *to = (REAL *)later->factors;
    for (ptrdiff_t i = 0; i < x->rows + x->columns; i++, to += apart) {
        REAL **row = i < x->rows ? pull + i : right + i - x->rows;
        for (ptrdiff_t lane = 0; lane < m->width; lane += REALS)
            NAME(store_part)(to + before + lane, NAME(load_part)(*row + lane));
        *row = to;
    }
    later->factors = (char *)to;
    *n = before + m->width;
}

static void NAME(pull_matmul)(
    const NAME(Lanes) *m, const Stream *stream, const Instruction *step, const Space *space
) {
    const int32_t *index = stream->index + step->operand, *target = index + 4;
    const int32_t *of = stream->index + index[0];
    NAME(Matrix) x = NAME(matrix_of)(m, of, step->count, step->arity);
    REAL **pull = NAME(rows_at)(m, &x, NULL, step->result, x.rows);
    int any = 0;
    for (ptrdiff_t k = 0; k < x.columns; k++)
        any |= target[k] >= 0;
    if (any) {
        char *room = x.room;
        uint8_t *adds = NAME(taken)(&x, x.columns);
        for (ptrdiff_t k = 0; k < x.columns; k++)
            adds[k] = target[x.columns + k] == ADD_TO;
        const NAME(Product) product = {
            x.columns, x.rows, NAME(lines_of)(&x, x.matrix, x.across, x.columns), x.down, (const REAL **)pull,
        };
        NAME(pull_rows)(&product, m->width, NAME(rows_at)(m, &x, target, 0, x.columns), adds);
        x.room = room;
    }
    if (index[1] == 0)
        return;
    Later *later = space->later;
    ptrdiff_t n = space->count, width = m->width;
    REAL **right = NAME(rows_at)(m, &x, x.column, 0, x.columns);
    if (later != NULL && later->factors != NULL) {
        NAME(put_aside)(m, &x, later, pull, right, &width);
        if (!later->last)
            return;
        x.room = later->room;
        n = width;
    }
    NAME(sum_up)(n, width, &x, of, index + 1, pull, right, space);
}

#undef REALS
#undef MOST_PARTS
#undef MOST_ROWS
#undef ROWS_OF
#undef PANEL
#undef NEAR
#undef LEAST_DEPTH
#undef FAR
