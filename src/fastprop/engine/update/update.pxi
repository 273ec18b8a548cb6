"""Update: a rule, and what it remembers of every parameter.

All gradients are looked at before anything moves. New numbers go into memory of their own, which is used again as soon
as nobody else holds it: whoever keeps the old arrays keeps the old numbers.
"""
cimport numpy as cnp
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.math cimport INFINITY, expm1, log
from libc.string cimport memcpy

from fastprop.engine.door cimport MATCHED, Form, Marshal, Reading
from fastprop.engine.tape cimport NO_TAPE, Block, Link, Unit

from fastprop.engine.door import number
from fastprop.handles.nesting import returned

cdef extern from "update/update.h":
    """
    #define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
    """
    enum: RULE_SGD, RULE_ADAGRAD, RULE_ADADELTA, RULE_RMSPROP, RULE_ADAM, RULE_WINDOWGRAD, RULE_OWN
    enum: MOMENTS, SETS
    ctypedef struct Rule:
        int kind
        int maximize, nesterov, rate_inside, amsgrad, centered, decoupled
        double momentum, dampening, beta1, beta2, eps, weight_decay, lr_decay
    ctypedef struct Stretch:
        Py_ssize_t size, leaf
        int single, first
        double rate, correction1, correction2
        const void* numbers
        const void* slopes
        void* out
        void* moment[8]
    ctypedef struct Loops:
        const char* name
        Py_ssize_t (*refused)(const Rule*, const Stretch*) noexcept nogil
        void (*move)(const Rule*, const Stretch*) noexcept nogil
        double (*squares)(int single, Py_ssize_t n, const void* numbers) noexcept nogil
        void (*divide)(int single, Py_ssize_t n, const void* numbers, double by, void* out) noexcept nogil
    const Loops* LOOPS

cdef enum:
    LINE = 64
    PAGE = 4096
    SHIFT = 1088    # an odd number of lines

cdef dict KINDS = {
    "SGD": RULE_SGD, "Adagrad": RULE_ADAGRAD, "Adadelta": RULE_ADADELTA, "RMSprop": RULE_RMSPROP, "Adam": RULE_ADAM,
    "Windowgrad": RULE_WINDOWGRAD, "own": RULE_OWN,
}


cdef const Loops* loops_of(str name) except NULL:
    """The loops of an instruction set."""
    cdef int i
    for i in range(SETS):
        if LOOPS[i].name.decode() == name:
            return &LOOPS[i]
    raise ValueError(f"there are no updates for the instruction set {name!r}")


cdef object rows_apart(Py_ssize_t count, tuple shape, dtype):
    """Arrays, each from the beginning of a cache line on, large ones at different places of their pages.

    A vector that is written across two lines takes twice as long, and one that was just written holds up what is read
    at the same place of another page.
    """
    cdef Py_ssize_t size = np.prod(shape, dtype=np.int64) * dtype.itemsize
    cdef Py_ssize_t step = (size + LINE - 1) // LINE * LINE if size < PAGE else (size + PAGE - 1) // PAGE * PAGE + SHIFT
    memory = np.empty(count * step + LINE, np.uint8)
    begin = -memory.ctypes.data % LINE
    return np.ndarray((count, *shape), dtype, memory, begin, (step, *np.empty(shape, dtype).strides))


cdef class Update:
    """Update(kind, options, width, params, nesting, names, handles, start, instruction_set)
--

    One update rule over all parameters.

    Parameters
    ----------
    kind : str
        The rule: "SGD", "Adam", …; "own" for one in Python, which comes with every step.
    options : dict
        What the rule's struct is to hold.
    width : int
        How many moments the rule keeps of every number.
    params : list
        The leaves: floats and arrays, or Units and Arrays.
    nesting : Nesting
        How they stand in their container.
    names : list of str
        What errors call them.
    handles : bool
        Whether the leaves are Units and Arrays, which are updated themselves.
    start : float
        What the moments are at first.
    instruction_set : str
        Whose loops to use.
    """
    cdef Rule rule
    cdef const Loops* loops
    cdef Leaf* leaf
    cdef Stretch* stretch
    cdef Py_ssize_t count               # of leaves
    cdef Py_ssize_t singles             # of them that are single numbers
    cdef Py_ssize_t width
    cdef double* block                  # of single numbers: as they are, gradients, new ones, moments
    cdef readonly list params
    cdef readonly object nesting
    cdef tuple tree                     # the same, as a plan
    cdef readonly list names
    cdef readonly bint handles
    cdef list moments                   # of arrays, one moment after the other; None for a single number
    cdef list pool                      # the arrays that were made last, two per leaf
    cdef public int64_t steps           # made in all
    cdef bint busy
    cdef Form form                      # of parameters and gradients that are numbers alone, as they came last
    cdef Marshal marshal                # of the new ones
    cdef Reading reading

    def __cinit__(self, str kind, dict options, Py_ssize_t width, list params, nesting, list names, bint handles,
                  double start, str instruction_set):
        if width > MOMENTS:
            raise ValueError(f"a rule that remembers {width} things of every number; expected {MOMENTS} at most")
        get = options.get
        self.rule = Rule(
            KINDS[kind], get("maximize", 0), get("nesterov", 0), get("rate_inside", 0), get("amsgrad", 0),
            get("centered", 0), get("decoupled", 0), get("momentum", 0.0), get("dampening", 0.0), get("beta1", 0.0),
            get("beta2", 0.0), get("eps", 0.0), get("weight_decay", 0.0), get("lr_decay", 0.0),
        )
        self.loops = loops_of(instruction_set)
        self.width, self.count = width, len(params)
        self.params, self.nesting, self.names, self.handles = params if handles else [], nesting, names, handles
        self.tree = plan_of(nesting)
        self.moments, self.pool = [], []
        self.leaf = <Leaf*>PyMem_Calloc(<size_t>self.count + 1, sizeof(Leaf))
        self.stretch = <Stretch*>PyMem_Calloc(<size_t>self.count + 1, sizeof(Stretch))
        if self.leaf == NULL or self.stretch == NULL:
            raise MemoryError(f"no memory for an update of {self.count} parameters")
        for k in range(self.count):
            self.add(<Py_ssize_t>k, params[k], start)
        self.block = <double*>PyMem_Calloc(<size_t>(self.singles * (3 + width)) + 1, sizeof(double))
        if self.block == NULL:
            raise MemoryError(f"no memory for an update of {self.singles} numbers")
        for k in range(self.singles * width):
            self.block[3 * self.singles + k] = start

    def __dealloc__(self):
        PyMem_Free(self.leaf)
        PyMem_Free(self.stretch)
        PyMem_Free(self.block)

    cdef int add(self, Py_ssize_t k, object param, double start) except -1:
        """Take in what a parameter is."""
        cdef Leaf* leaf = &self.leaf[k]
        shape = () if type(param) is float else param.shape
        self.pool.append([None, None])
        if len(shape) == 0:
            leaf.size, leaf.place, leaf.type = WHOLE, self.singles, NPY_DOUBLE
            self.singles += 1
            self.moments.append(None)
            return 0
        moments = rows_apart(self.width, shape, param.dtype.newbyteorder("="))
        moments[...] = start
        leaf.type = NPY_FLOAT if moments.dtype == np.float32 else NPY_DOUBLE
        leaf.size = np.prod(shape, dtype=np.int64)
        leaf.moments = array_data(<PyObject*>moments)
        leaf.apart = moments.strides[0]
        self.moments.append(moments)
        return 0

    # ------------------------------------------------------------------------------------------------- in and out

    cdef inline bint read_number(self, Py_ssize_t k, object given, object slope):
        """Note a single number and its gradient, if they are plain floats."""
        cdef Leaf* leaf = &self.leaf[k]
        if leaf.size != WHOLE or type(given) is not float or type(slope) is not float:
            return False
        self.block[leaf.place] = <double>given
        self.block[self.singles + leaf.place] = <double>slope
        return True

    cdef int read(self, Py_ssize_t k, object given, object slope, list held) except -1:
        """Find the numbers and the gradient of a parameter, of which copies are held if they have gaps."""
        cdef Leaf* leaf = &self.leaf[k]
        cdef str name = self.names[k]
        if slope is None:
            leaf.skipped = True
        if leaf.size == WHOLE:
            self.block[leaf.place] = number_of(given, name)
            if slope is not None:
                self.block[self.singles + leaf.place] = number_of(slope, f"the gradient of {name}")
            return 0
        like = self.moments[k]
        if not PyArray_CheckExact(<PyObject*>given) or not is_ready(<PyObject*>given, leaf, like, 0):
            given = in_line(given, leaf, like, name)
        held.append(given)
        leaf.numbers = array_data(<PyObject*>given)
        if slope is None:
            return 0
        if not PyArray_CheckExact(<PyObject*>slope) or not is_ready(<PyObject*>slope, leaf, like, 0):
            slope = in_line(slope, leaf, like, f"the gradient of {name}")
        held.append(slope)
        leaf.slopes = array_data(<PyObject*>slope)
        return 0

    cdef object fresh(self, Py_ssize_t k):
        """An array for the new numbers of a parameter, which nobody else has."""
        cdef Leaf* leaf = &self.leaf[k]
        cdef list pool = self.pool[k]
        cdef PyObject* like = <PyObject*>self.moments[k]
        cdef int i
        for i in range(2):
            if is_free(items_of(<PyObject*>pool)[i], leaf, <object>like):
                break
        else:
            pool[0] = pool[1]
            i = 1
            pool[i] = new_array_of(array_ndim(like) - 1, array_shape(like) + 1, leaf.type, NULL)
        array = pool[i]
        leaf.out = array_data(<PyObject*>array)
        return array

    cdef Py_ssize_t plan(self, double rate) except -1:
        """Note what moves, in stretches of numbers that do so alike; returns how many there are."""
        cdef Py_ssize_t k, i, stretches = 0
        cdef Leaf* leaf
        cdef Stretch* last = NULL
        cdef Stretch* next
        for k in range(self.count):
            leaf = &self.leaf[k]
            if leaf.skipped or leaf.size == 0:
                continue
            if (
                last != NULL and leaf.size == WHOLE == self.leaf[last.leaf].size
                and k == last.leaf + last.size and leaf.steps == self.leaf[last.leaf].steps
            ):
                last.size += 1
                continue
            next = &self.stretch[stretches]
            next.size, next.leaf, next.single = 1 if leaf.size == WHOLE else leaf.size, k, leaf.type == NPY_FLOAT
            self.pace(next, rate, leaf.steps, last)
            for i in range(self.width):
                if leaf.size == WHOLE:
                    next.moment[i] = self.block + (3 + i) * self.singles + leaf.place
                else:
                    next.moment[i] = leaf.moments + i * leaf.apart
            if leaf.size == WHOLE:
                next.numbers, next.slopes = self.block + leaf.place, self.block + self.singles + leaf.place
                next.out = self.block + 2 * self.singles + leaf.place
            else:
                next.numbers, next.slopes, next.out = leaf.numbers, leaf.slopes, leaf.out
            last = next
            stretches += 1
        return stretches

    cdef int pace(self, Stretch* next, double rate, int64_t steps, const Stretch* last) except -1:
        """Set the rate and the corrections of the moments' start, which are those of the last if it is as old."""
        next.first = steps == 0
        if last != NULL and self.leaf[last.leaf].steps == steps:
            next.rate, next.correction1, next.correction2 = last.rate, last.correction1, last.correction2
            return 0
        next.rate = rate
        if self.rule.kind == RULE_ADAGRAD:
            next.rate = rate / (1.0 + <double>steps * self.rule.lr_decay)
        if self.rule.kind == RULE_ADAM:
            next.correction1 = -expm1(<double>(steps + 1) * log(self.rule.beta1)) if self.rule.beta1 > 0.0 else 1.0
            next.correction2 = -expm1(<double>(steps + 1) * log(self.rule.beta2)) if self.rule.beta2 > 0.0 else 1.0
        return 0

    cdef int move(self, double rate, object own) except -1:
        """Move everything, or raise and have moved nothing."""
        cdef Py_ssize_t i, place = -1, stretches = self.plan(rate)
        with nogil:
            for i in range(stretches):
                place = self.loops.refused(&self.rule, &self.stretch[i])
                if place >= 0:
                    break
            else:
                if self.rule.kind != RULE_OWN:
                    for i in range(stretches):
                        self.loops.move(&self.rule, &self.stretch[i])
        if place >= 0:
            self.refuse(&self.stretch[i], place)
        if self.rule.kind == RULE_OWN:
            self.move_by(own, stretches)
        for i in range(self.count):
            self.leaf[i].steps += not self.leaf[i].skipped
        self.steps += 1
        return 0

    cdef int move_by(self, object own, Py_ssize_t stretches) except -1:
        """The same by a function in Python, which gets copies: what it keeps or does harms nobody."""
        cdef list moved = []
        cdef Stretch* stretch
        cdef Py_ssize_t i, k
        for i in range(stretches):
            stretch = &self.stretch[i]
            moments = []
            for k in range(self.width):
                moments.append(self.copied(stretch, stretch.moment[k]))
            value = own(self.copied(stretch, stretch.numbers), self.copied(stretch, stretch.slopes), moments,
                        stretch.rate, self.leaf[stretch.leaf].steps + 1)
            parts = [value, *moments]
            if len(parts) != self.width + 1:
                raise ValueError(f"move left {len(parts) - 1} moments of {self.width}; expected as many as before")
            for k in range(len(parts)):
                parts[k] = self.fitting(stretch, parts[k], "the value" if k == 0 else "a moment")
            moved.append(parts)
        for i in range(stretches):
            stretch = &self.stretch[i]
            size = stretch.size * (4 if stretch.single else 8)
            memcpy(stretch.out, array_data(<PyObject*>moved[i][0]), <size_t>size)
            for k in range(self.width):
                memcpy(stretch.moment[k], array_data(<PyObject*>moved[i][k + 1]), <size_t>size)
        return 0

    cdef object copied(self, const Stretch* stretch, const void* numbers):
        """A copy of numbers, in the shape of their parameter; single numbers make a row."""
        shape = (stretch.size,)
        if self.leaf[stretch.leaf].size != WHOLE:
            shape = self.moments[stretch.leaf].shape[1:]
        copy = np.empty(shape, np.float32 if stretch.single else np.float64)
        memcpy(array_data(<PyObject*>copy), numbers, <size_t>(stretch.size * (4 if stretch.single else 8)))
        return copy

    cdef object fitting(self, const Stretch* stretch, object numbers, str what):
        """What a function in Python gave for some numbers, as they lie in memory."""
        found = np.asarray(numbers)
        shape = (stretch.size,)
        if self.leaf[stretch.leaf].size != WHOLE:
            shape = self.moments[stretch.leaf].shape[1:]
        if found.shape != shape or found.dtype.kind not in "fiu":
            name = self.names[stretch.leaf]
            given = returned(numbers) if found.dtype.kind not in "fiu" else f"{found.dtype}{list(found.shape)}"
            raise ValueError(f"move: {what} of {name} is {given}; expected numbers{list(shape)}")
        return np.ascontiguousarray(found, np.float32 if stretch.single else np.float64)

    cdef int refuse(self, const Stretch* stretch, Py_ssize_t place) except -1:
        """Raise the ValueError that names a gradient."""
        cdef Leaf* leaf = &self.leaf[stretch.leaf]
        cdef double slope = (<const float*>stretch.slopes)[place] if stretch.single else \
            (<const double*>stretch.slopes)[place]
        where = ""
        if leaf.size == WHOLE:
            name = self.names[stretch.leaf + place]
        else:
            name = self.names[stretch.leaf]
            where = list(map(int, np.unravel_index(place, self.moments[stretch.leaf].shape[1:])))
            where = f" at {where}"
        if slope - slope != 0.0:
            why = "expected a finite number: is the rate too high, or the loss not finite?"
        elif self.rule.weight_decay != 0.0 or self.rule.kind == RULE_ADAGRAD:
            why = "with what is added to it, its square is not finite"
        else:
            why = "its square is not finite: clip gradients, or scale the loss"
        raise ValueError(f"the gradient of {name}{where} is {slope:g}; {why}; no parameter was changed")

    cdef int begin(self, double rate) except -1:
        if self.busy:
            raise RuntimeError("an optimizer is used by two threads at once; expected one after the other")
        if not 0.0 <= rate < INFINITY:
            raise ValueError(f"the rate of step {self.steps} is {rate}; expected a finite number, 0 or more")
        self.busy = True
        return 0

    # --------------------------------------------------------------------------------------------------- one step

    def step(self, double rate, params, grads, frozen, bint in_place, own=None):
        """Return containers of new numbers; with `in_place`, the old ones, their arrays written into."""
        cdef list values, slopes, made, held = []
        cdef Py_ssize_t k
        self.begin(rate)
        try:
            if self.form is not None and frozen is None and self.read_all(params, grads):
                self.move(rate, own)
                return self.marshal.build(self.block + 2 * self.singles, False, None)
            values = leaves_of(params, self.tree, "params")
            slopes = leaves_of(grads, self.tree, "grads")
            for k in range(self.count):
                self.leaf[k].skipped = frozen is not None and self.names[k] in frozen
                if not self.read_number(k, values[k], slopes[k]):
                    self.read(k, values[k], None if self.leaf[k].skipped else slopes[k], held)
            made = values
            for k in range(self.count):
                if self.leaf[k].size != WHOLE and not self.leaf[k].skipped:
                    made[k] = self.written(k, values[k]) if in_place else self.fresh(k)
            if frozen is None and self.singles == self.count:
                self.learn(params, grads, values, slopes)
            self.move(rate, own)
            return self.given_back(params, made, in_place)
        finally:
            self.busy = False

    cdef bint read_all(self, object params, object grads) except -1:
        """Read all numbers and their gradients at once, if they come as they came last."""
        cdef PyObject* both[2]
        cdef Py_ssize_t k
        both[0], both[1] = <PyObject*>params, <PyObject*>grads
        if self.form.match(both, 2, NULL, self.reading) != MATCHED:
            return False
        memcpy(self.block, self.reading.number, <size_t>(2 * self.singles) * sizeof(double))
        for k in range(self.count):
            self.leaf[k].skipped = False
        return True

    cdef int learn(self, object params, object grads, list values, list slopes) except -1:
        """Remember how numbers and their gradients come, if all of them are plain floats."""
        for thing in (*values, *slopes):
            if type(thing) is not float:
                return 0
        form = Form((params, grads), None, (), "float64")
        for nesting in form.nestings:
            if order_of(nesting, self.nesting) != list(range(self.count)):      # dicts in another order, or others
                return 0
        self.form, self.reading = form, Reading()
        self.marshal = Marshal(self.nesting, list(map(number, range(self.count))), True)
        return 0

    cdef object written(self, Py_ssize_t k, object array):
        """An array that is to be written into."""
        cdef PyObject* thing = <PyObject*>array
        if not isinstance(array, np.ndarray) or not is_ready(thing, &self.leaf[k], self.moments[k],
                                                             NPY_ARRAY_WRITEABLE):
            raise ValueError(f"{self.names[k]} can't be updated in place; expected a writeable array in C's order")
        self.leaf[k].out = array_data(thing)
        return array

    cdef object given_back(self, object params, list made, bint in_place):
        """The containers with the new numbers in them."""
        cdef Py_ssize_t k, next = 0
        if in_place and self.singles == 0:
            return params
        for k in range(self.count):
            if self.leaf[k].size == WHOLE and not self.leaf[k].skipped:
                made[k] = self.block[2 * self.singles + self.leaf[k].place]
        return put_together(self.tree, made, &next)

    def step_handles(self, double rate, frozen, own=None):
        """Update the Units and Arrays themselves, by their gradients."""
        cdef list held = [], made = []
        cdef Py_ssize_t k
        self.begin(rate)
        try:
            for k in range(self.count):
                self.leaf[k].skipped = frozen is not None and self.names[k] in frozen
                self.read_handle(k, held)
            for k in range(self.count):
                made.append(None if self.leaf[k].size == WHOLE or self.leaf[k].skipped else self.fresh(k))
            self.move(rate, own)
            for k in range(self.count):
                if not self.leaf[k].skipped:
                    self.assign(k, made[k])
        finally:
            self.busy = False

    cdef int read_handle(self, Py_ssize_t k, list held) except -1:
        """The same of a Unit or an Array."""
        cdef Link* link
        param = self.params[k]
        if isinstance(param, Unit):
            link = &(<Unit>param).link
            self.block[self.leaf[k].place] = link.value
            self.block[self.singles + self.leaf[k].place] = link.gradient
            return 0
        if isinstance(param, Block):
            slope = (<Block>param).slope
            if slope is None:
                slope = np.zeros(param.shape, param.dtype)
            return self.read(k, (<Block>param).numbers, slope, held)
        return self.read(k, param.value, param.grad, held)

    cdef int assign(self, Py_ssize_t k, object array) except -1:
        """Give a Unit or an Array its new numbers."""
        param = self.params[k]
        if isinstance(param, Unit):
            (<Unit>param).link.value = self.block[2 * self.singles + self.leaf[k].place]
            (<Unit>param).link.key = NO_TAPE        # gates keep the value that they were recorded with
        elif isinstance(param, Block):
            (<cnp.ndarray>array).flags.writeable = False
            (<Block>param).hold(array)
            (<Block>param).link.key = NO_TAPE
        elif array is None:
            param.value = self.block[2 * self.singles + self.leaf[k].place]
        else:
            param.value = array
        return 0

    # ------------------------------------------------------------------------------------------------------ state

    def moments_of(self, Py_ssize_t k):
        """Return how many steps a parameter has made, and its moments: a list of floats or arrays, copied."""
        cdef Py_ssize_t i
        moments = []
        for i in range(self.width):
            if self.leaf[k].size == WHOLE:
                moments.append(self.block[(3 + i) * self.singles + self.leaf[k].place])
            else:
                moments.append(self.moments[k][i].copy())
        return self.leaf[k].steps, moments

    def set_moments(self, Py_ssize_t k, int64_t steps, list moments):
        """Set what `moments_of` has given; shapes and dtypes were checked."""
        cdef Py_ssize_t i
        self.leaf[k].steps = steps
        for i in range(self.width):
            if self.leaf[k].size == WHOLE:
                self.block[(3 + i) * self.singles + self.leaf[k].place] = moments[i]
            else:
                np.copyto(self.moments[k][i], moments[i])      # which begin at cache lines


def are_same(list left, list right):
    """Say whether two lists hold the same things."""
    cdef Py_ssize_t i
    if len(left) != len(right):
        return False
    for i in range(len(left)):
        if left[i] is not right[i]:
            return False
    return True


def sum_of_squares(cnp.ndarray numbers, str instruction_set):
    """Return the sum of the squares of a contiguous array of float32 or float64, in float64."""
    cdef const Loops* loops = loops_of(instruction_set)
    cdef bint single = check_line(numbers)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(numbers)
    cdef double total
    with nogil:
        total = loops.squares(single, n, cnp.PyArray_DATA(numbers))
    return total


def divided(cnp.ndarray numbers, double by, str instruction_set):
    """Return a contiguous array divided by a number, computed in float64."""
    cdef const Loops* loops = loops_of(instruction_set)
    cdef bint single = check_line(numbers)
    cdef cnp.ndarray result = np.empty_like(numbers, subok=False)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(numbers)
    with nogil:
        loops.divide(single, n, cnp.PyArray_DATA(numbers), by, cnp.PyArray_DATA(result))
    return result


cdef bint check_line(cnp.ndarray numbers) except -1:
    """Whether numbers are float32, not float64; raise if they do not lie one behind the other."""
    cdef int kind = cnp.PyArray_TYPE(numbers)
    if not numbers.flags.c_contiguous or not numbers.flags.aligned or not numbers.dtype.isnative or \
            (kind != NPY_FLOAT and kind != NPY_DOUBLE):
        raise ValueError("expected an array of float32 or float64, aligned and contiguous")
    return kind == NPY_FLOAT
