"""The work of one task of ``reclassify``: predictions by another model, from features that are stored.

The features are copied as they are, byte for byte where all rows of a part stay. Recordings that a features table does
not have, or not with all that the model reads, are read and processed as ``classify`` does it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from heartbeat_core import storage
from heartbeat_core.formats.parquet import to_parquet
from heartbeat_core.results.schema import predictions_table, with_metadata
from heartbeat_core.results.stored import keep_rows, read_inputs, stored_results
from jobs.listing.shards import Shard
from jobs.output.ledger import Commit, commit_shard
from jobs.tasks.isolation import computing
from jobs.tasks.parts import ClassifyWork, PartFacts
from jobs.tasks.shards import ClassifyJob, classify_shard, load_bundle, once, process_shard


@dataclass(frozen=True, slots=True)
class ReclassifyJob:
    """The data that a task needs: the job as ``classify`` would run it, and the folder of the stored features."""

    classify: ClassifyJob
    features: str


def reclassify_shard(shard: Shard, job: ReclassifyJob) -> Commit:
    """Store the predictions, features and failures of one shard; all its recordings are stored in one part, or none."""
    part = shard.recordings[0].stored_in
    if part is None:
        return classify_shard(shard, job.classify)
    return once(shard, job.classify.run, lambda: _commit(shard, job, storage.join(job.features, part)))


def _commit(shard: Shard, job: ReclassifyJob, part_uri: str) -> Commit:
    run, ours = job.classify.run, job.classify
    bundle = load_bundle(ours.model, ours.model_digest, run.device)
    facts = PartFacts(run.run_id, shard.generation, dict(run.provenance), run.kept)
    part = storage.read(part_uri)
    with computing():
        inputs = read_inputs(part, bundle.manifest.recipe)
        stored = stored_results(inputs, shard.recordings, bundle.manifest.recipe, bundle.reference)
    unknown = tuple(one for one, found in zip(shard.recordings, stored, strict=True) if found is None)
    rest = replace(shard, recordings=unknown)
    processed, n_failed = process_shard(rest, run, ClassifyWork(bundle, ours.features), facts)
    known = {one.recording.recording_id: one for one in (*(one for one in stored if one is not None), *processed)}
    results = [known[one.recording_id] for one in shard.recordings if one.recording_id in known]
    with computing():
        predictions = bundle.classify(results)
        table = predictions_table(
            results,
            predictions,
            bundle.manifest.labels,
            model_id=bundle.model_id,
            recipe=bundle.manifest.recipe.name,
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
    labels = [bundle.manifest.labels[code] for code in predictions.codes.tolist()]
    return commit_shard(run.out, shard.index, len(shard.recordings), n_failed, tables, run.run_id, labels)
