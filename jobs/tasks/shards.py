"""The work of one task: read the recordings of a shard, process them, store the rows.

All functions here are plain functions, which can be called without a cluster. A recording that cannot be processed is a
failure row, which ``processing.outcomes`` makes of its ``RecordingError``. All other errors are raised.

A worker runs several tasks at once: one computes while others read and write, so that it does not wait for the store.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import safetensors.numpy

from heartbeat_core import storage
from heartbeat_core.alignment.placement import Reference
from heartbeat_core.alignment.reference import make_reference
from heartbeat_core.devices import resolve_device
from heartbeat_core.errors import StorageError
from heartbeat_core.formats.memory import give_back_memory
from heartbeat_core.labels import Labels
from heartbeat_core.recipe import Recipe
from heartbeat_core.recordings.recording import Failure
from heartbeat_core.settings import Device
from heartbeat_core.wording import counted
from jobs.listing.pseudonyms import opened
from jobs.listing.shards import Shard
from jobs.output.commits import commit_shard, settle_failures
from jobs.output.ledger import Commit, find_commit
from jobs.output.notes import Notes
from jobs.output.plans import PlannedShard, read_shard
from jobs.tasks.clock import StageClock
from jobs.tasks.context import TASK_PATIENCE_S, RunFacts, Stopped, begin_commit, end_commit, is_stopped
from jobs.tasks.core import Turn, loaded_once
from jobs.tasks.parts import (
    ClassifyWork,
    DatasetWork,
    PartFacts,
    Parts,
    ShardParts,
    ShardWork,
    failures_part,
)
from jobs.tasks.processing import outcomes, working_place
from jobs.tasks.scalers import store_fit

if TYPE_CHECKING:
    from heartbeat_core.bundles.bundle import Bundle


@dataclass(frozen=True, slots=True)
class ClassifyJob:
    """The data that a classify task needs; it holds the name and digest of the model, never its arrays.

    Attributes
    ----------
    run : RunFacts
    model : str
        The name of a shipped model, or the URI of a bundle.
    model_digest : str
        Any other bundle is refused.
    features : tuple[str, ...]
        Feature sets to write.
    """

    run: RunFacts
    model: str
    model_digest: str
    features: tuple[str, ...] = ("aligned",)


@dataclass(frozen=True, slots=True)
class DatasetJob:
    """The data that a build-dataset task needs; each process loads the arrays at ``reference_uri`` once.

    Attributes
    ----------
    run : RunFacts
    recipe : Recipe
    reference_uri : str
        Of the safetensors file that ``reference.store`` writes.
    labels : Labels
        The labels of the dataset, by code.
    padded : bool
        Store frames padded with zeros to the length of the reference.
    """

    run: RunFacts
    recipe: Recipe
    reference_uri: str
    labels: Labels
    padded: bool


def classify_task(planned: PlannedShard, job: ClassifyJob) -> Commit:
    """Run ``classify_shard`` on a shard of the plan."""
    return classify_shard(planned_shard(planned, job.run), job)


def dataset_task(planned: PlannedShard, job: DatasetJob) -> Commit:
    """Run ``dataset_shard`` on a shard of the plan."""
    return dataset_shard(planned_shard(planned, job.run), job)


def classify_shard(shard: Shard, job: ClassifyJob) -> Commit:
    """Store the predictions, features and failures of one shard.

    Raises
    ------
    Stopped
        The driver was asked to stop before the shard began to commit.
    UsageError
        As ``bundle.load``.
    JobError
        As ``once`` and ``commit_parts``.
    """
    return once(
        shard,
        job.run,
        lambda: _commit(
            shard, job.run, ClassifyWork(load_bundle(job.model, job.model_digest, job.run.device), job.features)
        ),
    )


def dataset_shard(shard: Shard, job: DatasetJob) -> Commit:
    """Store the aligned rows and failures of one shard, and its share of the scaler.

    Raises
    ------
    Stopped
        The driver was asked to stop before the shard began to commit.
    JobError
        As ``once`` and ``commit_parts``.
    """

    def commit() -> Commit:
        reference = _load_reference(job.reference_uri, job.run.run_id, job.run.device)
        return _commit(shard, job.run, DatasetWork(job.recipe, reference, job.labels, padded=job.padded))

    return once(shard, job.run, commit)


def planned_shard(planned: PlannedShard, run: RunFacts) -> Shard:
    """Read a shard from the plan; raises as ``read_shard``."""
    with storage.using(run.access, TASK_PATIENCE_S):
        return read_shard(planned)


def in_isolation(shard: PlannedShard) -> PlannedShard | None:
    """Return what to run instead of a shard whose worker died; None if that has not helped."""
    return None if shard.isolated else replace(shard, isolated=True)


def once(shard: Shard, run: RunFacts, commit: Callable[[], Commit]) -> Commit:
    """Process and commit a shard, unless another driver or an earlier attempt has committed it.

    Parameters
    ----------
    shard : Shard
    run : RunFacts
    commit : Callable[[], Commit]
        Processes and commits the shard, as by ``commit_parts``. Stores are reached as the run says.

    Raises
    ------
    Stopped
        The driver was asked to stop before the shard began.
    JobError
        The commit record that is there is damaged; or as ``commit``.
    """
    if is_stopped(run.driver):
        raise Stopped("stopped before the start")
    try:
        with storage.using(run.access, TASK_PATIENCE_S):
            return find_commit(run.out, shard.index) or commit()
    finally:
        end_commit(run.driver, shard.index)
        give_back_memory()


def _commit(shard: Shard, run: RunFacts, work: ShardWork) -> Commit:
    """Process a shard, store its parts and commit them; raises as ``commit_parts``."""
    facts = PartFacts(run.run_id, shard.generation, dict(run.provenance), run.kept)
    return commit_parts(shard, run, facts, lambda leave_out, clock: _process(shard, run, work, facts, leave_out, clock))


Process = Callable[[Collection[str], StageClock], tuple[Parts, list[Failure]]]
"""Returns the parts of a shard and its failures, leaving out the recordings with the ids that it is given."""


def commit_parts(shard: Shard, run: RunFacts, facts: PartFacts, process: Process) -> Commit:
    """Store the parts of a shard and commit them.

    Parameters
    ----------
    shard : Shard
    run : RunFacts
    facts : PartFacts
        For the rows of the failures.
    process : Process
        Called once; a second time if an earlier attempt has settled failures that this one has not.

    Raises
    ------
    Stopped
        The driver was asked to stop before the commit.
    StorageError
        A recording that an earlier attempt could read cannot be read now; the task is tried again. Or as
        ``commits.commit_shard``.
    """
    clock = StageClock()
    parts, failures = process((), clock)
    begin_commit(run.driver, shard.index)
    settled = settle_failures(run.out, shard.index, failures_part(failures, facts) if failures else None)
    if settled.is_adopted:
        # Another attempt was here. If it has committed, a compaction may have replaced its parts by now.
        if (commit := find_commit(run.out, shard.index)) is not None:
            return commit
        if settled.recording_ids - {one.recording.recording_id for one in failures}:
            parts, failures = process(settled.recording_ids, clock)
        _check_lost(shard, failures, settled.recording_ids)
    if parts.fit is not None:
        store_fit(run.out, 0, shard.index, parts.fit)
    notes = Notes(clock.worker, clock.started_at, clock.seconds, parts.drift, parts.size_bytes)
    n_listed = len(shard.recordings)
    return commit_shard(run.out, shard.index, n_listed, settled, parts.tables, run.run_id, parts.labels, notes)


def _process(
    shard: Shard, run: RunFacts, work: ShardWork, facts: PartFacts, leave_out: Collection[str], clock: StageClock
) -> tuple[Parts, list[Failure]]:
    """Process the recordings of a shard, but those that are to be left out; return its parts and its failures."""
    listed = [one for one in shard.recordings if one.recording_id not in leave_out]
    recordings = opened(listed, run.salt_env, run.path_column, run.driver)
    limits = shard.limits or run.limits
    made = ShardParts(work, facts)
    failures: list[Failure] = []
    with Turn() as turn, ExitStack() as stack, clock.reads():
        place = clock.at(working_place(stack, limits, isolated=shard.isolated))
        for one in outcomes(recordings, work, limits, place, lambda: is_stopped(run.driver), turn.each):
            if isinstance(one, Failure):
                failures.append(one)
            else:
                with clock.computes("model"):
                    made.add(one)
        with clock.computes("model"):
            return made.finish(), failures


def _check_lost(shard: Shard, failures: Sequence[Failure], settled: Collection[str]) -> None:
    lost = [one.recording.public_uri for one in failures if one.recording.recording_id not in settled]
    if lost:
        raise StorageError(
            f"shard {shard.index}: {counted(len(lost), 'recording')} cannot be read any more, the first is {lost[0]}; "
            "restore them and run the same command again, or start in another folder"
        )


@loaded_once
def load_bundle(model: str, digest: str, device: Device) -> Bundle:
    """Load a bundle, once in each process for the jobs that follow each other.

    Parameters
    ----------
    model : str
        As ``bundle.load`` takes it.
    digest : str
        Any other bundle is refused.
    device : Device

    Raises
    ------
    UsageError
        As ``bundle.load``.
    """
    # Imported here because dataset tasks do not need it.
    from heartbeat_core.bundles import bundle

    return bundle.load(model, digest, device)


@loaded_once
def _load_reference(uri: str, run_id: str, device: Device) -> Reference:
    # One run has one reference, but a worker may outlive the run, and a new run may start in the same folder.
    frames = safetensors.numpy.load(storage.read(uri))["reference.frames"]
    return make_reference(frames, resolve_device(device))
