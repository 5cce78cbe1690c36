"""Recordings to shards: large ones first, and small ones at the end of the list."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from math import sqrt

from heartbeat_core.recordings.recording import USUAL_SIZE_BYTES, Recording
from heartbeat_core.settings import Limits
from jobs.settings import ShardSettings

RECORDING_BYTES = 2**16
"""What every recording costs in addition to its size, in bytes of audio: a short recording takes time, too."""
USUAL_COST = RECORDING_BYTES + USUAL_SIZE_BYTES
"""What a recording of a few seconds costs, or one of which nothing says how large it is."""
SMALLEST_SHARD = 8
"""Usual recordings in the last shards of a list. Smaller ones would cost more in tasks and files than they gain."""
SHARE = 4
"""Of n usual recordings a shard takes so many times √n."""
LOOK_AHEAD = 2**14
"""Recordings that are held in memory, so that the end of the list is seen before it comes."""


def make_shards(recordings: Iterable[Recording], settings: ShardSettings) -> Iterator[list[Recording]]:
    """Group recordings, in order, into shards, within the limits of the settings.

    If r usual recordings are left, a shard takes about 4 √r of them. So the last shards are small, and all workers end
    at about the same time. A list of n gives about √n / 2 shards. Of a list that is longer than what is held in memory,
    r is not known. Until its end is seen, a shard takes 4 √m, where m recordings have been seen so far.

    The shards depend on the list and the settings alone, and not on the cluster. The cost of a recording is estimated
    from its size, so a shard takes fewer long recordings than short ones.

    Parameters
    ----------
    recordings : Iterable[Recording]
        Taken as the shards are; at most ``LOOK_AHEAD`` of them are held beside the shard.
    settings : ShardSettings
        The most recordings and the most bytes of a shard. A recording with more bytes is a shard of its own.

    Examples
    --------
    >>> recordings = [Recording(f"file:///{n}.wav", f"{n}.wav", size_bytes=65_536) for n in range(100)]
    >>> [len(shard) for shard in make_shards(recordings, ShardSettings())]
    [40, 30, 21, 9]
    >>> [len(shard) for shard in make_shards(recordings, ShardSettings(recordings=35))]
    [35, 32, 22, 11]
    """
    pending = iter(recordings)
    held = deque(islice(pending, LOOK_AHEAD))
    held_cost = seen_cost = sum(map(expected_cost, held))
    while held:
        most = shard_cost(seen_cost if len(held) == LOOK_AHEAD else held_cost)
        shard: list[Recording] = []
        shard_bytes = cost = 0
        while held and len(shard) < settings.recordings:
            size, its_cost = held[0].expected_bytes, expected_cost(held[0])
            if shard and (shard_bytes + size > settings.bytes or cost + its_cost > most):
                break
            shard.append(held.popleft())
            shard_bytes += size
            cost += its_cost
        yield shard
        following = list(islice(pending, len(shard)))
        following_cost = sum(map(expected_cost, following))
        held.extend(following)
        held_cost += following_cost - cost
        seen_cost += following_cost


def shard_cost(known_cost: float) -> float:
    """Return what the next shard may cost, in bytes of audio.

    Parameters
    ----------
    known_cost : float
        What is known to be left, or to be in the list, in bytes of audio.
    """
    return max(SMALLEST_SHARD * USUAL_COST, SHARE * sqrt(known_cost * USUAL_COST))


def expected_cost(recording: Recording) -> int:
    """Return what a recording costs to read and process, in bytes of audio."""
    return RECORDING_BYTES + recording.expected_bytes


@dataclass(frozen=True, slots=True)
class Shard:
    """The recordings of one task.

    Attributes
    ----------
    index : int
        Names the files of its results.
    recordings : tuple[Recording, ...]
    generation : int
        0 for the first listing; each update and each retry is a further one.
    isolated : bool
        Whether the recordings are processed in a child process, because an earlier attempt killed its worker.
    limits : Limits | None
        Those of a retry; None means those of the run.
    """

    index: int
    recordings: tuple[Recording, ...]
    generation: int = 0
    isolated: bool = False
    limits: Limits | None = None
