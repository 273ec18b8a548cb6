"""Updates: one step of an update rule over all parameters, in one pass over their numbers."""
include "update/leaves.pxi"
include "update/update.pxi"
