/* The interpreter at one point: runs of equal gates, whose operands lie side by side, or in one slot, or are gathered.
   Included once for double and once for float. */

typedef struct {
    const Stream *stream;
    REAL *base;
    REAL *scratch;
} NAME(Machine);

/* That an operand of n numbers lies within the program; nothing, unless FASTPROP_BUILD is check. */
INLINE void NAME(assert_operand)(const NAME(Machine) *m, const Operand *operand, ptrdiff_t n) {
    ASSERT(operand >= m->stream->operand && operand < m->stream->operand + m->stream->operands);
    ASSERT(operand->place <= PIECES && operand->mode <= ADD_TO);
    if (operand->place <= BROADCAST)
        ASSERT_RANGE(operand->start, operand->place == CONTIGUOUS ? n : 1, m->stream->slots);
    else if (operand->place == GATHER) {
        ASSERT_RANGE(operand->start, n, m->stream->indices);
#if FASTPROP_CHECK
        for (ptrdiff_t i = operand->start; i < operand->start + n; i++)
            ASSERT(0 <= m->stream->index[i] && m->stream->index[i] < m->stream->slots);
#endif
    }
#if FASTPROP_CHECK
    else
        for (const int32_t *piece = m->stream->index + operand->start; n > 0; n -= *piece, piece += PIECE_WORDS) {
            ASSERT(0 < *piece && *piece <= n);
            ASSERT_RANGE(piece[PIECE_SLOT], 1, m->stream->slots);
            ASSERT_RANGE(piece[PIECE_SLOT] + (*piece - 1) * piece[PIECE_STEP], 1, m->stream->slots);
        }
#endif
}

/* The operands of a run side by side: gathered, or repeated, in `space`. */
static const REAL *NAME(fetch)(const NAME(Machine) *m, const Operand *operand, ptrdiff_t n, REAL *space) {
    const REAL *found = m->base + operand->start;
    NAME(assert_operand)(m, operand, n);
    if (operand->place == CONTIGUOUS)
        return found;
    const int32_t *index = m->stream->index + operand->start;
    if (operand->place == GATHER)
        for (ptrdiff_t i = 0; i < n; i++)
            space[i] = m->base[index[i]];
    else if (operand->place == PIECES)
        NAME(fetch_pieces)(m->base, index, n, space);
    else
        for (ptrdiff_t i = 0; i < n; i++)
            space[i] = *found;
    return space;
}

static void NAME(deliver)(const NAME(Machine) *m, const Operand *operand, ptrdiff_t n, const REAL *brought) {
    NAME(assert_operand)(m, operand, n);
    if (operand->place == GATHER) {
        const int32_t *index = m->stream->index + operand->start;
        for (ptrdiff_t i = 0; i < n; i++)
            m->base[index[i]] += brought[i];
    } else if (operand->place == PIECES) {
        NAME(deliver_pieces)(m->base, m->stream->index + operand->start, n, brought);
    } else if (operand->place == BROADCAST) {
        REAL *target = m->base + operand->start;
        REAL total = operand->mode == ADD_TO ? *target : 0;
        for (ptrdiff_t i = 0; i < n; i++)
            total += brought[i];
        *target = total;
    }
}

/* ---- forward ---- */

/* + - * / of which an operand is gathered, number by number: vectors would wait for what was just gathered. */
#define EACH(x, sign, y)                                                                                                \
    for (ptrdiff_t i = 0; i < n; i++)                                                                                  \
        value[i] = (x)sign(y)
#define GATHERED(gate, sign)                                                                                            \
    SCALAR static void NAME(gathered_##gate)(const NAME(Machine) *m, const Operand *o, ptrdiff_t n, REAL *value) {      \
        const REAL *base = m->base, *p = base + o[0].start, *q = base + o[1].start;                                    \
        const int32_t *at = m->stream->index + o[0].start, *to = m->stream->index + o[1].start;                        \
        const ptrdiff_t step = o[0].place == CONTIGUOUS, stride = o[1].place == CONTIGUOUS;                            \
        if (o[0].place == GATHER && o[1].place == GATHER)                                                              \
            EACH(base[at[i]], sign, base[to[i]]);                                                                      \
        else if (o[0].place == GATHER)                                                                                 \
            EACH(base[at[i]], sign, q[i * stride]);                                                                    \
        else                                                                                                           \
            EACH(p[i * step], sign, base[to[i]]);                                                                      \
    }
GATHERED(sum, +)
GATHERED(difference, -)
GATHERED(product, *)
GATHERED(quotient, /)
#undef GATHERED
#undef EACH

static void NAME(run_arithmetic)(const NAME(Machine) *m, int opcode, const Operand *o, ptrdiff_t n, REAL *value) {
    const int one_x = o[0].place == BROADCAST, one_y = o[1].place == BROADCAST;
    NAME(assert_operand)(m, o, n);
    NAME(assert_operand)(m, o + 1, n);
    const REAL *x = m->base + o[0].start, *y = m->base + o[1].start;
    if (o[0].place == PIECES || o[1].place == PIECES) {
        x = one_x ? x : NAME(fetch)(m, o, n, m->scratch);
        y = one_y ? y : NAME(fetch)(m, o + 1, n, m->scratch + n);
        NAME(arithmetic)(opcode, n, x, one_x, y, one_y, value);
    } else if (o[0].place == GATHER || o[1].place == GATHER) {
        if (opcode == ADD)
            NAME(gathered_sum)(m, o, n, value);
        else if (opcode == SUBTRACT)
            NAME(gathered_difference)(m, o, n, value);
        else if (opcode == MULTIPLY)
            NAME(gathered_product)(m, o, n, value);
        else
            NAME(gathered_quotient)(m, o, n, value);
    } else if (one_x && one_y)
        NAME(arithmetic)(opcode, n, NAME(fetch)(m, o, n, m->scratch), 0, y, 1, value);
    else
        NAME(arithmetic)(opcode, n, x, one_x, y, one_y, value);
}

/* A gate of a list of numbers, by its scalar kernel in double. */
static void NAME(sequence)(ptrdiff_t n, sequence_point f, const REAL *x, REAL *value, REAL *saved, double *space) {
    for (ptrdiff_t i = 0; i < n; i++)
        space[i] = (double)x[i];
    *value = (REAL)f(n, space, space + n);
    if (saved != NULL)
        for (ptrdiff_t i = 0; i < n; i++)
            saved[i] = (REAL)space[n + i];
}

/* Several of them at once, as many as a vector holds: their lists as columns; those that fill up are the last one again. */
static void NAME(lists_at_once)(
    int opcode, int arity, int count, const REAL *x, REAL *value, REAL *saved, double *room
) {
    const REAL **row = (const REAL **)room;
    uint8_t *single = memset(row + arity, 0, (size_t)arity);
    REAL *column = (REAL *)(room + 2 * arity), *partial = column + COUNT * arity, *found = partial + COUNT * arity;
    NAME(turn_columns)(column, COUNT, (const char *)x, arity * (ptrdiff_t)sizeof(REAL), count, arity);
    for (int t = 0; t < arity; t++) {
        row[t] = column + COUNT * t;
        for (int i = count; i < COUNT; i++)
            column[COUNT * t + i] = column[COUNT * t + count - 1];
    }
    if (opcode == LOGSUMEXP)
        NAME(logsumexps)(COUNT, arity, row, single, found, saved == NULL ? NULL : partial, found + COUNT);
    else
        NAME(extremes)(COUNT, arity, row, single, found, saved == NULL ? NULL : partial, opcode == MIN);
    memcpy(value, found, (size_t)count * sizeof(REAL));
    if (saved != NULL)
        NAME(turn_columns)(saved, arity, (const char *)partial, COUNT * (ptrdiff_t)sizeof(REAL), arity, count);
}

static void NAME(lists)(const NAME(Machine) *m, const Instruction *step, const Operand *o, REAL *value, REAL *saved) {
    const ptrdiff_t arity = step->arity;
    const sequence_point kernel = m->stream->point[step->opcode].many;
    double *wide = (double *)m->scratch;
    const REAL *x = NAME(fetch)(m, o, arity * step->count, (REAL *)(wide + LIST_ROOM * (arity + 1)));
    const int alike = step->opcode == LOGSUMEXP && step->count >= LISTS_AT_ONCE; /* equal lists: equal bits */
    for (ptrdiff_t i = 0, at_once; i < step->count; i += at_once) {
        REAL *own = saved == NULL ? NULL : saved + i * arity;
        at_once = step->count - i < COUNT ? step->count - i : COUNT;
        if (alike || at_once >= LISTS_AT_ONCE)
            NAME(lists_at_once)(step->opcode, (int)arity, (int)at_once, x + i * arity, value + i, own, wide);
        else {
            at_once = 1;
            NAME(sequence)(arity, kernel, x + i * arity, value + i, own, wide);
        }
    }
}

/* Sums of many runs, operand after operand. */
static void NAME(run_terms)(const NAME(Machine) *m, const Instruction *step, const Operand *o, REAL *value) {
    const int arity = step->arity;
    const REAL **x = (const REAL **)m->scratch; /* `arity` pointers, as many flags, then room to gather */
    uint8_t *single = (uint8_t *)(x + arity);
    REAL *room = (REAL *)(x + 2 * arity);
    for (int t = 0; t < arity; t++) {
        single[t] = o[t].place == BROADCAST;
        x[t] = single[t] ? m->base + o[t].start : NAME(fetch)(m, o + t, step->count, room);
        if (o[t].place >= GATHER)
            room += step->count;
    }
    if (step->opcode == PRODUCTS)
        NAME(products)(step->count, arity / 2, x, single, value);
    else
        NAME(totals)(step->count, arity, x, single, value);
}

static void NAME(list_products)(const REAL *base, const int32_t *at, const Instruction *step, REAL *value) {
    for (ptrdiff_t i = 0; i < step->count; i++, at += 2 * step->arity) {
        REAL total = base[at[0]] * base[at[1]];
        for (int t = 1; t < step->arity; t++)
            total += base[at[2 * t]] * base[at[2 * t + 1]];
        value[i] = total;
    }
}

static void NAME(list_totals)(const REAL *base, const int32_t *at, const Instruction *step, REAL *value) {
    for (ptrdiff_t i = 0; i < step->count; i++, at += step->arity) {
        REAL total = base[at[0]];
        for (int t = 1; t < step->arity; t++)
            total += base[at[t]];
        value[i] = total;
    }
}

/* Of every gate, the place of its index and those of the numbers, or of their adjoints: listed, or how they lie. */
INLINE ptrdiff_t NAME(item_slot)(const REAL *base, const int32_t *at, int evenly, ptrdiff_t numbers) {
    const ptrdiff_t item = NAME(item_at)(base[at[ITEM_INDEX]], numbers);
    return evenly ? at[ITEM_SLOT] + item * at[ITEM_STEP] : at[1 + item];
}

static void NAME(items_at_point)(const NAME(Machine) *m, const Instruction *step, const Operand *o, REAL *value) {
    const int evenly = o->place == PIECES;
    const int32_t *at = m->stream->index + o->start;
    for (ptrdiff_t i = 0; i < step->count; i++, at += evenly ? ITEM_WORDS : step->arity)
        value[i] = m->base[NAME(item_slot)(m->base, at, evenly, step->arity - 1)];
}

static void NAME(pull_items_at_point)(const NAME(Machine) *m, const Instruction *step, const Operand *o, const REAL *pull) {
    const int evenly = o->place == PIECES;
    const int32_t *at = m->stream->index + o->start;
    for (ptrdiff_t i = 0; i < step->count; i++, at += evenly ? ITEM_WORDS : step->arity)
        m->base[NAME(item_slot)(m->base, at, evenly, step->arity - 1)] += pull[i];
}

static void NAME(chain)(int opcode, ptrdiff_t n, REAL start, const REAL *x, REAL *value) {
    REAL carried = start;
    if (opcode == CHAIN_ADD)
        for (ptrdiff_t i = 0; i < n; i++)
            value[i] = carried = carried + x[i];
    else
        for (ptrdiff_t i = 0; i < n; i++)
            value[i] = carried = carried * x[i];
}

#include "executor/vector_product.h"
#include "executor/vector_products.h"

static ptrdiff_t NAME(forward_point)(const Stream *stream, const Space *space, ptrdiff_t begin, ptrdiff_t end) {
    const NAME(Machine) m = {stream, space->base, space->scratch};
    REAL *base = m.base;
    for (const Instruction *step = stream->instruction + begin; step < stream->instruction + end; step++) {
        const Operand *o = stream->operand + step->operand;
        const ptrdiff_t n = step->count;
        const int opcode = step->opcode, arity = step->arity;
        ASSERT(opcode == REGION || (0 <= step->result && step->result + n <= stream->slots));
        ASSERT(step->saved < 0 || step->saved + n * arity <= stream->slots);
        REAL *value = base + step->result, *saved = step->saved >= 0 ? base + step->saved : NULL;
        REAL *first = m.scratch, *second = first + n, *third = second + n;
        switch (opcode) {
        case ADD:
        case SUBTRACT:
        case MULTIPLY:
        case DIVIDE:
            NAME(run_arithmetic)(&m, opcode, o, n, value);
            break;
        case LIST_PRODUCTS:
            NAME(list_products)(base, stream->index + o->start, step, value);
            break;
        case LIST_TOTAL:
            NAME(list_totals)(base, stream->index + o->start, step, value);
            break;
        case ITEM:
            NAME(items_at_point)(&m, step, o, value);
            break;
        case PRODUCTS:
        case TOTAL:
            NAME(run_terms)(&m, step, o, value);
            break;
        case MAX:
        case MIN:
        case LOGSUMEXP:
            NAME(lists)(&m, step, o, value, saved);
            break;
        case MATMUL:
            if (step->closed == 0)
                NAME(vector_product)(&m, step, value);
            else
                step += NAME(products_together)(&m, step, stream->instruction + end, NAME(vector_products));
            break;
        case BATCH_MATMUL:
            NAME(matrix_product)(&m, step, value);
            break;
        case CHAIN_ADD:
        case CHAIN_MULTIPLY:
            NAME(chain)(opcode, n, base[o[0].start], NAME(fetch)(&m, o + 1, n, first), value);
            break;
        case REGION:
            return step - stream->instruction;
        default: {
            const REAL *x = NAME(fetch)(&m, o, n, first);
            const REAL *y = arity > 1 ? NAME(fetch)(&m, o + 1, n, second) : NULL;
            const REAL *z = arity > 2 ? NAME(fetch)(&m, o + 2, n, third) : NULL;
            NAME(gate)(opcode, arity, n, stream->point, x, y, z, value, saved);
        }
        }
    }
    return end;
}

/* ---- backward ---- */

/* target += pull * u, or target = pull * u, number by number, as something is gathered. */
SCALAR static void NAME(gathered_pull)(
    const NAME(Machine) *m, const Instruction *step, const Operand *o, const REAL *pull
) {
    REAL *base = m->base, *target = base + o[0].start;
    const REAL *u = base + o[1].start;
    const int32_t *to = m->stream->index + o[0].start, *at = m->stream->index + o[1].start;
    const ptrdiff_t n = step->count, stride = o[1].place == CONTIGUOUS;
    if (o[0].place == GATHER && o[1].place == GATHER)
        for (ptrdiff_t i = 0; i < n; i++)
            base[to[i]] += NAME(weighed)(pull[i], base[at[i]]);
    else if (o[0].place == GATHER)
        for (ptrdiff_t i = 0; i < n; i++)
            base[to[i]] += NAME(weighed)(pull[i], u[i * stride]);
    else if (o[0].mode == ADD_TO)
        for (ptrdiff_t i = 0; i < n; i++)
            target[i] += NAME(weighed)(pull[i], base[at[i]]);
    else
        for (ptrdiff_t i = 0; i < n; i++)
            target[i] = NAME(weighed)(pull[i], base[at[i]]);
}

static void NAME(list_pass)(REAL *base, const int32_t *to, const Instruction *step, const REAL *pull) {
    for (ptrdiff_t i = 0; i < step->count; i++)
        for (int t = 0; t < step->arity; t++)
            base[*to++] += pull[i];
}

/* Pairs of a partial and its target. */
static void NAME(list_pull)(REAL *base, const int32_t *at, const Instruction *step, const REAL *pull) {
    for (ptrdiff_t i = 0; i < step->count; i++, at += 2 * step->arity) {
        const REAL here = pull[i];
        if (here == 0)
            continue;
        for (int t = 0; t < step->arity; t++)
            base[at[2 * t + 1]] += NAME(weighed)(here, base[at[2 * t]]);
    }
}

/* Walk a chain back: what arrives on x; returns what is left for its start. If the chain is closed, a pull comes to its end
   alone: pull[0]. */
static REAL NAME(chain_pull)(
    int kind, int closed, ptrdiff_t n, const REAL *pull, const REAL *x, REAL start, const REAL *value, REAL *target
) {
    REAL carried = closed ? *pull : 0;
    for (ptrdiff_t i = n - 1; i >= 0; i--) {
        if (!closed)
            carried += pull[i];
        target[i] = carried;
        if (kind == CHAIN_PRODUCT) { /* as weighed() has it, but no register keeps what was carried: that would be waited for */
            carried *= x[i];
            if (__builtin_expect(carried != carried, 0)) {
                if (((const volatile REAL *)target)[i] == 0 || x[i] == 0)
                    carried = 0;
            }
        }
    }
    if (kind == CHAIN_PRODUCT) {
        NAME(pull_product)(n - 1, target + 1, value, 0, target + 1, 0);
        target[0] = NAME(weighed)(target[0], start);
    }
    return carried;
}

static void NAME(run_chain_back)(const NAME(Machine) *m, const Instruction *step, const Operand *o, const REAL *pull) {
    const ptrdiff_t n = step->count;
    REAL *first = m->scratch, *second = first + n, *end = m->base + o[2].start;
    const int direct = o[0].place == CONTIGUOUS && o[0].mode == ASSIGN;
    const REAL *x = step->opcode == CHAIN_PRODUCT ? NAME(fetch)(m, o + 1, n, second) : NULL;
    REAL *brought = direct ? m->base + o[0].start : first;
    const REAL left = NAME(chain_pull)(
        step->opcode, step->closed, n, pull, x, m->base[o[3].start], m->base + step->saved, brought
    );
    if (o[0].place == CONTIGUOUS && !direct)
        NAME(pull_other)(PASS, n, brought, NULL, NULL, m->base + o[0].start, 1);
    NAME(deliver)(m, o, n, brought);
    *end = o[2].mode == ADD_TO ? *end + left : left;
}

static void NAME(run_pull)(const NAME(Machine) *m, const Instruction *step, const Operand *o, const REAL *pull) {
    const ptrdiff_t n = step->count;
    for (int k = 0; k < step->arity; k++)
        NAME(assert_operand)(m, o + k, n);
    REAL *first = m->scratch, *second = first + n, *third = second + n;
    const int direct = o[0].place == CONTIGUOUS, add = direct && o[0].mode == ADD_TO;
    REAL *target = direct ? m->base + o[0].start : first;
    if (step->opcode == PASS && !direct)
        NAME(deliver)(m, o, n, pull);
    else if (step->opcode == PRODUCT) {
        const int pieces = o[0].place == PIECES || o[1].place == PIECES;
        if (o[0].place != BROADCAST && !pieces && (!direct || o[1].place == GATHER))
            NAME(gathered_pull)(m, step, o, pull);
        else {
            const REAL *u = o[1].place == BROADCAST ? m->base + o[1].start : NAME(fetch)(m, o + 1, n, second);
            NAME(pull_product)(n, pull, u, o[1].place == BROADCAST, target, add);
            NAME(deliver)(m, o, n, target);
        }
    } else {
        const REAL *u = step->arity > 1 ? NAME(fetch)(m, o + 1, n, second) : NULL;
        const REAL *w = step->arity > 2 ? NAME(fetch)(m, o + 2, n, third) : NULL;
        NAME(pull_other)(step->opcode, n, pull, u, w, target, add);
        NAME(deliver)(m, o, n, target);
    }
}

/* By whole stores of several sizes: what is read from a masked one soon after would be waited for. */
static void NAME(clear)(REAL *start, ptrdiff_t n) {
    for (; n >= COUNT; n -= COUNT, start += COUNT)
        memset(start, 0, COUNT * sizeof(REAL));
    for (ptrdiff_t half = COUNT / 2; half > 0; half /= 2)
        if (n >= half) {
            memset(start, 0, (size_t)half * sizeof(REAL));
            n -= half;
            start += half;
        }
}

/* Backward operands: the target, then u, then w, as the kind of pull wants them. */
static ptrdiff_t NAME(backward_point)(const Stream *stream, const Space *space, ptrdiff_t begin, ptrdiff_t end) {
    const NAME(Machine) m = {stream, space->base, space->scratch};
    REAL *base = m.base;
    for (const Instruction *step = stream->instruction + begin; step < stream->instruction + end; step++) {
        const Operand *o = stream->operand + step->operand;
        ASSERT_RANGE(
            step->result, step->opcode == REGION_PULL || (step->closed && step->opcode != MATMUL_PULL) ? 1 : step->count,
            stream->slots
        );
        REAL *pull = base + step->result;
        switch (step->opcode) {
        case CLEAR:
            NAME(clear)(pull, step->count);
            break;
        case LIST_PASS:
            NAME(list_pass)(base, stream->index + o->start, step, pull);
            break;
        case LIST_PRODUCT:
            NAME(list_pull)(base, stream->index + o->start, step, pull);
            break;
        case ITEM_PULL:
            NAME(pull_items_at_point)(&m, step, o, pull);
            break;
        case CHAIN_PASS:
        case CHAIN_PRODUCT:
            NAME(run_chain_back)(&m, step, o, pull);
            break;
        case MATMUL_PULL:
        case BATCH_MATMUL_PULL: {
            const unsigned before = flush_small(sizeof(REAL) < sizeof(double));
            if (step->opcode == MATMUL_PULL && step->closed > 0)
                step += NAME(products_together)(&m, step, stream->instruction + end, NAME(pull_vector_products));
            else
                (step->opcode == MATMUL_PULL ? NAME(pull_vector_product) : NAME(pull_matrix_product))(&m, step, pull);
            flush_as(before);
            break;
        }
        case REGION_PULL:
            return step - stream->instruction;
        default:
            NAME(run_pull)(&m, step, o, pull);
        }
    }
    return end;
}

#undef ONE
