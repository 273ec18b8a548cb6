"""CPython's objects and NumPy's arrays as C sees them: nothing here counts references by itself."""
from cpython.object cimport PyObject, PyTypeObject


cdef extern from *:
    """
    #include <numpy/arrayobject.h>
    #include <numpy/arrayscalars.h>

    /* The keys and values of a dict, one after the other in its order, without a call for each. NULL: it has gaps, or
       keys that are no strings, or this Python may keep them otherwise; PyDict_Next knows all of them. */
    #if PY_VERSION_HEX < 0x030E0000 && !defined(Py_GIL_DISABLED) && !defined(PYPY_VERSION)
    typedef struct {                            /* as in CPython's pycore_dict.h, from 3.11 to 3.13 */
        Py_ssize_t references;
        unsigned char log2_size, log2_index_bytes, kind;    /* 0: any keys, 1: strings, 2: shared by instances */
        unsigned int version;
        Py_ssize_t usable, used;
        char indices[];
    } DictKeys;
    static inline PyObject** entries_of(PyObject* things) {
        DictKeys* keys = (DictKeys*)((PyDictObject*)things)->ma_keys;
        int plain = ((PyDictObject*)things)->ma_values == NULL && keys->kind == 1;
        return plain && keys->used == PyDict_GET_SIZE(things) ?
            (PyObject**)(keys->indices + ((size_t)1 << keys->log2_index_bytes)) : NULL;
    }
    #else
    static inline PyObject** entries_of(PyObject* things) { (void)things; return NULL; }
    #endif

    /* Nothing but one container (or array) holds it. */
    static inline int is_sole(PyObject* thing) { return Py_REFCNT(thing) == 1; }

    static inline void set_float(PyObject* number, double value) { ((PyFloatObject*)number)->ob_fval = value; }

    /* A tuple that is written again has no hash yet. */
    static inline void forget_hash(PyObject* things) {
    #if PY_VERSION_HEX >= 0x030E0000
        ((PyTupleObject*)things)->ob_hash = -1;
    #else
        (void)things;
    #endif
    }

    static inline int has_weak_references(PyObject* array) {
        return ((PyArrayObject_fields*)array)->weakreflist != NULL;
    }

    /* Empty, for as many items, all of which must be set before anybody else sees it. */
    static inline PyObject* new_tuple_of(PyTypeObject* kind, Py_ssize_t count) { return kind->tp_alloc(kind, count); }

    static inline double double_of_scalar(PyObject* scalar) { return PyArrayScalar_VAL(scalar, Double); }
    static inline double single_of_scalar(PyObject* scalar) { return PyArrayScalar_VAL(scalar, Float); }
    static inline double long_of_scalar(PyObject* scalar) { return (double)PyArrayScalar_VAL(scalar, Long); }
    static inline int is_integer_scalar(PyObject* thing) { return PyArray_IsScalar(thing, Integer); }

    /* Instances are called without a tuple of their arguments, by the function at `offset` in them. The class must not
       have a __call__ of its own; classes that inherit from it elsewhere may not either. */
    static inline void call_by_vector(PyTypeObject* kind, Py_ssize_t offset) {
        kind->tp_vectorcall_offset = offset;
        kind->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL;
        kind->tp_call = PyVectorcall_Call;
        PyType_Modified(kind);
    }

    #define AS_ARRAY(thing) ((PyArrayObject*)(thing))
    static inline int array_ndim(PyObject* array) { return PyArray_NDIM(AS_ARRAY(array)); }
    static inline Py_ssize_t array_size(PyObject* array) { return PyArray_SIZE(AS_ARRAY(array)); }
    static inline int array_type(PyObject* array) { return PyArray_DESCR(AS_ARRAY(array))->type_num; }
    static inline PyObject* array_dtype(PyObject* array) { return (PyObject*)PyArray_DESCR(AS_ARRAY(array)); }
    static inline int array_flags(PyObject* array) { return PyArray_FLAGS(AS_ARRAY(array)); }
    static inline int array_is_native(PyObject* array) { return PyArray_ISNOTSWAPPED(AS_ARRAY(array)); }
    static inline char* array_data(PyObject* array) { return PyArray_BYTES(AS_ARRAY(array)); }
    static inline Py_ssize_t* array_shape(PyObject* array) { return (Py_ssize_t*)PyArray_DIMS(AS_ARRAY(array)); }
    static inline Py_ssize_t* array_strides(PyObject* array) { return (Py_ssize_t*)PyArray_STRIDES(AS_ARRAY(array)); }
    static inline PyObject* array_base(PyObject* array) { return PyArray_BASE(AS_ARRAY(array)); }
    static inline PyObject* plain_dtype(int type) { return (PyObject*)PyArray_DescrFromType(type); }

    /* An array in C's order, native and aligned: the array itself if it is one, else a copy. */
    static inline PyObject* in_order(PyObject* array, int type) {
        return PyArray_FromArray(AS_ARRAY(array), PyArray_DescrFromType(type),
                                 NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED | NPY_ARRAY_FORCECAST);
    }

    /* An array whose numbers are not set; of `memory`, which somebody else owns, unless that is NULL. */
    static inline PyObject* new_array_of(int ndim, Py_ssize_t* shape, int type, void* memory) {
        return PyArray_NewFromDescr(&PyArray_Type, PyArray_DescrFromType(type), ndim, (npy_intp*)shape, NULL, memory,
                                    memory == NULL ? 0 : NPY_ARRAY_CARRAY, NULL);
    }

    /* Steals the reference, also on failure. */
    static inline int set_base(PyObject* array, PyObject* owner) {
        return PyArray_SetBaseObject(AS_ARRAY(array), owner);
    }
    """
    PyObject** entries_of(PyObject* things) noexcept nogil
    bint is_sole(PyObject* thing) noexcept nogil
    void set_float(PyObject* number, double value) noexcept nogil
    void forget_hash(PyObject* things) noexcept nogil
    bint has_weak_references(PyObject* array) noexcept nogil
    object new_tuple_of(PyTypeObject* kind, Py_ssize_t count)
    void call_by_vector(PyTypeObject* kind, Py_ssize_t offset) noexcept
    double double_of_scalar(PyObject* scalar) noexcept nogil
    double single_of_scalar(PyObject* scalar) noexcept nogil
    double long_of_scalar(PyObject* scalar) noexcept nogil
    bint is_integer_scalar(PyObject* thing) noexcept nogil
    int array_ndim(PyObject* array) noexcept nogil
    Py_ssize_t array_size(PyObject* array) noexcept nogil
    int array_type(PyObject* array) noexcept nogil
    PyObject* array_dtype(PyObject* array) noexcept nogil
    int array_flags(PyObject* array) noexcept nogil
    bint array_is_native(PyObject* array) noexcept nogil
    char* array_data(PyObject* array) noexcept nogil
    Py_ssize_t* array_shape(PyObject* array) noexcept nogil
    Py_ssize_t* array_strides(PyObject* array) noexcept nogil
    PyObject* array_base(PyObject* array) noexcept nogil
    object plain_dtype(int type)
    object in_order(PyObject* array, int type)
    object new_array_of(int ndim, Py_ssize_t* shape, int type, void* memory)
    int set_base(PyObject* array, PyObject* owner) except -1

    int NPY_BOOL, NPY_BYTE, NPY_LONG, NPY_ULONGLONG, NPY_FLOAT, NPY_DOUBLE, NPY_NTYPES_LEGACY
    int NPY_ARRAY_C_CONTIGUOUS, NPY_ARRAY_ALIGNED, NPY_ARRAY_WRITEABLE, NPY_ARRAY_OWNDATA
    int NPY_MAXDIMS
    PyTypeObject PyDoubleArrType_Type, PyFloatArrType_Type, PyLongArrType_Type
    bint PyArray_CheckExact(PyObject* thing) noexcept nogil


cdef extern from "Python.h":
    PyTypeObject* type_of "Py_TYPE"(PyObject* thing) noexcept nogil
    Py_ssize_t size_of "Py_SIZE"(PyObject* thing) noexcept nogil
    void incref "Py_INCREF"(PyObject* thing) noexcept
    void decref "Py_DECREF"(PyObject* thing) noexcept
    void xdecref "Py_XDECREF"(PyObject* thing) noexcept

    Py_ssize_t PyVectorcall_NARGS(size_t count) noexcept nogil
    PyTypeObject PyLong_Type, PyBool_Type, PyTuple_Type, PyList_Type
    PyObject* Py_None
    bint PyFloat_CheckExact(PyObject* thing) noexcept nogil
    double PyFloat_AS_DOUBLE(PyObject* thing) noexcept nogil
    PyObject* new_float "PyFloat_FromDouble"(double value) except NULL
    double PyFloat_AsDouble(PyObject* thing) except? -1.0
    Py_hash_t PyObject_Hash(PyObject* thing) noexcept
    double PyLong_AsDouble(PyObject* thing) except? -1.0
    bint PyUnicode_CheckExact(PyObject* thing) noexcept nogil
    int PyUnicode_Compare(PyObject* thing, PyObject* other) except? -1
    int PyObject_RichCompareBool(PyObject* thing, PyObject* other, int relation) except -1

    bint PyTuple_CheckExact(PyObject* thing) noexcept nogil
    bint PyList_CheckExact(PyObject* thing) noexcept nogil
    bint PyDict_CheckExact(PyObject* thing) noexcept nogil
    PyObject** items_of "PySequence_Fast_ITEMS"(PyObject* list_or_tuple) noexcept nogil
    Py_ssize_t PyDict_GET_SIZE(PyObject* thing) noexcept nogil
    bint PyDict_Next(PyObject* things, Py_ssize_t* position, PyObject** key, PyObject** value) noexcept
    PyObject* PyDict_GetItemWithError(PyObject* things, PyObject* key) except? NULL
    int PyDict_SetItem(PyObject* things, PyObject* key, PyObject* value) except -1
    int PyObject_GenericSetAttr(PyObject* thing, PyObject* name, PyObject* value) except -1
    object PyDict_Copy(PyObject* things)
    object new_list "PyList_New"(Py_ssize_t count)
    object new_tuple "PyTuple_New"(Py_ssize_t count)


# What stands at a place of a nested container. A run is a container of nothing but numbers.
cdef enum Op:
    NUMBER
    INTEGER             # a number that is one of NumPy's integers
    ARRAY
    STATIC              # an object as it is: a static argument, None, a string
    BLOCK               # an array that is given, whole
    ROW                 # a list or tuple
    RUN                 # a list or tuple of numbers
    DICT
    DICT_RUN
    FIELDS              # a dataclass
    OTHER               # subclasses, taken apart by `nesting`
