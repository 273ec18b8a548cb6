/* The rules of one instruction set, for both types of numbers, and the choice between them. */
#define PASTE3(name, type, set) name##_##type##_##set
#define PASTE2(name, set) name##_##set
#define EXPAND3(name, type, set) PASTE3(name, type, set)
#define EXPAND2(name, set) PASTE2(name, set)

#define NUMBER float
#define INTEGER int32_t
#define SQRT sqrtf
#define MAGNITUDE fabsf
#define LARGEST FLT_MAX
#include "update/rules.h"
#undef NUMBER
#undef INTEGER
#undef SQRT
#undef MAGNITUDE
#undef LARGEST

#define NUMBER double
#define INTEGER int64_t
#define SQRT sqrt
#define MAGNITUDE fabs
#define LARGEST DBL_MAX
#include "update/rules.h"
#undef NUMBER
#undef INTEGER
#undef SQRT
#undef MAGNITUDE
#undef LARGEST

static Py_ssize_t EXPAND2(refused, SET)(const Rule *rule, const Stretch *on) {
    return on->single ? EXPAND3(refused, float, SET)(rule, on) : EXPAND3(refused, double, SET)(rule, on);
}

static void EXPAND2(move, SET)(const Rule *rule, const Stretch *on) {
    const unsigned before = flush_small(1);
    on->single ? EXPAND3(move, float, SET)(rule, on) : EXPAND3(move, double, SET)(rule, on);
    flush_as(before);
}

static double EXPAND2(squares, SET)(int single, Py_ssize_t n, const void *numbers) {
    return single ? EXPAND3(squares, float, SET)(n, numbers) : EXPAND3(squares, double, SET)(n, numbers);
}

static void EXPAND2(divide, SET)(int single, Py_ssize_t n, const void *numbers, double by, void *out) {
    single ? EXPAND3(divide, float, SET)(n, numbers, by, out) : EXPAND3(divide, double, SET)(n, numbers, by, out);
}
