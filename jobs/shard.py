"""The work of one task: read a shard's recordings, process them, store the rows.

Every function here is plain and can be called by hand, without a cluster. This is the only place where a
``RecordingError`` becomes a failure row; any other error stays loud.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

import safetensors.numpy

from heartbeat_core import storage
from heartbeat_core.alignment import Reference
from heartbeat_core.config import Limits, Recipe
from heartbeat_core.errors import RecordingError, StorageError
from heartbeat_core.recording import Failure, Recording, RecordingResult, failure, process
from heartbeat_core.scaling import ScalerFit
from heartbeat_core.schema import (
    failures_table,
    features_table,
    predictions_table,
    recordings_table,
    with_metadata,
)
from heartbeat_core.tables import Table, to_parquet
from jobs.ledger import Commit, commit_shard, part_name, settle_failures

if TYPE_CHECKING:
    from heartbeat_core.bundle import Bundle

SCALERS_FOLDER = "_scalers"


@dataclass(frozen=True, slots=True)
class Shard:
    """One task's recordings; the index names its parts."""

    index: int
    recordings: tuple[Recording, ...]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What every part of a run says of it, and where it goes."""

    out: str
    run_id: str
    limits: Limits
    provenance: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ClassifyJob:
    """What a classify task needs; the model goes by name and digest, never by its arrays."""

    run: RunFacts
    model: str
    model_digest: str


@dataclass(frozen=True, slots=True)
class DatasetJob:
    """What a build-dataset task needs; ``reference_uri`` holds the arrays, which each process loads once."""

    run: RunFacts
    recipe: Recipe
    reference_uri: str
    padded: bool


def classify_shard(shard: Shard, job: ClassifyJob) -> Commit:
    """Store predictions, features and failures of one shard."""
    bundle = _load_bundle(job.model, job.model_digest)
    recipe = bundle.manifest.recipe
    results, n_failed = _process_shard(shard, job.run, recipe, bundle.reference)
    scores = bundle.score([r.frames for r in results], [r.placement.offset_frames for r in results])
    predictions = predictions_table(
        results,
        scores.logits,
        scores.probabilities,
        scores.codes,
        model_id=bundle.model_id,
        recipe=recipe.name,
        run_id=job.run.run_id,
        now=datetime.now(UTC),
    )
    tables = {
        "features": _encode(features_table(results), job.run),
        "predictions": _encode(predictions, job.run),
    }
    return commit_shard(job.run.out, shard.index, len(shard.recordings), n_failed, tables, job.run.run_id)


def dataset_shard(shard: Shard, job: DatasetJob) -> Commit:
    """Store the aligned rows and failures of one shard, and its part of the scaler."""
    reference = _load_reference(job.reference_uri, job.run.run_id)
    results, n_failed = _process_shard(shard, job.run, job.recipe, reference)
    fit = ScalerFit(len(reference))
    for result in results:
        fit.add(result.frames, result.placement.offset_frames)
    storage.create(scaler_uri(job.run.out, shard.index), safetensors.numpy.save(fit.state()))
    table = recordings_table(results, len(reference) if job.padded else None)
    tables = {"recordings": _encode(table, job.run)}
    return commit_shard(job.run.out, shard.index, len(shard.recordings), n_failed, tables, job.run.run_id)


def scaler_uri(out: str, index: int) -> str:
    """Return where a shard keeps its part of the scaler until the parts are merged."""
    return storage.join(out, SCALERS_FOLDER, f"{part_name(index)}.safetensors")


def process_recordings(
    recordings: Sequence[Recording], recipe: Recipe, reference: Reference, limits: Limits
) -> tuple[list[RecordingResult], list[Failure]]:
    """Read and process recordings; each ends in exactly one of the two lists, in order."""
    results: list[RecordingResult] = []
    failures: list[Failure] = []
    for recording, data in storage.read_recordings(recordings, limits):
        try:
            if isinstance(data, RecordingError):
                raise data
            results.append(process(recording, data, recipe, reference, limits))
        except RecordingError as error:
            failures.append(failure(recording, error))
    return results, failures


def _process_shard(
    shard: Shard, run: RunFacts, recipe: Recipe, reference: Reference
) -> tuple[list[RecordingResult], int]:
    """Process a shard and settle its failures; returns the results that are to be stored and the failures' count.

    Raises:
        StorageError: a recording that an earlier attempt could read can't be read now; the task is tried again.
    """
    results, failures = process_recordings(shard.recordings, recipe, reference, run.limits)
    table = failures_table(failures, run_id=run.run_id, now=datetime.now(UTC))
    settled = settle_failures(run.out, shard.index, _encode(table, run))
    lost = [one.recording.public_uri for one in failures if one.recording.recording_id not in settled]
    if lost:
        raise StorageError(
            f"shard {shard.index}: {len(lost)} recordings were read before and can't be now, {lost[0]} first; "
            "bring them back and run the same command again, or begin in another folder"
        )
    return [one for one in results if one.recording.recording_id not in settled], len(settled)


def _encode(table: Table, run: RunFacts) -> bytes:
    return to_parquet(with_metadata(table, dict(run.provenance)))


@lru_cache(maxsize=1)
def _load_bundle(model: str, digest: str) -> Bundle:
    # Imported here: torch takes seconds, and dataset tasks do without it.
    from heartbeat_core import bundle

    return bundle.load(model, digest)


@lru_cache(maxsize=1)
def _load_reference(uri: str, run_id: str) -> Reference:
    # One run has one reference; a worker may outlive the run, and another begin in the same place.
    return Reference(safetensors.numpy.load(storage.read(uri))["reference.frames"])
