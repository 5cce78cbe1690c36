"""Read and process recordings, in a task or in the process of a command; nothing here writes or needs pyarrow.

``outcomes`` turns each ``RecordingError`` into a failure row. Two others make rows of their own: ``tasks.outcomes`` for
a recording that has changed since its dataset was built, ``drivers.predict`` for one that is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Protocol

from heartbeat_core.alignment.placement import Reference
from heartbeat_core.errors import RecordingError
from heartbeat_core.recipe import Recipe
from heartbeat_core.recordings.fetch import read_recordings
from heartbeat_core.recordings.process import RecordingResult, process
from heartbeat_core.recordings.recording import Failure, Recording, failure
from heartbeat_core.settings import Limits
from jobs.tasks.context import Stopped
from jobs.tasks.isolation import Here, Place, child

Read = tuple[Recording, bytes | RecordingError]
Each = Callable[[Iterator[Read]], Iterator[Read]]


class Wanted(Protocol):
    """What results must have; a ``Bundle`` says what its model needs."""

    @property
    def recipe(self) -> Recipe:
        """Return the recipe for the frames and their alignment."""

    @property
    def reference(self) -> Reference:
        """Return the reference that frames are aligned with."""

    @property
    def vectors(self) -> Sequence[str]:
        """Return the vector sets that results must have."""


def process_recordings(
    recordings: Iterable[Recording],
    work: Wanted,
    limits: Limits,
    place: Place,
    is_stopped: Callable[[], bool] = lambda: False,
    each: Each = iter,
) -> tuple[list[RecordingResult], list[Failure]]:
    """Read and process recordings; each is in exactly one of the two returned lists, in order.

    Parameters and errors as for ``outcomes``.

    Returns
    -------
    tuple[list[RecordingResult], list[Failure]]
        What was processed, and what failed.
    """
    results: list[RecordingResult] = []
    failures: list[Failure] = []
    for one in outcomes(recordings, work, limits, place, is_stopped, each):
        if isinstance(one, Failure):
            failures.append(one)
        else:
            results.append(one)
    return results, failures


def outcomes(
    recordings: Iterable[Recording],
    work: Wanted,
    limits: Limits,
    place: Place,
    is_stopped: Callable[[], bool] = lambda: False,
    each: Each = iter,
) -> Iterator[RecordingResult | Failure]:
    """Read and process recordings, one after the other; yield what became of each, in order.

    Parameters
    ----------
    recordings : Iterable[Recording]
    work : Wanted
        What results must have.
    limits : Limits
        For reading and processing a recording.
    place : Place
        Where recordings are processed: here, or in a child process.
    is_stopped : Callable[[], bool]
        Asked before each recording is processed.
    each : Each
        Hands the read recordings on, as ``Turn.each`` does.

    Raises
    ------
    Stopped
        ``is_stopped`` returned true between two recordings.
    StorageError
        The store of a recording does not answer at all, or refuses the credentials of this process.
    """
    for recording, data in each(read_recordings(recordings, limits)):
        if is_stopped():
            raise Stopped("stopped before the commit")
        try:
            if isinstance(data, RecordingError):
                raise data
            yield place.call(process, recording, data, work.recipe, work.reference, limits, work.vectors)
        except RecordingError as error:
            yield failure(recording, error)


def working_place(stack: ExitStack, limits: Limits, *, isolated: bool) -> Place:
    """Return where a task processes its recordings: here, or in a child process that ends when the stack closes.

    Parameters
    ----------
    stack : ExitStack
        Holds the child process.
    limits : Limits
        Those of a recording, its deadline among them.
    isolated : bool
        Whether to use a child process.
    """
    if isolated:
        return stack.enter_context(child(limits))
    return Here(limits, limits.deadline_s)
