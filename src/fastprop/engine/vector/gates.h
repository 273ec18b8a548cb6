/* All vectorised gates: NAME_gate(vec x, vec *dx), NAME_gate(vec x, vec y, vec *dx, vec *dy) and so on. */
#ifndef FASTPROP_VECTOR_GATES_H
#define FASTPROP_VECTOR_GATES_H

#include "vector.h"

#include "made/gates.h" /* includes the headers beside this one that have the vector form of a gate */

FORMS_OF_ONE(UNARY_GATE)
FORMS_OF_TWO(BINARY_GATE)
FORMS_OF_THREE(TERNARY_GATE)

#endif
