"""Worker processes of this machine without their wait: forked from one process that has loaded what they need.

A worker takes a second to load its libraries, and so does the driver. Python's fork server loads the workers' while the
driver loads its own, and a worker that dies is followed by another at once.

Forking is safe here: the server only imports, with one thread a numeric library, and opens nothing. A process that
was not begun as a command, or whose environment has changed since, starts its workers anew instead.
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
}
"""One thread for every numeric library, and glibc thresholds that keep NumPy's temporaries from being handed back and
faulted in again; the recipes in ``deploy`` set the same."""

WORKER_MODULES = ("distributed", "distributed.nanny", "scipy.fft", "jobs.tasks.shards")

_environment: dict[str, str] = {}
"""What the server was started with; nothing where it was not."""


def start_server(modules: Sequence[str] = ()) -> None:
    """Begin to load what workers need, and ``modules`` besides; returns at once."""
    before = dict(os.environ)
    os.environ.update(WORKER_ENVIRONMENT)
    try:
        multiprocessing.set_forkserver_preload([*WORKER_MODULES, *modules])
        with interrupts_held():
            forkserver.ensure_running()
        _environment.update(os.environ)
    finally:
        os.environ.clear()
        os.environ.update(before)


def start_method() -> str:
    """Return how this process starts its workers: from the fork server, where one runs that fits, or anew."""
    return "forkserver" if _environment == {**os.environ, **WORKER_ENVIRONMENT} else "spawn"


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold SIGINT back while the block runs, and for ever in the threads and processes that it starts.

    Ctrl-C reaches a terminal's whole process group. Only the driver acts on it; workers would die of it noisily.
    """
    # Started here, since the thread that starts it lifts the block again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
