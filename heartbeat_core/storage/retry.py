"""Asking a store again: jittered exponential backoff within a deadline, and a process-wide trickle while it ails.

Backoff alone lets every waiting thread of a worker knock at a store that is away. A ``Gate`` lets few of them ask at
the same time and, from a failure until the next answer, only a few a second.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

from tenacity import Retrying, retry_if_exception, stop_before_delay, wait_random_exponential

MAX_CONCURRENT = 24
"""Requests of a process that one store answers at the same time."""
TRICKLE_PER_S = 10
"""Requests a second of a process to a store that does not answer."""
FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 8.0

DEFAULT_PATIENCE_S = 15.0

T = TypeVar("T")

_PATIENCE_S: ContextVar[float] = ContextVar("patience_s", default=DEFAULT_PATIENCE_S)


class Gate:
    """Where the threads of a process wait before they ask one store."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(MAX_CONCURRENT)
        self._ails = False
        self._next_at = 0.0

    def ask(self, call: Callable[[], T], is_transient: Callable[[BaseException], bool]) -> T:
        """Return ``call()``, when it is this thread's turn."""
        with self._slots:
            time.sleep(self._wait_s())
            try:
                answer = call()
            except Exception as error:
                self._ails = is_transient(error)
                raise
            self._ails = False
            return answer

    def _wait_s(self) -> float:
        with self._lock:
            if not self._ails:
                return 0.0
            now = time.monotonic()
            self._next_at = max(now, self._next_at + 1 / TRICKLE_PER_S)
            return self._next_at - now


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Let requests of the block be asked again for so long."""
    token = _PATIENCE_S.set(seconds)
    try:
        yield
    finally:
        _PATIENCE_S.reset(token)


def patience_s() -> float:
    """Return for how long a request is asked again here."""
    return _PATIENCE_S.get()


def submit(pool: Executor, function: Callable[..., T], *arguments: Any) -> Future[T]:
    """Submit to a pool of threads, with this thread's patience and access."""
    return pool.submit(copy_context().run, function, *arguments)


def ask(gate: Gate, call: Callable[[float], T], is_transient: Callable[[BaseException], bool]) -> T:
    """Return ``call(seconds_left)``, asked again after transient errors as long as patience lasts.

    Raises
    ------
    Exception
        The last error.
    """
    ends_at = time.monotonic() + patience_s()
    attempts = Retrying(
        stop=stop_before_delay(patience_s()),
        wait=wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S),
        retry=retry_if_exception(is_transient),
        reraise=True,
    )
    answer: T = attempts(gate.ask, lambda: call(max(1.0, ends_at - time.monotonic())), is_transient)
    return answer
