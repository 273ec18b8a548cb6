/* Which opcode has which loop; the others go through their scalar kernels. */
#define LOOP_OF(gate, OPCODE) [OPCODE] = NAME(gate##_loop),
static const NAME(unary_loop) NAME(unary_loops)[EXTRA_END] = {FORMS_OF_ONE(LOOP_OF)};
static const NAME(binary_loop) NAME(binary_loops)[EXTRA_END] = {FORMS_OF_TWO(LOOP_OF)};
static const NAME(ternary_loop) NAME(ternary_loops)[EXTRA_END] = {FORMS_OF_THREE(LOOP_OF)};
#undef LOOP_OF
