"""The door: a call's arguments are matched and read, and its result is built, in C."""
include "door/objects.pxd"
include "door/form.pxd"
include "door/marshal.pxd"
