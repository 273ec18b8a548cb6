/* Which opcode has which loop; the others go through their scalar kernels. */
#define UNARY(gate, OPCODE) [OPCODE] = NAME(gate##_loop),
#define BINARY(gate, OPCODE)
static const NAME(unary_loop) NAME(unary_loops)[EXTRA_END] = {
#include "executor/gates_with_loops.h"
};
#undef UNARY
#undef BINARY

#define UNARY(gate, OPCODE)
#define BINARY(gate, OPCODE) [OPCODE] = NAME(gate##_loop),
static const NAME(binary_loop) NAME(binary_loops)[EXTRA_END] = {
#include "executor/gates_with_loops.h"
};
#undef UNARY
#undef BINARY
