"""Where numbers lie, and what is known of gates before their instructions are written."""
import numpy as np

from libc.stdint cimport int32_t, uint8_t

from fastprop.engine.trace cimport Draft
from fastprop.engine.kernels cimport (
    ABSOLUTE, ADD, DIVIDE, LOGSUMEXP, MAX, MAXIMUM, MIN, MINIMUM, MULTIPLY, NEGATIVE, POSITIVE, RECIPROCAL, RELU, SQRT,
    SQUARE, STRONG_MULTIPLY, SUBTRACT, WHERE,
)
from fastprop.engine.executor.instructions cimport *
from fastprop.engine.executor.rules cimport KEPT, NOTHING, VALUE, Rule, rule_of

cdef enum:
    WIDE = 8            # from so many gates on, a run of sums is taken operand after operand, not gate after gate
    POOLED_SIZES = 4200     # ranges of slots up to this size are kept in a table


cdef inline bint is_list(int opcode) noexcept:
    """Whether at one point the gate takes a list of numbers."""
    return opcode == MAX or opcode == MIN or opcode == LOGSUMEXP


cdef inline bint is_written_last(int opcode) noexcept:
    """Whether at one point the gate's number may be written where an operand of it is: that is read before."""
    if opcode == ADD or opcode == SUBTRACT or opcode == MULTIPLY or opcode == DIVIDE:
        return True
    if opcode == PRODUCTS or opcode == TOTAL or opcode == MAXIMUM or opcode == MINIMUM or opcode == WHERE:
        return True
    return opcode == NEGATIVE or opcode == POSITIVE or opcode == RECIPROCAL or opcode == SQRT or opcode == SQUARE


cdef class Layout(Operands):
    """A program's slots, and what is known of its gates beforehand."""

    cdef Draft draft
    cdef uint8_t[::1] opcode
    cdef int32_t[::1] first
    cdef int32_t[::1] operand
    cdef int32_t[::1] run           # where runs begin
    cdef int32_t[::1] run_of        # gate -> its run
    cdef uint8_t[::1] active        # gate -> whether a wanted input reaches it
    cdef uint8_t[::1] open          # run -> whether numbers of it but the last are used by others
    cdef uint8_t[::1] wanted        # input
    cdef uint8_t[::1] uniform       # input
    cdef uint8_t[::1] single        # input: whether it is read by itself, not only as one of a matrix
    cdef uint8_t[::1] summed        # input: whether what is pulled on it is added to partial sums
    cdef int32_t[::1] uses          # range -> how often its numbers are operands or outputs
    cdef int32_t[::1] death         # range -> when its values are not needed any more
    cdef int32_t[::1] dying         # time -> a range that dies then
    cdef int32_t[::1] next_dying    # range -> another one
    cdef int32_t[::1] last_read     # input, at one point -> when it is read for the last time
    cdef int32_t[::1] becomes       # gate -> the input that it is at the next step, or -1
    cdef int32_t[::1] value         # range -> its first slot
    cdef int32_t[::1] saved         # range
    cdef int32_t[::1] adjoint       # range -> its first adjoint slot, or -1
    cdef int32_t[::1] owner         # range -> the range whose adjoint slots it shares
    cdef int32_t[::1] sharers       # owner -> how many share its adjoint slots
    cdef int32_t[::1] spare         # size -> a free range of slots of this size, or -1
    cdef int32_t[::1] next_spare    # slot -> another one
    cdef dict spare_long            # the same for long ranges
    cdef int32_t[::1] stands_for    # gate -> itself, or what a variable stands for
    cdef int32_t[::1] swept         # run -> the last gradient that needs what it saved, or -1
    cdef int32_t[::1] aim_of        # range of variables -> where a gradient's numbers of it go, or -1
    cdef uint8_t[::1] arrived       # gate, a variable, in lanes: whether something was pulled on it
    cdef Code* pulls                # where instructions backward are written
    cdef int32_t[::1] here          # the operands at work
    cdef int32_t inputs, constants, runs, base, trash
    cdef dict region_number         # run -> the number of its region
    cdef dict matrix_at             # run -> where the index says what its matrix is; of several vectors, a list
    cdef dict starts                # input at which matrices begin -> its number among these, their first and last one
    cdef int32_t[::1] sums          # input -> how many of a matrix's gradients are added up to its own
    cdef set active_arrays          # those that wanted inputs reach
    cdef dict rows                  # input or constant that is the same in all lanes -> a row of it
    cdef Outers outers
    cdef uint8_t[::1] dropped       # run -> whether it is a part of these
    cdef Dots dots
    cdef uint8_t[::1] part          # run -> which part of these it is
    cdef int32_t[::1] read_at       # part -> the first row: when operands are read, if that is later; else -1
    cdef bint lanes, gradient, recycling

    def __init__(
        self, Draft draft, bint lanes, bint gradient, wanted, uniform, bint recycling, arrays, Py_ssize_t sums,
        bint dots, onward
    ):
        n = len(draft)
        self.active_arrays = set(arrays)
        self.rows = {}
        self.draft = draft
        self.lanes, self.gradient, self.recycling = lanes, gradient, recycling
        self.opcode, self.first, self.operand = draft.opcode, draft.first, draft.operand
        if lanes or draft.run is None:
            self.run = np.append(np.flatnonzero(draft.opcode != RESULT), n).astype(np.int32)
        else:
            self.run = draft.run
        self.runs = <int32_t>(self.run.shape[0] - 1)
        self.run_of = np.repeat(np.arange(self.runs, dtype=np.int32), np.diff(np.asarray(self.run))) if n else \
            np.zeros(1, np.int32)
        self.inputs, self.constants = draft.inputs, <int32_t>len(draft.constants)
        wanted = np.ones(self.inputs, np.uint8) if wanted is None else np.array(wanted, np.uint8)
        self.wanted = wanted if gradient else np.zeros(self.inputs, np.uint8)
        self.uniform = np.zeros(self.inputs, np.uint8) if uniform is None else np.array(uniform, np.uint8)
        self.summed, self.single = np.zeros(self.inputs, np.uint8), np.zeros(self.inputs, np.uint8)
        # ranges: the inputs (in lanes each is one of its own), then the runs
        self.base = self.inputs if lanes else 1
        ranges = self.base + self.runs
        self.uses = np.zeros(ranges, np.int32)
        self.death = np.zeros(ranges, np.int32)
        self.dying = np.full(2 * self.runs + 2, -1, np.int32)
        self.next_dying = np.full(ranges, -1, np.int32)
        self.value = np.full(ranges, -1, np.int32)
        self.last_read = np.full(0 if lanes else self.inputs, -1, np.int32)
        self.take_onward(onward)
        self.saved = np.full(ranges, -1, np.int32)
        self.adjoint = np.full(ranges, -1, np.int32)
        self.owner = np.arange(ranges, dtype=np.int32)
        self.sharers = np.ones(ranges, np.int32)
        self.spare = np.full(POOLED_SIZES + 1, -1, np.int32)
        longest = int(np.diff(np.asarray(self.first)).max(initial=1))
        widest = int(np.diff(np.asarray(self.run)).max(initial=1))
        room = 1
        if n:
            room = int(np.diff(np.asarray(self.first)[np.asarray(self.run)]).max(initial=1))
        self.here = np.empty(max(longest, widest, room, 1), np.int32)
        self.slots = np.empty(max(longest, widest, room, 1), np.int32)
        self.next_spare, self.spare_long = np.empty(1024, np.int32), {}
        self.region_number, self.matrix_at, self.starts, self.sums = {}, {}, {}, np.zeros(self.inputs, np.int32)
        self.program = Program()
        self.program.lanes, self.program.gradient, self.program.wanted = lanes, gradient, wanted
        self.pulls = &self.program.back
        self.swept = np.full(max(self.runs, 1), -1, np.int32)
        self.aim_of = np.full(ranges, -1, np.int32)
        self.arrived = np.zeros(max(n, 1), np.uint8)
        self.stands_for = stand_ins(draft)
        self.outers = outers_of(draft, self.uniform, self.stands_for, sums)
        self.dropped = self.outers.dropped[np.asarray(self.run)[: self.runs]]
        self.take_dots(draft, dots and lanes)
        self.program.regions = []
        self.program.active_arrays = self.active_arrays

    # ranges and slots

    cdef inline int32_t range_of(self, int32_t x) noexcept:
        """The range in which an operand lies; -1: it is a constant."""
        if x < 0:
            return -1
        if x < self.inputs:
            return x if self.lanes else 0
        return self.base + self.run_of[x - self.inputs]

    cdef inline int32_t offset_of(self, int32_t x) noexcept:
        if x < self.inputs:
            return 0 if self.lanes else x
        return x - self.inputs - self.run[self.run_of[x - self.inputs]]

    cdef inline int32_t size_of(self, int32_t place) noexcept:
        if place < self.base:
            return 1 if self.lanes else self.inputs
        return self.run[place - self.base + 1] - self.run[place - self.base]

    cdef inline int32_t number_of(self, int32_t x) noexcept:
        """The operand itself, or what a variable stands for."""
        return x if x < self.inputs else self.stands_for[x - self.inputs]

    cdef inline int32_t slot_of(self, int32_t x) noexcept:
        x = self.number_of(x)
        if x < 0:
            return self.inputs + ~x
        if x < self.inputs:
            self.single[x] = 1
        return self.value[self.range_of(x)] + self.offset_of(x)

    cdef int32_t row_of(self, int32_t x) except -1:
        """The slot of an operand; in lanes a row, even if it is one number for all, as variables may stand for."""
        cdef int32_t y = self.number_of(x), slot
        cdef Instruction* step
        if not self.lanes or (y >= 0 and (y >= self.inputs or not self.uniform[y])):
            return self.slot_of(x)
        if y in self.rows:
            return self.rows[y]
        slot = self.rows[y] = self.allocate(1)      # for good: its number is that of all lanes
        step = self.program.write(&self.program.ahead)
        step.opcode, step.count, step.arity, step.result, step.saved = POSITIVE, 1, 1, slot, -1
        step.operand = <int32_t>self.program.push_operand(self.slot_of(x), BROADCAST, 0)
        self.measure(POSITIVE, 1, 1)
        return slot

    cdef object slots_of(self, const int32_t[::1] operands):
        """The slots of some operands, an array."""
        cdef Py_ssize_t k
        found = np.empty(operands.shape[0], np.int32)
        cdef int32_t[::1] slot = found
        for k in range(operands.shape[0]):
            slot[k] = self.slot_of(operands[k])
        return found

    cdef inline bint is_active(self, int32_t x) noexcept:
        if x < 0:
            return False
        return self.wanted[x] if x < self.inputs else self.active[x - self.inputs]

    cdef int32_t allocate(self, int32_t size) except -1:
        """A range of slots."""
        cdef int32_t start
        if self.recycling and size <= POOLED_SIZES and self.spare[size] >= 0:
            start = self.spare[size]
            self.spare[size] = self.next_spare[start]
            return start
        if self.recycling and size > POOLED_SIZES and self.spare_long.get(size):
            return self.spare_long[size].pop()
        start = <int32_t>self.program.slots
        if self.program.slots + size > 2147480000:
            raise OverflowError("a program needs more slots than 4 bytes can number")
        self.program.slots += size
        return start

    cdef int release(self, int32_t start, int32_t size) except -1:
        """Take a range of slots back."""
        if not self.recycling:
            return 0
        if size > POOLED_SIZES:
            self.spare_long.setdefault(size, []).append(start)
            return 0
        if start >= self.next_spare.shape[0]:
            longer = np.empty(max(2 * self.next_spare.shape[0], start + 1), np.int32)
            longer[: self.next_spare.shape[0]] = self.next_spare
            self.next_spare = longer
        self.next_spare[start] = self.spare[size]
        self.spare[size] = start
        return 0

    cdef int take_onward(self, onward) except -1:
        """Find which gates are inputs at the next step: those of one input alone, whom no guard asks for afterwards."""
        self.becomes = np.full(max(len(self.draft), 1), -1, np.int32)
        if onward is None or self.lanes or self.gradient or not self.recycling or len(self.draft.guards):
            return 0
        ends = np.asarray(self.draft.outputs)
        gates, places = ends[onward >= 0] - self.inputs, onward[onward >= 0]
        alone = np.isin(gates, np.flatnonzero(np.bincount(gates[gates >= 0], minlength=1) == 1))
        np.asarray(self.becomes)[gates[alone]] = places[alone]
        return 0

    cdef int32_t place_for(self, int32_t r) except -1:
        """The slots for a run's numbers: of the inputs that they are at the next step, if nobody needs these."""
        cdef int32_t begin = self.run[r], count = self.run[r + 1] - begin, start = self.becomes[begin], i, j, x
        if start < 0 or self.is_chain(r) or not is_written_last(self.opcode[begin]):
            return self.allocate(count)
        for i in range(count):
            x = start + i
            if self.becomes[begin + i] != x or self.last_read[x] > r:
                return self.allocate(count)
            for j in range(self.first[begin + i], self.first[begin + i + 1]):
                x = self.number_of(self.operand[j]) if self.operand[j] >= 0 else -1
                if start <= x < start + count and x != start + i:
                    return self.allocate(count)
        return start

    # what is known beforehand

    cdef int survey(self) except -1:
        """Find out what wanted inputs reach, how often each range is used, and how long its values are needed."""
        cdef int32_t r, i, j, x, place, until
        cdef int32_t n = <int32_t>len(self.draft)
        cdef Rule rule
        self.active = np.zeros(max(n, 1), np.uint8)
        self.open = np.zeros(max(self.runs, 1), np.uint8)
        for r in range(self.runs):
            for i in range(self.run[r], self.run[r + 1]):
                if self.opcode[i] == RESULT:
                    self.active[i] = self.active[i - 1]
                    continue
                for j in range(self.first[i], self.first[i + 1]):
                    x = self.operand[j]
                    place = self.range_of(x)
                    if place < 0:
                        continue
                    self.uses[place] += 1
                    if place >= self.base and place != self.base + r:
                        self.note_use(x, place)
                    if self.is_active(x) and self.opcode[i] != REGION:
                        self.active[i] = 1
                    until = max(r, self.read_at[r])
                    if self.dropped[r]:     # beyond the pulls on outputs
                        until = self.runs + self.gradient
                    elif self.gradient and is_read_backward(self.opcode[i], j - self.first[i]):
                        until = 2 * self.runs - r
                    self.outlive(x, until)
                if self.opcode[i] == REGION:
                    self.active[i] = self.survey_region(i)
            if self.gradient:
                rule = rule_of(self.opcode[self.run[r]], 0)
                place = self.base + r
                if rule.u == VALUE or rule.w == VALUE or (self.is_chain(r) and self.opcode[self.run[r]] == MULTIPLY):
                    self.death[place] = max(self.death[place], 2 * self.runs - r)
        cdef const int32_t[::1] ends
        cdef Py_ssize_t k
        for operands in (self.draft.outputs, self.draft.guards):
            ends = operands
            for k in range(ends.shape[0]):
                x = ends[k]
                place = self.range_of(x)
                if place >= 0:
                    self.uses[place] += 1
                    if place >= self.base:
                        self.note_use(x, place)
                    self.outlive(x, self.runs)
        for r in range(self.runs):
            if self.is_gradient(r):
                self.survey_gradient(r)
        if self.lanes:      # outputs are written where the caller wants them, and must stay there
            ends = self.draft.outputs
            for k in range(ends.shape[0]):
                x = ends[k]
                if self.number_of(x) >= self.inputs:
                    self.outlive(x, 2 * self.runs + 1)
        for place in range(self.base, self.base + self.runs):
            self.death[place] = max(self.death[place], place - self.base)
            self.next_dying[place] = self.dying[self.death[place]]
            self.dying[self.death[place]] = place
        return 0

    cdef inline int outlive(self, int32_t x, int32_t time) noexcept:
        """Let an operand's value be there until then."""
        x = self.number_of(x)
        cdef int32_t place = self.range_of(x)
        if place >= 0:
            self.death[place] = max(self.death[place], time)
        if 0 <= x < self.last_read.shape[0]:
            self.last_read[x] = max(self.last_read[x], time)
        return 0

    cdef bint is_gradient(self, int32_t r) except -1:
        return self.opcode[self.run[r]] == REGION and isinstance(self.draft.payload[self.run[r]], Gradient)

    cdef bint is_variables(self, int32_t r) except -1:
        return self.opcode[self.run[r]] == REGION and isinstance(self.draft.payload[self.run[r]], Variables)

    cdef int survey_gradient(self, int32_t r) except -1:
        raise NotImplementedError("an Assembler knows gradients")

    cdef int sweep(self, int32_t r) except -1:
        raise NotImplementedError("an Assembler knows gradients")

    cdef bint survey_region(self, int32_t i) except -1:
        """Whether wanted inputs reach a region: by the numbers that it is a function of, or by arrays."""
        cdef Region region = self.draft.payload[i]
        cdef int32_t j, first = self.first[i]
        cdef bint active = not self.active_arrays.isdisjoint(region.reads)
        for j in range(first, min(self.first[i + 1], first + <int32_t>region.numbers)):
            active = active or self.is_active(self.operand[j])
        if active:
            self.active_arrays.update(region.makes)
        return active

    cdef inline int note_use(self, int32_t x, int32_t place) noexcept:
        """A number is used by others than its own run."""
        if x - self.inputs != self.run[place - self.base + 1] - 1:
            self.open[place - self.base] = 1
        return 0

    cdef inline bint is_closed(self, int32_t place) noexcept:
        """Whether a range is a chain of which only the end is pulled: it has one adjoint."""
        return place >= self.base and not self.open[place - self.base] and self.is_chain(place - self.base)

    cdef inline int32_t pulled_size(self, int32_t place) noexcept:
        """How many adjoints a range has."""
        return 1 if self.is_closed(place) else self.size_of(place)

    cdef inline int32_t adjoint_of(self, int32_t x) noexcept:
        """The adjoint slot of an operand whose range has some."""
        cdef int32_t place = self.range_of(x)
        return self.adjoint[place] + (0 if self.is_closed(place) else self.offset_of(x))

    cdef inline bint is_chain(self, int32_t r) noexcept:
        cdef int32_t begin = self.run[r]
        return (
            self.run[r + 1] - begin > 1 and (self.opcode[begin] == ADD or self.opcode[begin] == MULTIPLY)
            and self.operand[self.first[begin + 1]] == self.inputs + begin
        )

    cdef int layout(self) except -1:
        """The slots that are given for good: inputs, constants, one for what nobody wants, the inputs' adjoints."""
        cdef Program program = self.program
        cdef int32_t i
        program.inputs = self.inputs
        program.constants = self.draft.constants
        self.trash = self.inputs + self.constants
        program.adjoints = self.trash + 1
        program.slots = program.adjoints + (self.inputs if self.gradient else 0)
        for i in range(self.base):
            self.value[i] = i
            if self.lanes and self.gradient and self.uniform[i] and self.wanted[i]:
                self.adjoint[i] = <int32_t>program.adjoints + i     # summed over all lanes: added to from the start
        return 0

    cdef int take_dots(self, Draft draft, bint wanted) except -1:
        """Find sums that are rows of products, if they are wanted."""
        gates = np.asarray(self.run)[: self.runs]
        self.part, self.read_at = np.zeros(self.runs, np.uint8), np.full(self.runs, -1, np.int32)
        if not wanted:
            return 0
        self.dots = Dots(draft, self.uniform, self.stands_for)
        found = self.dots.read_at[gates]
        self.part = self.dots.part[gates]
        self.read_at = np.where(found >= 0, np.asarray(self.run_of)[found], -1).astype(np.int32)
        return 0

    cdef int measure(self, int opcode, Py_ssize_t count, Py_ssize_t arity) except -1:
        """Remember how much scratch the instruction needs: numbers, in lanes rows."""
        cdef Py_ssize_t wanted = 3 * count
        if opcode == MATMUL and not self.lanes:
            wanted = count + 2 * arity
        elif self.lanes:
            wanted = 4 if opcode == ITEM else 4 + arity // 8    # the pointers of a row's operands
            if opcode == MATMUL:    # those of rows and columns, and what is turned
                wanted = 96 + (count + arity) // 2 + max(count, arity)
        elif is_list(opcode):
            wanted = LIST_ROOM * (arity + 1) + arity * count
        elif opcode in (PRODUCTS, TOTAL, LIST_PRODUCTS, LIST_TOTAL):
            wanted = 4 * arity + 3 * arity * max(count, <Py_ssize_t>1) + 16
        return self.need(wanted)

    cdef inline int need(self, Py_ssize_t scratch) except -1:
        self.program.scratch = max(self.program.scratch, scratch)
        return 0


cdef inline bint is_read_backward(int opcode, int32_t j) noexcept:
    """Whether the value of operand j is needed to pull on any operand of the gate."""
    if opcode == MULTIPLY or opcode == PRODUCTS or opcode == STRONG_MULTIPLY:
        return True
    if opcode == MAXIMUM or opcode == MINIMUM:
        return True
    if opcode == REGION or opcode == MATMUL or opcode == BATCH_MATMUL:
        return True
    if opcode == ITEM:
        return j == 0
    if opcode == DIVIDE:
        return j == 1
    if opcode == SQUARE or opcode == ABSOLUTE or opcode == RELU or opcode == WHERE:
        return j == 0
    return False


cdef int32_t[::1] stand_ins(Draft draft):
    """For every gate what its number is: its own, or of a variable that of what it stands for."""
    cdef int32_t inputs = draft.inputs, x
    cdef int32_t[::1] first = draft.first
    cdef int32_t[::1] operand = draft.operand
    cdef int32_t[::1] found = np.arange(inputs, inputs + max(len(draft), 1), dtype=np.int32)
    cdef Py_ssize_t gate, j
    for gate in sorted(draft.payload):
        if isinstance(draft.payload[gate], Variables):
            for j in range(first[gate + 1] - first[gate]):
                x = operand[first[gate] + j]
                found[gate + j] = x if x < inputs else found[x - inputs]
    return found
