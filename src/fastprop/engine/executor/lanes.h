/* The interpreter in lanes: every instruction is one gate, every operand a row or one number for all lanes. Included
   once for double and once for float. */

typedef struct {
    REAL **row; /* by slot */
    REAL *scratch;
    ptrdiff_t width;
    ptrdiff_t slots;
} NAME(Lanes);

INLINE REAL *NAME(row_of)(const NAME(Lanes) *m, int32_t slot) { return m->row[CHECKED(slot, m->slots)]; }

#include "executor/matmul.h"
#include "executor/outer.h"
#include "executor/batch_matmul.h"

/* An operand as a row: one number is repeated, in `space`. */
static const REAL *NAME(whole_row)(const NAME(Lanes) *m, const Operand *operand, REAL *space) {
    const REAL *found = NAME(row_of)(m, operand->start);
    if (operand->place != BROADCAST)
        return found;
    for (ptrdiff_t i = 0; i < m->width; i += COUNT)
        NAME(store)(space + i, NAME(broadcast)(*found));
    return space;
}

static void NAME(arithmetic)(
    int opcode, ptrdiff_t n, const REAL *x, int one_x, const REAL *y, int one_y, REAL *value
) {
    if (opcode == ADD)
        NAME(sum)(n, x, one_x, y, one_y, value);
    else if (opcode == SUBTRACT)
        NAME(difference)(n, x, one_x, y, one_y, value);
    else if (opcode == MULTIPLY)
        NAME(product)(n, x, one_x, y, one_y, value);
    else
        NAME(quotient)(n, x, one_x, y, one_y, value);
}

/* A gate of many operands. */
static void NAME(many_rows)(
    const NAME(Lanes) *m, const Instruction *step, const Operand *operand, REAL *value, REAL *saved
) {
    const int arity = step->arity;
    const REAL **x = (const REAL **)m->scratch; /* `arity` pointers, as many flags, then room for a row */
    uint8_t *single = (uint8_t *)(x + arity);
    REAL *room = (REAL *)(x + 2 * arity);
    for (int t = 0; t < arity; t++) {
        x[t] = NAME(row_of)(m, operand[t].start);
        single[t] = operand[t].place == BROADCAST;
    }
    if (step->opcode == PRODUCTS)
        NAME(products)(m->width, arity / 2, x, single, value);
    else if (step->opcode == TOTAL)
        NAME(totals)(m->width, arity, x, single, value);
    else if (step->opcode == LOGSUMEXP)
        NAME(logsumexps)(m->width, arity, x, single, value, saved, room);
    else
        NAME(extremes)(m->width, arity, x, single, value, saved, step->opcode == MIN);
}

/* In every lane, one of the rows (or of the numbers that are the same in all lanes). */
static void NAME(items)(const NAME(Lanes) *m, const Instruction *step, const Operand *operand, REAL *value) {
    const REAL *index = m->row[operand->start];
    const int one = operand->place == BROADCAST;
    for (ptrdiff_t i = 0; i < m->width; i++) {
        const Operand *item = operand + 1 + NAME(item_at)(index[one ? 0 : i], step->arity - 1);
        value[i] = m->row[item->start][item->place == BROADCAST ? 0 : i];
    }
}

/* What is one number for all lanes is summed up by the input. */
static void NAME(pull_items)(
    const NAME(Lanes) *m, const Instruction *step, const Operand *operand, const REAL *pull, double *sums
) {
    const REAL *index = m->row[operand->start];
    const int one = operand->place == BROADCAST;
    for (ptrdiff_t i = 0; i < m->width; i++) {
        const Operand *item = operand + 1 + NAME(item_at)(index[one ? 0 : i], step->arity - 1);
        if (item->place == BROADCAST)
            sums[item->start] += (double)pull[i];
        else
            m->row[item->start][i] += pull[i];
    }
}

/* A gate that takes long, piece by piece, so that what is coming can come meanwhile. */
static void NAME(unary_row)(
    const NAME(Lanes) *m, int opcode, const REAL *x, REAL *value, REAL *saved, Coming *coming
) {
    const NAME(unary_loop) loop = NAME(unary_loops)[opcode];
    if (opcode == EXP)
        saved = NULL; /* its partial is its value */
    const ptrdiff_t piece = m->width < 8 * COUNT ? m->width : 8 * COUNT;
    for (ptrdiff_t i = 0; i < m->width; i += piece) {
        if (coming != NULL)
            ask_for_some(coming);
        loop(piece, x + i, value + i, saved == NULL ? NULL : saved + i);
    }
}

/* Partials are written side by side, block after block of lanes; if a block is narrow, their rows are further apart. */
static void NAME(move_apart)(const NAME(Lanes) *m, const Instruction *step, REAL *saved) {
    const ptrdiff_t n = m->width;
    for (int32_t j = step->arity - 1; saved != NULL && j > 0 && NAME(row_of)(m, step->saved + 1) != saved + n; j--)
        memmove(NAME(row_of)(m, step->saved + j), saved + j * n, (size_t)n * sizeof(REAL));
}

static ptrdiff_t NAME(forward_lanes)(const Stream *stream, const Space *space, ptrdiff_t begin, ptrdiff_t end) {
    const NAME(Lanes) m = {(REAL **)space->row, space->scratch, space->width, stream->slots};
    const ptrdiff_t n = m.width;
    REAL *first = m.scratch, *second = first + n, *third = second + n;
    for (ptrdiff_t at = begin; at < end; at++) {
        const Instruction *step = stream->instruction + CHECKED(at, stream->length);
        const Operand *operand = stream->operand + step->operand;
        const int opcode = step->opcode;
        REAL *value = NAME(row_of)(&m, step->result), *saved = step->saved >= 0 ? NAME(row_of)(&m, step->saved) : NULL;
        const REAL *x, *y;
        int one_x, one_y;
        if (space->coming != NULL)
            ask_for_some(space->coming);
        switch (opcode) {
        case ADD:
        case SUBTRACT:
        case MULTIPLY:
        case DIVIDE:
            x = NAME(row_of)(&m, operand[0].start), y = NAME(row_of)(&m, operand[1].start);
            one_x = operand[0].place == BROADCAST, one_y = operand[1].place == BROADCAST;
            if (one_x && one_y) {
                x = NAME(whole_row)(&m, operand, first);
                one_x = 0;
            }
            NAME(arithmetic)(opcode, n, x, one_x, y, one_y, value);
            break;
        case PRODUCTS:
        case TOTAL:
        case MAX:
        case MIN:
        case LOGSUMEXP:
            NAME(many_rows)(&m, step, operand, value, saved);
            NAME(move_apart)(&m, step, saved);
            break;
        case ITEM:
            NAME(items)(&m, step, operand, value);
            break;
        case MATMUL:
            NAME(matmul)(&m, stream, step, space->later);
            break;
        case BATCH_MATMUL:
            NAME(batch_matmul)(&m, stream, step);
            break;
        case REGION:
            return at;
        default:
            x = NAME(whole_row)(&m, operand, first);
            if (step->arity == 1 && NAME(unary_loops)[opcode] != NULL) {
                NAME(unary_row)(&m, opcode, x, value, saved, space->coming);
                break;
            }
            y = step->arity > 1 ? NAME(whole_row)(&m, operand + 1, second) : NULL;
            NAME(gate)(
                opcode, step->arity, n, stream->point, x, y,
                step->arity > 2 ? NAME(whole_row)(&m, operand + 2, third) : NULL, value, saved
            );
            NAME(move_apart)(&m, step, saved);
        }
    }
    return end;
}

/* A pull on what is one number for all lanes. */
static void NAME(pull_number)(
    const NAME(Lanes) *m, const Instruction *step, const REAL *pull, const REAL *u, const REAL *w, int one_u,
    REAL *total, REAL *room
) {
    if (step->opcode == PASS)
        NAME(add_up)(m->width, pull, total);
    else if (step->opcode == PRODUCT)
        NAME(add_up_product)(m->width, pull, u, one_u, total);
    else {
        NAME(pull_other)(step->opcode, m->width, pull, u, w, room, 0);
        NAME(add_up)(m->width, room, total);
    }
}

/* Whether a product may be written past the cache. */
static int NAME(may_stream)(const NAME(Lanes) *m, const Space *space, const Instruction *step, const Operand *target) {
    return space->past_cache && step->saved == 0 && ((uintptr_t)NAME(row_of)(m, target->start) & (LINE - 1)) == 0;
}

INLINE int NAME(is_same)(const Operand *x, const Operand *y) { return x->start == y->start && x->place == y->place; }

/* Run this pull and the next one together, if they are one pull that goes to two rows; otherwise 0. */
static int NAME(pull_pair)(const NAME(Lanes) *m, const Stream *stream, const Space *space, const Instruction *step) {
    const Instruction *next = step + 1;
    const Operand *x = stream->operand + step->operand, *y = stream->operand + next->operand;
    const int division = step->opcode == QUOTIENT && next->opcode == DIVISOR && NAME(is_same)(x + 1, y + 1) &&
                         NAME(is_same)(x + 2, y + 2); /* else they are two gates', whose pulls are one row */
    if (next->result != step->result || (next->opcode != PRODUCT && !division))
        return 0;
    if (x->place == BROADCAST || y->place == BROADCAST || y[1].place == BROADCAST)
        return 0;
    const REAL *pull = NAME(row_of)(m, step->result), *w = NAME(row_of)(m, y[1].start);
    REAL *to_x = NAME(row_of)(m, x->start), *to_y = NAME(row_of)(m, y->start);
    const int add_x = x->mode == ADD_TO, add_y = y->mode == ADD_TO;
    if (division && y[2].place != BROADCAST)
        NAME(pull_division)(m->width, pull, m->row[y[1].start], m->row[y[2].start], to_x, add_x, to_y, add_y);
    else if (step->opcode == PASS && add_x && add_y)
        NAME(pull_and_product)(m->width, pull, to_x, w, to_y);
    else if (step->opcode != PRODUCT || x[1].place == BROADCAST)
        return 0;
    else if (NAME(may_stream)(m, space, step, x) && NAME(may_stream)(m, space, next, y))
        NAME(stream_two)(m->width, pull, NAME(row_of)(m, x[1].start), to_x, w, to_y);
    else
        NAME(pull_two)(m->width, pull, NAME(row_of)(m, x[1].start), to_x, add_x, w, to_y, add_y);
    if (space->coming != NULL)
        ask_for_some(space->coming);
    return 1;
}

/* Backward operands: the target, then u, then w, as the kind of pull wants them. */
static ptrdiff_t NAME(backward_lanes)(const Stream *stream, const Space *space, ptrdiff_t begin, ptrdiff_t end) {
    const NAME(Lanes) m = {(REAL **)space->row, space->scratch, space->width, stream->slots};
    const ptrdiff_t n = m.width;
    REAL *first = m.scratch, *second = first + n, *third = second + n;
    for (ptrdiff_t at = begin; at < end; at++) {
        const Instruction *step = stream->instruction + CHECKED(at, stream->length);
        const Operand *operand = stream->operand + step->operand;
        REAL *pull = NAME(row_of)(&m, step->result);
        if (space->coming != NULL)
            ask_for_some(space->coming);
        if (step->opcode == CLEAR) {
            for (int32_t r = 0; r < step->count; r++)
                memset(NAME(row_of)(&m, step->result + r), 0, (size_t)n * sizeof(REAL));
            continue;
        }
        if (step->opcode == REGION_PULL)
            return at;
        if (step->opcode == MATMUL_PULL || step->opcode == BATCH_MATMUL_PULL) {
            const unsigned before = flush_small(sizeof(REAL) < sizeof(double));
            step->opcode == MATMUL_PULL ? NAME(pull_matmul)(&m, stream, step, space) : NAME(pull_batch)(&m, stream, step);
            flush_as(before);
            continue;
        }
        if (step->opcode == ITEM_PULL) {
            NAME(pull_items)(&m, step, operand, pull, space->sums);
            continue;
        }
        if (at + 1 < end && (step->opcode == PRODUCT || step->opcode == PASS || step->opcode == QUOTIENT) &&
            NAME(pull_pair)(&m, stream, space, step)) {
            at++;
            continue;
        }
        REAL *target = NAME(row_of)(&m, operand->start);
        const int add = operand->mode == ADD_TO;
        const int one_u = step->arity > 1 && operand[1].place == BROADCAST;
        const REAL *u = NULL, *w = NULL;
        if (step->arity > 1)
            u = step->opcode == PRODUCT ? NAME(row_of)(&m, operand[1].start) : NAME(whole_row)(&m, operand + 1, first);
        if (step->arity > 2)
            w = NAME(whole_row)(&m, operand + 2, second);
        if (operand->place == BROADCAST)
            NAME(pull_number)(&m, step, pull, u, w, one_u, target, third);
        else if (step->opcode == PRODUCT && !one_u && NAME(may_stream)(&m, space, step, operand))
            NAME(stream_product)(n, pull, u, target);
        else if (step->opcode == PRODUCT)
            NAME(pull_product)(n, pull, u, one_u, target, add);
        else
            NAME(pull_other)(step->opcode, n, pull, u, w, target, add);
    }
    return end;
}
