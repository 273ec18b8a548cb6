"""Walking lanes down a tree of conditions, each to the path that it takes."""
import numpy as np

from libc.stdint cimport int32_t, int64_t

cdef enum:
    STRANGE = -2147483648   # a branch that no path takes


def walk(int32_t[:, ::1] tree, truth, int64_t[::1] lanes, int32_t[::1] taken):
    """Note the path of every lane that has one; return for the others which branch they came to, else -1.

    Parameters
    ----------
    tree : int32 array of shape (nodes, 3)
        Of every node, which condition decides, and what follows if it is false and if it is true: another node, a path
        (~ its number), or nothing that is known.
    truth : array of shape (conditions, lanes)
        1 or 0, float32 or float64.
    lanes : int64 array
        The numbers of the lanes, in `taken`.
    taken : int32 array
        Where the numbers of paths go.
    """
    cdef int32_t[::1] lost = np.full(lanes.shape[0], -1, np.int32)
    if truth.dtype == np.float32:
        walk_down[float](tree, truth, lanes, taken, lost)
    else:
        walk_down[double](tree, truth, lanes, taken, lost)
    return np.asarray(lost)


ctypedef fused real:
    float
    double


cdef int walk_down(
    int32_t[:, ::1] tree, real[:, ::1] truth, int64_t[::1] lanes, int32_t[::1] taken, int32_t[::1] lost
) except -1:
    cdef Py_ssize_t i
    cdef int32_t node, branch
    with nogil:
        for i in range(lanes.shape[0]):
            node = 0
            while node >= 0:
                branch = 2 * node + (truth[tree[node, 0], i] != 0.0)
                node = tree[node, 1 + (branch & 1)]
            if node == STRANGE:
                lost[i] = branch
            else:
                taken[lanes[i]] = ~node
    return 0
