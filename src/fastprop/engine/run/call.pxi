"""A call from its arguments to its result, without Python on the way: Route, for one form and one path; Door, for all.

A Door is called by vector. It matches the arguments with the forms that it knows, which reads them; the Route of the
path that was taken last puts them into slots and arrays, sweeps, and builds the result. Whatever is new (a form, a
path, Units among the arguments, a transform at work) goes the slow way, which is Python's.
"""
cimport cython
cimport numpy as cnp
from cpython.object cimport PyObject, PyTypeObject
from libc.stdint cimport int32_t
from libc.string cimport memcpy

from fastprop.engine.door cimport ArrayLeaf, PyVectorcall_NARGS, call_by_vector
from fastprop.engine.tape cimport Block, Tape, Unit, current_home

cnp.import_array()

cdef extern from *:
    """
    static __thread int eager_depth = 0;
    """
    int eager_depth
    object new_method "PyMethod_New"(object function, object instance)

cdef enum:
    SPARE = 16              # workspaces that are kept per route


def enter_eager():
    """Let calls of this thread go the slow way."""
    global eager_depth
    eager_depth += 1


def leave_eager():
    """Let them go as before."""
    global eager_depth
    eager_depth -= 1


def is_eager():
    """Say whether calls of this thread go the slow way."""
    return eager_depth > 0


cdef class Route:
    """What a circuit does with a call of one form.

    Parameters
    ----------
    form : Form
        Of the arguments.
    plan, program : Plan, Program
        The circuit's, and its program at one point.
    arrays : int
        How many arrays it uses.
    wiring : dict
        Where what was read goes, and where the parts of the result are (`circuits.wiring`).
    marshal : Marshal
        Builds the result.
    """

    def __init__(self, Form form, plan, program, dict wiring, Marshal marshal):
        self.form, self.plan, self.program, self.marshal = form, plan, program, marshal
        self.single, self.gradient, self.broken = plan.single, program.gradient, -1
        self.number_slot, self.array_slot = wiring["number_slot"], wiring["array_slot"]
        self.array_number, self.output, self.seed = wiring["array_number"], wiring["output"], wiring["seed"]
        self.pulls, self.zeros = wiring["pulls"], wiring["zeros"]
        self.units, self.parts, self.wholes = wiring["units"], wiring["parts"], wiring["wholes"]
        self.stand_ins = wiring["stand_ins"]
        self.constants, self.blocks = wiring["constants"], wiring["blocks"]
        self.wanted, self.both, self.rounded = wiring["wanted"], wiring["both"], wiring["rounded"]
        self.first_slot = first_of(self.number_slot) if not self.single else -1
        self.has_regions = bool(plan.draft.payload)
        self.captures = bool(self.units or self.parts or self.wholes)
        self.others, self.spare = {}, []

    def call(self, tuple args, dict kwargs):
        """Return the result of a call; None if it has another form or takes another path (`broken`)."""
        cdef Reading reading = Reading()
        if self.form._match(args, kwargs, reading) != 1:
            return None
        return self.run(reading)

    def call_at(self, list leaves):
        """Return the result at the leaves of some arguments: floats, and arrays of the circuit's dtype."""
        cdef Reading reading = Reading()
        reading.prepare(self.form)
        for k, leaf in enumerate(leaves):
            kind, place = self.form.place(k)
            if kind == "number":
                reading.number[<Py_ssize_t>place] = leaf
            elif kind == "array":
                reading.hold(place, leaf)
        try:
            return self.run(reading)
        finally:
            reading.release()

    def clear(self):
        """Let go of workspaces and results that are kept."""
        self.ready = None
        self.spare.clear()
        self.marshal.clear()

    cdef object run(self, Reading reading):
        """The result at what was read; None if a guard did not hold. A workspace that fails in use is let go of."""
        cdef PointRun run = self.ready
        if run is None:
            run = self.another()
        self.ready = None
        result = self.run_with(run, reading)
        if self.ready is None:
            self.ready = run
        elif len(self.spare) < SPARE:
            self.spare.append(run)
        return result

    cdef PointRun another(self):
        """A workspace beside those that are in use."""
        cdef PointRun run
        if self.spare:
            return self.spare.pop()
        run = PointRun(self.program, self.single, len(self.plan.recording.arrays), self.output.shape[0] + self.zeros)
        for array, a in self.constants:
            run.arrays.put(a, array)
        return run

    cdef object run_with(self, PointRun run, Reading reading):
        self.broken = -1
        self.read(run, reading)
        run.sweep(True, 0)
        if run.program.guards_count:
            self.broken = run.broken_guard()
            if self.broken >= 0:
                self.let_go(run)
                return None
        self.copy_outputs(run)
        if self.gradient:
            self.pull_back(run)
        blocks = self.given_blocks(run) if self.blocks else None
        result = self.marshal.build(run.space.base, self.single, blocks)
        if run.arrays.count:
            self.let_go(run)
        return result

    cdef int read(self, PointRun run, Reading reading) except -1:
        """Put numbers and arrays where the program reads them."""
        cdef Py_ssize_t k, n = self.number_slot.shape[0]
        if self.has_regions:
            reading.pin()
        if self.first_slot >= 0:
            memcpy(<double*>run.space.base + self.first_slot, reading.number, <size_t>n * sizeof(double))
        else:
            for k in range(n):
                run.put(self.number_slot[k], reading.number[k])
        if self.array_slot.shape[0]:
            self.read_arrays(run, reading)
        if self.captures:
            self.read_captured(run)
        for k in range(self.seed.shape[0]):
            run.put(self.seed[k], self.pulls[k])
        if run.arrays.count:
            run.arrays.begin()
            for a in self.wanted:
                run.arrays.renew_adjoint(a)
        return 0

    cdef int read_arrays(self, PointRun run, Reading reading) except -1:
        cdef ArrayLeaf* leaf
        cdef ArrayRef ref
        cdef Py_ssize_t k, size, slot
        for k in range(self.array_slot.shape[0]):
            leaf = &reading.array[k]
            if self.array_number[k] >= 0:
                run.arrays.put(self.array_number[k], <object>leaf.array)
            slot = self.array_slot[k]
            if slot < 0:
                continue
            size = cnp.PyArray_SIZE(<cnp.ndarray>leaf.array)
            if cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray>leaf.array):
                memcpy(<char*>run.space.base + slot * run.size, leaf.data, <size_t>(size * run.size))
                continue
            ref.data, ref.ndim, ref.shape, ref.stride = leaf.data, leaf.ndim, leaf.shape, leaf.strides
            put_slots(run, slot, &ref, -1, 0, size)
        return 0

    cdef int read_captured(self, PointRun run) except -1:
        """Read the leaves that the function captured, as they are now."""
        cdef Py_ssize_t i, place, count, slot
        cdef const double[::1] wide
        for unit, k in self.units:
            run.put(k, (<Unit>unit).link.value)
        for array, place, count, slot in self.parts:
            numbers = (<Block>array).numbers
            if numbers.dtype == "float64":
                wide = numbers.reshape(-1)
                for i in range(count):
                    run.put(slot + i, wide[place + i])
            else:
                for i in range(count):
                    run.put(slot + i, numbers.item(place + i))
        for array, a in self.wholes:
            numbers = (<Block>array).numbers
            run.arrays.put(a, numbers if (numbers.dtype == "float32") == self.single else numbers.astype(
                "float32" if self.single else "float64"))
        return 0

    cdef int pull_back(self, PointRun run) except -1:
        """Sweep backward; the adjoints of arrays that are handed out are then complete."""
        cdef Py_ssize_t a, first, count
        run.pull(&self.pulls[0])
        for a in self.wanted:
            run.arrays.clear_adjoint(a)
        for a, first, count in self.both:
            give_slots(run, first, &run.arrays.adjoint[a], -1, 0, count, True)
        return 0

    cdef list given_blocks(self, PointRun run):
        blocks = []
        for a, is_adjoint in self.blocks:
            blocks.append(run.arrays.adjoints[a] if is_adjoint else run.arrays.values[a])
        for place, dtype in self.rounded:
            blocks[place] = blocks[place].astype(dtype)
        return blocks

    cdef void copy_outputs(self, PointRun run) noexcept:
        """Put the outputs where the sweep backward leaves them alone."""
        cdef double* slots = <double*>run.space.base
        cdef Py_ssize_t k
        if self.single:
            for k in range(self.output.shape[0]):
                run.put(run.tail + k, run.get(self.output[k]))
        else:
            for k in range(self.output.shape[0]):
                slots[run.tail + k] = slots[self.output[k]]

    cdef int let_go(self, PointRun run) except -1:
        """Do not hold on to the caller's arrays."""
        cdef Py_ssize_t k
        for k in range(self.array_number.shape[0]):
            if self.array_number[k] >= 0:
                run.arrays.put(self.array_number[k], None)
        for array, a in self.wholes:
            run.arrays.put(a, None)
        for a in self.stand_ins:
            run.arrays.put(a, None)
        return 0


cdef Py_ssize_t first_of(int32_t[::1] slots):
    """The first of some slots if each is the next one after that before it; else -1."""
    cdef Py_ssize_t k
    for k in range(slots.shape[0]):
        if slots[k] != slots[0] + k:
            return -1
    return slots[0] if slots.shape[0] else -1


cdef class Entry:
    """What is known of the calls of one form."""


cdef class Door:
    """A function that is called by vector; `call_slowly` does what is not known yet."""

    def __cinit__(self, *args, **kwargs):
        self.called = <void*>enter
        self.methods = {}

    def open(self, make):
        """Say what makes the form of a call, from its arguments and keyword arguments."""
        self.forms = Forms(make)

    def __get__(self, instance, owner):
        """Bind to an instance, as functions do; `method_for` makes what is called with it."""
        if instance is None:
            return self
        known = self.methods.get(<size_t><PyObject*>instance)
        if known is None or (<tuple>known)[0]() is not instance:
            return new_method(self.method_for(instance), instance)
        return new_method((<tuple>known)[1], instance)


cdef object enter(Door door, PyObject* const* args, size_t flags, PyObject* names):
    """A call: the fast way if all is known."""
    cdef Py_ssize_t count = PyVectorcall_NARGS(flags) - door.skipped
    if count < 0:
        raise TypeError(f"{door!r} is called without its instance")
    args += door.skipped
    if eager_depth == 0 and (<Tape>current_home()).entries == 0:
        result = quickly(door, args, count, names)
        if type(result) is Failed:
            return slowly(door, args, count, names, result)
        if result is not None:
            return result
    return slowly(door, args, count, names, None)


cdef object quickly(Door door, PyObject* const* args, Py_ssize_t count, PyObject* names):
    """The result of a call of a known form on the path that was taken last; else None."""
    cdef Reading reading = door.reading
    cdef Route route                # held: another call may put another one in its place meanwhile
    if reading is None:
        reading = Reading()
    door.reading = None             # what fails in use is let go of
    entry = door.forms.find(args, count, names, reading)
    route = None if entry is None else (<Entry>entry).route
    if route is None:
        return None
    result = guarded(route, reading) if route.has_regions else route.run(reading)
    if result is None and route.broken >= 0:
        result = elsewhere(entry, route, reading)
    reading.release()
    door.reading = reading
    return result


cdef object elsewhere(Entry entry, Route first, Reading reading):
    """The result on another known path, to which the guards lead that do not hold; None if there is none."""
    cdef Route route = first
    cdef Py_ssize_t guard = -1, decided = first.broken
    while route.broken > guard:             # each path has one guard more in common with the one that is taken
        guard = route.broken
        route = route.others.get(guard)
        if route is None:
            return None
        result = guarded(route, reading)
        if type(result) is Failed:
            return result
        if result is not None:
            first.others[decided] = route
            if entry.route is first:
                entry.route = route
            return result
    return None


cdef object slowly(Door door, PyObject* const* args, Py_ssize_t count, PyObject* names, Failed failed):
    given = tuple([<object>args[i] for i in range(count)])
    named = {}
    if names != NULL:
        for i, name in enumerate(<tuple>names):
            named[name] = <object>args[count + i]
    return door.call_slowly(given, named, failed)


@cython.final
cdef class Failed:
    """A route on which something was raised: by a gate that is perhaps not reached there, or by a signal's handler."""

    cdef readonly Route route
    cdef readonly object error

    def __init__(self, Route route, error):
        self.route, self.error = route, error


cdef object guarded(Route route, Reading reading):
    """The result of a route; None if a guard does not hold, Failed if a gate raises."""
    cdef long before = raised_by_handlers
    if not route.has_regions:
        return route.run(reading)
    try:
        return route.run(reading)
    except Exception as error:
        if raised_by_handlers != before:
            raise
        route.broken = -1
        return Failed(route, error)


cdef Door _example = Door()
cdef Py_ssize_t _offset = <Py_ssize_t>(<char*>&_example.called - <char*><void*>_example)


def entered_by_vector(kind):
    """Let instances of a class that derives from Door be called; decorates it."""
    if not issubclass(kind, Door):
        raise TypeError(f"{kind.__name__} does not derive from Door")
    call_by_vector(<PyTypeObject*>kind, _offset)
    return kind
