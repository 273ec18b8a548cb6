"""What is assembled is verified before; in a build of the kind "check", or with `let_verify`, what is made of it, too.

The executor follows a program's indices without looking: every slot that it reads or writes has to be one.
"""
import numpy as np

from libc.stdint cimport int32_t

from fastprop.engine.executor.instructions cimport *
from fastprop.engine.kernels cimport DOT, LOGSUMEXP, MAX, MEAN, MIN, PROD, SUM
from fastprop.engine.trace cimport Draft

from fastprop.engine.trace import is_verifying, verify


cdef int verify_before(Draft draft, bint lanes, bint gradient, wanted, uniform, Py_ssize_t sums, onward) except -1:
    """Raise a ValueError unless a draft can be assembled."""
    verify(draft)
    most = len(draft.outputs) if lanes else 0
    if not 0 <= sums <= most:
        what = f"{sums} outputs of {len(draft.outputs)} are summed up"
        raise ValueError(f"{what}; expected some of lanes, or none")
    for name, flags in (("wanted", wanted), ("uniform", uniform)):
        if flags is not None and np.shape(flags) != (draft.inputs,):
            raise ValueError(f"{name} has the shape {np.shape(flags)}; expected a flag per input, {draft.inputs}")
    if onward is not None and not (np.shape(onward) == draft.outputs.shape and np.all(np.less(onward, draft.inputs))):
        raise ValueError(f"onward is {onward}; expected an input, of {draft.inputs}, or -1 for each of the outputs")
    for gate, what in draft.payload.items():
        if not isinstance(what, Region):
            raise ValueError(f"gate {gate} (region) has the payload {type(what).__name__}; expected a Region")
        if gradient and (<Region>what).inside:
            raise ValueError(f"gate {gate} is a part of a gradient, which no program that runs backward has inside")
    many = np.zeros(256, np.bool_)
    many[[SUM, PROD, MEAN, DOT]] = True
    found = np.flatnonzero(many[draft.opcode])
    if len(found):
        name = NAMES[int(draft.opcode[found[0]])]
        raise ValueError(f"gate {found[0]} ({name}) can't be assembled; expand makes gates of two operands of it")
    return 0


def verify_program(Program program):
    """Raise a ValueError that says what is wrong with a program, unless all its slots and places are within it."""
    cdef Py_ssize_t i, slots = program.slots
    if program.constants is None or program.outputs is None:
        raise ValueError("an empty program can't be run; assemble makes one")
    verify_ahead(program)
    for i in range(program.back.length):
        verify_backward(program, program.back.instruction[i], f"instruction {i} backward")
    fixed = program.inputs + len(program.constants) + 1
    if fixed != program.adjoints or fixed + (program.inputs if program.gradient else 0) > slots:
        raise ValueError(f"inputs, constants and adjoints take {fixed} slots and more, there are {slots}")
    for name, places, least in (
        ("output", program.outputs, -1 if program.outers_count else 0), ("guard", program.guards, 0),
        ("seed", program.seeds, -1)
    ):
        for i, x in enumerate(() if places is None else places.tolist()):
            if not least <= x < slots:
                raise ValueError(f"{name} {i} is slot {x}, there are {slots}")
    verify_outers(program)
    for i, wiring in enumerate(program.regions):
        verify_wiring(program, i, wiring)
    if not program.lanes:
        verify_words(program, &program.ahead_words, program.ahead.length, "forward")
        verify_words(program, &program.back_words, program.back.length, "backward")
        if program.gradient and not (
            0 < program.prologue_words < program.back_words.length
            and program.back_words.word[program.prologue_words - 1] == HALT
        ):
            raise ValueError(f"the pulls are put before word {program.prologue_words}; expected one behind a halt")


cdef int verify_outers(Program program) except -1:
    """Check that outer products, and they alone, give the outputs that have no slot, of rows of the program."""
    cdef Py_ssize_t k, x
    alone = np.zeros(len(program.outputs), np.bool_)
    for number, (output, rows, columns, at) in enumerate(program.outers.tolist()):
        what = f"outer product {number}"
        if not program.lanes or not 0 <= output <= len(program.outputs) - rows * columns:
            raise ValueError(f"{what} gives {rows * columns} outputs from {output} on, of {len(program.outputs)}")
        verify_listed(program, what, at, rows + columns, 0)
        for k in range(at, at + rows + columns):
            x = program.index[k]
            if program.uniform[x] if x < program.inputs else x < program.inputs + program.constants_count:
                raise ValueError(f"{what} reads slot {x} as a row; it is one number for all lanes")
        if program.gradient:
            verify_targets(program, f"the pull of {what}", at + rows + columns, rows + columns)
        alone[output : output + rows * columns] = True
    if np.any(alone != (program.outputs < 0)):
        raise ValueError("outputs without a slot are not those of outer products")
    return 0


cdef int verify_wiring(Program program, Py_ssize_t number, Wiring wiring) except -1:
    cdef Py_ssize_t i
    for i in range(wiring.operand.shape[0]):
        if not 0 <= wiring.operand[i] < program.slots or not -1 <= wiring.target[i] < program.slots:
            raise ValueError(f"operand {i} of region {number} is outside of the program")
    verify_range(program, f"the results of region {number}", wiring.result, wiring.results)
    if wiring.pull >= 0:
        verify_range(program, f"the pulls on region {number}", wiring.pull, wiring.results)
    return 0


cdef int verify_range(Program program, str what, Py_ssize_t start, Py_ssize_t count) except -1:
    if start < 0 or count < 0 or start + count > program.slots:
        raise ValueError(f"{what}: slots {start} to {start + count - 1}, there are {program.slots}")
    return 0


# ------------------------------------------------------------------------------------------------- instructions

cdef int verify_operand(Program program, str what, Py_ssize_t number, Py_ssize_t count, bint listed) except -1:
    """Check one operand of a run: `count` numbers; `listed`: which are gathered in any case."""
    cdef Operand operand
    cdef Py_ssize_t k
    if not 0 <= number < program.operands:
        raise ValueError(f"{what} has operand {number} of the pool, there are {program.operands}")
    operand = program.operand[number]
    if operand.place > PIECES or operand.mode > ADD_TO or (listed and operand.place != GATHER):
        raise ValueError(f"{what} has an operand of the kind {operand.place}, {operand.mode}, which there is not")
    if operand.place == PIECES and not program.lanes:
        return verify_pieces(program, what, operand.start, count)
    if operand.place <= BROADCAST:
        return verify_range(program, what, operand.start, count if operand.place == CONTIGUOUS else 1)
    if program.lanes or operand.start < 0 or operand.start + count > program.indices:
        raise ValueError(f"{what} gathers by {operand.start} to {operand.start + count - 1} of {program.indices}")
    for k in range(operand.start, operand.start + count):
        if not 0 <= program.index[k] < program.slots:
            raise ValueError(f"{what} gathers slot {program.index[k]}, there are {program.slots}")
    return 0


cdef int verify_pieces(Program program, str what, Py_ssize_t at, Py_ssize_t count) except -1:
    """Check what the index says of pieces that hold `count` numbers."""
    cdef const int32_t* piece
    while count > 0:
        if at < 0 or at + PIECE_WORDS > program.indices:
            raise ValueError(f"{what} has a piece at {at} of the index, which has {program.indices} numbers")
        piece = program.index + at
        if not 1 <= piece[PIECE_COUNT] <= count:
            raise ValueError(f"{what} has a piece of {piece[PIECE_COUNT]} numbers, {count} are left")
        for k in (0, piece[PIECE_COUNT] - 1):
            verify_range(program, what, piece[PIECE_SLOT] + k * piece[PIECE_STEP], 1)
        count -= piece[PIECE_COUNT]
        at += PIECE_WORDS
    return 0


cdef int verify_items(Program program, str what, Py_ssize_t number, Py_ssize_t count, Py_ssize_t arity) except -1:
    """Check, for one point, where gates find their index, and the numbers from which they pick: listed, or evenly."""
    cdef Py_ssize_t i, at
    cdef const int32_t* item
    if not 0 <= number < program.operands or program.operand[number].place != PIECES:
        return verify_operand(program, what, number, count * arity, True)
    at = program.operand[number].start
    if at < 0 or at + ITEM_WORDS * count > program.indices:
        raise ValueError(f"{what} has its tables at {at} of the index, which has {program.indices} numbers")
    for i in range(count):
        item = program.index + at + ITEM_WORDS * i
        for slot in (item[ITEM_INDEX], item[ITEM_SLOT], item[ITEM_SLOT] + (arity - 2) * item[ITEM_STEP]):
            verify_range(program, what, slot, 1)
    return 0


cdef int verify_region(Program program, str what, Py_ssize_t number) except -1:
    if not 0 <= number < len(program.regions):
        raise ValueError(f"{what} is region {number}, there are {len(program.regions)}")
    return 0


cdef int verify_matrix(Program program, str what, Py_ssize_t at, Py_ssize_t rows, Py_ssize_t columns) except -1:
    """Check what the index says of a product's matrix, of the rows that it multiplies, and of what it adds."""
    cdef Py_ssize_t listed = columns
    cdef int32_t* index = program.index + at
    if at < 0 or at + 5 > program.indices:
        raise ValueError(f"{what} has its matrix at {at} of the index, which has {program.indices} numbers")
    if index[0] >= 0:
        verify_evenly(program, what, index[0], index[1], rows, index[2], columns)
    else:
        listed += rows * columns
    if index[3] >= 0:
        verify_evenly(program, what, index[3], index[4], rows, 1, 1)
    elif index[3] == -2:
        listed += rows
    return verify_listed(program, what, at + 5, listed, 0)


cdef int verify_evenly(
    Program program, str what, Py_ssize_t start, Py_ssize_t down, Py_ssize_t rows, Py_ssize_t across, Py_ssize_t columns
) except -1:
    """Check that numbers in rows and columns, so far apart, are inputs."""
    cdef Py_ssize_t i, k
    for i in (0, rows - 1):
        for k in (0, columns - 1):
            if not 0 <= start + i * down + k * across < program.inputs:
                raise ValueError(f"{what} reads input {start + i * down + k * across}, there are {program.inputs}")
    return 0


cdef int verify_listed(Program program, str what, Py_ssize_t begin, Py_ssize_t count, Py_ssize_t least) except -1:
    """Check that numbers of the index are slots."""
    cdef Py_ssize_t k
    if begin < 0 or begin + count > program.indices:
        raise ValueError(f"{what} lists {begin} to {begin + count - 1} of {program.indices}")
    for k in range(begin, begin + count):
        if not least <= program.index[k] < program.slots:
            raise ValueError(f"{what} lists slot {program.index[k]}, there are {program.slots}")
    return 0


cdef int verify_matrix_pull(Program program, str what, Instruction step) except -1:
    """Check where the index says that a product's pulls go."""
    cdef Py_ssize_t at = step.operand, k
    if at < 0 or at + 4 > program.indices:
        raise ValueError(f"{what} has its pulls at {at} of the index, which has {program.indices} numbers")
    verify_matrix(program, what, program.index[at], step.count, step.arity)
    if program.index[at + 1] not in (0, program.inputs):
        raise ValueError(f"{what} sums up the gradients of {program.index[at + 1]} inputs, there are {program.inputs}")
    for k in (at + 2, at + 3):
        if not -1 <= program.index[k] < len(program.starts):
            raise ValueError(f"{what} has the start {program.index[k]}, there are {len(program.starts)}")
    return verify_targets(program, what, at + 4, step.arity)


cdef int verify_targets(Program program, str what, Py_ssize_t at, Py_ssize_t count) except -1:
    """Check rows that are pulled, in lanes (-1: one is not), and, behind them, how."""
    cdef Py_ssize_t k
    verify_listed(program, what, at, count, -1)
    if at + 2 * count > program.indices:
        raise ValueError(f"{what} lists the kinds of {count} targets, and the index ends at {program.indices}")
    for k in range(at, at + count):
        if program.index[k] >= 0 and program.index[k + count] not in (ASSIGN, ADD_TO):
            raise ValueError(f"{what} has a target of the kind {program.index[k + count]}, which there is not")
    return 0


cdef int verify_vector_pull(Program program, str what, Instruction step) except -1:
    """Check, for one point, where the index says that a product's pulls go."""
    cdef Py_ssize_t at = step.operand, rows = step.count, columns = step.arity, listed = 0
    cdef int32_t* index
    if at < 0 or at + 4 > program.indices:
        raise ValueError(f"{what} has its pulls at {at} of the index, which has {program.indices} numbers")
    verify_matrix(program, what, program.index[at], rows, columns)
    index = program.index + program.index[at]
    if program.index[at + 1] >= 0:
        verify_operand(program, what, program.index[at + 1], columns, False)
    for start, even, n in (
        (program.index[at + 2], index[0] >= 0, rows * columns), (program.index[at + 3], index[3] >= 0, rows)
    ):
        if start < -2 or (start >= 0 and not (even and start >= program.adjoints)):
            raise ValueError(f"{what} pulls on slot {start}, where no adjoints lie as the numbers do")
        listed += n if start == -2 else 0
    if program.index[at + 2] >= 0:
        verify_evenly(program, what, program.index[at + 2] - program.adjoints, index[1], rows, index[2], columns)
    if program.index[at + 3] >= 0:
        verify_evenly(program, what, program.index[at + 3] - program.adjoints, index[4], rows, 1, 1)
    return verify_listed(program, what, at + 4, listed, 0)


cdef Py_ssize_t verify_matrices(Program program, str what, Py_ssize_t at, Py_ssize_t count, Py_ssize_t depth) except -1:
    """Check what the index says of a product of two matrices; returns how many numbers they have."""
    if at < 0 or at + 2 > program.indices:
        raise ValueError(f"{what} has its matrices at {at} of the index, which has {program.indices} numbers")
    cdef Py_ssize_t rows = program.index[at], columns = program.index[at + 1]
    if rows < 1 or columns < 1 or rows * columns != count:
        raise ValueError(f"{what} has {count} results of {rows} rows and {columns} columns")
    verify_listed(program, what, at + 2, (rows + columns) * depth, 0)
    return (rows + columns) * depth


cdef int verify_batch_pull(Program program, str what, Instruction step) except -1:
    """Check where the index says that the pulls of a product of two matrices go."""
    cdef Py_ssize_t at = step.operand, n, k
    if at < 0 or at + 3 > program.indices:
        raise ValueError(f"{what} has its pulls at {at} of the index, which has {program.indices} numbers")
    n = verify_matrices(program, what, program.index[at], step.count, step.arity)
    verify_listed(program, what, at + 3, n, -1 if program.lanes else 0)
    if program.lanes and at + 3 + 2 * n > program.indices:
        raise ValueError(f"{what} lists the kinds of {n} targets, and the index ends at {program.indices}")
    for k in range(at + 3 + n, at + 3 + 2 * n if program.lanes else 0):
        if program.index[k] not in (ASSIGN, ADD_TO):
            raise ValueError(f"{what} has a target of the kind {program.index[k]}, which there is not")
    return 0


cdef int verify_ahead(Program program) except -1:
    """Check the instructions forward, and those backward of gradients among them."""
    cdef Py_ssize_t i, end = 0
    cdef Instruction step
    for i in range(program.ahead.length):
        step = program.ahead.instruction[i]
        if i < end:
            verify_backward(program, step, f"instruction {i} of a gradient")
        elif is_gradient(step):
            end = step.count
            if not i < end <= program.ahead.length:
                raise ValueError(f"instruction {i} is a gradient up to {end}, there are {program.ahead.length}")
        else:
            verify_forward(program, i)
    return 0


cdef int verify_forward(Program program, Py_ssize_t i) except -1:
    cdef Instruction step = program.ahead.instruction[i]
    cdef Py_ssize_t count = step.count, arity = step.arity, j
    cdef int opcode = step.opcode
    cdef bint pairs = opcode == LIST_PRODUCTS
    cdef bint listed = pairs or opcode == LIST_TOTAL
    if opcode not in STEP_NAMES:
        raise ValueError(f"instruction {i} forward has the opcode {opcode}, which there is not")
    what = f"instruction {i} forward ({STEP_NAMES[opcode]})"
    if opcode == REGION:
        return verify_region(program, what, count)
    if count < 1 or arity < 1:
        raise ValueError(f"{what} has {count} gates of {arity} operands; expected one or more")
    if opcode == ITEM and arity < 2:
        raise ValueError(f"{what} has {arity} operands; expected an index and a number or more")
    if opcode == MATMUL:
        verify_range(program, what, step.result, count)
        return verify_matrix(program, what, step.operand, count, arity)
    if opcode == BATCH_MATMUL:
        verify_range(program, what, step.result, count)
        return verify_matrices(program, what, step.operand, count, arity)
    verify_range(program, what, step.result, count)
    if step.saved >= 0:
        verify_range(program, what, step.saved, count * arity)
    if opcode == ITEM and not program.lanes:
        return verify_items(program, what, step.operand, count, arity)
    if listed:
        return verify_operand(program, what, step.operand, count * arity * (2 if pairs else 1), True)
    if not program.lanes and (opcode == MAX or opcode == MIN or opcode == LOGSUMEXP):
        return verify_operand(program, what, step.operand, count * arity, False)
    if opcode == CHAIN_ADD or opcode == CHAIN_MULTIPLY:
        verify_operand(program, what, step.operand, 1, False)
        return verify_operand(program, what, step.operand + 1, count, False)
    for j in range(arity):
        verify_operand(program, what, step.operand + j, count, False)
    return 0


cdef int verify_backward(Program program, Instruction step, str what) except -1:
    cdef Py_ssize_t count = step.count, arity = step.arity, j
    cdef int opcode = step.opcode
    if opcode >= PULL_END:
        raise ValueError(f"{what} has the opcode {opcode}, which there is not")
    what = f"{what} ({PULL_NAMES[opcode]})"
    if opcode == REGION_PULL:
        return verify_region(program, what, count)
    verify_range(program, what, step.result, 1 if step.closed and opcode != MATMUL_PULL else count)
    if opcode == CLEAR:
        return 0
    if opcode == LIST_PASS or opcode == LIST_PRODUCT:
        if arity == 0:
            return 0
        return verify_operand(program, what, step.operand, count * arity * (1 + (opcode == LIST_PRODUCT)), True)
    if opcode == MATMUL_PULL and not program.lanes:
        return verify_vector_pull(program, what, step)
    if opcode == MATMUL_PULL:
        return verify_matrix_pull(program, what, step)
    if opcode == BATCH_MATMUL_PULL:
        return verify_batch_pull(program, what, step)
    if opcode == ITEM_PULL and arity < 2:
        raise ValueError(f"{what} has {arity} operands; expected an index and a target or more")
    if opcode == ITEM_PULL and not program.lanes:
        return verify_items(program, what, step.operand, count, arity)
    if opcode == CHAIN_PASS or opcode == CHAIN_PRODUCT:
        verify_range(program, what, step.saved, count)
        for j in range(4):
            verify_operand(program, what, step.operand + j, count if j < 2 else 1, False)
        return 0
    for j in range(arity):
        verify_operand(program, what, step.operand + j, count, False)
    for j in range(1, arity if opcode == ITEM_PULL else 0):
        if program.operand[step.operand + j].place == BROADCAST:
            if not program.sums_begin <= program.operand[step.operand + j].start < program.sums_end:
                raise ValueError(f"target {j} of {what} is no input whose gradient is summed up")
    return 0


# -------------------------------------------------------------------------------------------------------- words

cdef struct Piece:          # a step of a few words
    Py_ssize_t size
    int slots               # so many of them are slots, from `first` on
    int first


cdef Piece piece_of(int action) noexcept:
    """How long a step is that has a fixed number of words, and which of them are slots."""
    if action < ENTER:
        return Piece(1, 0, 1)
    if action == ENTER:
        return Piece(2, 0, 1)
    if action < ONE_SUM or action == ONE_CLEAR:
        return Piece(3, 0, 1)
    if action < ONE_NEGATIVE:
        return Piece(4, 3, 1)
    if action < ONE_PRODUCT_AND_SUM:
        return Piece(3, 2, 1)
    if action < ONE_SUM_OF_TWO:
        return Piece(5, 4, 1)
    if action < ONE_SUM_OF_PRODUCTS:
        return Piece(6, 5, 1)
    if action <= ONE_TOTAL:
        return Piece(3, 1, 1)           # and as many as the last one says
    if action <= ONE_TERNARY:
        return Piece(5 + action - ONE_UNARY, 2 + action - ONE_UNARY, 2)
    if action == ONE_ROW:
        return Piece(9, 4, 3)
    if action < PULL_PRODUCT:
        return Piece(3, 2, 1)
    if action < PULL_QUOTIENT:
        return Piece(4, 3, 1)
    if action < PULL_PASSES:
        return Piece(5, 4, 1)
    if action < PULL_PRODUCTS:
        return Piece(4, 3, 1)
    if action < PULL_OTHER:
        return Piece(6, 5, 1)
    return Piece(7, 4, 3)


cdef int verify_words(Program program, Words* words, Py_ssize_t instructions, str direction) except -1:
    """Check that steps follow each other up to a halt, and the slots of each."""
    cdef Py_ssize_t at = 0, more
    cdef int32_t* word
    cdef Piece piece
    cdef int last = HALT, k
    while at < words.length:
        word = words.word + at
        what = f"word {at} {direction} ({word[0]})"
        if not 0 <= word[0] <= PULL_OTHER:
            raise ValueError(f"{what} is no step")
        last, piece = word[0], piece_of(word[0])
        more = 0
        if at + piece.size <= words.length and (last == ONE_SUM_OF_PRODUCTS or last == ONE_TOTAL):
            more = max(word[2], 0) * (2 if last == ONE_SUM_OF_PRODUCTS else 1)
        if at + piece.size + more > words.length:
            raise ValueError(f"{what} goes past the last word, {words.length - 1}")
        for k in range(piece.first, piece.first + piece.slots):
            verify_range(program, what, word[k], 1)
        for k in range(<int>piece.size, <int>(piece.size + more)):
            verify_range(program, what, word[k], 1)
        verify_step(program, what, word, instructions)
        at += piece.size + more
    if last != HALT or words.length == 0 < instructions:
        raise ValueError(f"the words {direction} end with {last}; expected a halt")
    return 0


cdef int verify_step(Program program, str what, const int32_t* word, Py_ssize_t instructions) except -1:
    """Check what is no single slot in a step."""
    cdef int action = word[0], arity, k
    if action == ENTER:
        return verify_region(program, what, word[1] if word[1] >= 0 else ~word[1])
    if action == ONE_CLEAR:
        return verify_range(program, what, word[1], word[2])
    if (action == RUNS or action == RUNS_BACK) and not 0 <= word[1] <= word[2] <= instructions:
        raise ValueError(f"{what} has the instructions {word[1]} to {word[2]}, there are {instructions}")
    if ONE_UNARY <= action <= ONE_TERNARY:
        arity = 1 + action - ONE_UNARY
        if not 0 <= word[1] < OPCODES or kernel(word[1]).arity != arity:
            raise ValueError(f"{what} has the opcode {word[1]}; expected a gate of {arity} operands")
        if word[3 + arity] >= 0:
            verify_range(program, what, word[3 + arity], arity)
    if action == ONE_ROW:
        for k in range(3, 7):
            verify_range(program, what, word[k], word[7])
        if word[8] >= 0:
            verify_range(program, what, word[8], word[7] * word[2])
    if action == PULL_OTHER and not 0 <= word[1] < PULL_END:
        raise ValueError(f"{what} has the kind {word[1]}, which there is not")
    return 0
