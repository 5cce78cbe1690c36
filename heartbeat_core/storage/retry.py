"""Repeated requests to a store: jittered exponential backoff within a deadline, and a rate limit while the store fails.

Backoff alone would let every thread of a worker send requests to a store that is down. All requests of a process to one
store pass through a ``Gate``. It limits how many run at the same time and, after a failure, how many start each second
until the store answers again.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

MAX_CONCURRENT = 24
"""Requests that a process may have under way to one store."""
FAILING_REQUESTS_PER_S = 10
"""Requests that a process may start each second while the store fails."""
FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 8.0

DEFAULT_PATIENCE_S = 15.0

S = TypeVar("S")
T = TypeVar("T")

_PATIENCE_S: ContextVar[float] = ContextVar("patience_s", default=DEFAULT_PATIENCE_S)


class Gate:
    """Limits the requests that the threads of a process send to one store."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(MAX_CONCURRENT)
        self._is_failing = False
        self._next_at = 0.0

    def ask(self, call: Callable[[], T], is_transient: Callable[[BaseException], bool]) -> T:
        """Wait for this thread's turn and return ``call()``."""
        with self._slots:
            time.sleep(self._wait_s())
            try:
                answer = call()
            except Exception as error:
                self._is_failing = is_transient(error)
                raise
            self._is_failing = False
            return answer

    def _wait_s(self) -> float:
        with self._lock:
            if not self._is_failing:
                return 0.0
            now = time.monotonic()
            self._next_at = max(now, self._next_at + 1 / FAILING_REQUESTS_PER_S)
            return self._next_at - now


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Let requests in the block be repeated for so long after transient errors."""
    token = _PATIENCE_S.set(seconds)
    try:
        yield
    finally:
        _PATIENCE_S.reset(token)


def patience_s() -> float:
    """Return for how long a request is repeated here."""
    return _PATIENCE_S.get()


def submit(pool: Executor, function: Callable[..., T], *arguments: Any) -> Future[T]:
    """Submit a call to a pool of threads; it has the patience and access of this thread.

    Parameters
    ----------
    pool : Executor
        Of threads; the context of this thread cannot be sent to a process.
    function : Callable[..., T]
    *arguments : Any
        For the function.
    """
    return pool.submit(copy_context().run, function, *arguments)


def in_order(function: Callable[[S], T], items: Iterable[S], at_once: int) -> Iterator[T]:
    """Yield ``function(item)`` of each item, in order; up to ``at_once`` of them are under way or wait to be taken.

    The calls run in threads, with the patience and access of this one. A caller that stops early, or that meets the
    error of a call, does not wait for answers that it will not use.

    Parameters
    ----------
    function : Callable[[S], T]
        Its error is raised when the item's turn comes.
    items : Iterable[S]
        Taken one by one, as calls begin.
    at_once : int
        Number of threads.

    Examples
    --------
    >>> list(in_order(abs, [-1, 2, -3], at_once=2))
    [1, 2, 3]
    """
    pool = ThreadPoolExecutor(at_once, thread_name_prefix="in-order")
    under_way: deque[Future[T]] = deque()
    try:
        for item in items:
            if len(under_way) == at_once:
                yield under_way.popleft().result()
            under_way.append(submit(pool, function, item))
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def ask(gate: Gate, call: Callable[[float], T], is_transient: Callable[[BaseException], bool]) -> T:
    """Return ``call(seconds_left)``; it is repeated after transient errors for as long as ``patience`` allows.

    Raises
    ------
    Exception
        The error of the last attempt.
    """
    # Loaded here because local files do without it.
    from tenacity import Retrying, retry_if_exception, stop_before_delay, wait_random_exponential

    ends_at = time.monotonic() + patience_s()
    attempts = Retrying(
        stop=stop_before_delay(patience_s()),
        wait=wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S),
        retry=retry_if_exception(is_transient),
        reraise=True,
    )
    answer: T = attempts(gate.ask, lambda: call(max(1.0, ends_at - time.monotonic())), is_transient)
    return answer
