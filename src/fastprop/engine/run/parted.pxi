"""Parted: a tree of programs at many lanes, each of which goes down to the leaf that its guards lead to.

Lanes are taken in chunks, whose columns stay in the cache. Down the tree, a part runs at the list of its lanes, which
its guard's column divides between the parts that follow; these read what it hands down through their own lists. A leaf
runs forward and backward at once; then the parts above it run backward, from pulls that those below have put into
columns. A lane that leaves the tree is set aside, with the guard that came out as nobody knows it.
"""
import numpy as np

from cpython.mem cimport PyMem_RawFree, PyMem_RawRealloc
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy, memset

from fastprop.threads import run_on_threads

cdef enum:
    CHUNK = 2048            # lanes
    LARGEST = 16384         # lanes of a chunk in a tree of many parts, so that each has some
    COLUMN_BYTES = 2000000  # bytes that the columns of a chunk may take
    FORWARD = 0             # which of a part's two programs
    TO_AND_FRO = 1          # forward and backward


cdef bint follow_each_other(const int64_t* lane, Py_ssize_t lanes) noexcept nogil:
    """Whether lanes, which need not be in order, are one after the other."""
    cdef Py_ssize_t k = 1
    if lane[lanes - 1] - lane[0] == lanes - 1:
        while k < lanes and lane[k] == lane[0] + k:
            k += 1
    return k == lanes


cdef class Worker:
    """The workspace of one thread."""

    def __dealloc__(self):
        PyMem_RawFree(self.found)

    cdef int note(self, int64_t lane, Py_ssize_t part, Py_ssize_t guard) except -1 nogil:
        """Remember a lane that left the tree."""
        cdef void* moved
        if self.count == self.room:
            moved = PyMem_RawRealloc(self.found, <size_t>(2 * self.room + 64) * sizeof(Stray))
            if moved == NULL:
                with gil:
                    raise MemoryError("no memory for lanes on ways that are not known")
            self.found, self.room = <Stray*>moved, 2 * self.room + 64
        self.found[self.count] = Stray(lane, <int32_t>part, <int32_t>guard)
        self.count += 1
        return 0


cdef class Parted:
    """One use of a tree of programs.

    Parameters
    ----------
    parts : list of tuple
        Parents before children: the columns that a part reads, how many inputs are before these, how many columns it
        hands down, the parts that follow its guard's outcomes (-1: none), how many guards it checks, whether it is a
        leaf. What a part hands down are its first outputs; the next one is the guard that decides.
    lanes : int
        How many there are.
    single, summed : bool
        Whether numbers are float32; whether the outputs of leaves are added up.
    """

    def __init__(self, list parts, Py_ssize_t lanes, bint single, bint summed):
        cdef Py_ssize_t k, row, at = 0, leaves = 0
        cdef int32_t[::1] sources
        self.parts, self.lanes, self.single, self.summed = len(parts), lanes, single, summed
        self.size = 4 if single else 8
        self.table = Memory(self.parts * <Py_ssize_t>sizeof(Part))
        self.part = <Part*>self.table.start
        self.sources = np.array([x for part in parts for x in part[0]] + [0], np.int32)
        sources = self.sources
        columns = [0] * self.parts
        for k, (read, inputs, exports, children, checked, leaf) in enumerate(parts):
            self.part[k].source = &sources[at]
            self.part[k].imports, self.part[k].inputs, self.part[k].exports = len(read), inputs, exports
            self.part[k].child[0], self.part[k].child[1] = children
            self.part[k].checked, self.part[k].leaf, self.part[k].column = checked, leaf, columns[k]
            at += len(read)
            leaves += leaf
            self.columns = max(self.columns, columns[k] + <Py_ssize_t>exports)
            for child in children:
                if child >= 0:
                    columns[child] = columns[k] + exports
        self.chunk = CHUNK
        row = max(self.columns * self.size, <Py_ssize_t>1)
        while self.chunk < min(LARGEST, 64 * leaves) and 4 * self.chunk * row < COLUMN_BYTES:
            self.chunk *= 2
        self.chunk = max(min(self.chunk, lanes), <Py_ssize_t>1)
        self.chunks = (lanes + self.chunk - 1) // self.chunk
        self.strands = min(self.chunks, <Py_ssize_t>STRANDS)
        self.batches = [None] * (2 * self.parts)
        self.workers = []

    def needs(self, Py_ssize_t k, bint both):
        """Say whether a part is run forward alone, or forward and backward, when all is run backward or not."""
        if self.part[k].leaf:
            return [TO_AND_FRO if both else FORWARD]
        return [FORWARD, TO_AND_FRO] if both and self.part[k].exports else [FORWARD]

    def set_batch(self, Py_ssize_t k, Py_ssize_t which, Batch batch):
        """Give the program of a part: forward (0), or forward and backward (1)."""
        if self.batches[2 * k + which] is not batch:
            self.batches[2 * k + which] = batch
            self.workers = []

    def sweep(self, bint both, waiting=None):
        """Run the lanes (those that wait); return those that left the tree: their numbers, parts, and guards."""
        cdef Py_ssize_t k, which
        cdef Batch batch
        self.backward, self.all_wait, self.stopped = both, waiting is None, False
        self.gates, self.next_strand, self.ordered = 0, 0, False
        if waiting is not None:
            self.waiting = waiting
        for k in range(self.parts):
            for which in self.needs(k, both):
                batch = self.batches[2 * k + which]
                batch.open()
                batch.run.take_strands(self.strands)
                self.gates += batch.gates
                self.ordered = self.ordered or batch.run.program.ordered
        for worker in self.workers:
            (<Worker>worker).count = 0
        most_threads = 1 if self.ordered else 1 + self.lanes * self.gates // <Py_ssize_t>THREAD_WORTHY
        if most_threads == 1:
            self.work(True)
        else:
            run_on_threads(self.work, self.stop, min(most_threads, self.strands))
        return self.strays()

    cdef strays(self):
        """The lanes that left the tree, in order."""
        cdef Worker worker
        cdef Py_ssize_t i, n = 0, total = 0
        for worker in self.workers:
            total += worker.count
        found = np.empty((3, total), np.int64)
        cdef int64_t[:, ::1] stray = found
        for worker in self.workers:
            for i in range(worker.count):
                stray[0, n], stray[1, n] = worker.found[i].lane, worker.found[i].part
                stray[2, n] = worker.found[i].guard
                n += 1
        lanes, parts, guards = found[:, np.argsort(found[0], kind="stable")]
        return lanes, parts, guards

    def stop(self):
        """Make all threads end soon."""
        self.stopped = True

    def work(self, bint main):
        """Run strands until none is left."""
        cdef Worker worker
        cdef Py_ssize_t mine, chunk, end
        worker = self.workers.pop() if self.workers else self.new_worker()
        try:
            self.ready(worker)
            with nogil:
                mine = following(&self.next_strand)
                while mine < self.strands and not self.stopped:
                    chunk = mine * self.chunks // self.strands
                    end = (mine + 1) * self.chunks // self.strands
                    while chunk < end and not self.stopped:
                        self.run_chunk(worker, mine, chunk)
                        chunk += 1
                        if main:
                            with gil:
                                look_for_signals()
                    mine = following(&self.next_strand)
        except BaseException:
            self.stopped = True
            raise
        finally:
            self.workers.append(worker)

    # one thread's work

    cdef Worker new_worker(self):
        cdef Worker worker = Worker()
        cdef Py_ssize_t row = self.chunk * self.size, n = self.chunk
        cdef char* at
        worker.runs, worker.benches = [None] * (2 * self.parts), [None] * (2 * self.parts)
        worker.table = Memory(4 * self.parts * <Py_ssize_t>sizeof(void*) + 16)
        worker.run, worker.bench = <void**>worker.table.start, <void**>worker.table.start + 2 * self.parts
        worker.memory = Memory((2 * n + 2 * self.parts) * 8 + n * 4 + (2 * self.columns + 1) * row + 64)
        at = worker.memory.start
        worker.index = <int64_t*>at
        worker.aside = worker.index + n
        worker.begin = worker.aside + n
        worker.end = worker.begin + self.parts
        worker.columns = <char*>(worker.end + self.parts)
        worker.pulls = worker.columns + self.columns * row
        worker.decision = worker.pulls + self.columns * row
        worker.stray = <int32_t*>(worker.decision + row)
        return worker

    cdef int ready(self, Worker worker) except -1:
        """Let a worker's runs read and write what those of the batches do."""
        cdef Py_ssize_t k, which, at, width = self.chunk
        cdef LanesRun run, own
        cdef Bench bench
        if self.parts > 64:
            width = 64
        for k in range(self.parts):
            for which in self.needs(k, self.backward):
                at = 2 * k + which
                run = (<Batch>self.batches[at]).run
                if worker.runs[at] is None:
                    own = LanesRun(run.program, self.single, width, self.summed and self.part[k].leaf)
                    worker.runs[at], worker.benches[at] = own, own.new_bench()
                own, bench = worker.runs[at], worker.benches[at]
                worker.run[at], worker.bench[at] = <void*>own, <void*>bench
                own.follow(run)
                own.lane, own.stray, own.narrows = worker.index, worker.stray, True
                if self.lanes > 0:
                    own.fetch_repeated(bench)
                list_streams(own, bench)
        return 0

    cdef int aim(self, Worker worker, Py_ssize_t first) except -1 nogil:
        """Let runs read and write the columns of a chunk, which begins at a lane."""
        cdef Py_ssize_t k, row = self.chunk * self.size
        cdef char* values = worker.columns - first * self.size
        cdef char* pulls = worker.pulls - first * self.size
        cdef Part* part
        cdef int which
        for k in range(self.parts):
            part = &self.part[k]
            for which in range(2):
                if worker.run[2 * k + which] == NULL:
                    continue
                self.aim_part(
                    worker, part, which, worker.run[2 * k + which], values, pulls,
                    worker.decision - first * self.size, worker.stray - first, row
                )
        return 0

    cdef void aim_part(
        self, Worker worker, const Part* part, int which, void* at, char* values, char* pulls, char* decision,
        int32_t* stray, Py_ssize_t row
    ) noexcept nogil:
        cdef Py_ssize_t j
        (<LanesRun>at).stray = stray
        for j in range(part.imports):
            (<LanesRun>at).aim(
                &(<LanesRun>at).input[part.inputs + j], values + part.source[j] * row, self.size, False
            )
            if which == TO_AND_FRO:
                (<LanesRun>at).aim(
                    &(<LanesRun>at).gradient[part.inputs + j], pulls + part.source[j] * row, self.size, True
                )
        if part.leaf:
            return
        for j in range(part.exports):
            if which == TO_AND_FRO:
                (<LanesRun>at).aim(&(<LanesRun>at).pull[j], pulls + (part.column + j) * row, self.size, False)
            else:
                (<LanesRun>at).aim(&(<LanesRun>at).value[j], values + (part.column + j) * row, self.size, False)
        if which == FORWARD:
            (<LanesRun>at).aim(&(<LanesRun>at).value[part.exports], decision, self.size, False)

    cdef int run_chunk(self, Worker worker, Py_ssize_t strand, Py_ssize_t chunk) except -1 nogil:
        """Run the lanes of a chunk, down the tree and up again."""
        cdef Py_ssize_t first = chunk * self.chunk, last = min(self.lanes, (chunk + 1) * self.chunk)
        cdef Py_ssize_t n = 0, lane, k
        for lane in range(first, last):
            worker.index[n] = lane
            n += 1 if self.all_wait or self.waiting[lane] != 0 else 0
        if n == 0:
            return 0
        for k in range(self.parts):
            worker.begin[k] = worker.end[k] = 0
        worker.end[0] = n
        self.aim(worker, first)
        memset(worker.stray, 0xFF, <size_t>((last - first) * 4))
        if self.backward:
            memset(worker.pulls, 0, <size_t>(self.columns * self.chunk * self.size))
        self.descend(worker, strand, first)
        if self.backward:
            self.ascend(worker, strand)
        return 0

    cdef int descend(self, Worker worker, Py_ssize_t strand, Py_ssize_t first) except -1 nogil:
        cdef Py_ssize_t k, at
        cdef bint both
        for k in range(self.parts):
            if worker.begin[k] >= worker.end[k]:
                continue
            both = self.backward and self.part[k].leaf
            at = 2 * k + both
            (<LanesRun>worker.run[at]).run_list(
                <Bench>worker.bench[at], strand, worker.index + worker.begin[k], worker.end[k] - worker.begin[k], both
            )
            if (<LanesRun>worker.run[at]).diverged >= 0:
                self.set_aside(worker, k, first)
            if not self.part[k].leaf:
                self.divide(worker, k, first)
        return 0

    cdef int ascend(self, Worker worker, Py_ssize_t strand) except -1 nogil:
        cdef Py_ssize_t k, at
        for k in range(self.parts - 1, -1, -1):
            at = 2 * k + TO_AND_FRO
            if self.part[k].leaf or worker.begin[k] >= worker.end[k] or worker.run[at] == NULL:
                continue
            (<LanesRun>worker.run[at]).run_list(
                <Bench>worker.bench[at], strand, worker.index + worker.begin[k], worker.end[k] - worker.begin[k], True
            )
        return 0

    cdef int set_aside(self, Worker worker, Py_ssize_t k, Py_ssize_t first) except -1 nogil:
        """Note the lanes of a part that left the tree there, which then are behind its others."""
        cdef Py_ssize_t i, kept = worker.begin[k], gone = 0
        cdef int64_t lane
        for i in range(worker.begin[k], worker.end[k]):
            lane = worker.index[i]
            if worker.stray[lane - first] >= 0:
                worker.note(lane, k, worker.stray[lane - first])
                worker.aside[gone] = lane
                gone += 1
            else:
                worker.index[kept] = lane
                kept += 1
        memcpy(worker.index + kept, worker.aside, <size_t>gone * sizeof(int64_t))
        worker.end[k] = kept
        return 0

    cdef int divide(self, Worker worker, Py_ssize_t k, Py_ssize_t first) except -1 nogil:
        """Part the lanes of a part by how its guard came out, in order."""
        cdef Py_ssize_t begin = worker.begin[k], end = worker.end[k], low = begin, high = 0, i
        cdef int64_t* index = worker.index
        cdef const double* wide = <const double*>worker.decision
        cdef const float* narrow = <const float*>worker.decision
        cdef int64_t lane
        cdef bint truth
        cdef int side
        for i in range(begin, end):
            lane = index[i]
            truth = narrow[lane - first] != 0.0 if self.single else wide[lane - first] != 0.0
            index[low] = lane
            worker.aside[high] = lane
            low += not truth
            high += truth
        memcpy(index + low, worker.aside, <size_t>high * sizeof(int64_t))
        for side in range(2):
            i = self.part[k].child[side]
            if i >= 0:
                worker.begin[i] = low if side else begin
                worker.end[i] = end if side else low
            else:
                for i in range(low if side else begin, end if side else low):
                    worker.note(index[i], k, self.part[k].checked)
        if self.part[k].child[0] < 0:       # a list of those that go on
            worker.begin[k] = low
        elif self.part[k].child[1] < 0:
            worker.end[k] = low
        return 0
