"""The order of gates for one point: runs of equal gates, and their places in a run.

schedule  within a window, gates of one kind that wait for nothing of each other become a run, and long chains one
number    within a run, gates take the order in which their operands lie side by side
"""
import numpy as np

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport qsort

from fastprop.engine.executor.instructions cimport BATCH_MATMUL, MATMUL, REGION, RESULT
from fastprop.engine.kernels cimport ADD, MULTIPLY

cdef enum:
    WINDOW = 8192       # gates that are put in order together: a wider window gives longer runs and more cache misses
    RUN = 1024          # gates of a run at most
    CHAIN = 8           # gates of a chain at least


def schedule(Draft draft, Py_ssize_t window=WINDOW):
    """Put the gates of every window in the order of their depth there, and those of one depth in the order of kind."""
    cdef Py_ssize_t n = len(draft)
    if draft.run is not None:
        draft = replaced(draft, {"run": None})      # they go by the old order
    if draft.payload or MATMUL in draft.opcode or BATCH_MATMUL in draft.opcode:
        window = max(window, n)     # the numbers of a region, or of a product, stay side by side
    cdef int32_t[::1] link = chains(draft, window)
    cdef int32_t[::1] depth = depths(draft, link, window)
    cdef int32_t[::1] kind = kinds(draft, link, depth)
    order = np.asarray(ordered(depth, kind, n, window))
    moved = permuted(draft, order)
    runs = boundaries(moved, np.asarray(kind)[order], np.asarray(depth)[order], window)
    return by_need(replaced(moved, {"run": runs}))


cdef int32_t[::1] ordered(int32_t[::1] depth, int32_t[::1] kind, Py_ssize_t n, Py_ssize_t window):
    """The gates of each window by depth, then by kind, else as they were: two counting sorts."""
    cdef int32_t[::1] order = np.arange(max(n, 1), dtype=np.int32)[:n]
    cdef int32_t[::1] spare = np.empty(max(n, 1), np.int32)
    cdef int32_t[::1] count = np.zeros(max(window, np.asarray(kind).max() + 1, 1) + 2, np.int32)
    cdef Py_ssize_t begin
    for begin in range(0, n, window):
        count_sort(order, spare, kind, count, begin, min(begin + window, n))
        count_sort(order, spare, depth, count, begin, min(begin + window, n))
    return order


cdef int count_sort(
    int32_t[::1] order, int32_t[::1] spare, int32_t[::1] key, int32_t[::1] count, Py_ssize_t begin, Py_ssize_t end
) except -1:
    """Sort order[begin:end] by key, stably; `count` is zero before and after."""
    cdef Py_ssize_t i
    cdef int32_t least = key[order[begin]], most = least, k, at = <int32_t>begin, here
    for i in range(begin, end):
        least = min(least, key[order[i]])
        most = max(most, key[order[i]])
        spare[i] = order[i]
    for i in range(begin, end):
        count[key[spare[i]] - least] += 1
    for k in range(most - least + 1):
        here = count[k]
        count[k] = at
        at += here
    for i in range(begin, end):
        k = key[spare[i]] - least
        order[count[k]] = spare[i]
        count[k] += 1
    for k in range(most - least + 1):
        count[k] = 0
    return 0


def boundaries(Draft draft, int32_t[::1] kind, int32_t[::1] depth, Py_ssize_t window):
    """Return where runs begin, in a draft in order, and its end."""
    cdef int32_t[::1] first = draft.first
    cdef uint8_t[::1] opcode = draft.opcode
    cdef Py_ssize_t n = len(draft), i, begin = 0, runs = 1
    cdef int32_t[::1] found = np.zeros(n + 2, np.int32)
    if n == 0:
        return np.zeros(1, np.int32)
    for i in range(1, n):
        if opcode[i] == RESULT:
            continue
        if (
            kind[i] != kind[i - 1] or depth[i] != depth[i - 1] or i % window == 0 or i - begin >= RUN
            or first[i + 1] - first[begin] > 4 * RUN
        ):
            found[runs] = <int32_t>i
            runs += 1
            begin = i
    found[runs] = <int32_t>n
    return np.asarray(found)[: runs + 1].copy()


cdef Draft by_need(Draft draft):
    """Put runs right before those that read them, if some are as long as can be: parts of something longer.

    What the first part of it needs is then computed, used and forgotten before the second one is begun, in the cache.
    Regions and products stay where they are.
    """
    cdef int32_t[::1] run = draft.run
    cdef Py_ssize_t runs = run.shape[0] - 1, r, begin = 0
    if runs == 0 or np.diff(np.asarray(run)).max() < RUN:
        return draft
    cdef int32_t[::1] run_of = np.repeat(np.arange(runs, dtype=np.int32), np.diff(np.asarray(run)))
    cdef int32_t[::1] order = np.empty(runs, np.int32)
    for r in range(runs + 1):
        if r == runs or has_results(draft.opcode[run[r]]):
            put_by_need(draft, run_of, order, begin, r)
            if r < runs:
                order[r] = <int32_t>r
            begin = r + 1
    sizes = np.diff(np.asarray(run))[np.asarray(order)]
    ends = np.cumsum(sizes, dtype=np.int32)
    gates = np.repeat(np.asarray(run)[np.asarray(order)] - ends + sizes, sizes) + np.arange(len(draft), dtype=np.int32)
    moved = permuted(replaced(draft, {"run": None}), gates)
    return replaced(moved, {"run": np.concatenate([np.zeros(1, np.int32), ends])})


cdef int put_by_need(Draft draft, int32_t[::1] run_of, int32_t[::1] order, Py_ssize_t begin, Py_ssize_t end) except -1:
    """Write the runs of a stretch in the order in which those that nobody reads there need them."""
    cdef int32_t[::1] run = draft.run
    cdef int32_t[::1] first = draft.first
    cdef int32_t[::1] operand = draft.operand
    cdef int32_t[::1] waits = np.empty(end - begin + 1, np.int32)           # runs that wait for the next one
    cdef int32_t[::1] looked = np.empty(end - begin + 1, np.int32)          # at operands of it, before this one
    cdef uint8_t[::1] is_read = np.zeros(end - begin + 1, np.uint8)
    cdef uint8_t[::1] seen = np.zeros(end - begin + 1, np.uint8)
    cdef Py_ssize_t r, k, at = begin, depth = 0
    cdef int32_t x, q
    for r in range(begin, end):
        for k in range(first[run[r]], first[run[r + 1]]):
            x = operand[k] - draft.inputs
            if x >= 0 and begin <= run_of[x] < r:
                is_read[run_of[x] - begin] = 1
    for r in range(begin, end):
        if is_read[r - begin]:
            continue
        waits[0], looked[0], depth = <int32_t>r, first[run[r]], 1
        while depth:
            q = waits[depth - 1]
            k = looked[depth - 1]
            while k < first[run[q + 1]]:
                x = operand[k] - draft.inputs
                k += 1
                if x >= 0 and begin <= run_of[x] < q and not seen[run_of[x] - begin]:
                    break
            else:
                order[at] = q
                at += 1
                depth -= 1
                continue
            looked[depth - 1] = <int32_t>k
            q = run_of[x]
            seen[q - begin] = 1
            waits[depth], looked[depth] = q, first[run[q]]
            depth += 1
    return 0


cdef int32_t[::1] chains(Draft draft, Py_ssize_t window):
    """For each gate the one before it in its chain (a sum or product carried on), or -1."""
    cdef uint8_t[::1] opcode = draft.opcode
    cdef int32_t[::1] first = draft.first
    cdef int32_t[::1] operand = draft.operand
    cdef int32_t inputs = draft.inputs
    cdef Py_ssize_t n = len(draft)
    cdef int32_t[::1] link = np.full(max(n, 1), -1, np.int32)
    cdef uint8_t[::1] taken = np.zeros(max(n, 1), np.uint8)
    cdef int32_t[::1] length = np.ones(max(n, 1), np.int32)
    cdef Py_ssize_t i
    cdef int32_t before
    for i in range(n):
        if opcode[i] != ADD and opcode[i] != MULTIPLY:
            continue
        before = operand[first[i]] - inputs
        if (
            before >= 0 and opcode[before] == opcode[i] and not taken[before]
            and operand[first[i] + 1] != before + inputs
        ):
            if before // window == i // window:
                link[i] = before
                taken[before] = 1
                length[i] = length[before] + 1
    for i in range(n - 1, -1, -1):      # the last of a chain knows how long it is
        if link[i] >= 0:
            length[link[i]] = length[i]
    for i in range(n):
        if length[i] < CHAIN:
            link[i] = -1
    return link


cdef int32_t[::1] depths(Draft draft, int32_t[::1] link, Py_ssize_t window):
    """How many runs of its window a gate waits for; the gates of a chain don't wait for each other."""
    cdef uint8_t[::1] opcode = draft.opcode
    cdef int32_t[::1] first = draft.first
    cdef int32_t[::1] operand = draft.operand
    cdef int32_t inputs = draft.inputs
    cdef Py_ssize_t n = len(draft)
    cdef int32_t[::1] depth = np.zeros(max(n, 1), np.int32)
    cdef Py_ssize_t i, begin
    cdef int32_t j, before, deepest
    for i in range(n):
        begin = i - i % window
        deepest = 0
        for j in range(first[i], first[i + 1]):
            before = operand[j] - inputs
            if before >= begin:
                deepest = max(deepest, depth[before] + (0 if link[i] == before or opcode[i] == RESULT else 1))
        depth[i] = deepest
    return depth


cdef int32_t[::1] kinds(Draft draft, int32_t[::1] link, int32_t[::1] depth):
    """Gates of the same number can be one run: the same gate, the same operands constant; or one chain."""
    cdef uint8_t[::1] opcode = draft.opcode
    cdef int32_t[::1] first = draft.first
    cdef int32_t[::1] operand = draft.operand
    cdef Py_ssize_t n = len(draft)
    cdef int32_t[::1] kind = np.zeros(max(n, 1), np.int32)      # also without gates
    cdef dict known = {}
    cdef int64_t pattern
    cdef int32_t next_kind = 0
    cdef int32_t j
    cdef Py_ssize_t i
    cdef int32_t[::1] quick = np.full(256 * 64, -1, np.int32)
    cdef Py_ssize_t place
    cdef uint8_t[::1] followed = np.zeros(max(n, 1), np.uint8)      # by the next of its chain
    for i in range(n):
        if link[i] >= 0 and depth[link[i]] == depth[i]:
            followed[link[i]] = 1
    for i in range(n):
        if opcode[i] == RESULT:
            kind[i] = kind[operand[first[i]] - draft.inputs]
            continue
        if link[i] >= 0 and depth[link[i]] == depth[i]:
            kind[i] = kind[link[i]]
            continue
        if followed[i] or has_results(opcode[i]):
            kind[i] = next_kind
            next_kind += 1
            continue
        if first[i + 1] - first[i] <= 4:
            place = <Py_ssize_t>opcode[i] * 64
            pattern = 1
            for j in range(first[i], first[i + 1]):
                pattern = 2 * pattern + (operand[j] < 0)
            place += <Py_ssize_t>pattern
            if quick[place] < 0:
                quick[place] = next_kind
                next_kind += 1
            kind[i] = quick[place]
            continue
        key = opcode[i], bytes(np.asarray(operand)[first[i] : first[i + 1]] < 0)
        if key not in known:
            known[key] = next_kind
            next_kind += 1
        kind[i] = known[key]
    return kind


def permuted(Draft draft, order):
    """Return the draft with its gates in another order."""
    cdef int32_t[::1] first = draft.first
    cdef int32_t[::1] operand = draft.operand
    cdef Py_ssize_t n = len(draft), i
    cdef int32_t[::1] old = np.ascontiguousarray(order, np.int32)
    cdef int32_t inputs = draft.inputs
    cdef int32_t[::1] moved = np.empty(max(n, 1), np.int32)
    cdef int32_t[::1] new_first = np.zeros(n + 1, np.int32)
    cdef int32_t[::1] new_operand = np.empty(max(operand.shape[0], 1), np.int32)
    cdef int32_t j, at = 0
    for i in range(n):
        moved[old[i]] = <int32_t>(inputs + i)
    for i in range(n):
        for j in range(first[old[i]], first[old[i] + 1]):
            new_operand[at] = moved[operand[j] - inputs] if operand[j] >= inputs else operand[j]
            at += 1
        new_first[i + 1] = at
    payload = {}
    for gate, what in draft.payload.items():
        payload[int(moved[gate]) - inputs] = what
    return replaced(draft, dict(
        opcode=np.asarray(draft.opcode)[np.asarray(old)[:n]], first=np.asarray(new_first),
        operand=np.asarray(new_operand)[: operand.shape[0]], origin=np.asarray(draft.origin)[np.asarray(old)[:n]],
        outputs=translate(draft.outputs, inputs, moved), guards=translate(draft.guards, inputs, moved), payload=payload,
    ))


# ------------------------------------------------------------------------------------------------------- number

cdef struct Place:
    int32_t key
    int32_t gate


cdef int by_key(const void* x, const void* y) noexcept nogil:
    cdef int32_t a = (<const Place*>x).key, b = (<const Place*>y).key
    return (a > b) - (a < b)


def number(Draft draft):
    """Within every run, put the gates in the order of an operand if that makes it lie side by side."""
    if draft.run is None:
        raise ValueError("number wants a draft whose gates are in runs; schedule makes them")
    cdef int32_t[::1] first = draft.first
    cdef int32_t[::1] operand = draft.operand
    cdef int32_t[::1] run = draft.run
    cdef Py_ssize_t n = len(draft), r, i, begin, end
    cdef int32_t inputs = draft.inputs, j
    cdef int32_t[::1] order = np.arange(max(n, 1), dtype=np.int32)[:n]
    cdef int32_t[::1] moved = np.arange(inputs, inputs + max(n, 1), dtype=np.int32)
    cdef Place[RUN] place
    cdef bint changed = False
    for r in range(run.shape[0] - 1):
        begin, end = run[r], run[r + 1]
        if end - begin < 2 or end - begin > RUN:
            continue
        if operand[first[begin + 1]] == inputs + begin:     # a chain or region has its order
            continue
        for j in range(min(first[begin + 1] - first[begin], 2)):
            for i in range(begin, end):
                place[i - begin].gate = <int32_t>i
                place[i - begin].key = operand[first[i] + j]
                if place[i - begin].key >= inputs:
                    place[i - begin].key = moved[place[i - begin].key - inputs]
            if is_side_by_side(place, end - begin):
                break
            qsort(place, <size_t>(end - begin), sizeof(Place), by_key)
            if is_side_by_side(place, end - begin):
                changed = True
                for i in range(begin, end):
                    order[i] = place[i - begin].gate
                    moved[order[i]] = <int32_t>(inputs + i)
                break
    return permuted(draft, np.asarray(order)) if changed else draft


cdef bint is_side_by_side(const Place* place, Py_ssize_t n) noexcept:
    cdef Py_ssize_t i
    for i in range(1, n):
        if place[i].key != place[i - 1].key + 1:
            return False
    return place[0].key >= 0
