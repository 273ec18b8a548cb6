/* A gate on numbers side by side, whichever it is but + - * / and those of many operands. Included once for double and
   once for float. */

static void NAME(unary)(int opcode, ptrdiff_t n, const Point *point, const REAL *x, REAL *value, REAL *saved) {
    const NAME(unary_loop) loop = NAME(unary_loops)[opcode];
    if (loop != NULL)
        loop(n, x, value, saved);
    else
        NAME(unary_points)(n, point[opcode].one, x, value, saved);
}

static void NAME(binary)(
    int opcode, ptrdiff_t n, const Point *point, const REAL *x, const REAL *y, REAL *value, REAL *saved
) {
    const NAME(binary_loop) loop = NAME(binary_loops)[opcode];
    if (loop != NULL)
        loop(n, x, y, value, saved);
    else
        NAME(binary_points)(n, point[opcode].two, x, y, value, saved);
}

static void NAME(ternary)(
    int opcode, ptrdiff_t n, const Point *point, const REAL *x, const REAL *y, const REAL *z, REAL *value, REAL *saved
) {
    const NAME(ternary_loop) loop = NAME(ternary_loops)[opcode];
    if (loop != NULL)
        loop(n, x, y, z, value, saved);
    else
        NAME(ternary_points)(n, point[opcode].three, x, y, z, value, saved);
}

static void NAME(gate)(
    int opcode, int arity, ptrdiff_t n, const Point *point, const REAL *x, const REAL *y, const REAL *z, REAL *value,
    REAL *saved
) {
    switch (opcode) {
    case STRONG_MULTIPLY:
        NAME(pull_product)(n, x, y, 0, value, 0);
        break;
    case EXP:
        NAME(unary)(EXP, n, point, x, value, NULL); /* its partial is its value */
        break;
    case NEGATIVE:
    case POSITIVE:
    case HELD:
    case RECIPROCAL:
    case SQUARE:
    case SQRT:
    case ABSOLUTE:
    case RELU:
        NAME(simple)(opcode, n, x, value);
        break;
    case MAXIMUM:
    case MINIMUM:
        NAME(extreme)(n, x, y, value, opcode == MINIMUM);
        break;
    case WHERE:
        NAME(choice)(n, x, y, z, value);
        break;
    case LESS:
    case LESS_EQUAL:
    case EQUAL:
    case NOT_EQUAL:
    case BOTH:
    case EITHER:
    case WITHIN:
        NAME(logic)(opcode, n, x, y, value);
        break;
    case NEITHER:
        NAME(logic)(opcode, n, x, x, value);
        break;
    default:
        if (arity == 1)
            NAME(unary)(opcode, n, point, x, value, saved);
        else if (arity == 2)
            NAME(binary)(opcode, n, point, x, y, value, saved);
        else
            NAME(ternary)(opcode, n, point, x, y, z, value, saved);
    }
}
