"""The executor, compiled for processors with AVX2 and FMA."""
include "executor.pxi"
