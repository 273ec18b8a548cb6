"""A call recorded for a circuit: conditions, what is recorded beside numbers, the draft; and the passes over it."""
include "trace/draft.pxd"
