"""The executor, compiled for any x86-64 processor."""
include "executor.pxi"
