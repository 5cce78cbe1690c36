"""Say when no worker is left at a scheduler: the job waits for one, and the user would not know why."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobs.cluster.connection import Connection

LOOK_S = 5.0
LOOKS = 4
"""How often in a row there must be none: a worker that starts again takes a few seconds."""


@contextmanager
def telling_of_lost_workers(connection: Connection, tell: Callable[[str], None]) -> Iterator[None]:
    """Tell once when no worker is left, and once when there are workers again, as long as the block runs.

    Parameters
    ----------
    connection : Connection
        To a scheduler whose workers other people start; nothing is told of workers that this process starts itself.
    tell : Callable[[str], None]
        Called in another thread.
    """
    ended = threading.Event()
    if not connection.is_local:
        threading.Thread(target=_watch, args=(connection, tell, ended), name="watch-workers", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _watch(connection: Connection, tell: Callable[[str], None], ended: threading.Event) -> None:
    missing = 0
    while not ended.wait(LOOK_S):
        try:
            n_workers = len(connection.client.nthreads())
        except (OSError, RuntimeError, AttributeError, CancelledError):
            # The scheduler is gone, which the thread that does the work says, or the client was closed meanwhile.
            return
        if ended.is_set():
            return
        if n_workers and missing >= LOOKS:
            tell(f"there are workers at {connection.address} again")
        missing = 0 if n_workers else missing + 1
        if missing == LOOKS:
            tell(f"no worker is left at {connection.address}: the job waits for one; start some, or stop it by Ctrl-C")
