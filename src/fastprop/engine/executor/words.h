/* Single gates at one point, as threaded code: every step is a few words (enum Action), and jumps to the next one itself.
   What the last step left, and the pull in hand, stay in registers: a number that was just stored is long in coming back
   from memory. Runs are left to point.h. Included once for double and once for float. */

#define SLOT(word) base[CHECKED(at[word], stream->slots)]
#define A SLOT(2)
#define B SLOT(3)

#define NEXT(size)                                                                                                      \
    at += size;                                                                                                        \
    goto *label[CHECKED(*at, ACTIONS)]

/* After a call nothing is left in registers: said, so that it need not be saved. */
#define NEXT_AFTER_CALL(size)                                                                                           \
    last = pull = 0;                                                                                                   \
    NEXT(size)

#define GATE(name, size, result)                                                                                        \
    name:                                                                                                              \
    last = (result);                                                                                                   \
    SLOT(1) = last;                                                                                                    \
    NEXT(size);


/* A gate whose first operand, or the other one, may be what the last step left. */
#define GATE_OF_ONE(name, x_of)                                                                                         \
    GATE(name, 3, x_of(A))                                                                                             \
    GATE(name##_first, 3, x_of(last))
#define COMMUTING(name, sign)                                                                                           \
    GATE(name, 4, A sign B)                                                                                            \
    GATE(name##_first, 4, last sign B)
#define ORDERED(name, sign)                                                                                             \
    COMMUTING(name, sign)                                                                                              \
    GATE(name##_other, 4, A sign last)

#define MINUS(x) (-(x))
#define SQUARED(x) ((x) * (x))
#define ROOT_OF(x) ((REAL)__builtin_sqrt((double)(x)))

#define BRING(name, size, source, brought, before)                                                                      \
    name:                                                                                                              \
    pull = source;                                                                                                     \
    last = before brought;                                                                                             \
    SLOT(1) = last;                                                                                                    \
    NEXT(size);
#define PULL(name, size, brought)                                                                                       \
    BRING(name, size, A, brought, )                                                                                    \
    BRING(name##_last, size, last, brought, )                                                                          \
    BRING(name##_same, size, pull, brought, )                                                                          \
    BRING(name##_added, size, A, brought, SLOT(1) +)                                                                   \
    BRING(name##_added_last, size, last, brought, SLOT(1) +)                                                           \
    BRING(name##_added_same, size, pull, brought, SLOT(1) +)

/* Two pulls at once, the second one on what word `other` says. */
#define BRING_TWO(name, size, source, first, before, second, other, before_other)                                       \
    name:                                                                                                              \
    pull = source;                                                                                                     \
    last = before first;                                                                                               \
    next = before_other second;                                                                                        \
    SLOT(1) = last;                                                                                                    \
    SLOT(other) = last = next;                                                                                         \
    NEXT(size);
#define FROM_ALL(name, size, first, before, second, other, before_other)                                                \
    BRING_TWO(name, size, A, first, before, second, other, before_other)                                               \
    BRING_TWO(name##_last, size, last, first, before, second, other, before_other)                                     \
    BRING_TWO(name##_same, size, pull, first, before, second, other, before_other)
#define PULLS(name, size, first, second, other)                                                                         \
    FROM_ALL(name, size, first, , second, other, )                                                                     \
    FROM_ALL(name##_added, size, first, SLOT(1) +, second, other, )                                                    \
    FROM_ALL(name##_to_added, size, first, , second, other, SLOT(other) +)                                             \
    FROM_ALL(name##_all_added, size, first, SLOT(1) +, second, other, SLOT(other) +)

#define LABELS_OF_ONE(ACTION, name) [ACTION] = &&name, [ACTION + FIRST_FROM_LAST] = &&name##_first
#define LABELS_OF_TWO(ACTION, name) LABELS_OF_ONE(ACTION, name), [ACTION + OTHER_FROM_LAST] = &&name##_other
#define LABELS_OF_SOURCES(ACTION, name)                                                                                 \
    [ACTION] = &&name, [ACTION + PULL_FROM_LAST] = &&name##_last, [ACTION + SAME_PULL] = &&name##_same
#define LABELS_OF_PULL(ACTION, name) LABELS_OF_SOURCES(ACTION, name), LABELS_OF_SOURCES(ACTION + ADDED, name##_added)
#define LABELS_OF_PULLS(ACTION, name)                                                                                   \
    LABELS_OF_PULL(ACTION, name), LABELS_OF_SOURCES(ACTION + OTHER_ADDED, name##_to_added),                            \
        LABELS_OF_SOURCES(ACTION + ADDED + OTHER_ADDED, name##_all_added)

INLINE REAL NAME(sum_of_products)(const REAL *base, const int32_t *at, int pairs) {
    REAL total = base[at[0]] * base[at[1]];
    for (int t = 1; t < pairs; t++)
        total += base[at[2 * t]] * base[at[2 * t + 1]];
    return total;
}

INLINE REAL NAME(sum_of_terms)(const REAL *base, const int32_t *at, int terms) {
    REAL total = base[at[0]];
    for (int t = 1; t < terms; t++)
        total += base[at[t]];
    return total;
}

INLINE REAL NAME(magnitude_of)(REAL x) { return (REAL)__builtin_fabs((double)x); }

INLINE REAL NAME(quotient_brought)(REAL pull, REAL u, REAL value) { /* the partial, 1 / u, is 0 where u is infinite */
    REAL quotient = pull / u;
    if (__builtin_expect(__builtin_isunordered(quotient, value), 0)) {
        __asm__ volatile("");
        if (pull == 0 || NAME(magnitude_of)(u) == (REAL)INFINITY)
            quotient = 0;
        else if (u == 0 && value != value) /* 0 / 0 lies outside of the domain */
            quotient = value;
    }
    return quotient;
}

/* A pull on one number that is no product: `at` is the kind, then the mode, the target, the pull, u and w. */
static void NAME(pull_one)(REAL *base, const int32_t *at) {
    const int add = at[1] == ADD_TO;
    REAL *target = base + at[2];
    NAME(pull_other)(at[0], 1, base + at[3], base + at[4], base + at[5], target, add);
}

__attribute__((optimize("no-gcse", "no-crossjumping"))) static const int32_t *NAME(run_words)(
    const Stream *stream, const Space *space, const int32_t *at
) {
    static const void *const label[ACTIONS] = {
        [HALT] = &&stop,
        [PAUSE] = &&stop,
        [ENTER] = &&stop,
        [RUNS] = &&runs,
        [RUNS_BACK] = &&runs_back,
        LABELS_OF_ONE(ONE_SUM, sum),
        LABELS_OF_ONE(ONE_PRODUCT, product),
        LABELS_OF_TWO(ONE_DIFFERENCE, difference),
        LABELS_OF_TWO(ONE_QUOTIENT, quotient),
        LABELS_OF_ONE(ONE_NEGATIVE, negative),
        LABELS_OF_ONE(ONE_SQUARE, square),
        LABELS_OF_ONE(ONE_ROOT, root),
        LABELS_OF_TWO(ONE_PRODUCT_AND_SUM, product_and_sum),
        LABELS_OF_TWO(ONE_SUM_OF_TWO, sum_of_two),
        [ONE_SUM_OF_PRODUCTS] = &&sum_of_products,
        [ONE_TOTAL] = &&total,
        [ONE_UNARY] = &&unary,
        [ONE_BINARY] = &&binary,
        [ONE_TERNARY] = &&ternary,
        [ONE_ROW] = &&row,
        [ONE_CLEAR] = &&clear,
        LABELS_OF_PULL(PULL_PASS, pull_pass),
        LABELS_OF_PULL(PULL_NEGATE, pull_negate),
        LABELS_OF_PULL(PULL_PRODUCT, pull_product),
        LABELS_OF_PULL(PULL_TWICE, pull_twice),
        LABELS_OF_PULL(PULL_ROOT, pull_root),
        LABELS_OF_PULL(PULL_QUOTIENT, pull_quotient),
        LABELS_OF_PULL(PULL_DIVISOR, pull_divisor),
        LABELS_OF_PULLS(PULL_PASSES, pull_passes),
        LABELS_OF_PULLS(PULL_PASS_AND_NEGATE, pull_pass_and_negate),
        LABELS_OF_PULLS(PULL_PRODUCTS, pull_products),
        LABELS_OF_PULLS(PULL_DIVISION, pull_division),
        [PULL_OTHER] = &&pull_other,
    };
    REAL *const base = space->base;
    REAL last = 0, pull = 0, next;
    goto *label[CHECKED(*at, ACTIONS)];

    COMMUTING(sum, +)
    COMMUTING(product, *)
    ORDERED(difference, -)
    ORDERED(quotient, /)
    GATE_OF_ONE(negative, MINUS)
    GATE_OF_ONE(square, SQUARED)
    GATE_OF_ONE(root, ROOT_OF)
    GATE(product_and_sum, 5, A * B + SLOT(4))
    GATE(product_and_sum_first, 5, last * B + SLOT(4))
    GATE(product_and_sum_other, 5, A * B + last)
    GATE(sum_of_two, 6, A * B + SLOT(4) * SLOT(5))
    GATE(sum_of_two_first, 6, last * B + SLOT(4) * SLOT(5))
    GATE(sum_of_two_other, 6, A * B + last * SLOT(5))
    GATE(sum_of_products, 3 + 2 * at[2], NAME(sum_of_products)(base, at + 3, at[2]))
    GATE(total, 3 + at[2], NAME(sum_of_terms)(base, at + 3, at[2]))
    PULL(pull_pass, 3, pull)
    PULL(pull_negate, 3, -pull)
    PULL(pull_product, 4, NAME(weighed)(pull, B))
    PULL(pull_twice, 4, NAME(weighed)(pull, B + B))
    PULL(pull_root, 4, NAME(weighed)(pull, (REAL)0.5 / NAME(magnitude_of)(B)))
    PULL(pull_quotient, 5, NAME(quotient_brought)(pull, B, SLOT(4)))
    PULL(pull_divisor, 5, NAME(weighed)(pull, -(SLOT(4) / B)))
    PULLS(pull_passes, 4, pull, pull, 3)
    PULLS(pull_pass_and_negate, 4, pull, -pull, 3)
    PULLS(pull_products, 6, NAME(weighed)(pull, B), NAME(weighed)(pull, SLOT(5)), 4)
    PULLS(pull_division, 6, NAME(quotient_brought)(pull, B, SLOT(4)), NAME(weighed)(pull, -(SLOT(4) / B)), 5)
unary: {
    double dx;
    SLOT(2) = (REAL)stream->point[CHECKED(at[1], OPCODES)].one((double)B, &dx);
    if (at[4] >= 0)
        SLOT(4) = (REAL)dx;
    NEXT_AFTER_CALL(5);
}
binary: {
    double dx, dy;
    SLOT(2) = (REAL)stream->point[CHECKED(at[1], OPCODES)].two((double)B, (double)SLOT(4), &dx, &dy);
    if (at[5] >= 0) {
        SLOT(5) = (REAL)dx;
        base[CHECKED(at[5] + 1, stream->slots)] = (REAL)dy;
    }
    NEXT_AFTER_CALL(6);
}
ternary: {
    double dx, dy, dz;
    const ternary_point f = stream->point[CHECKED(at[1], OPCODES)].three;
    SLOT(2) = (REAL)f((double)B, (double)SLOT(4), (double)SLOT(5), &dx, &dy, &dz);
    if (at[6] >= 0) {
        SLOT(6) = (REAL)dx;
        base[CHECKED(at[6] + 1, stream->slots)] = (REAL)dy;
        base[CHECKED(at[6] + 2, stream->slots)] = (REAL)dz;
    }
    NEXT_AFTER_CALL(7);
}
row: {
    for (int word = 3; word < 7; word++)
        ASSERT_RANGE(at[word], at[7], stream->slots);
    ASSERT(at[8] < 0 || at[8] + at[2] * at[7] <= stream->slots);
    const REAL *x = base + at[4], *y = base + at[5], *z = base + at[6];
    NAME(gate)(at[1], at[2], at[7], stream->point, x, y, z, base + at[3], at[8] < 0 ? NULL : base + at[8]);
    NEXT_AFTER_CALL(9);
}
clear:
    ASSERT_RANGE(at[1], at[2], stream->slots);
    NAME(clear)(base + at[1], at[2]);
    NEXT_AFTER_CALL(3);
pull_other:
    NAME(pull_one)(base, at + 1);
    NEXT_AFTER_CALL(7);
runs:
    NAME(forward_point)(stream, space, at[1], at[2]);
    NEXT_AFTER_CALL(3);
runs_back:
    NAME(backward_point)(stream, space, at[1], at[2]);
    NEXT_AFTER_CALL(3);
stop:
    return at;
}

#undef SLOT
#undef NEXT
#undef NEXT_AFTER_CALL
#undef GATE
#undef A
#undef B
#undef GATE_OF_ONE
#undef COMMUTING
#undef ORDERED
#undef MINUS
#undef SQUARED
#undef ROOT_OF
#undef BRING
#undef PULL
#undef BRING_TWO
#undef FROM_ALL
#undef PULLS
#undef LABELS_OF_SOURCES
#undef LABELS_OF_PULLS
#undef LABELS_OF_ONE
#undef LABELS_OF_TWO
#undef LABELS_OF_PULL
