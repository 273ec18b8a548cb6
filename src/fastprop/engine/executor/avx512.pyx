"""The executor, compiled for processors with AVX-512."""
include "executor.pxi"
