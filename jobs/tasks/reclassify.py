"""The work of one task of ``reclassify``: predictions by another model, from features that are stored.

The features are copied as they are, byte for byte where all rows of a part stay. Recordings that a features table does
not have, or not with all that the model reads, are read and processed as ``classify`` does it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from heartbeat_core import storage
from heartbeat_core.bundles.drift import measure_drift
from heartbeat_core.errors import JobError
from heartbeat_core.formats.parquet import to_parquet
from heartbeat_core.recordings.process import RecordingResult
from heartbeat_core.recordings.recording import Failure, Recording
from heartbeat_core.results.files import naming
from heartbeat_core.results.schema import predictions_table, with_metadata
from heartbeat_core.results.stored import keep_rows, read_inputs, stored_results
from jobs.listing.pseudonyms import opened
from jobs.listing.shards import Shard
from jobs.output.ledger import Commit
from jobs.output.plans import PlannedShard
from jobs.tasks.clock import StageClock
from jobs.tasks.context import RunFacts, is_stopped
from jobs.tasks.core import Turn, computing
from jobs.tasks.parts import PartFacts, Parts
from jobs.tasks.processing import process_recordings, working_place
from jobs.tasks.shards import ClassifyJob, classify_shard, commit_parts, load_bundle, once, planned_shard

if TYPE_CHECKING:
    from heartbeat_core.bundles.bundle import Bundle


@dataclass(frozen=True, slots=True)
class ReclassifyJob:
    """The data that a task needs.

    Attributes
    ----------
    classify : ClassifyJob
        The job as ``classify`` would run it.
    features : str
        URI of the folder of the stored features.
    """

    classify: ClassifyJob
    features: str


def reclassify_task(planned: PlannedShard, job: ReclassifyJob) -> Commit:
    """Run ``reclassify_shard`` on a shard of the plan."""
    return reclassify_shard(planned_shard(planned, job.classify.run), job)


def reclassify_shard(shard: Shard, job: ReclassifyJob) -> Commit:
    """Store the predictions, features and failures of one shard.

    Parameters
    ----------
    shard : Shard
        The features of all its recordings are stored in one part, or those of none.
    job : ReclassifyJob

    Raises
    ------
    Stopped
        The driver was asked to stop before the shard began to commit.
    InputError
        The part is damaged.
    UsageError, JobError
        As ``classify_shard``; JobError also where the part is gone.
    """
    name = shard.recordings[0].stored_in
    if name is None:
        return classify_shard(shard, job.classify)
    run = job.classify.run
    facts = PartFacts(run.run_id, shard.generation, dict(run.provenance), run.kept)

    def process(leave_out: Collection[str], clock: StageClock) -> tuple[Parts, list[Failure]]:
        uri = storage.join(job.features, name)
        with clock.reads():
            try:
                part = storage.read(uri)
            except FileNotFoundError:
                raise JobError(
                    f"{storage.display(uri)}: gone since the features were listed, by compact or by hand: reclassify "
                    "into a new folder"
                ) from None
        with naming(uri):
            return _process(shard, job.classify, facts, part, leave_out, clock)

    return once(shard, run, lambda: commit_parts(shard, run, facts, process))


def _process(
    shard: Shard, job: ClassifyJob, facts: PartFacts, part: bytes, leave_out: Collection[str], clock: StageClock
) -> tuple[Parts, list[Failure]]:
    """Return the parts of a shard whose features are stored in ``part``, and its failures."""
    run = job.run
    bundle = load_bundle(job.model, job.model_digest, run.device)
    recordings = [one for one in shard.recordings if one.recording_id not in leave_out]
    with computing():
        inputs = read_inputs(part, bundle.recipe)
        stored = stored_results(inputs, recordings, bundle.recipe, bundle.reference)
    unknown = [one for one, found in zip(recordings, stored, strict=True) if found is None]
    processed, failures = _read(unknown, shard, run, bundle, clock)
    known = {one.recording.recording_id: one for one in (*(one for one in stored if one is not None), *processed)}
    results = [known[one.recording_id] for one in recordings if one.recording_id in known]
    with computing(), clock.computes("model"):
        predictions = bundle.classify(results)
        table = predictions_table(
            results,
            predictions,
            bundle.manifest.labels,
            model_id=bundle.model_id,
            recipe=bundle.recipe.name,
            generation=shard.generation,
            run_id=run.run_id,
            now=datetime.now(UTC),
            kept=run.kept,
        )
        changed = keep_rows(part, inputs, [one.recording.recording_id for one in results])
        tables = {
            "features": part if changed is None else to_parquet(changed),
            "predictions": to_parquet(with_metadata(table, facts.provenance)),
        }
    labels: list[str | None] = [bundle.manifest.labels[code] for code in predictions.codes.tolist()]
    size_bytes = sum(one.size_bytes for one in results)
    return Parts(tables, labels, drift=measure_drift(bundle, results), size_bytes=size_bytes), failures


def _read(
    recordings: Sequence[Recording], shard: Shard, run: RunFacts, bundle: Bundle, clock: StageClock
) -> tuple[list[RecordingResult], list[Failure]]:
    limits = shard.limits or run.limits
    whole = opened(recordings, run.salt_env, run.path_column, run.driver)
    with Turn() as turn, ExitStack() as stack, clock.reads():
        place = clock.at(working_place(stack, limits, isolated=shard.isolated))
        return process_recordings(whole, bundle, limits, place, lambda: is_stopped(run.driver), turn.each)
