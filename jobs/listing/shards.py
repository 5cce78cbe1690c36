"""Recordings to shards of about the same cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from math import ceil, sqrt

from heartbeat_core.recordings.recording import Recording
from jobs.settings import ShardSettings

UNKNOWN_SIZE_BYTES = 2**20
RECORDING_BYTES = 2**16
"""What a recording costs beside its own bytes, in bytes of audio: a short one takes time as well."""
SMALLEST_SHARD = 8
"""Recordings below which cutting finer costs more in tasks and parts than it gains."""


def make_shards(recordings: Iterable[Recording], settings: ShardSettings) -> Iterator[list[Recording]]:
    """Group recordings, in order, into shards of about the same cost, and of bounded count and bytes.

    A short list is cut into as many shards as a shard has recordings, so that several workers share it. The shards
    depend on the list and the settings alone, never on the cluster. What a recording costs is told from its size.
    """
    pending = iter(recordings)
    # Beyond this many, a list is cut at the bound.
    start = list(islice(pending, settings.recordings**2))
    n_recordings = min(settings.recordings, max(SMALLEST_SHARD, ceil(sqrt(len(start)))))
    most = sum(map(expected_cost, start)) * n_recordings / max(1, len(start))
    shard: list[Recording] = []
    shard_bytes = cost = 0
    for recording in chain(start, pending):
        size = _size(recording)
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
    return RECORDING_BYTES + _size(recording)


def _size(recording: Recording) -> int:
    return UNKNOWN_SIZE_BYTES if recording.size_bytes is None else recording.size_bytes


@dataclass(frozen=True, slots=True)
class Shard:
    """One task's recordings; the index names its parts.

    ``isolated``: work on each recording in a child process, since an attempt on this shard ended its worker.
    """

    index: int
    recordings: tuple[Recording, ...]
    generation: int = 0
    isolated: bool = False
