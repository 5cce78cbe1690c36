"""Memory that a worker has freed goes back to the system between two shards, now and then.

glibc and Arrow keep it. Each new shard finds other gaps, so that a worker grew by 10 % in 13,000 recordings. What goes
back has to be asked for again, page by page: after each shard, that took 4 % of a worker's time.
"""

from __future__ import annotations

import ctypes
import time
from contextlib import suppress

import pyarrow as pa

PAUSE_S = 30.0
"""How long after one time, at least, memory goes back again."""
_last_at: list[float] = []


def give_back_memory() -> None:
    """Return freed memory to the system, unless this process has done so in the last ``PAUSE_S`` seconds.

    Where the C library is not glibc, only Arrow's goes back.
    """
    now = time.monotonic()
    if _last_at and now < _last_at[0] + PAUSE_S:
        return
    _last_at[:] = [now]
    pa.default_memory_pool().release_unused()
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
