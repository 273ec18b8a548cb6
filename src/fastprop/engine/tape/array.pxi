"""Block, and Array: a handle on a block of numbers.

No list comprehensions here nor in the other modules of the engine: those that Cython 3.3 compiles free an item twice
when memory runs out.
"""
import inspect
import operator

import numpy as np

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport int32_t


from fastprop import gates
from fastprop.gates.blocks import GetItem, Transpose, value_of
from fastprop.handles.face import ArrayFace
from fastprop.handles.operands import Values, as_block, as_float, frozen, holds_handles, like_block, stack
from fastprop.hints import OPTIONS, refuse_options

cdef enum:
    FEW_AXES = 5

cdef object EMPTY = np.asarray(frozen(np.zeros(0)))
cdef list reversal = []         # by the number of axes
for _axes in range(FEW_AXES):
    reversal.append(Transpose(tuple(range(_axes - 1, -1, -1))))


# -------------------------------------------------------------------------------------------------------- handle

cdef Link* link_of_any(object handle) noexcept:
    """The link of a Unit or an Array, NULL for anything else."""
    if isinstance(handle, Unit):
        return &(<Unit>handle).link
    if isinstance(handle, Block):
        return &(<Block>handle).link
    return NULL


@cython.no_gc       # the arrays hold no objects
cdef class Block:
    """What an Array is to the engine: a link and two read-only NumPy arrays."""

    def __cinit__(self):
        self.link.owner = <PyObject*>self
        self.link.size = 0
        self.numbers = EMPTY

    def __dealloc__(self):
        if self.link.tape != NULL and self.link.key != PINNED:
            release_block(&self.link, cnp.PyArray_NBYTES(<cnp.ndarray>self.numbers))
        detach(&self.link)

    cdef int hold(self, object numbers) except -1:
        if type(numbers) is not np.ndarray:
            numbers = numbers.view(np.ndarray)
        self.numbers = numbers
        self.link.size = cnp.PyArray_SIZE(<cnp.ndarray>numbers)
        return 0

    @property
    def _tape(self):
        """The tape of a result, None for a leaf."""
        check_fresh(&self.link)
        return None if self.link.tape == NULL else <object>self.link.tape

    @property
    def value(self):
        """The numbers, as a read-only array. A leaf's can be assigned, a result's can't."""
        check_fresh(&self.link)
        return self.numbers.view(Values)

    @value.setter
    def value(self, value):
        check_fresh(&self.link)
        if self.link.tape != NULL:
            raise ValueError("the value of a result can't be assigned; assign to leaves and compute it again")
        self.hold(like_block(value, self.numbers, "value"))
        self.link.key = NO_TAPE

    @property
    def grad(self):
        """The sum of what sweeps backward have brought, as a read-only array; it can be assigned."""
        check_fresh(&self.link)
        return self.slope.view(Values) if self.slope is not None else frozen(np.zeros(self.shape, self.dtype))

    @grad.setter
    def grad(self, grad):
        check_fresh(&self.link)
        if np.ndim(grad) == 0:
            number = as_float(grad, "grad")
            self.slope = None if number == 0.0 else frozen(np.full(self.shape, number, self.dtype)).view(np.ndarray)
        else:
            self.slope = like_block(grad, self.numbers, "grad").view(np.ndarray)

    def __getitem__(self, index):
        """A number of the block as a Unit, or a part of it as an Array."""
        cdef Py_ssize_t place = place_in(<cnp.ndarray>self.numbers, index)
        if place >= 0:
            check_fresh(&self.link)
            return owned(element(self, place))
        if is_plain_index(index) and not nodes_of(current_home()).tracing:
            try:
                return apply_move(GetItem(index), self)
            except IndexError:
                pass                    # there it gets its own name
        return ArrayFace.__getitem__(self, index)

    # As operators, ufuncs and attributes that NumPy's arrays have; more of these are in ArrayFace, for both engines.

    @property
    def shape(self):
        """The length of every axis."""
        check_fresh(&self.link)
        return self.numbers.shape

    @property
    def dtype(self):
        """float32 or float64."""
        check_fresh(&self.link)
        return self.numbers.dtype

    @property
    def T(self):
        """The Array with its axes reversed."""
        cdef int axes = cnp.PyArray_NDIM(<cnp.ndarray>self.numbers)
        if axes < 2 or axes >= FEW_AXES or nodes_of(current_home()).tracing:
            return ArrayFace.T.fget(self)
        return apply_move(reversal[axes], self)

    def __add__(left, right):
        return operate_on_blocks(ADD, left, right)

    def __sub__(left, right):
        return operate_on_blocks(SUBTRACT, left, right)

    def __mul__(left, right):
        return operate_on_blocks(MULTIPLY, left, right)

    def __truediv__(left, right):
        return operate_on_blocks(DIVIDE, left, right)

    def __pow__(left, right, modulus):
        if modulus is not None:
            raise TypeError("pow() of Arrays takes two operands; a modulus is for integers")
        return operate_on_blocks(POWER, left, right)

    def __mod__(left, right):
        return operate_on_blocks(REMAINDER, left, right)

    def __floordiv__(left, right):
        return operate_on_blocks(FLOOR_DIVIDE, left, right)

    def __matmul__(left, right):
        return multiply_blocks(left, right)

    def __neg__(self):
        return operate_on_block(NEGATIVE, self)

    def __pos__(self):
        return operate_on_block(POSITIVE, self)

    def __abs__(self):
        return operate_on_block(ABSOLUTE, self)

    def __array_ufunc__(self, ufunc, method, *operands, **options):
        return array_ufunc(self, ufunc, method, *operands, **options)

    def backward(self, pull=None):
        """Sweep backward from here: add to `.grad` of everything that this was computed from.

        Parameters
        ----------
        pull : array_like
            The gradient to put on these numbers, in their shape.
        """
        check_fresh(&self.link)
        if pull is None:
            raise ValueError(f"backward from an Array of shape {self.numbers.shape} needs a pull of that shape")
        cdef cnp.ndarray numbers
        pull = like_block(pull, self.numbers, "the pull")
        if self.link.tape == NULL:
            self.slope = frozen(np.asarray(self.grad + pull, self.dtype)).view(np.ndarray)
            return
        numbers = np.asarray(pull, np.float64)
        backward(&self.link, <double*>cnp.PyArray_DATA(numbers))

    @staticmethod
    def __fastprop_gate__(gate, operands, options):
        return apply_gate(gate, operands, options)


class Array(Block, ArrayFace):
    """A handle on a block of numbers with a shape and a dtype, float32 or float64.

    Parameters
    ----------
    values : array_like
        Nested lists of numbers, or an array; it is copied. With Units in it, they are stacked, recorded.
    grad : array_like, optional
        What gradients are added to, in the same shape.
    dtype : {"float64", "float32"}, optional
        By default that of an array of one of these, else float64.
    name : str, optional
        For `repr` and for pictures.

    Examples
    --------
    >>> import fastprop as fp
    >>> w = fp.Array([1.0, 2.0, 3.0])
    >>> (w * w).sum().backward()
    >>> w.grad
    array([2., 4., 6.])
    """

    __slots__ = ()
    __hash__ = object.__hash__

    def __new__(cls, values, grad=None, *, dtype=None, name=None, **others):
        if others:
            refuse_options("Array", others, OPTIONS["Array"])
            raise TypeError(f"Array() got an unexpected keyword argument {next(iter(others))!r}")
        if link_of_any(values) != NULL or holds_handles(values):
            self = stack(values) if isinstance(values, (list, tuple)) else gates.positive(values)
        else:
            self = Block.__new__(cls)
            (<Block>self).hold(as_block(values, "Array: values", dtype))
        if not self.shape:
            raise ValueError(f"Array({values!r:.60}) would have no axis: a single number is a Unit")
        if dtype is not None and self.dtype != dtype:
            self = self.astype(dtype)
        self.name = name
        if grad is not None:
            self.grad = grad
        return self

    def __eq__(self, other):
        return compared_numbers(self, other, operator.eq)

    def __ne__(self, other):
        return compared_numbers(self, other, operator.ne)

    def __lt__(self, other):
        return compared_numbers(self, other, operator.lt)

    def __le__(self, other):
        return compared_numbers(self, other, operator.le)

    def __gt__(self, other):
        return compared_numbers(self, other, operator.gt)

    def __ge__(self, other):
        return compared_numbers(self, other, operator.ge)


arguments = inspect.signature(Array)
Array.__signature__ = arguments.replace(parameters=[*arguments.parameters.values()][:-1])    # others are refused


cdef object compared_numbers(Block block, object other, object relation):
    """What comparing numbers gives: bools, or, of a captured leaf, conditions of its numbers at every call."""
    if nodes_of(current_home()).tracing:
        if block.link.tape != NULL:
            refuse_outside()
        return relation((<Trace>current_home()).as_block(block), other)
    return relation(block.value, value_of(other))


cdef extern from *:
    """
    /* A class made in Python looks its operators up by name; this gives it those of the compiled class under it. */
    static void take_operators(PyObject *to, PyObject *from) {
        PyNumberMethods *own = ((PyTypeObject *)to)->tp_as_number, *base = ((PyTypeObject *)from)->tp_as_number;
        own->nb_add = base->nb_add, own->nb_subtract = base->nb_subtract, own->nb_multiply = base->nb_multiply;
        own->nb_true_divide = base->nb_true_divide, own->nb_power = base->nb_power;
        own->nb_remainder = base->nb_remainder, own->nb_floor_divide = base->nb_floor_divide;
        own->nb_matrix_multiply = base->nb_matrix_multiply;
        own->nb_negative = base->nb_negative, own->nb_positive = base->nb_positive;
        own->nb_absolute = base->nb_absolute;
    }
    """
    void take_operators(PyObject* to, PyObject* base) noexcept

take_operators(<PyObject*>Array, <PyObject*>Block)


cdef void release_block(Link* link, Py_ssize_t nbytes) noexcept:
    """Note on its tape that the handle of a result goes."""
    cdef Tape tape = <Tape>link.tape
    cdef Nodes* nodes = &tape.nodes
    nodes.block[block_number(nodes, link.slot)].held = False
    tape.nbytes_dead += nbytes
    if is_worth_reclaiming(tape):
        nodes.limit = 0         # so that recording asks for room


cdef Py_ssize_t place_in(cnp.ndarray numbers, object index) except? -2:
    """Which number an index picks, in C order; -1 if it picks a part, or leaves that to NumPy."""
    cdef Py_ssize_t place = 0
    cdef Py_ssize_t axis, i, length, axes = cnp.PyArray_NDIM(numbers)
    cdef tuple picks
    if type(index) is int:
        picks = (index,)
    elif type(index) is tuple:
        picks = index
    else:
        return -1
    if len(picks) != axes or cnp.PyArray_SIZE(numbers) > INDEX_LIMIT:
        return -1
    for axis in range(axes):
        length = cnp.PyArray_DIM(numbers, axis)
        if type(picks[axis]) is not int:
            return -1
        if not -length <= picks[axis] < length:
            raise IndexError(f"index {picks[axis]} is out of bounds for axis {axis} with size {length}")
        i = picks[axis]
        place = place * length + (i + length if i < 0 else i)
    return place


cdef bint is_plain_index(object index):
    """Whether an index is made of Python's integers, slices of such, None and Ellipsis alone."""
    if type(index) is tuple:
        for part in index:
            if type(part) is tuple or not is_plain_index(part):
                return False
        return True
    if type(index) is slice:
        return is_bound(index.start) and is_bound(index.stop) and is_bound(index.step)
    return index is None or index is Ellipsis or type(index) is int


cdef inline bint is_bound(object x) noexcept:
    return x is None or type(x) is int


cdef double number_at(cnp.ndarray numbers, Py_ssize_t place) noexcept:
    """A number by its place in C order."""
    cdef char* data = <char*>cnp.PyArray_DATA(numbers)
    cdef Py_ssize_t axis, length
    for axis in range(cnp.PyArray_NDIM(numbers) - 1, -1, -1):
        length = cnp.PyArray_DIM(numbers, axis)
        data += place % length * cnp.PyArray_STRIDE(numbers, axis)
        place //= length
    return (<float*>data)[0] if cnp.PyArray_TYPE(numbers) == cnp.NPY_FLOAT else (<double*>data)[0]


cdef PyObject* element(Block block, Py_ssize_t place) except NULL:
    """Record that one number of a block is taken."""
    cdef PyObject* home = block.link.tape if block.link.tape != NULL else current_home()
    cdef double value = number_at(<cnp.ndarray>block.numbers, place)
    cdef int32_t operand
    if nodes_of(home).length >= nodes_of(home).limit:
        make_room(home, 0)
    operand = operand_of(home, &block.link)
    return append(home, ELEMENT, operand, <int32_t>place, 1.0, 0.0, value)


cdef Block new_array(object numbers):
    """An Array that is on no tape yet."""
    cdef Block array = Block.__new__(Array)
    array.numbers = numbers
    array.link.size = cnp.PyArray_SIZE(<cnp.ndarray>numbers)
    return array
