"""Products of matrices and vectors: small ones by loops of our own, large ones by NumPy."""
from cpython.object cimport PyObject
from libc.stdint cimport int32_t

from fastprop.gates.blocks import MatMul, StrongMatMul

cdef object MATMUL = MatMul()
cdef object STRONG_MATMUL = StrongMatMul()

cdef enum:
    SMALL_PRODUCT = 4096        # terms up to which a loop of our own is faster than a call of NumPy's


cdef object multiply_blocks(object left, object right):
    """The operator of products, of which an operand is an Array."""
    made = None if nodes_of(current_home()).tracing else apply_product(MATMUL, left, right)
    if made is not None:
        return made
    return ArrayFace.__matmul__(left, right) if isinstance(left, Block) else ArrayFace.__rmatmul__(right, left)


cdef object apply_product(object gate, object left, object right):
    """Record a product of vectors and matrices; None if it is one of anything else, or has none."""
    cdef Product record
    cdef Link* link[2]
    cdef cnp.ndarray a = factor_of(left), b = factor_of(right)
    cdef int j
    if a is None or b is None or cnp.PyArray_NDIM(a) > 2 or cnp.PyArray_NDIM(b) > 2:
        return None
    if cnp.PyArray_DIM(a, cnp.PyArray_NDIM(a) - 1) != cnp.PyArray_DIM(b, 0):
        return None
    link[0], link[1] = link_of_any(left), link_of_any(right)
    for j in range(2):
        if link[j] != NULL:
            check_fresh(link[j])
    record = Product.__new__(Product)
    record.gate = gate
    record.operands = a if link[0] != NULL else own_copy(a), b if link[1] != NULL else own_copy(b)
    record.rows = cnp.PyArray_DIM(a, 0) if cnp.PyArray_NDIM(a) == 2 else 1
    record.inner = cnp.PyArray_DIM(b, 0)
    record.columns = cnp.PyArray_DIM(b, 1) if cnp.PyArray_NDIM(b) == 2 else 1
    record.forward()
    return add_record(home_of_links(2, link, gate), record, 2, link)


cdef object factor_of(object x):
    """An Array's numbers, or a plain array; None if it is anything else."""
    if isinstance(x, Block):
        return (<Block>x).numbers
    return x if is_plain_block(x) else None


cdef object own_copy(cnp.ndarray array):
    """A copy that nobody changes."""
    cdef cnp.ndarray copy = cnp.PyArray_NewCopy(array, cnp.NPY_CORDER)
    freeze(copy)
    return copy


cdef Matrix matrix_of(cnp.ndarray array, bint column) noexcept:
    """An array as a matrix: a vector is a row, or a column."""
    cdef Matrix matrix
    matrix.data, matrix.single = <const char*>cnp.PyArray_DATA(array), is_single(array)
    matrix.down = 0 if cnp.PyArray_NDIM(array) == 1 and not column else cnp.PyArray_STRIDE(array, 0)
    matrix.across = 0 if column and cnp.PyArray_NDIM(array) == 1 else (
        cnp.PyArray_STRIDE(array, cnp.PyArray_NDIM(array) - 1))
    return matrix


cdef inline Matrix matrix_at(const double* numbers, Py_ssize_t columns) noexcept:
    """Numbers side by side as a matrix."""
    return Matrix(<const char*>numbers, columns * <Py_ssize_t>sizeof(double), sizeof(double), False)


cdef inline Matrix turned(Matrix matrix) noexcept:
    """The transposed matrix."""
    return Matrix(matrix.data, matrix.across, matrix.down, matrix.single)


@cython.no_gc
cdef class Product(Record):
    """A product of two matrices, or of a matrix and a vector, or of two vectors."""
    cdef Py_ssize_t rows
    cdef Py_ssize_t inner
    cdef Py_ssize_t columns

    cdef inline bint is_small(self) noexcept:
        return <double>self.rows * self.inner * self.columns <= SMALL_PRODUCT

    cdef int forward(self) except -1:
        """Compute the value."""
        cdef cnp.ndarray a = <cnp.ndarray>self.operands[0]
        cdef cnp.ndarray b = <cnp.ndarray>self.operands[1]
        cdef cnp.ndarray value
        cdef Py_ssize_t[2] shape
        cdef int axes = 0
        cdef double number
        if not self.is_small():
            found = self.gate.forward(a, b)
            self.value = found if isinstance(found, np.ndarray) else float(found)
            if isinstance(found, np.ndarray):
                freeze(<cnp.ndarray>found)
            return 0
        if cnp.PyArray_NDIM(a) == 2:
            shape[axes], axes = self.rows, axes + 1
        if cnp.PyArray_NDIM(b) == 2:
            shape[axes], axes = self.columns, axes + 1
        if axes == 0:
            self.multiply(&number)
            self.value = <double><float>number if is_single(a) and is_single(b) else number
            return 0
        value = empty_array(axes, shape, False)
        self.multiply(<double*>cnp.PyArray_DATA(value))
        if is_single(a) and is_single(b):
            value = array_of(<double*>cnp.PyArray_DATA(value), numberless_of(axes, <cnp.npy_intp*>shape, cnp.NPY_FLOAT))
        freeze(value)
        self.value = value
        return 0

    cdef void multiply(self, double* to) noexcept:
        cdef Matrix a = matrix_of(<cnp.ndarray>self.operands[0], False)
        cdef Matrix b = matrix_of(<cnp.ndarray>self.operands[1], True)
        multiply_matrices(&a, &b, self.rows, self.inner, self.columns, to, False, type(self.gate) is StrongMatMul)

    cdef Py_ssize_t pull(self, Tape tape, Py_ssize_t slot) except -1:
        cdef Nodes* nodes = &tape.nodes
        cdef bint is_number = type(self.value) is float
        cdef double* along = &nodes.adjoint[slot] if is_number else nodes.block[block_number(nodes, slot)].buffer
        cdef Py_ssize_t low = slot
        cdef int32_t operand
        cdef int j
        if along == NULL or (is_number and along[0] == 0.0):
            return slot
        for j in range(2):
            operand = operands_at(nodes, slot)[j]
            if operand == NONE:
                continue
            if self.is_small():
                self.pull_small(nodes, operand, j, along)
            else:
                self.pull_large(nodes, operand, j, along)
            if 0 <= operand < low:
                low = operand
        return low

    cdef int pull_small(self, Nodes* nodes, int32_t operand, int j, const double* along) except -1:
        cdef bint first
        cdef double* to = first_buffer(nodes, operand, &first)
        cdef Matrix pull = matrix_at(along, self.columns)
        cdef Matrix a = turned(matrix_of(<cnp.ndarray>self.operands[0], False))
        cdef Matrix b = turned(matrix_of(<cnp.ndarray>self.operands[1], True))
        if j == 0:
            multiply_matrices(&pull, &b, self.rows, self.columns, self.inner, to, not first, True)
        else:
            multiply_matrices(&a, &pull, self.inner, self.rows, self.columns, to, not first, True)
        return 0

    cdef int pull_large(self, Nodes* nodes, int32_t operand, int j, double* along) except -1:
        cdef cnp.ndarray value
        cdef Py_ssize_t[2] shape
        shape[0], shape[1] = self.rows, self.columns
        a = self.operands[0].reshape((self.rows, self.inner))
        b = self.operands[1].reshape((self.inner, self.columns))
        pull = cnp.PyArray_SimpleNewFromData(2, <cnp.npy_intp*>shape, cnp.NPY_DOUBLE, along)
        if is_single(a) and is_single(b):
            pull = pull.astype(np.float32)
        add_part(nodes, operand, STRONG_MATMUL.forward(pull, b.T) if j == 0 else STRONG_MATMUL.forward(a.T, pull))
        return 0

    cdef int push(self, Tape tape, Py_ssize_t slot) except -1:
        cdef Nodes* nodes = &tape.nodes
        cdef int32_t operand
        cdef double* along
        cdef int j
        for j in range(2):
            operand = operands_at(nodes, slot)[j]
            along = buffer_place(nodes, operand)[0] if operand >= 0 else NULL
            if along != NULL:
                tangent = wrapped(along, <cnp.ndarray>self.operands[j])
                factors = (tangent, self.operands[1]) if j == 0 else (self.operands[0], tangent)
                add_part(nodes, <int32_t>slot, STRONG_MATMUL.forward(*factors))
        return 0
