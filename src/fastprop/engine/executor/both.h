/* What there is for double and for float: with REAL, VEC (a vector of them), MASK, COUNT (how many it holds) and NAME
   (which makes a name of that type's own). */
#include "executor/loops.h"
#include "executor/pulls.h"
#include "executor/terms.h"
#include "executor/pairs.h"
#include "executor/pieces.h"
#undef GET
#undef PUT
#undef LOOP
#undef LONG_LOOP
#include "executor/tables.h"
#include "executor/gate.h"
#include "executor/turn.h"
#include "executor/lanes.h"
#include "executor/point.h"
#include "executor/words.h"
