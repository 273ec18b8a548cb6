/* All vectorised gates: NAME_gate(vec x, vec *dx) and NAME_gate(vec x, vec y, vec *dx, vec *dy). */
#ifndef FASTPROP_VECTOR_GATES_H
#define FASTPROP_VECTOR_GATES_H

#include "vector.h"

#include "activation.h"
#include "arithmetic.h"
#include "error_function.h"
#include "exponential.h"
#include "gamma.h"
#include "hyperbolic.h"
#include "power.h"
#include "trigonometric.h"

UNARY_GATE(sqrt)
UNARY_GATE(cbrt)
UNARY_GATE(reciprocal)
UNARY_GATE(absolute)
UNARY_GATE(sign)
UNARY_GATE(floor)
UNARY_GATE(ceil)
UNARY_GATE(round)
UNARY_GATE(trunc)
UNARY_GATE(exp)
UNARY_GATE(exp2)
UNARY_GATE(expm1)
UNARY_GATE(log)
UNARY_GATE(log2)
UNARY_GATE(log10)
UNARY_GATE(log1p)
UNARY_GATE(sin)
UNARY_GATE(cos)
UNARY_GATE(tan)
UNARY_GATE(sech)
UNARY_GATE(arcsin)
UNARY_GATE(arccos)
UNARY_GATE(arctan)
UNARY_GATE(sinh)
UNARY_GATE(cosh)
UNARY_GATE(tanh)
UNARY_GATE(arcsinh)
UNARY_GATE(arccosh)
UNARY_GATE(arctanh)
UNARY_GATE(erf)
UNARY_GATE(erfc)
UNARY_GATE(ndtr)
UNARY_GATE(sigmoid)
UNARY_GATE(log_sigmoid)
UNARY_GATE(softplus)
UNARY_GATE(silu)
UNARY_GATE(gelu)
UNARY_GATE(gammaln)
UNARY_GATE(digamma)
UNARY_GATE(relu)

BINARY_GATE(maximum)
BINARY_GATE(minimum)
BINARY_GATE(power)
BINARY_GATE(hypot)
BINARY_GATE(logaddexp)
BINARY_GATE(arctan2)
BINARY_GATE(leaky_relu)
BINARY_GATE(elu)

INLINE vec clip_gate(vec x, vec low, vec high, vec *dx, vec *dlow, vec *dhigh) {
    pieces a = {x}, b = {low}, c = {high}, to, da, db, dc;
    FOR_PARTS(i) {
        to.parts[i] = clip_lanes(a.parts[i], b.parts[i], c.parts[i], &da.parts[i], &db.parts[i], &dc.parts[i]);
    }
    *dx = da.whole;
    *dlow = db.whole;
    *dhigh = dc.whole;
    return to.whole;
}

#endif
