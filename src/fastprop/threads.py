"""The threads that lanes run on: how many, and the pool, which is made anew after a fork."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from typing import Any

__all__ = ["get_num_threads", "give_lock", "run_on_threads", "set_num_threads"]

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_pool_size = 0
_wanted: int | None = None
_with_locks: weakref.WeakSet[Any] = weakref.WeakSet()


def set_num_threads(n: int | None) -> None:
    """Say how many threads lanes may run on; None: what FASTPROP_NUM_THREADS says, else all cores.

    Parameters
    ----------
    n : int or None
        At least 1. Results do not depend on it.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.set_num_threads(1)
    >>> fp.get_num_threads()
    1
    >>> fp.set_num_threads(None)
    """
    global _wanted
    if n is not None and (isinstance(n, bool) or not isinstance(n, int)):
        raise TypeError(f"the number of threads is {n!r}; expected an integer or None")
    if n is not None and n < 1:
        raise ValueError(f"the number of threads is {n}; expected at least 1")
    _wanted = n


def get_num_threads() -> int:
    """Return how many threads lanes may run on."""
    if _wanted is not None:
        return _wanted
    given = os.environ.get("FASTPROP_NUM_THREADS")
    if given is None:
        return len(os.sched_getaffinity(0))
    if not given.isdigit() or int(given) < 1:
        raise ValueError(f"FASTPROP_NUM_THREADS is {given!r}; expected an integer of at least 1")
    return int(given)


def give_lock(owner: Any) -> None:
    """Give an object a lock of its own, `_lock`, and another one in the child of a fork."""
    owner._lock = threading.RLock()
    _with_locks.add(owner)


def _pool_of(size: int) -> ThreadPoolExecutor:
    global _pool, _pool_size
    with _lock:
        if _pool is None or _pool_size < size:
            # the old one ends by itself when nobody holds it any more: another thread may be about to use it
            _pool, _pool_size = ThreadPoolExecutor(size, thread_name_prefix="fastprop"), size
        return _pool


def _forget_pool() -> None:
    """In the child of a fork there are no threads left, nor does anybody give back the locks that others held."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()
    for owner in list(_with_locks):
        owner._lock = threading.RLock()


os.register_at_fork(after_in_child=_forget_pool)


def run_on_threads(work: Callable[[bool], None], stop: Callable[[], None], most: int) -> None:
    """Call `work` on this thread and on up to `most` - 1 others; all have ended when this returns or raises.

    `work` is told whether it runs on the calling thread, which looks for Ctrl-C; `stop` makes all calls of it end soon.
    """
    others = min(get_num_threads(), most) - 1
    if others < 1:
        work(True)
        return
    futures: list[Future[None]] = []
    try:
        _submit(futures, work, others)
        work(True)
        for future in futures:
            if not future.cancel():  # one that waits behind the work of other callers has nothing left to do
                future.result()
    except BaseException:
        stop()
        _wait_for_all(futures)
        raise


def _submit(futures: list[Future[None]], work: Callable[[bool], None], others: int) -> None:
    """Start `work` on other threads; at the end of the interpreter, when there are none any more, on none."""
    pool = _pool_of(others)
    try:
        for _ in range(others):
            futures.append(pool.submit(work, False))
    except RuntimeError:
        return


def _wait_for_all(futures: list[Future[None]]) -> None:
    """Wait until no other thread works any more, whatever is raised here: they write to the caller's arrays."""
    begun = [future for future in futures if not future.cancel()]
    while True:
        try:
            wait_for(begun)
            return
        except BaseException:
            if all(future.done() for future in begun):
                return
