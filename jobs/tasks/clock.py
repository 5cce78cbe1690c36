"""How long a task takes for each of its stages, for the report.

Several tasks share a worker's core, so what computes is measured in processor time of its thread. Reading and storing
are measured in wall time.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from jobs.tasks.isolation import Place

T = TypeVar("T")


@dataclass(slots=True)
class StageClock:
    """The stages of one task.

    Attributes
    ----------
    worker : str
        Host and process.
    started_at : float
        Seconds since 1970.
    seconds : dict[str, float]
        ``read`` (waiting for recordings), ``core`` (waiting for the worker's core), ``features`` and ``model``.
    """

    worker: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}")
    started_at: float = field(default_factory=lambda: round(time.time(), 3))
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def computes(self, stage: str) -> Iterator[None]:
        """Add the processor time of the block to a stage."""
        began = time.thread_time()
        try:
            yield
        finally:
            self._add(stage, time.thread_time() - began)

    @contextmanager
    def reads(self) -> Iterator[None]:
        """Add the wall time of the block to ``read``, without what computes meanwhile."""
        began, called = time.monotonic(), self._called
        try:
            yield
        finally:
            self._add("read", time.monotonic() - began - (self._called - called))

    def at(self, place: Place) -> Place:
        """Return the place with its calls measured: ``features`` computes, ``core`` is the rest of the call."""
        return _Timed(self, place)

    @property
    def _called(self) -> float:
        return sum(self.seconds.get(stage, 0.0) for stage in ("features", "core", "model"))

    def _add(self, stage: str, seconds: float) -> None:
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + max(0.0, seconds), 6)


@dataclass(frozen=True, slots=True)
class _Timed:
    clock: StageClock
    place: Place

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call it there. What a child process computes counts as ``core``, since this thread waits for it."""
        began, computed = time.monotonic(), time.thread_time()
        try:
            return self.place.call(function, *arguments)
        finally:
            took = time.thread_time() - computed
            self.clock._add("features", took)
            self.clock._add("core", time.monotonic() - began - took)
