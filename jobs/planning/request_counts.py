"""How many requests a job makes to its stores, as its code makes them; a test compares them with a real server's count.

Counted is an undisturbed run with inputs and output in buckets, from the first listing to the report. Retries
come on top, and each worker of a cluster that is not on this machine costs one HEAD more.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, Self

from heartbeat_core.results.sample import MOST_PARTS
from jobs.output.lease import BEAT_S
from jobs.output.plans import PIECES_KEPT, RECORDINGS_A_PIECE
from jobs.tasks.scalers import levels

JobName = Literal["classify", "build-dataset"]

PAGE_KEYS = 1000
"""Keys that a store gives at most in the answer to one LIST."""


@dataclass(frozen=True, slots=True)
class Requests:
    """How many requests of each kind. AWS bills LIST like PUT and HEAD like GET, and does not bill DELETE."""

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
"""Reading it; a dataset's recordings are read twice, first to find the longest."""

A_SHARD = {
    # PUT: what is settled, parts of two tables and the commit record. GET: is it committed already, and the parts read
    # back, and the predictions once more at the end, where duplicates are looked for.
    "classify": Requests(put=4, get=4),
    # PUT: what is settled, a part, the fit and the commit record. GET: is it committed already, the part read back, and
    # the fit once more, to be merged.
    "build-dataset": Requests(put=4, get=3, delete=1),
}
A_FAILING_SHARD = Requests(put=1, get=1)
"""The failures part of a shard in which something failed, and reading it back."""
A_MERGE = Requests(put=1, get=1, head=1, delete=1)
"""One merge of a dataset's fits, whose result the next merge reads."""

A_PIECE = {"classify": Requests(put=1, get=1), "build-dataset": Requests(put=1, get=4)}
"""Writing a piece of the plan, and the driver's reading it at each pass over the shards."""

A_PAGE = {"classify": Requests(list=2), "build-dataset": Requests(list=2)}
"""Listing the commit records at the end; of ``classify`` the parts of the predictions, too."""

A_RUN = {
    "classify": Requests(put=16, get=13, head=2, list=5, delete=3),
    "build-dataset": Requests(put=18, get=11, head=3, list=6, delete=2),
}
"""Probing the store, announcing the driver, claiming the folder, settling the plan, the record of the driver's work
twice, the failures part without rows, the schema of each table, whether patients are known, the table of duplicates
with the record of the claim for its metadata, the journal and the success mark."""

A_REPORT = {
    "classify": Requests(put=17, get=10, head=2, list=7),
    "build-dataset": Requests(put=12, get=7, head=1, list=7),
}
"""The page, the numbers of its figures, and what is read but for the shards. A model that measures drift has up to four
figures more, and failures two."""
TABLES_SAMPLED = {"classify": 2, "build-dataset": 1}
"""Tables of which the report reads parts, ``results.sample.MOST_PARTS`` of each at most."""

A_WORKER = {"classify": Requests(), "build-dataset": Requests(get=1)}
"""The alignment reference."""


def requests_of_run(
    job: JobName, n_recordings: int, n_remote: int, n_shards: int, n_workers: int, seconds: float, n_failing: int = 0
) -> Requests:
    """Return the requests of a run, without those that list its inputs.

    Parameters
    ----------
    job : JobName
        Which job.
    n_recordings : int
        How many recordings; ``n_remote`` of them are in a bucket.
    n_shards : int
        How many shards; each writes one part of each table of results.
    n_workers : int
        How many worker processes.
    seconds : float
        How long the driver runs: it rewrites its record every few seconds.
    n_failing : int
        In how many shards something fails.
    """
    n_pieces = min(n_shards, _ceil(n_recordings, RECORDINGS_A_PIECE))
    # Of a long plan, a dataset's workers read each piece once to find the reference, and then once more.
    n_reads = min(n_shards, n_pieces * n_workers)
    if n_pieces > PIECES_KEPT:
        n_reads *= A_RECORDING[job].get
    found = (
        A_RUN[job]
        + A_RECORDING[job] * n_remote
        + A_SHARD[job] * n_shards
        + A_FAILING_SHARD * n_failing
        + A_PIECE[job] * n_pieces
        + Requests(get=n_reads)
        + A_PAGE[job] * _ceil(n_shards, PAGE_KEYS)
        + A_WORKER[job] * n_workers
        + A_REPORT[job]
        + Requests(get=TABLES_SAMPLED[job] * min(n_shards, MOST_PARTS))
        # The pages after the first of the records and of the tables' parts; failures have a table, too.
        + Requests(list=(TABLES_SAMPLED[job] + 3) * (_ceil(n_shards, PAGE_KEYS) - 1))
        + Requests(put=int(seconds // BEAT_S))
    )
    if job == "build-dataset":
        n_merges = sum(map(len, levels(n_shards)))
        found += A_MERGE * n_merges + Requests(list=_ceil(n_shards + n_merges, PAGE_KEYS))
        # The shard with the longest recording is read again, and that recording once more for its frames.
        found += Requests(get=_ceil(n_remote, n_shards) + min(n_remote, 1))
    return found


def requests_of_listing(n_keys: int, n_prefixes: int) -> Requests:
    """Return the requests that list a prefix: whether it holds anything, how it divides, and then each page.

    Parameters
    ----------
    n_keys : int
        Keys below the prefix.
    n_prefixes : int
        Folders directly below it.

    Examples
    --------
    >>> requests_of_listing(25_000, 1).list
    28
    """
    n_parts = n_prefixes if 1 < n_prefixes <= PAGE_KEYS else 1
    return Requests(list=2 + n_parts + n_keys // PAGE_KEYS)


def _ceil(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)
