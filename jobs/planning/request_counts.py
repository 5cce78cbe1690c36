"""What a job asks of its stores, counted from what its code does; a test holds the counts against a real server's.

Counted are the requests of an undisturbed run from the first listing to the success mark, for inputs and output in
buckets. What fails is asked again and comes on top, and each worker of a cluster elsewhere costs one HEAD more.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, Self

from jobs.output.lease import BEAT_S
from jobs.output.plans import RECORDINGS_A_PIECE
from jobs.tasks.scalers import levels

JobName = Literal["classify", "build-dataset"]

PAGE_KEYS = 1000
"""Keys that a store gives at most in the answer to one LIST."""


@dataclass(frozen=True, slots=True)
class Requests:
    """How many requests of each kind; AWS bills LIST as PUT, HEAD as GET, and no DELETE."""

    put: int = 0
    get: int = 0
    head: int = 0
    list: int = 0
    delete: int = 0

    def __add__(self, other: Self) -> Self:
        return type(self)(*(getattr(self, kind.name) + getattr(other, kind.name) for kind in fields(self)))

    def __mul__(self, times: int) -> Self:
        return type(self)(*(getattr(self, kind.name) * times for kind in fields(self)))


A_RECORDING = {"classify": Requests(get=1), "build-dataset": Requests(get=2)}
"""Reading it; a dataset's are read once more for the search for the longest."""

A_SHARD = {
    # Parts of three tables and the commit record; was it committed, three footers.
    "classify": Requests(put=4, get=4),
    # Parts of two tables, the fit and the commit record; was it committed, two footers, the fit again to be merged.
    "build-dataset": Requests(put=4, get=4, delete=1),
}
A_MERGE = Requests(put=1, get=1, head=1, delete=1)
"""A node of the tree in which a dataset's fits are merged; its own is read by the next."""

A_PIECE = {"classify": Requests(put=1, get=1), "build-dataset": Requests(put=1, get=4)}
"""Writing a piece of the plan, and reading it for each pass over the shards."""

A_PAGE = {"classify": Requests(list=1), "build-dataset": Requests(list=2)}
"""Looking which shards are committed, at the end."""

A_RUN = {
    "classify": Requests(put=6, get=6, list=3, delete=3),
    "build-dataset": Requests(put=11, get=10, head=2, list=4, delete=2),
}
"""Claiming the folder, probing what the store does, settling the plan, telling of the driver, the success mark."""

A_WORKER = {"classify": Requests(), "build-dataset": Requests(get=1)}
"""The alignment reference."""


def requests_of_run(
    job: JobName, n_recordings: int, n_remote: int, n_shards: int, n_workers: int, seconds: float
) -> Requests:
    """Return the requests of a run but those that list its inputs.

    Parameters
    ----------
    job : JobName
        Which.
    n_recordings : int
        All of them; ``n_remote`` of them are in a bucket.
    n_shards : int
        Tasks; each writes one part of each table.
    n_workers : int
        Processes.
    seconds : float
        How long the driver runs, since it tells of itself every few seconds.
    """
    found = (
        A_RUN[job]
        + A_RECORDING[job] * n_remote
        + A_SHARD[job] * n_shards
        + A_PIECE[job] * min(n_shards, _ceil(n_recordings, RECORDINGS_A_PIECE))
        + A_PAGE[job] * _ceil(n_shards, PAGE_KEYS)
        + A_WORKER[job] * n_workers
        + Requests(put=int(seconds // BEAT_S))
    )
    if job == "build-dataset":
        n_merges = sum(map(len, levels(n_shards)))
        found += A_MERGE * n_merges + Requests(list=_ceil(n_shards + n_merges, PAGE_KEYS))
        # The shard that claims the longest recording is read again, and this recording once more to be decoded.
        found += Requests(get=_ceil(n_remote, n_shards) + min(n_remote, 1))
    return found


def requests_of_listing(n_keys: int, n_prefixes: int) -> Requests:
    """Return the requests that list a bucket's prefix: does it hold anything, how it divides, and page by page."""
    n_parts = n_prefixes if 1 < n_prefixes <= PAGE_KEYS else 1
    return Requests(list=2 + n_parts + n_keys // PAGE_KEYS)


def _ceil(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)
