/* The logarithm of the gamma function, its derivative, and that one's.
 *
 * x is moved to z >= 1 (1 + x below 1, 1 - x below 0). From 1 to 5 a polynomial in t = (z - 2.25) / (z + 2.25), with
 * the roots and the pole at 0 divided out; from 5 on Stirling's series, economised; below 0 Euler's reflection. */
#ifndef FASTPROP_GAMMA_H
#define FASTPROP_GAMMA_H

#include "power.h"
#include "trigonometric.h"

#define PI 3.141592653589793
#define PI_LOW 1.2246467991473532e-16
#define DIGAMMA_ROOT 1.4616321449683622
#define DIGAMMA_ROOT_LOW 9.549995429965697e-17
#define HALF_LOG_TWO_PI 0.9189385332046728
#define HALF_LOG_TWO_PI_LOW -3.8782941580672414e-17

enum { GAMMALN_TERMS = 23, DIGAMMA_TERMS = 23, TRIGAMMA_TERMS = 18 };
enum { GAMMALN_TAIL_TERMS = 8, DIGAMMA_TAIL_TERMS = 8, TRIGAMMA_TAIL_TERMS = 10 };

/* gammaln(z) / ((z - 1) (z - 2)), z digamma(z) / (z - root), and trigamma(z) - 1 / z**2, in t. */
static const double GAMMALN_SERIES[GAMMALN_TERMS] = {
    0.3995894876556691, -0.38646381398067464, 0.12522037394492522, -0.13437971566892631, 0.08178463682831268,
    -0.08467900995597868, 0.06150596932873577, -0.06259108490216343, 0.049373034305885084, -0.04982234665462989,
    0.04124038188359952, -0.041432954686834625, 0.03540180958443939, -0.035518695849134696, 0.03105884145016133,
    -0.03067029166807485, 0.02712011075727801, -0.030301352048715948, 0.028049607503410526, -0.012748257948438523,
    0.009299696454981965, -0.051177149629440845, 0.04998012629881251};
static const double DIGAMMA_SERIES[DIGAMMA_TERMS] = {
    1.6340462661960076, 1.0987365679369399, 0.3656084662882398, 0.3303815586902497, 0.22286201397381708,
    0.19238063069859299, 0.15711619953758776, 0.13737877269682852, 0.1201072228225615, 0.10746487182534024,
    0.09692550605704421, 0.08838812105991158, 0.0811904004917038, 0.07516119668915894, 0.06988829418906785,
    0.06455016689812582, 0.06074986356813333, 0.06315913515547186, 0.05883560260606307, 0.02736362638639958,
    0.02874054837159219, 0.10523896666380772, 0.0968781781335804};
static const double TRIGAMMA_SERIES[TRIGAMMA_TERMS] = {
    0.3597982903095799, -0.576706262126018, 0.3389314605361211, -0.1862981010993309, 0.09621840924101044,
    -0.04708623396471914, 0.022069416357493994, -0.010015269606127686, 0.004439301950370658, -0.001933414574120876,
    0.0008305433526945967, -0.0003528675250122927, 0.00014859725518945929, -6.209232326544138e-05,
    2.563986793665848e-05, -1.0613141382312905e-05, 4.888361445677341e-06, -1.9643165521689817e-06};

/* z (gammaln(z) - Stirling's formula), z**2 (log(z) - 1 / 2z - digamma(z)), z**3 (trigamma(z) - 1 / z - 1 / 2z**2), in
   1 / z**2. */
static const double GAMMALN_TAIL[GAMMALN_TAIL_TERMS] = {
    0.08333333333333323, -0.0027777777776574726, 0.0007936507503053239, -0.0005952310397027581, 0.0008411347867682373,
    -0.0018863426913862877, 0.005469572634548568, -0.012706671767508067};
static const double DIGAMMA_TAIL[DIGAMMA_TAIL_TERMS] = {
    0.08333333333332872, -0.008333333329491396, 0.00396825287073436, -0.0041665138531224175, 0.007563823651183853,
    -0.020535632495257555, 0.06742390008661862, -0.16519900818947356};
static const double TRIGAMMA_TAIL[TRIGAMMA_TAIL_TERMS] = {
    0.16666666666666616, -0.03333333333270424, 0.02380952353531523, -0.03333327379600475, 0.07575007547158574,
    -0.2525197361735, 1.1357772236526071, -6.009635243550989, 28.918710825310963, -81.23262300882007};

#if defined(__GLIBC__)
extern double lgamma_r(double x, int *sign); /* lgamma writes its sign to a global, which threads share */
#endif

/* Where the three are computed: z, its rounding error, its inverse, and the polynomials' t. */
typedef struct {
    part z, low, inverse, t;
    mask near; /* whether the polynomials hold: z < 5 */
} moved;

INLINE moved move_to_right(part x) {
    moved at;
    mask stay = at_most(spread(1.0), x);
    part low, z = two_sum(spread(1.0), magnitude(x), &low);
    at.z = choose(is_nan_part(x), x, choose(stay, x, z));
    at.low = choose(stay, spread(0.0), low);
    at.inverse = 1.0 / at.z;
    at.near = less(at.z, spread(5.0));
    part bounded = smaller(spread(5.0), at.z);
    at.t = (bounded - 2.25) / (bounded + 2.25);
    return at;
}

/* Sine and cosine of pi * w for w up to 1/4, the rounding of pi * w put back. */
INLINE part sine_of_turn(part w, part *cosine) {
    part low, r = two_product_part(w, spread(PI), &low);
    low = fused_part(w, spread(PI_LOW), low);
    *cosine = cosine_of_rest(r, low);
    return sine_of_rest(r, low);
}

/* pi / tan(pi x), and pi / sin(pi x) without its sign; both infinite at the integers. */
INLINE part reflection(part x, part *over_sine) {
    part r = x - nearest_part(x), size = magnitude(r), cosine;
    mask far = less(spread(0.25), size);
    part sine = sine_of_turn(choose(far, 0.5 - size, size), &cosine);
    part up = choose(far, sine, cosine), down = choose(far, cosine, sine);
    part low, product = two_product_part(up, spread(PI), &low), inverse = 1.0 / down, cotangent = product * inverse;
    cotangent = fused_part(inverse, residue(cotangent, down, product) + fused_part(up, spread(PI_LOW), low), cotangent);
    part once = PI * inverse;
    *over_sine = fused_part(inverse, residue(once, down, spread(PI)) + PI_LOW, once);
    return choose(less(size, spread(1e-200)), 1.0 / r, flip_sign(cotangent, r));
}

/* digamma to the right of 1, given log(z). */
INLINE part digamma_moved(moved at, part log) {
    part from_root = (at.z - DIGAMMA_ROOT) + (at.low - DIGAMMA_ROOT_LOW);
    part low, product = two_product_part(from_root, polynomial(at.t, DIGAMMA_SERIES, DIGAMMA_TERMS), &low);
    part near = product * at.inverse;
    near = fused_part(at.inverse, residue(near, at.z, product) + low, near);
    part square = at.inverse * at.inverse;
    part tail = fused_part(square, polynomial(square, DIGAMMA_TAIL, DIGAMMA_TAIL_TERMS), 0.5 * at.inverse);
    return choose(at.near, near, log - tail);
}

/* digamma where it is, from where it was computed; NaN at the poles below 0. */
INLINE part digamma_at(part x, moved at, part log) {
    part value = digamma_moved(at, log), ignored;
    mask negative = less(x, spread(0.0)), small = less(x, spread(1.0));
    part back = choose(small, value - 1.0 / x, value);
    if (any(negative)) {
        mask pole = equal(x, nearest_part(x));
        back = choose(negative, choose(pole, spread(NAN), value - reflection(x, &ignored)), back);
    }
    return back;
}

INLINE part trigamma_at(part x, moved at) {
    part square = at.inverse * at.inverse, over_sine;
    part near = square + polynomial(at.t, TRIGAMMA_SERIES, TRIGAMMA_TERMS);
    part far = fused_part(at.inverse * square, polynomial(square, TRIGAMMA_TAIL, TRIGAMMA_TAIL_TERMS), 0.5 * square);
    part value = choose(at.near, near, at.inverse + far);
    mask negative = less(x, spread(0.0)), small = less(x, spread(1.0));
    part back = choose(small, value + 1.0 / x / x, value);
    if (any(negative)) {
        mask pole = equal(x, nearest_part(x));
        reflection(x, &over_sine);
        part reflected = choose(less(spread(-1e-150), x), 1.0 / x / x, over_sine * over_sine - value);
        back = choose(negative, choose(pole, spread(NAN), reflected), back);
    }
    return back;
}

INLINE part digamma_lanes(part x, part *dx) {
    moved at = move_to_right(x);
    *dx = trigamma_at(x, at);
    return digamma_at(x, at, log_part(at.z));
}

/* Stirling's formula and what it lacks, for z from 5 on: (z - 1/2) log(z) - z + log(2 pi) / 2 + tail. */
INLINE part gammaln_tail(moved at, part log, part log_low) {
    part half_less = at.z - 0.5, low, sum_low, product = two_product_part(half_less, log, &low);
    part square = at.inverse * at.inverse;
    part tail = polynomial(square, GAMMALN_TAIL, GAMMALN_TAIL_TERMS);
    tail = fused_part(at.inverse, tail, spread(HALF_LOG_TWO_PI_LOW));
    part sum = fast_two_sum(product, -at.z, &sum_low);
    low = fused_part(half_less, log_low, low + sum_low) + tail;
    part small = sum + HALF_LOG_TWO_PI, rest = (HALF_LOG_TWO_PI - (small - sum)) + low;
    return choose(less(at.z, spread(1e290)), small + rest, at.z * (log - 1.0)); /* the products would overflow */
}

/* By the C library below 0, where roots lie closer and closer to the poles. */
static __attribute__((noinline, cold)) void gammaln_below_zero(const double *x, double *value) {
    int sign;
    for (int lane = 0; lane < PART_LANES; lane++) {
        if (x[lane] < 0.0) value[lane] = lgamma_r(x[lane], &sign);
    }
}

INLINE part gammaln_lanes(part x, part *dx) {
    moved at = move_to_right(x);
    mask small = less(x, spread(1.0)), negative = less(x, spread(0.0));
    part k, log_low, of = choose(small, choose(negative, at.z, x), at.z), m = split_number(of, &k, is_odd(of));
    part log = precise_log(m, k, &log_low), value = (x - 1.0) * choose(small, x, x - 2.0);
    value = value * polynomial(at.t, GAMMALN_SERIES, GAMMALN_TERMS) + 0.0; /* +0 at 1 and 2 */
    value = choose(small, value - log, choose(at.near, value, gammaln_tail(at, log, log_low)));
    value = choose(equal(x, spread(0.0)), spread(INFINITY), value);
    part slope = digamma_at(x, at, choose(less(at.z, spread(INFINITY)), log, at.z));
    *dx = choose(equal(x, spread(0.0)), spread(NAN), slope);
    if (__builtin_expect(any(negative), 0)) {
        double xs[PART_LANES], values[PART_LANES];
        store_part(xs, x), store_part(values, value);
        gammaln_below_zero(xs, values);
        value = load_part(values);
    }
    return value;
}

#endif
