"""A program is run: at one point, bound to arrays, in lanes, and with a clock."""
include "run/replay.pxd"
