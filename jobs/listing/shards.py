"""Recordings to shards of about the same cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from math import ceil, sqrt

from heartbeat_core.recordings.recording import Recording
from heartbeat_core.settings import Limits
from jobs.settings import ShardSettings

RECORDING_BYTES = 2**16
"""What every recording costs in addition to its size, in bytes of audio: a short recording takes time, too."""
SMALLEST_SHARD = 8
"""Recordings in a shard of a very short list. Smaller shards would cost more in tasks and files than they gain."""


def make_shards(recordings: Iterable[Recording], settings: ShardSettings) -> Iterator[list[Recording]]:
    """Group recordings, in order, into shards of about the same cost, within the limits of the settings.

    A short list of n recordings gives about √n shards, so that several workers share it. The shards depend on the list
    and the settings alone, and not on the cluster. The cost of a recording is estimated from its size.
    """
    pending = iter(recordings)
    # A list of at least this length has shards of as many recordings as the settings allow.
    start = list(islice(pending, settings.recordings**2))
    n_recordings = min(settings.recordings, max(SMALLEST_SHARD, ceil(sqrt(len(start)))))
    most = sum(map(expected_cost, start)) * n_recordings / max(1, len(start))
    shard: list[Recording] = []
    shard_bytes = cost = 0
    for recording in chain(start, pending):
        size = recording.assumed_bytes
        full = len(shard) >= settings.recordings or shard_bytes + size > settings.bytes
        if shard and (full or cost + expected_cost(recording) > most):
            yield shard
            shard, shard_bytes, cost = [], 0, 0
        shard.append(recording)
        shard_bytes += size
        cost += expected_cost(recording)
    if shard:
        yield shard


def expected_cost(recording: Recording) -> int:
    """Return what a recording costs to read and process, in bytes of audio."""
    return RECORDING_BYTES + recording.assumed_bytes


@dataclass(frozen=True, slots=True)
class Shard:
    """The recordings of one task. The index names the files of its results.

    ``isolated`` means that the recordings are processed in a child process, because an earlier attempt killed its
    worker. ``limits`` are those of a retry; None means those of the run.
    """

    index: int
    recordings: tuple[Recording, ...]
    generation: int = 0
    isolated: bool = False
    limits: Limits | None = None
