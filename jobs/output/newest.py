"""The newest row of each recording, where an update or a retry has processed some of them again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from heartbeat_core import storage
from heartbeat_core.formats.parquet import Table
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.results.files import read_file
from heartbeat_core.storage import retry
from heartbeat_core.storage.uris import FAILURES
from jobs.output.ledger import Commit, count_errors, count_labels
from jobs.output.plans import PlanFolder

PARTS_AT_ONCE = 4
"""Parts that are read at the same time, which hides most of a store's latency; one may take 256 MiB."""


def newest_generations(out: str) -> dict[str, int]:
    """Return the newest generation of each recording that an update or a retry has processed, by recording_id.

    All other recordings are of generation 0.

    Parameters
    ----------
    out : str
        URI of an output folder.

    Raises
    ------
    JobError
        The plan is damaged, or a piece of it is missing.
    """
    plans = PlanFolder(out)
    found: dict[str, int] = {}
    for generation in plans.generations()[1:]:
        for shard in plans.shards(generation):
            found.update((recording.recording_id, generation.number) for recording in shard.recordings)
    return found


def newest_rows(part: Table, newest: Mapping[str, int]) -> Table:
    """Return the rows of a part that are the newest of their recordings.

    Parameters
    ----------
    part : Table
        With the columns ``recording_id`` and ``generation``.
    newest : Mapping[str, int]
        As ``newest_generations`` returns it.
    """
    if not newest:
        return part
    rows = zip(part.column("recording_id").to_pylist(), part.column("generation").to_pylist(), strict=True)
    return part.filter(np.array([generation >= newest.get(one, 0) for one, generation in rows], bool))


def read_newest(out: str, table: str, columns: list[str] | None = None) -> Iterator[Table]:
    """Yield the newest rows of a finished table, part by part.

    Parameters
    ----------
    out : str
        URI of an output folder in which every planned shard is committed.
    table : str
        Name of the table, such as ``predictions``.
    columns : list[str] | None
        Names of the columns to read, beside ``recording_id`` and ``generation``; None reads all.

    Raises
    ------
    JobError
        The plan is damaged, or a piece of it is missing.
    InputError
        While iterating: a part is damaged, or lacks a column.
    """
    newest = newest_generations(out)
    wanted = None if columns is None else sorted({*columns, "recording_id", "generation"})
    folder = storage.join(out, table)

    def read(name: str) -> Table:
        return newest_rows(read_file(storage.join(folder, name), wanted), newest)

    return retry.in_order(read, storage.list_parts(folder), PARTS_AT_ONCE)


def read_failures(out: str) -> list[dict[str, Any]]:
    """Return the rows of a finished failures table, a dict by column for each; raises as ``read_newest``."""
    return [row for part in read_newest(out, FAILURES) for row in part.to_pylist()]


def count_newest(out: str, commits: Iterable[Commit], n_generations: int) -> tuple[Counter[str], Counter[str]]:
    """Count the newest row of every recording of ``classify``: predictions by label, failures by ``error_type``.

    Parameters
    ----------
    out : str
        URI of an output folder in which every planned shard is committed.
    commits : Iterable[Commit]
        Those of all shards. They are enough where there is one generation; otherwise the tables are read.
    n_generations : int
        In the plan.

    Raises
    ------
    JobError, InputError
        As ``read_newest``, where there are several generations.
    """
    if n_generations <= 1:
        known = list(commits)
        return count_labels(known), count_errors(known)
    return _count(out, "predictions", "predicted_label"), _count(out, FAILURES, "error_type")


def _count(out: str, table: str, column: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for part in read_newest(out, table, [column]):
        counts.update(part.column(column).to_pylist())
    return counts


def newest_recordings(out: str) -> Iterator[tuple[int, Recording]]:
    """Yield each recording once, as it was planned last, with the number of its shard, in the order of the shards.

    Parameters
    ----------
    out : str
        URI of an output folder.

    Raises
    ------
    JobError
        A piece of the plan is damaged or missing.
    """
    newest = newest_generations(out)
    plans = PlanFolder(out)
    for generation in plans.generations():
        for shard in plans.shards(generation):
            for recording in shard.recordings:
                if newest.get(recording.recording_id, 0) == generation.number:
                    yield shard.index, recording


def newest_errors(out: str) -> dict[str, str]:
    """Return the ``error_type`` of each recording whose newest row is a failure, by recording_id.

    Parameters
    ----------
    out : str
        URI of an output folder in which every planned shard is committed.

    Raises
    ------
    JobError, InputError
        As ``read_newest``.
    """
    found: dict[str, str] = {}
    for part in read_newest(out, FAILURES, ["error_type"]):
        names = ("recording_id", "error_type")
        found.update(zip(*(part.column(name).to_pylist() for name in names), strict=True))
    return found


def failed_recordings(out: str, error_types: Collection[str] = ()) -> Iterator[list[Recording]]:
    """Yield the recordings whose newest row is a failure, as they were planned, a piece of the plan at a time.

    Parameters
    ----------
    out : str
        URI of an output folder in which every planned shard is committed.
    error_types : Collection[str]
        Take only failures of these types; all if it is empty.

    Raises
    ------
    JobError, InputError
        As ``read_newest``.
    """
    failed: dict[str, int] = {}
    for part in read_newest(out, FAILURES, ["error_type"]):
        names = ("recording_id", "generation", "error_type")
        rows = zip(*(part.column(name).to_pylist() for name in names), strict=True)
        failed.update((one, generation) for one, generation, kind in rows if not error_types or kind in error_types)
    plans = PlanFolder(out)
    for generation in plans.generations():
        for piece in plans.pieces(generation):
            planned = (recording for shard in piece for recording in shard.recordings)
            # The newest plan of a recording is the one whose row is the newest.
            yield [one for one in planned if failed.get(one.recording_id) == generation.number]
