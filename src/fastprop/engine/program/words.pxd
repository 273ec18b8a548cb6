from fastprop.engine.program.program cimport Program

cdef int write_words(Program program) except -1
