/* Operands in pieces: numbers that lie evenly in memory, some at a time, as those of broadcast rows and columns do. Of each
   piece the index says how many there are, the slot of the first, and how far apart they lie. Included once for double and
   once for float. */

static void NAME(copy_piece)(const REAL *from, ptrdiff_t n, REAL *to) { LOOP(PUT(to, GET(from));); }

static void NAME(fill_piece)(REAL number, ptrdiff_t n, REAL *to) {
    const VEC same = NAME(broadcast)(number);
    LOOP(PUT(to, same););
}

/* So many pieces that go to the same place: what is put there and read again soon after would be waited for. */
static void NAME(add_pieces)(const REAL *brought, ptrdiff_t n, ptrdiff_t times, REAL *target) {
    LOOP(VEC total = GET(target);
         for (ptrdiff_t at = 0; at < times * n; at += n) total += GET(brought + at);
         PUT(target, total););
}

static REAL NAME(sum_of_piece)(const REAL *brought, ptrdiff_t n) {
    REAL number[COUNT];
    VEC total = NAME(broadcast)(0);
    ptrdiff_t i = 0;
    for (; i + COUNT <= n; i += COUNT)
        total += NAME(load)(brought + i);
    if (i < n)
        total += NAME(load_some)(brought + i, (int)(n - i), 0);
    NAME(store)(number, total);
    for (int half = COUNT / 2; half > 0; half /= 2)
        for (int k = 0; k < half; k++)
            number[k] += number[k + half];
    return number[0];
}

SCALAR static void NAME(copy_apart)(const REAL *from, ptrdiff_t step, ptrdiff_t n, REAL *to) {
    for (ptrdiff_t i = 0; i < n; i++)
        to[i] = from[i * step];
}

SCALAR static void NAME(add_apart)(const REAL *brought, ptrdiff_t step, ptrdiff_t n, REAL *target) {
    for (ptrdiff_t i = 0; i < n; i++)
        target[i * step] += brought[i];
}

static void NAME(fetch_pieces)(const REAL *base, const int32_t *first, ptrdiff_t n, REAL *space) {
    const int32_t *piece = first;
    for (ptrdiff_t done = 0; done < n; done += piece[PIECE_COUNT], piece += PIECE_WORDS) {
        const REAL *from = base + piece[PIECE_SLOT];
        if (piece[PIECE_STEP] == 1)
            NAME(copy_piece)(from, piece[PIECE_COUNT], space + done);
        else if (piece[PIECE_STEP] == 0)
            NAME(fill_piece)(*from, piece[PIECE_COUNT], space + done);
        else
            NAME(copy_apart)(from, piece[PIECE_STEP], piece[PIECE_COUNT], space + done);
    }
}

/* Piece after piece: one may go where another has gone. */
static void NAME(deliver_pieces)(REAL *base, const int32_t *first, ptrdiff_t n, const REAL *brought) {
    const int32_t *piece = first;
    for (ptrdiff_t done = 0; done < n; piece += PIECE_WORDS) {
        const ptrdiff_t count = piece[PIECE_COUNT], begin = done;
        REAL *target = base + piece[PIECE_SLOT];
        done += count;
        if (piece[PIECE_STEP] == 1) {
            while (done < n && memcmp(piece, piece + PIECE_WORDS, PIECE_WORDS * sizeof *piece) == 0)
                done += count, piece += PIECE_WORDS;
            NAME(add_pieces)(brought + begin, count, (done - begin) / count, target);
        } else if (piece[PIECE_STEP] == 0)
            *target += NAME(sum_of_piece)(brought + begin, count);
        else
            NAME(add_apart)(brought + begin, piece[PIECE_STEP], count, target);
    }
}
