/* What a program is in memory: instructions over runs, forward and backward, and where their operands lie.

   A run is `count` gates of one kind, whose results lie side by side. A program for one point holds a number per slot;
   a program for lanes holds a row of `width` numbers per slot, one per lane, and its runs are single gates. Either way
   a kernel sees `count` or `width` numbers side by side: gathers, broadcasts and scatters are the interpreter's. */
#ifndef FASTPROP_PROGRAM_H
#define FASTPROP_PROGRAM_H

#include <stddef.h>
#include <stdint.h>

enum Place {
    CONTIGUOUS,  /* slots start, start + 1, … (lanes: a row) */
    BROADCAST,   /* one slot for the whole run (lanes: one number for all lanes; as a target, COUNT partial sums of it) */
    GATHER,      /* slots index[start], index[start + 1], … (one point only) */
    PIECES,      /* slots that lie evenly, some at a time: index[start], … says of each piece what Piece says (one point only) */
};

enum Piece {
    PIECE_COUNT, /* so many numbers: together as many as the run has */
    PIECE_SLOT,  /* where the first is */
    PIECE_STEP,  /* from one to the next */
    PIECE_WORDS,
};

enum Item { /* of every gate that picks one of numbers that lie evenly: the operand of its run is in PIECES, too */
    ITEM_INDEX, /* the slot of the index */
    ITEM_SLOT,  /* that of the first number */
    ITEM_STEP,  /* from one to the next */
    ITEM_WORDS,
};

enum Mode {
    ASSIGN,  /* the first pull that arrives: nothing has to be cleared */
    ADD_TO,
};

typedef struct {
    int32_t start;
    uint8_t place;
    uint8_t mode; /* of a target */
} Operand;

typedef struct {
    uint8_t opcode;  /* forward: a gate; backward: a kind of pull */
    uint8_t closed;  /* backward: of a chain: it is pulled at its end alone; of the first of some products of a matrix with
                        vectors at one point, that are taken together: how many they are */
    int32_t count;   /* gates in the run */
    int32_t arity;   /* operands of each gate, or terms */
    int32_t result;  /* forward: where results go; backward: the adjoint of the results */
    int32_t saved;   /* forward: where partials go, operand after operand; -1: not wanted
                        lanes, backward: 0 if nothing else writes or reads the target, else -1 */
    int32_t operand; /* the first of its operands in the pool */
} Instruction;

enum { LISTS_AT_ONCE = 4 }; /* gates of lists at one point: fewer of them are computed one by one */
enum { LIST_ROOM = 18 }; /* scratch of gates of lists at one point: numbers for every number of a list, and one more */

/* Forward instructions that are no gates of the table; their numbers follow the table's. */
enum Extra {
    FIRST_EXTRA = 100,
    LESS = FIRST_EXTRA,
    LESS_EQUAL,
    EQUAL,
    NOT_EQUAL,
    BOTH,
    EITHER,
    WITHIN,  /* whether an integer x is an index of y numbers: -y <= x < y */
    NEITHER, /* of one operand: not */
    HELD,    /* of one operand: itself, through which nothing is pulled */
    PRODUCTS,      /* x0*y0 + x1*y1 + … in this order: operands x0, y0, x1, y1, … */
    TOTAL,         /* x0 + x1 + … in this order */
    LIST_PRODUCTS, /* the same, of few gates: one list of operands, gate after gate, always gathered */
    LIST_TOTAL,
    CHAIN_ADD,     /* result[k] = result[k - 1] + x[k]: operands the start, and x */
    CHAIN_MULTIPLY,
    REGION,        /* what the interpreter leaves to its caller: maps, gates of one's own */
    RESULT,        /* in drafts alone: a further number of the region before it */
    ITEM,          /* the number at an index (negative: from the end): operands the index, then the numbers */
    MATMUL,        /* a matrix times numbers; in lanes it is the same in all of them (see vector_product.h, matmul.h) */
    BATCH_MATMUL,  /* a matrix times another one, both computed; in lanes every lane has its own (batch_matmul.h) */
    EXTRA_END,
};

/* Backward instructions: target += pull times a partial made of u and w; a factor of exactly 0 makes it exactly 0. */
enum Pull {
    CLEAR,     /* zeros to `count` slots from `result` on */
    PASS,      /* pull */
    NEGATE,    /* -pull */
    PRODUCT,   /* pull * u */
    TWICE,     /* pull * 2u */
    QUOTIENT,  /* pull / u, where w is the gate's value */
    DIVISOR,   /* pull * -(w / u), where w is the gate's value */
    ROOT,      /* pull * (0.5 / |u|), where u is the gate's value */
    INVERSE,   /* pull * -(u * u), where u is the gate's value */
    RECTIFIED, /* pull where u > 0 */
    MAGNITUDE, /* pull * sign(u) */
    LARGER,    /* the pull where u > w, half of it where they tie */
    SMALLER,
    CHOSEN,    /* the pull where u is true */
    UNCHOSEN,
    LIST_PASS,    /* one pull for a list of `arity` targets, gate after gate, always gathered */
    LIST_PRODUCT, /* … of `arity` pairs, where u is and the target */
    CHAIN_PASS,   /* of CHAIN_ADD, back to front: targets the start, and x */
    CHAIN_PRODUCT,
    REGION_PULL,
    ITEM_PULL, /* the pull to one of the targets: operands the index, then a target for every number (lanes: BROADCAST
                  is an input whose gradient is summed up) */
    MATMUL_PULL, /* the pulls on the numbers, and those on the matrix, in lanes their sums */
    BATCH_MATMUL_PULL, /* the pulls on both matrices */
    PULL_END,
};

/* Steps of single gates at one point: words, of which the first is one of these, then slots (see words.h). Where the first
   operand, or another, is what the step before has left, FROM_LAST and the like are added to the action. */
enum Action {
    HALT,
    PAUSE,       /* the caller may look whether it is interrupted */
    ENTER,       /* number: a region */
    RUNS,        /* begin, end: instructions forward */
    RUNS_BACK,   /* the same backward */
    ONE_SUM,     /* result, x, y */
    ONE_PRODUCT = ONE_SUM + 2,
    ONE_DIFFERENCE = ONE_PRODUCT + 2,
    ONE_QUOTIENT = ONE_DIFFERENCE + 3,
    ONE_NEGATIVE = ONE_QUOTIENT + 3, /* result, x */
    ONE_SQUARE = ONE_NEGATIVE + 2,
    ONE_ROOT = ONE_SQUARE + 2,
    ONE_PRODUCT_AND_SUM = ONE_ROOT + 2,          /* result, x, y, z: x*y + z */
    ONE_SUM_OF_TWO = ONE_PRODUCT_AND_SUM + 3,    /* result, x, y, z, w: x*y + z*w */
    ONE_SUM_OF_PRODUCTS = ONE_SUM_OF_TWO + 3,    /* result, pairs, x, y, z, w, … */
    ONE_TOTAL,                                   /* result, terms, x, y, … */
    ONE_UNARY,                                   /* opcode, result, x, saved: by its scalar kernel */
    ONE_BINARY,                                  /* opcode, result, x, y, saved */
    ONE_TERNARY,                                 /* opcode, result, x, y, z, saved */
    ONE_ROW,                                     /* opcode, arity, result, x, y, z, count, saved: by its loop */
    ONE_CLEAR,                                   /* start, count */
    PULL_PASS,                                   /* target, pull */
    PULL_NEGATE = PULL_PASS + 6,
    PULL_PRODUCT = PULL_NEGATE + 6,              /* target, pull, u */
    PULL_TWICE = PULL_PRODUCT + 6,
    PULL_ROOT = PULL_TWICE + 6,
    PULL_QUOTIENT = PULL_ROOT + 6,               /* target, pull, u, w */
    PULL_DIVISOR = PULL_QUOTIENT + 6,
    PULL_PASSES = PULL_DIVISOR + 6,              /* target, pull, target: two at once */
    PULL_PASS_AND_NEGATE = PULL_PASSES + 12,
    PULL_PRODUCTS = PULL_PASS_AND_NEGATE + 12,   /* target, pull, u, target, u */
    PULL_DIVISION = PULL_PRODUCTS + 12,          /* target, pull, u, w, target */
    PULL_OTHER = PULL_DIVISION + 12,             /* kind, mode, target, pull, u, w */
    ACTIONS,
};

enum { FIRST_FROM_LAST = 1, OTHER_FROM_LAST = 2 }; /* of gates */
enum { PULL_FROM_LAST = 1, SAME_PULL = 2, ADDED = 3, OTHER_ADDED = 6 }; /* of pulls; ADDED to what is at the target */

typedef double (*unary_point)(double, double *);
typedef double (*binary_point)(double, double, double *, double *);
typedef double (*ternary_point)(double, double, double, double *, double *, double *);

typedef double (*sequence_point)(ptrdiff_t, const double *, double *);

typedef struct { /* the scalar kernel of a gate, for those that have no vector form */
    int arity;
    unary_point one;
    binary_point two;
    ternary_point three;
    sequence_point many;
} Point;

typedef struct {
    const Instruction *instruction;
    ptrdiff_t length;
    const Operand *operand;
    const int32_t *index;
    const Point *point; /* by opcode */
    ptrdiff_t slots;    /* of the program */
    ptrdiff_t operands; /* in the pool */
    ptrdiff_t indices;
} Stream;

typedef struct Coming { /* rows of callers' arrays that are needed soon: every instruction asks for a few lines of them */
    char **row;      /* where it is in the first block */
    ptrdiff_t rows;  /* that are left */
    ptrdiff_t reads; /* so many of them are read, the others written */
    ptrdiff_t begin; /* the block's first byte */
    ptrdiff_t end;
    ptrdiff_t now;
    ptrdiff_t at_once; /* bytes per instruction */
    struct Coming *then; /* what is asked for when these have been; or NULL */
} Coming;

typedef struct { /* what the steps of a scan leave for later: every product takes its part, in the order in which they run */
    char *product;   /* where the next product's results are kept; NULL: they aren't */
    int known;       /* they are there: this step has been run before */
    char *factors;   /* where rows are kept whose products are a matrix's gradient; NULL: it is summed up at every step */
    ptrdiff_t steps; /* room for those of so many */
    ptrdiff_t step;  /* this one among them */
    int last;        /* whether it is time to sum up */
    void *room;      /* to do it */
} Later;

typedef struct { /* one use of a program by one thread */
    void *base;     /* the slots (lanes: rows) */
    void **row;     /* lanes: where each row is; NULL: one point */
    void *scratch;
    ptrdiff_t width;
    ptrdiff_t count; /* lanes: so many of them are there; the others fill up, and nothing pulls on them */
    double *sums;   /* lanes: of the gradients of inputs that are numbers of matrices, or picked by an index, by the input */
    char **put;     /* lanes: where those of a start's matrix are put, if all lanes are here (NULL: nowhere); or NULL */
    Coming *coming; /* lanes: or NULL */
    Later *later;   /* lanes: or NULL */
    int past_cache; /* lanes: callers' arrays are so large that what is written there should not go through the cache */
} Space;

enum Matrix { SOLVE, SOLVE_LOWER, SOLVE_UPPER, CHOLESKY, INVERSE_MATRIX, DETERMINANT, LOG_DETERMINANT };

typedef struct { /* a gate of linear algebra */
    int kernel;        /* of these */
    ptrdiff_t rows;    /* of the square matrix */
    ptrdiff_t columns; /* of the right-hand side; 0: there is none */
} Matrices;

typedef struct { /* what one instruction set offers */
    const char *name;
    /* From instruction `begin` to `end`; returns where it stopped: at `end`, or at an instruction for the caller. */
    ptrdiff_t (*forward)(const Stream *, const Space *, ptrdiff_t begin, ptrdiff_t end, int single);
    ptrdiff_t (*backward)(const Stream *, const Space *, ptrdiff_t begin, ptrdiff_t end, int single);
    /* One point: from a word on until HALT, PAUSE or ENTER, whose place is returned. */
    const int32_t *(*words)(const Stream *, const Space *, const int32_t *at);
    const int32_t *(*words_single)(const Stream *, const Space *, const int32_t *at);
    /* Columns that lie side by side in each of n lanes, `stride` bytes apart: each goes to a row, `apart` numbers apart. */
    void (*turn_columns)(
        char *row, ptrdiff_t apart, const char *data, ptrdiff_t stride, ptrdiff_t n, ptrdiff_t columns, int single
    );
    /* Adds what products of rows of lanes, each of the left with each of the right ones, sum up to. */
    void (*add_outer)(
        const Space *, const int32_t *left, ptrdiff_t rows, const int32_t *right, ptrdiff_t columns, double *sums, int single
    );
    /* Pulls on these rows, from the pulls on what they sum up to, which are doubles or floats. */
    void (*pull_outer)(
        const Space *, const int32_t *left, ptrdiff_t rows, const int32_t *right, ptrdiff_t columns, const void *pulls,
        int single
    );
    int (*matrices_forward)(const Matrices *, const double *a, const double *b, double *value, double *room);
    int (*matrices_backward)(
        const Matrices *, const double *a, const double *b, const double *pull, double *on_a, double *on_b, double *room
    );
} Executor;

#endif
