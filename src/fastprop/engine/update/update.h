/* Update rules over blocks of numbers: for float32 and float64, each for every instruction set, with the same bits. */
#ifndef FASTPROP_UPDATE_H
#define FASTPROP_UPDATE_H

#include <Python.h>
#include <float.h>
#include <math.h>
#include <stdint.h>

#include "executor/flush.h"

enum Kind { RULE_SGD, RULE_ADAGRAD, RULE_ADADELTA, RULE_RMSPROP, RULE_ADAM, RULE_WINDOWGRAD, RULE_OWN };
enum { STRANDS = 32 };
enum { MOMENTS = 8 }; /* of a number at most: ours have 3, those in Python what they like */

/* What a rule is told when it is made. Rates of decay are kept as they came: float32 would round .99999999 to 1. */
typedef struct {
    int kind;
    int maximize, nesterov, rate_inside, amsgrad, centered, decoupled;
    double momentum, dampening, beta1, beta2, eps, weight_decay, lr_decay;
} Rule;

/* What moves in one go: the numbers, the gradients, where the new numbers go, the moments, and which step it is. */
typedef struct {
    Py_ssize_t size, leaf;
    int single, first;              /* float32; its first step */
    double rate, correction1, correction2;
    const void *numbers, *slopes;
    void *out, *moment[MOMENTS];
} Stretch;

/* A gradient, down or up, with the weights' decay in it; a decay of 0 adds nothing, whatever the weight is. */
#define SLOPE(i) (decay != 0 ? way * g[i] + decay * p[i] : way * g[i])

#define TARGET
#define SET baseline
#include "update/types.h"
#undef TARGET
#undef SET

#if defined(__x86_64__)
#if defined(__clang__)
#define WIDEST "" /* which chooses it by a flag of the whole file alone */
#else
#define WIDEST ",prefer-vector-width=512"
#endif
#define TARGET __attribute__((target("avx2,fma")))
#define SET avx2
#include "update/types.h"
#undef TARGET
#undef SET
#define TARGET __attribute__((target("avx512f,avx512dq,avx512vl,avx512bw" WIDEST)))
#define SET avx512
#include "update/types.h"
#undef TARGET
#undef SET
#endif

typedef struct {
    const char *name;
    Py_ssize_t (*refused)(const Rule *, const Stretch *);     /* the first number whose gradient can't be used, or -1 */
    void (*move)(const Rule *, const Stretch *);
    double (*squares)(int single, Py_ssize_t n, const void *numbers);   /* their sum, in strands: the same bits for all */
    void (*divide)(int single, Py_ssize_t n, const void *numbers, double by, void *out);
} Loops;

static const Loops LOOPS[] = {
    {"baseline", refused_baseline, move_baseline, squares_baseline, divide_baseline},
#if defined(__x86_64__)
    {"avx2", refused_avx2, move_avx2, squares_avx2, divide_avx2},
    {"avx512", refused_avx512, move_avx512, squares_avx512, divide_avx512},
#endif
};
enum { SETS = sizeof LOOPS / sizeof *LOOPS };

#endif
