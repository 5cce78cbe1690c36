"""Where a recording is processed: in this process under a watchdog, or in a child process that can be killed.

A thread cannot be stopped, and a crash in a decoder ends its whole process. ``Here`` costs nothing: where a recording
takes longer than its deadline, the watchdog ends the worker, as a crash would. The worker's shards are then done again
through a ``Child``, one recording at a time. Where the child dies or takes too long, that one recording has failed.
What an earlier recording left in the child may kill it later, so a recording is blamed for a crash, or for the memory
that is used up, only in a child that has worked on nothing else.
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
from jobs.tasks.core import computing

T = TypeVar("T")

_SHARING = threading.Lock()
_children: dict[Limits, tuple[Child, int]] = {}

_START_S = 60.0
_GRACE_S = 1.0
"""How long after its deadline a child ends itself, if its parent has not ended it by then."""


@contextmanager
def _watched(deadline_s: float | None) -> Iterator[None]:
    """End this process if the block takes longer than the deadline, whatever it is doing.

    SIGALRM does this, since nothing here handles it. A Python thread could not: a decoder may hold the interpreter's
    lock. There is one timer in a process, and one thread that computes.
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
        """Return ``function(*arguments)``, or raise its RecordingError, or one for a process that ended.

        Parameters
        ----------
        function : Callable[..., T]
            A function of a module, which another process can import.
        *arguments : Any
            Values that can be pickled.
        """


class Here:
    """Calls in the process itself. With a deadline, a call that takes longer ends the whole process.

    Parameters
    ----------
    limits : Limits
        Of the child process that is asked where the memory of this one does not suffice.
    deadline_s : float | None
        None sets no deadline.
    """

    def __init__(self, limits: Limits, deadline_s: float | None = None) -> None:
        self._limits = limits
        self._deadline_s = deadline_s

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call it; without enough memory, call it once more in a child process.

        Raises
        ------
        RecordingError
            As ``function``; after a MemoryError, also as ``Child.call``.
        """
        with computing(), _watched(self._deadline_s):
            try:
                return function(*arguments)
            except MemoryError:
                pass
        with child(self._limits) as place:
            return place.call(function, *arguments)


class Child:
    """A child process with limits on memory and time; where it died, the next call starts another.

    Parameters
    ----------
    limits : Limits
        ``max_memory_bytes`` and ``deadline_s`` of each call.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._is_fresh = True

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Send it to the child, and return what it returns.

        Where a child that has worked on something else before dies or has no memory left, another one is asked.

        Raises
        ------
        ProcessTimeout
            The call took longer than the deadline.
        WorkerCrash
            The child died.
        OutOfMemory
            The call asked for more memory than the limit.
        RuntimeError
            The child did not start.
        Exception
            Whatever ``function`` raised.
        """
        with computing():  # Until the end: otherwise another thread could call the child that ends here.
            if self._process is not None and self._process.poll() is not None:
                self.close()  # It died while it had nothing to do, which is not this recording's fault.
            was_fresh = self._is_fresh
            try:
                return self._ask(function, *arguments)
            except (WorkerCrash, OutOfMemory):
                if was_fresh:
                    raise
            return self._ask(function, *arguments)

    def _ask(self, function: Callable[..., T], *arguments: Any) -> T:
        connection = self._connection or self._start()
        self._is_fresh = False
        try:
            connection.send((function, arguments))
            if not connection.poll(self._limits.deadline_s):
                self.close()
                raise ProcessTimeout(f"processing took longer than {self._limits.deadline_s:g} s and was ended")
            outcome, value = connection.recv()
        except (EOFError, ConnectionError):
            raise WorkerCrash(f"the process that worked on it {self._describe_end()}") from None
        if outcome == "memory" or (outcome == "error" and not isinstance(value, RecordingError)):
            self.close()  # After running out of memory its state is not known; after a bug it has ended.
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
        self._is_fresh = True

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
        # Loading the libraries does not count towards a recording's deadline.
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
    """Yield a child process. It starts at the first call and ends with the last block that uses it.

    All threads of a worker share one child, since only one of them computes and a start takes seconds.
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
    """Answer calls until the parent is gone; a call that is still running then is ended at its deadline.

    Parameters
    ----------
    connection : Connection
        To the parent. It gets ``"ready"`` first, then of each call ``("done", result)``, ``("error", error)`` or
        ``("memory", None)``.
    deadline_s : float
        Of one call. This process ends a second later, if the parent has not ended it by then.
    """
    # Loaded now, so that the first recording does not have to wait for it.
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
