"""The work of one task of ``evaluate --model``: predict some labelled recordings as ``classify`` does.

On disk, or under any URL, if the evaluation has an output folder::

    OUT/_outcomes/part-000003.parquet   predictions and failures of some rows of the datasets

Invariants: one winner stores a whole part, which then never changes. Rows keep the order of the datasets.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np

from heartbeat_core import storage
from heartbeat_core.errors import ChangedSinceListed
from heartbeat_core.formats.parquet import to_parquet
from heartbeat_core.recordings.recording import Recording, failure
from heartbeat_core.results.files import read_file
from heartbeat_core.results.judged import Outcomes, outcomes_table, table_outcomes
from heartbeat_core.settings import Device, Limits
from jobs.output.places import part_name
from jobs.tasks.core import Turn, computing
from jobs.tasks.parts import ClassifyWork
from jobs.tasks.processing import process_recordings, working_place
from jobs.tasks.shards import load_bundle

OUTCOMES_FOLDER = "_outcomes"
RECORDINGS_A_BATCH = 32


@dataclass(frozen=True, slots=True)
class Batch:
    """Some labelled recordings.

    Attributes
    ----------
    index : int
        The number of the batch; it names the part.
    first_row : int
        The row number of the first recording.
    recordings : tuple[tuple[str, str], ...]
        The URI of each, and the SHA-256 (hex) that the dataset has of it.
    isolated : bool
        Whether they are processed in a child process.
    """

    index: int
    first_row: int
    recordings: tuple[tuple[str, str], ...]
    isolated: bool = False


@dataclass(frozen=True, slots=True)
class OutcomesJob:
    """What a task needs.

    Attributes
    ----------
    out : str
        URI of the output folder; an empty text stores nothing.
    model : str
        The name of a shipped model, or the URI of a bundle.
    model_digest : str
        Any other bundle is refused.
    limits : Limits
    device : Device
    access : storage.Access
    patience_s : float
        How long a store is asked again, in s.
    """

    out: str
    model: str
    model_digest: str
    limits: Limits
    device: Device
    access: storage.Access
    patience_s: float


def make_batches(uris: Sequence[str], digests: Sequence[str]) -> list[Batch]:
    """Divide the labelled rows of datasets into tasks, in order.

    Parameters
    ----------
    uris, digests : [n] text
        The URI of each recording, and its SHA-256 (hex).

    Returns
    -------
    list[Batch]
        Of ``RECORDINGS_A_BATCH`` rows each; the last may have fewer.

    Raises
    ------
    ValueError
        There are more of one than of the other.

    Examples
    --------
    >>> batches = make_batches([f"file:///{i}.wav" for i in range(40)], ["0" * 64] * 40)
    >>> [(one.index, one.first_row, len(one.recordings)) for one in batches]
    [(0, 0, 32), (1, 32, 8)]
    """
    pairs = list(zip(uris, digests, strict=True))
    return [
        Batch(index, start, tuple(pairs[start : start + RECORDINGS_A_BATCH]))
        for index, start in enumerate(range(0, len(pairs), RECORDINGS_A_BATCH))
    ]


def batch_in_isolation(batch: Batch) -> Batch | None:
    """Return what to run instead of a batch whose worker died; None if that has not helped."""
    return None if batch.isolated else replace(batch, isolated=True)


def predict_batch(batch: Batch, job: OutcomesJob) -> tuple[int, Outcomes]:
    """Return the number of a batch and its outcomes, which are computed and stored unless they are there already.

    Parameters
    ----------
    batch : Batch
    job : OutcomesJob

    Returns
    -------
    tuple[int, Outcomes]
        A recording that cannot be processed, or has changed since the dataset was built, is among the failures.

    Raises
    ------
    UsageError
        As ``bundle.load``.
    StorageError
        A store does not answer, or refuses a request.
    """
    with storage.using(job.access, job.patience_s):
        if not job.out:
            return batch.index, _predict(batch, job)
        uri = storage.join(job.out, OUTCOMES_FOLDER, f"{part_name(batch.index)}.parquet")
        if storage.find(uri) is None:
            labels = load_bundle(job.model, job.model_digest, job.device).manifest.labels
            storage.create(uri, to_parquet(outcomes_table(_predict(batch, job), labels)))
        # What is stored counts: another driver may have been first.
        return batch.index, table_outcomes(read_file(uri))


def _predict(batch: Batch, job: OutcomesJob) -> Outcomes:
    bundle = load_bundle(job.model, job.model_digest, job.device)
    recordings = [Recording(uri, "") for uri, _ in batch.recordings]
    rows = {recording.uri: batch.first_row + place for place, recording in enumerate(recordings)}
    digests = dict(batch.recordings)
    with Turn() as turn, ExitStack() as stack:
        place = working_place(stack, job.limits, isolated=batch.isolated)
        work = ClassifyWork(bundle, ())
        results, failures = process_recordings(recordings, work, job.limits, place, each=turn.each)
    same, changed = [], ChangedSinceListed("it has changed since the dataset was built")
    for one in results:
        if one.audio_sha256 == digests[one.recording.uri]:
            same.append(one)
        else:
            failures.append(failure(one.recording, changed))
    with computing():
        found = bundle.classify(same)
    return Outcomes(
        np.array([rows[one.recording.uri] for one in same], np.int64),
        found.codes,
        found.probabilities,
        list(found.unsure),
        {rows[one.recording.uri]: one for one in failures},
    )
