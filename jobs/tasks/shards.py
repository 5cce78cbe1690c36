"""The work of one task: read the recordings of a shard, process them, store the rows.

All functions here are plain functions, which can be called without a cluster. Only this module turns a
``RecordingError`` into a failure row. All other errors are raised.

A worker runs several tasks at once: one computes while others read and write, so that it does not wait for the store.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import safetensors.numpy

from heartbeat_core import storage
from heartbeat_core.alignment.placement import Reference
from heartbeat_core.devices import resolve_device
from heartbeat_core.errors import StorageError
from heartbeat_core.labels import Labels
from heartbeat_core.recipe import Recipe
from heartbeat_core.recordings.process import RecordingResult
from heartbeat_core.settings import Device
from jobs.listing.listing import reveal
from jobs.listing.shards import Shard
from jobs.output.ledger import Commit, commit_shard, find_commit, settle_failures
from jobs.output.notes import Notes
from jobs.tasks.clock import StageClock
from jobs.tasks.context import TASK_PATIENCE_S, RunFacts, Stopped, begin_commit, end_commit, is_stopped
from jobs.tasks.isolation import computing
from jobs.tasks.parts import (
    ClassifyWork,
    DatasetWork,
    PartFacts,
    ShardWork,
    failures_part,
    process_recordings,
    working_place,
)
from jobs.tasks.scalers import store_fit

if TYPE_CHECKING:
    from heartbeat_core.bundles.bundle import Bundle


@dataclass(frozen=True, slots=True)
class ClassifyJob:
    """The data that a classify task needs; it holds the name and digest of the model, never its arrays."""

    run: RunFacts
    model: str
    model_digest: str
    features: tuple[str, ...] = ("aligned",)


@dataclass(frozen=True, slots=True)
class DatasetJob:
    """The data that a build-dataset task needs; each process loads the arrays at ``reference_uri`` once."""

    run: RunFacts
    recipe: Recipe
    reference_uri: str
    labels: Labels
    padded: bool


def classify_shard(shard: Shard, job: ClassifyJob) -> Commit:
    """Store the predictions, features and failures of one shard."""
    return _once(
        shard,
        job.run,
        lambda: ClassifyWork(load_bundle(job.model, job.model_digest, job.run.device), job.features),
    )


def dataset_shard(shard: Shard, job: DatasetJob) -> Commit:
    """Store the aligned rows and failures of one shard, and its share of the scaler."""
    return _once(
        shard,
        job.run,
        lambda: DatasetWork(
            job.recipe,
            _load_reference(job.reference_uri, job.run.run_id, job.run.device),
            job.labels,
            padded=job.padded,
        ),
    )


def in_isolation(shard: Shard) -> Shard | None:
    """Return what to run instead of a shard whose worker died; None if that has not helped."""
    return None if shard.isolated else replace(shard, isolated=True)


def _once(shard: Shard, run: RunFacts, make_work: Callable[[], ShardWork]) -> Commit:
    """Process a shard, unless another driver or an earlier attempt has committed it."""
    if is_stopped(run.driver):
        raise Stopped("stopped before the start")
    try:
        with storage.using(run.access, TASK_PATIENCE_S):
            return find_commit(run.out, shard.index) or _commit(shard, run, make_work())
    finally:
        end_commit(run.driver, shard.index)


def _commit(shard: Shard, run: RunFacts, work: ShardWork) -> Commit:
    """Process a shard, store its parts and commit them."""
    facts = PartFacts(run.run_id, shard.generation, dict(run.provenance), run.kept)
    clock = StageClock()
    results, n_failed = _process_shard(shard, run, work, facts, clock)
    with computing(), clock.computes("model"):
        parts = work.parts(results, facts)
    if parts.fit is not None:
        store_fit(run.out, 0, shard.index, parts.fit)
    notes = Notes(clock.worker, clock.started_at, clock.seconds, parts.drift)
    return commit_shard(
        run.out, shard.index, len(shard.recordings), n_failed, parts.tables, run.run_id, parts.labels, notes
    )


def _process_shard(
    shard: Shard, run: RunFacts, work: ShardWork, facts: PartFacts, clock: StageClock
) -> tuple[list[RecordingResult], int]:
    """Process a shard and store its failures; returns the results to store and the number of failures.

    Raises
    ------
    StorageError
        A recording that an earlier attempt could read cannot be read now; the task is tried again.
    """
    recordings = [reveal(recording, run.path_column, run.driver) for recording in shard.recordings]
    limits = shard.limits or run.limits
    with ExitStack() as stack, clock.reads():
        results, failures = process_recordings(
            recordings,
            work,
            limits,
            clock.at(working_place(stack, limits, isolated=shard.isolated)),
            lambda: is_stopped(run.driver),
        )
    begin_commit(run.driver, shard.index)
    settled = settle_failures(run.out, shard.index, failures_part(failures, facts))
    lost = [one.recording.public_uri for one in failures if one.recording.recording_id not in settled]
    if lost:
        raise StorageError(
            f"shard {shard.index}: {len(lost)} recordings cannot be read any more, the first is {lost[0]}; "
            "restore them and run the same command again, or start in another folder"
        )
    return [one for one in results if one.recording.recording_id not in settled], len(settled)


@lru_cache(maxsize=1)
def load_bundle(model: str, digest: str, device: Device) -> Bundle:
    """Load a bundle, once in each process for the jobs that follow each other."""
    # Imported here because torch takes seconds to load and dataset tasks do not need it.
    from heartbeat_core.bundles import bundle

    return bundle.load(model, digest, device)


@lru_cache(maxsize=1)
def _load_reference(uri: str, run_id: str, device: Device) -> Reference:
    # One run has one reference, but a worker may outlive the run, and a new run may start in the same folder.
    frames = safetensors.numpy.load(storage.read(uri))["reference.frames"]
    resolved = resolve_device(device)
    if resolved == "cpu":
        return Reference(frames)
    # Imported here for the same reason.
    from heartbeat_core.alignment.torch_correlator import make_reference

    return make_reference(frames, resolved)
