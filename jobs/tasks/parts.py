"""A shard's recordings to the parts that are stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from heartbeat_core.alignment.placement import Reference
from heartbeat_core.errors import RecordingError
from heartbeat_core.recipe import Recipe, Summary
from heartbeat_core.recordings.fetch import read_recordings
from heartbeat_core.recordings.process import RecordingResult, process
from heartbeat_core.recordings.recording import Failure, Recording, failure
from heartbeat_core.settings import Limits
from jobs.listing.shards import Shard
from jobs.tasks.context import Stopped
from jobs.tasks.isolation import Here, Place, child


def process_recordings(
    recordings: Sequence[Recording],
    recipe: Recipe,
    reference: Reference,
    limits: Limits,
    place: Place,
    is_stopped: Callable[[], bool] = lambda: False,
    summary: Summary = "none",
) -> tuple[list[RecordingResult], list[Failure]]:
    """Read and process recordings; each ends in exactly one of the two lists, in order.

    Raises
    ------
    Stopped
        ``is_stopped`` says so between two recordings.
    """
    results: list[RecordingResult] = []
    failures: list[Failure] = []
    for recording, data in read_recordings(recordings, limits):
        if is_stopped():
            raise Stopped("stopped before it had begun to commit")
        try:
            if isinstance(data, RecordingError):
                raise data
            results.append(place.call(process, recording, data, recipe, reference, limits, summary))
        except RecordingError as error:
            failures.append(failure(recording, error))
    return results, failures


def working_place(stack: ExitStack, shard: Shard, limits: Limits) -> Place:
    """Return where a task works on its recordings: here, or in a child process that lives as long as the stack."""
    if shard.isolated:
        return stack.enter_context(child(limits))
    return Here(limits, limits.deadline_s)
