"""Where one recording's work is done: in this process under a watchdog, or in a child process that can be killed.

A thread cannot be stopped and a crash in a decoder takes its process along. ``Here`` costs nothing: where a recording
runs over its deadline, the watchdog ends the whole worker, as a crash would. What worked on the shard then is done
again through a ``Child``, whose death or delay is the failure of the one recording that it was given.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any, Protocol, TypeVar

from heartbeat_core.errors import OutOfMemory, ProcessTimeout, RecordingError, WorkerCrash
from heartbeat_core.settings import Limits

T = TypeVar("T")

_COMPUTING = threading.Lock()
"""The threads of a worker hide each other's waiting; computing they would only share the core."""

_SHARING = threading.Lock()
_children: dict[Limits, tuple[Child, int]] = {}

_START_S = 60.0
_GRACE_S = 1.0
"""A child ends itself so long after its parent should have ended it."""


@contextmanager
def computing() -> Iterator[None]:
    """Hold the worker's core: one of its threads computes, the others read and write meanwhile."""
    with _COMPUTING:
        yield


@contextmanager
def _watched(deadline_s: float | None) -> Iterator[None]:
    """End this process where the block takes longer, whatever it is doing: SIGALRM does, which nobody handles here.

    Not a thread of Python's, since a decoder may hold the interpreter's lock. One thread computes, and has the timer.
    """
    if deadline_s is None:
        yield
        return
    before = signal.setitimer(signal.ITIMER_REAL, deadline_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *before)


class Place(Protocol):
    """Where a function is called."""

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return ``function(*arguments)``, or raise the RecordingError that it raises or that stands for its end."""


class Here:
    """This process. With a deadline, a call that takes longer ends the process, whatever it is doing."""

    def __init__(self, limits: Limits, deadline_s: float | None = None) -> None:
        self._limits = limits
        self._deadline_s = deadline_s

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        with computing(), _watched(self._deadline_s):
            try:
                return function(*arguments)
            except MemoryError:
                pass
        with child(self._limits) as place:
            return place.call(function, *arguments)


class Child:
    """A process of its own, with limits on memory and time; a new one takes the place of one that died."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        with computing():
            if self._process is not None and self._process.poll() is not None:
                self.close()  # It ended while it had nothing to do; the next recording is not to blame.
            connection = self._connection or self._start()
            try:
                connection.send((function, arguments))
                if not connection.poll(self._limits.deadline_s):
                    self.close()
                    raise ProcessTimeout(f"processing took longer than {self._limits.deadline_s:g} s and was ended")
                outcome, value = connection.recv()
            except (EOFError, ConnectionError):
                raise WorkerCrash(f"the process that worked on it {self._describe_end()}") from None
            # Still with the lock: another thread's call would be made to the child that ends here.
            if outcome == "memory" or (outcome == "error" and not isinstance(value, RecordingError)):
                self.close()  # What it still holds is not known; a bug has ended it.
        if outcome == "memory":
            raise OutOfMemory(f"processing asked for more than {self._limits.max_memory_bytes} bytes")
        if outcome == "error":
            raise value
        result: T = value
        return result

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None

    def _start(self) -> Connection:
        ours, theirs = socket.socketpair()
        # Not by multiprocessing: a worker is a daemonic process itself, which may have no such children. The child
        # looks for modules where this process does; -P keeps it from looking in the working directory first.
        path = os.pathsep.join(filter(None, [os.getcwd() if entry == "" else entry for entry in sys.path]))
        with theirs:
            arguments = theirs.fileno(), self._limits.max_memory_bytes, self._limits.deadline_s
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "jobs.tasks.isolation", *map(str, arguments)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path},
            )
        self._connection = Connection(ours.detach())
        # The deadline is the recording's, not the loading of the libraries'.
        if not self._connection.poll(_START_S) or self._connection.recv() != "ready":
            self.close()
            raise RuntimeError("the child process did not start")
        return self._connection

    def _describe_end(self) -> str:
        process = self._process
        code = None if process is None else process.wait()
        self.close()
        if code is not None and code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"


@contextmanager
def child(limits: Limits) -> Iterator[Child]:
    """Give a child process that is started at the first call, and ended with the last block that has it.

    Only one thread computes, so that all threads of a worker do with one child: starting one takes seconds.
    """
    with _SHARING:
        place, users = _children.get(limits, (Child(limits), 0))
        _children[limits] = place, users + 1
    try:
        yield place
    finally:
        with _SHARING:
            place, users = _children.pop(limits)
            if users > 1:
                _children[limits] = place, users - 1
            else:
                place.close()


def serve(connection: Connection, deadline_s: float) -> None:
    """Answer calls until the parent is gone; a call that outlives even its parent is ended."""
    # Loaded here, so that it does not count as the first recording's time.
    import_module("heartbeat_core.recordings.recording")
    connection.send("ready")
    while True:
        try:
            function, arguments = connection.recv()
        except EOFError:
            return
        with _watched(deadline_s + _GRACE_S):
            try:
                answer = ("done", function(*arguments))
            except RecordingError as error:
                answer = ("error", error)
            except MemoryError:
                answer = ("memory", None)
            except Exception as error:
                connection.send(("error", error))
                raise
        connection.send(answer)


def _main() -> None:
    # Ctrl-C is for the driver alone.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    n_bytes = int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_DATA, (n_bytes, n_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    serve(Connection(int(sys.argv[1])), float(sys.argv[3]))


if __name__ == "__main__":
    _main()
