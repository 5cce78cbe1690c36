"""What the threads of a worker share: its one core, on which one of them computes, and what it has loaded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from functools import wraps
from itertools import islice
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

SLOW_S = 0.002
"""Whoever waits longer for the next recording lets another thread compute meanwhile."""
_CORE = threading.RLock()


@contextmanager
def computing() -> Iterator[None]:
    """Hold the worker's core: one of its threads computes, the others read and write meanwhile."""
    with _CORE:
        yield


def loaded_once(load: Callable[P, T]) -> Callable[P, T]:
    """Keep what a function returned last, for equal arguments; the threads that need it too wait for the first.

    They share its error as well: if each tried in its turn, a store that is away would be waited for once a thread. A
    caller does not hold the core, because it may wait here. ``lru_cache`` would let each of the threads load a copy.

    Parameters
    ----------
    load : Callable[P, T]
        Called with arguments that can be hashed.
    """
    kept: dict[Hashable, Future[T]] = {}
    lock = threading.Lock()

    @wraps(load)
    def once(*args: P.args, **kwargs: P.kwargs) -> T:
        key = args, tuple(kwargs.items())
        with lock:
            found = kept.get(key)
            if is_first := found is None:
                kept.clear()  # Before the next is loaded: both might not fit.
                found = kept[key] = Future()
        if is_first:
            try:
                found.set_result(load(*args, **kwargs))
            except BaseException as error:
                with lock:
                    kept.pop(key, None)  # The next caller tries again.
                found.set_exception(error)
                raise
        return found.result()

    return once


class Turn:
    """A task's turn at the core, as a context: it keeps the core from recording to recording.

    Two tasks that took turns after every recording would find the caches full of each other's data, and switch threads
    ten times a recording: NumPy and the transforms took a fifth more time. So a task gives the core away only while it
    waits for its next recording, and at its end, when it writes.

    Examples
    --------
    >>> with Turn() as turn:
    ...     sum(turn.each(iter([1, 2, 3])))
    6
    """

    def __init__(self) -> None:
        # The first recording of a task is not there yet.
        self._waits = True

    def __enter__(self) -> Self:
        _CORE.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _CORE.release()

    def each(self, items: Iterator[T]) -> Iterator[T]:
        """Yield the items; the core is free while one is awaited, if the one before took long.

        The caller holds this turn, and is not inside ``computing`` when it asks for an item.
        """
        while True:
            with _freed() if self._waits else nullcontext():
                began = time.monotonic()
                found = list(islice(items, 1))
                self._waits = time.monotonic() - began > SLOW_S
            if not found:
                return
            yield found[0]


@contextmanager
def _freed() -> Iterator[None]:
    _CORE.release()
    try:
        yield
    finally:
        _CORE.acquire()
