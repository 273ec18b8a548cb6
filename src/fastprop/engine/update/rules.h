/* The rules themselves, on NUMBERs: p are the numbers, g their gradients, q the new numbers, which may be p.

   Options are rounded to NUMBER once, after 1 - beta and the corrections have been computed in double. */
#define NAME(rule) EXPAND3(rule, NUMBER, SET)
#define OPEN                                                                                      \
    const NUMBER *p = on->numbers, *g = on->slopes;                                               \
    NUMBER *q = on->out;                                                                          \
    const Py_ssize_t n = on->size;                                                                \
    const NUMBER decay = rule->decoupled ? 0 : (NUMBER)rule->weight_decay;                        \
    const NUMBER rate = (NUMBER)on->rate, way = rule->maximize ? -1 : 1;                          \
    const NUMBER eps = (NUMBER)rule->eps;                                                         \
    (void)rate, (void)eps

/* A gradient's share of a step: nothing where both are 0, and eps too. */
#define OVER(numerator, denominator) ((denominator) > 0 ? (numerator) / (denominator) : 0)

static TARGET Py_ssize_t NAME(refused)(const Rule *rule, const Stretch *on) {
    OPEN;
    const NUMBER *sum = on->moment[0];
    const NUMBER limit = rule->kind == RULE_SGD || rule->kind == RULE_OWN ? LARGEST : SQRT(LARGEST);
    INTEGER bad = 0;
    (void)q;
    for (Py_ssize_t i = 0; i < n; i++) bad |= !(MAGNITUDE(SLOPE(i)) <= limit);
    if (rule->kind == RULE_ADAGRAD && !bad)
        for (Py_ssize_t i = 0; i < n; i++) bad |= !(sum[i] + SLOPE(i) * SLOPE(i) <= LARGEST);
    if (!bad) return -1;
    for (Py_ssize_t i = 0; i < n; i++) {
        if (!(MAGNITUDE(SLOPE(i)) <= limit)) return i;
        if (rule->kind == RULE_ADAGRAD && !(sum[i] + SLOPE(i) * SLOPE(i) <= LARGEST)) return i;
    }
    return -1;
}

static TARGET void NAME(descend)(const Rule *rule, const Stretch *on) {
    OPEN;
#pragma GCC ivdep
    for (Py_ssize_t i = 0; i < n; i++) q[i] = p[i] - rate * SLOPE(i);
}

/* The buffer of the first step is the gradient, undamped. */
static TARGET void NAME(descend_with_momentum)(const Rule *rule, const Stretch *on) {
    OPEN;
    NUMBER *buffer = on->moment[0];
    const NUMBER momentum = (NUMBER)rule->momentum;
    const NUMBER old = on->first ? 0 : momentum, fresh = on->first ? 1 : (NUMBER)(1.0 - rule->dampening);
    const int nesterov = rule->nesterov;
#pragma GCC ivdep
    for (Py_ssize_t i = 0; i < n; i++) {
        const NUMBER slope = SLOPE(i);
        buffer[i] = old * buffer[i] + fresh * slope;
        q[i] = p[i] - rate * (nesterov ? slope + momentum * buffer[i] : buffer[i]);
    }
}

/* With the rate inside: a velocity, in the numbers' own units. */
static TARGET void NAME(roll)(const Rule *rule, const Stretch *on) {
    OPEN;
    NUMBER *velocity = on->moment[0];
    const NUMBER momentum = (NUMBER)rule->momentum;
    const int nesterov = rule->nesterov;
#pragma GCC ivdep
    for (Py_ssize_t i = 0; i < n; i++) {
        const NUMBER push = rate * SLOPE(i);
        velocity[i] = momentum * velocity[i] - push;
        q[i] = p[i] + (nesterov ? momentum * velocity[i] - push : velocity[i]);
    }
}

static TARGET void NAME(adagrad)(const Rule *rule, const Stretch *on) {
    OPEN;
    NUMBER *sum = on->moment[0];
#pragma GCC ivdep
    for (Py_ssize_t i = 0; i < n; i++) {
        const NUMBER slope = SLOPE(i);
        sum[i] = sum[i] + slope * slope;
        const NUMBER scale = SQRT(sum[i]) + eps;
        q[i] = p[i] - rate * OVER(slope, scale);
    }
}

static TARGET void NAME(adadelta)(const Rule *rule, const Stretch *on) {
    OPEN;
    NUMBER *square = on->moment[0], *moved = on->moment[1];
    const NUMBER rho = (NUMBER)rule->beta2, rest = (NUMBER)(1.0 - rule->beta2);
#pragma GCC ivdep
    for (Py_ssize_t i = 0; i < n; i++) {
        const NUMBER slope = SLOPE(i);
        square[i] = rho * square[i] + rest * (slope * slope);
        const NUMBER scale = SQRT(square[i] + eps);
        const NUMBER change = SQRT(moved[i] + eps) * OVER(slope, scale);
        moved[i] = rho * moved[i] + rest * (change * change);
        q[i] = p[i] - rate * change;
    }
}

static TARGET void NAME(rmsprop)(const Rule *rule, const Stretch *on) {
    OPEN;
    NUMBER *square = on->moment[0];
    const NUMBER alpha = (NUMBER)rule->beta2, rest = (NUMBER)(1.0 - rule->beta2);
#pragma GCC ivdep
    for (Py_ssize_t i = 0; i < n; i++) {
        const NUMBER slope = SLOPE(i);
        square[i] = alpha * square[i] + rest * (slope * slope);
        const NUMBER scale = SQRT(square[i]) + eps;
        q[i] = p[i] - rate * OVER(slope, scale);
    }
}

/* With a mean that is taken off the square, with momentum, or with both. */
static TARGET void NAME(rmsprop_with_more)(const Rule *rule, const Stretch *on) {
    OPEN;
    NUMBER *square = on->moment[0], *mean = on->moment[1], *buffer = on->moment[2];
    const NUMBER alpha = (NUMBER)rule->beta2, rest = (NUMBER)(1.0 - rule->beta2);
    const NUMBER momentum = (NUMBER)rule->momentum, centered = (NUMBER)rule->centered;
#pragma GCC ivdep
    for (Py_ssize_t i = 0; i < n; i++) {
        const NUMBER slope = SLOPE(i);
        square[i] = alpha * square[i] + rest * (slope * slope);
        mean[i] = alpha * mean[i] + rest * slope;
        const NUMBER variance = square[i] - centered * (mean[i] * mean[i]);
        const NUMBER scale = SQRT(variance > 0 ? variance : 0) + eps;
        buffer[i] = momentum * buffer[i] + OVER(slope, scale);
        q[i] = p[i] - rate * buffer[i];
    }
}

static TARGET void NAME(windowgrad)(const Rule *rule, const Stretch *on) {
    OPEN;
    NUMBER *square = on->moment[0];
    const NUMBER rho = (NUMBER)rule->beta2, rest = (NUMBER)(1.0 - rule->beta2);
#pragma GCC ivdep
    for (Py_ssize_t i = 0; i < n; i++) {
        const NUMBER slope = SLOPE(i);
        square[i] = rho * square[i] + rest * (slope * slope);
        const NUMBER scale = SQRT(square[i] + eps);
        q[i] = p[i] - rate * OVER(slope, scale);
    }
}

#define OPEN_ADAM                                                                                 \
    OPEN;                                                                                         \
    NUMBER *mean = on->moment[0], *square = on->moment[1];                                        \
    const NUMBER beta1 = (NUMBER)rule->beta1, rest1 = (NUMBER)(1.0 - rule->beta1);                \
    const NUMBER beta2 = (NUMBER)rule->beta2, rest2 = (NUMBER)(1.0 - rule->beta2);                \
    const NUMBER pace = (NUMBER)(on->rate / on->correction1);                                     \
    const NUMBER whole = (NUMBER)(1.0 / sqrt(on->correction2));                                   \
    const NUMBER kept = (NUMBER)(rule->decoupled ? 1.0 - on->rate * rule->weight_decay : 1.0)

static TARGET void NAME(adam)(const Rule *rule, const Stretch *on) {
    OPEN_ADAM;
#pragma GCC ivdep
    for (Py_ssize_t i = 0; i < n; i++) {
        const NUMBER slope = SLOPE(i);
        mean[i] = beta1 * mean[i] + rest1 * slope;
        square[i] = beta2 * square[i] + rest2 * (slope * slope);
        const NUMBER scale = SQRT(square[i]) * whole + eps;
        q[i] = kept * p[i] - pace * OVER(mean[i], scale);
    }
}

static TARGET void NAME(amsgrad)(const Rule *rule, const Stretch *on) {
    OPEN_ADAM;
    NUMBER *most = on->moment[2];
#pragma GCC ivdep
    for (Py_ssize_t i = 0; i < n; i++) {
        const NUMBER slope = SLOPE(i);
        mean[i] = beta1 * mean[i] + rest1 * slope;
        square[i] = beta2 * square[i] + rest2 * (slope * slope);
        most[i] = most[i] > square[i] ? most[i] : square[i];
        const NUMBER scale = SQRT(most[i]) * whole + eps;
        q[i] = kept * p[i] - pace * OVER(mean[i], scale);
    }
}

static void NAME(move)(const Rule *rule, const Stretch *on) {
    switch (rule->kind) {
    case RULE_SGD:
        if (rule->momentum == 0) NAME(descend)(rule, on);
        else if (rule->rate_inside) NAME(roll)(rule, on);
        else NAME(descend_with_momentum)(rule, on);
        return;
    case RULE_ADAGRAD: NAME(adagrad)(rule, on); return;
    case RULE_ADADELTA: NAME(adadelta)(rule, on); return;
    case RULE_RMSPROP:
        if (rule->centered || rule->momentum != 0) NAME(rmsprop_with_more)(rule, on);
        else NAME(rmsprop)(rule, on);
        return;
    case RULE_ADAM:
        if (rule->amsgrad) NAME(amsgrad)(rule, on);
        else NAME(adam)(rule, on);
        return;
    default: NAME(windowgrad)(rule, on);
    }
}

static TARGET double NAME(squares)(Py_ssize_t n, const NUMBER *x) {
    double strand[STRANDS] = {0.0}, sum = 0.0;
    Py_ssize_t i = 0;
    for (; i + STRANDS <= n; i += STRANDS)
        for (int k = 0; k < STRANDS; k++) strand[k] += (double)x[i + k] * x[i + k];
    for (; i < n; i++) strand[i % STRANDS] += (double)x[i] * x[i];
    for (int k = 0; k < STRANDS; k++) sum += strand[k];
    return sum;
}

/* In float32 a product with the inverse, in double, is rounded to the same number all but always. */
static TARGET void NAME(divide)(Py_ssize_t n, const NUMBER *x, double by, NUMBER *q) {
    const double inverse = 1.0 / by;
#pragma GCC ivdep
    for (Py_ssize_t i = 0; i < n; i++)
        q[i] = (NUMBER)(sizeof(NUMBER) < sizeof(double) ? (double)x[i] * inverse : (double)x[i] / by);
}

#undef NAME
#undef OPEN
#undef OPEN_ADAM
#undef OVER
