"""Quick starts of worker processes on this machine: they are forked from a process that has loaded their libraries.

A worker takes a second to load its libraries, and so does the driver. Python's fork server loads the workers' libraries
while the driver loads its own, and a worker that dies is replaced at once.

Forking is safe here: the server only imports modules, with one thread for each numeric library, and opens nothing. A
process that was not started as a command, or whose environment has changed since, spawns its workers instead.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
WORKER_ENVIRONMENT = {
    **dict.fromkeys(THREAD_VARIABLES, "1"),
    "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20),
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_ARENA_MAX": "1",
}
"""One thread for every numeric library. The thresholds let glibc keep the memory of NumPy's temporary arrays, instead
of returning it to the system and asking for it again. All threads share one arena, since one of them computes at a
time: what one has freed, the next one takes, and a worker is smaller by a sixth. The files in ``deploy`` set the same.
"""

WORKER_MODULES = ("distributed", "distributed.nanny", "scipy.fft", "jobs.tasks.shards")

_environment: dict[str, str] = {}
"""The environment that the server was started with; empty where there is no server."""


def use_one_thread() -> None:
    """Let the numeric libraries that this process has yet to load compute with one thread, unless they are told more.

    Matrices here are small: to start more threads costs more than they give.
    """
    for name in THREAD_VARIABLES:
        os.environ.setdefault(name, "1")


def start_server(modules: Sequence[str] = ()) -> None:
    """Begin to load what workers need, and return at once.

    Parameters
    ----------
    modules : Sequence[str]
        Names of further modules to load.
    """
    before = dict(os.environ)
    os.environ.update(WORKER_ENVIRONMENT)
    try:
        multiprocessing.set_forkserver_preload([*WORKER_MODULES, *modules, "jobs.cluster.frozen"])
        with interrupts_held():
            forkserver.ensure_running()
        _environment.update(os.environ)
    finally:
        os.environ.clear()
        os.environ.update(before)


def start_method() -> str:
    """Return how this process starts its workers: by the fork server if a suitable one runs, else by spawning."""
    return "forkserver" if _environment == {**os.environ, **WORKER_ENVIRONMENT} else "spawn"


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Block SIGINT while the block runs, and for good in the threads and processes that it starts.

    Ctrl-C reaches all processes of a terminal's process group, but only the driver should act on it: workers would die
    with tracebacks.
    """
    # Started now: whoever starts it later would unblock the signal.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
