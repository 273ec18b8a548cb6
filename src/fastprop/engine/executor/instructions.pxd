"""The instructions of a program, and what an executor is: executor/program.h, for Cython."""
from libc.stdint cimport int32_t, uint8_t

cdef extern from * nogil:
    """
    #include <executor/program.h>
    """
    enum Place:
        CONTIGUOUS
        BROADCAST
        GATHER
        PIECES
    enum:
        PIECE_COUNT
        PIECE_SLOT
        PIECE_STEP
        PIECE_WORDS
    enum:
        ITEM_INDEX
        ITEM_SLOT
        ITEM_STEP
        ITEM_WORDS
    enum:
        LIST_ROOM
    enum Mode:
        ASSIGN
        ADD_TO
    enum Extra:
        FIRST_EXTRA
        LESS
        LESS_EQUAL
        EQUAL
        NOT_EQUAL
        BOTH
        EITHER
        WITHIN
        NEITHER
        HELD
        PRODUCTS
        TOTAL
        LIST_PRODUCTS
        LIST_TOTAL
        CHAIN_ADD
        CHAIN_MULTIPLY
        REGION
        RESULT
        ITEM
        MATMUL
        BATCH_MATMUL
        EXTRA_END
    enum Pull:
        CLEAR
        PASS
        NEGATE
        PRODUCT
        TWICE
        QUOTIENT
        DIVISOR
        ROOT
        INVERSE
        RECTIFIED
        MAGNITUDE
        LARGER
        SMALLER
        CHOSEN
        UNCHOSEN
        LIST_PASS
        LIST_PRODUCT
        CHAIN_PASS
        CHAIN_PRODUCT
        REGION_PULL
        ITEM_PULL
        MATMUL_PULL
        BATCH_MATMUL_PULL
        PULL_END
    enum Action:
        HALT
        PAUSE
        ENTER
        RUNS
        RUNS_BACK
        ONE_SUM
        ONE_PRODUCT
        ONE_DIFFERENCE
        ONE_QUOTIENT
        ONE_NEGATIVE
        ONE_SQUARE
        ONE_ROOT
        ONE_PRODUCT_AND_SUM
        ONE_SUM_OF_TWO
        ONE_SUM_OF_PRODUCTS
        ONE_TOTAL
        ONE_UNARY
        ONE_BINARY
        ONE_TERNARY
        ONE_ROW
        ONE_CLEAR
        PULL_PASS
        PULL_NEGATE
        PULL_PRODUCT
        PULL_TWICE
        PULL_ROOT
        PULL_QUOTIENT
        PULL_DIVISOR
        PULL_PASSES
        PULL_PASS_AND_NEGATE
        PULL_PRODUCTS
        PULL_DIVISION
        PULL_OTHER
        FIRST_FROM_LAST
        OTHER_FROM_LAST
        PULL_FROM_LAST
        SAME_PULL
        ADDED
        OTHER_ADDED
    ctypedef struct Operand:
        int32_t start
        uint8_t place
        uint8_t mode
    ctypedef struct Instruction:
        uint8_t opcode
        uint8_t closed
        int32_t count
        int32_t arity
        int32_t result
        int32_t saved
        int32_t operand
    ctypedef struct Point:
        int arity
        void* one
        void* two
        void* three
        void* many
    ctypedef struct Stream:
        const Instruction* instruction
        Py_ssize_t length
        const Operand* operand
        const int32_t* index
        const Point* point
        Py_ssize_t slots
        Py_ssize_t operands
        Py_ssize_t indices
    ctypedef struct Coming:
        char** row
        Py_ssize_t rows
        Py_ssize_t reads
        Py_ssize_t begin
        Py_ssize_t end
        Py_ssize_t now
        Py_ssize_t at_once
        Coming* then
    ctypedef struct Later:
        char* product
        int known
        char* factors
        Py_ssize_t steps
        Py_ssize_t step
        int last
        void* room
    ctypedef struct Space:
        void* base
        void** row
        void* scratch
        Py_ssize_t width
        Py_ssize_t count
        double* sums
        char** put
        Coming* coming
        Later* later
        int past_cache
    enum Matrix:
        SOLVE
        SOLVE_LOWER
        SOLVE_UPPER
        CHOLESKY
        INVERSE_MATRIX
        DETERMINANT
        LOG_DETERMINANT
    ctypedef struct Matrices:
        int kernel
        Py_ssize_t rows
        Py_ssize_t columns
    ctypedef struct Executor:
        const char* name
        Py_ssize_t (*forward)(const Stream*, const Space*, Py_ssize_t, Py_ssize_t, int) noexcept nogil
        Py_ssize_t (*backward)(const Stream*, const Space*, Py_ssize_t, Py_ssize_t, int) noexcept nogil
        const int32_t* (*words)(const Stream*, const Space*, const int32_t*) noexcept nogil
        const int32_t* (*words_single)(const Stream*, const Space*, const int32_t*) noexcept nogil
        void (*turn_columns)(
            char*, Py_ssize_t, const char*, Py_ssize_t, Py_ssize_t, Py_ssize_t, int
        ) noexcept nogil
        void (*add_outer)(
            const Space*, const int32_t*, Py_ssize_t, const int32_t*, Py_ssize_t, double*, int
        ) noexcept nogil
        void (*pull_outer)(
            const Space*, const int32_t*, Py_ssize_t, const int32_t*, Py_ssize_t, const void*, int
        ) noexcept nogil
        int (*matrices_forward)(
            const Matrices*, const double*, const double*, double*, double*
        ) noexcept nogil
        int (*matrices_backward)(
            const Matrices*, const double*, const double*, const double*, double*, double*, double*
        ) noexcept nogil
