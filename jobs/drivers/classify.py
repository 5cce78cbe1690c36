"""The main job: from recordings to predictions, features and failures."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

from rich.console import Console

from heartbeat_core.bundles.manifest import BundleManifest, read_manifest, read_weights, resolve, shipped_models
from heartbeat_core.errors import UsageError
from heartbeat_core.features.catalogue import default_sets
from heartbeat_core.formats.kept import KeptTypes, check_names
from heartbeat_core.labels import Labels
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.results import schema
from heartbeat_core.results.duplicates import DUPLICATES
from heartbeat_core.results.notes import Schema
from heartbeat_core.settings import Limits
from heartbeat_core.storage.uris import TABLES
from heartbeat_core.wording import counted
from jobs.drivers.derived import keep_derived
from jobs.drivers.facts import begin_tables, run_facts, write_schemas
from jobs.drivers.found import Found, check_secret
from jobs.drivers.reach import reaching
from jobs.drivers.report import try_report
from jobs.drivers.run import (
    Run,
    begin,
    finish,
    job_identity,
    on_cluster,
    run_shards,
    worth_workers,
)
from jobs.listing.again import look_again
from jobs.listing.pseudonyms import located
from jobs.listing.seen import KnownRecordings
from jobs.listing.shards import make_shards
from jobs.output.ledger import Ledger, Totals, by_count
from jobs.output.model import keep_manifest
from jobs.output.newest import count_newest, failed_recordings, newest_errors
from jobs.output.plans import Generation, Replaced
from jobs.settings import JobSettings
from jobs.tasks.shards import ClassifyJob, classify_task


@dataclass(frozen=True, slots=True)
class ClassifySummary:
    """What the job has written, counting every recording once, by its newest row.

    Attributes
    ----------
    out : str
        URI of the output folder.
    model_id : str
    totals : Totals
    labels : dict[str, int]
        Predictions by label, the commonest first.
    errors : dict[str, int]
        Failures by ``error_type``, the commonest first.
    """

    out: str
    model_id: str
    totals: Totals
    labels: dict[str, int]
    errors: dict[str, int]


def classify(
    inputs: Sequence[str],
    out: str,
    settings: JobSettings,
    console: Console,
    *,
    update: bool = False,
    retry_failed: Collection[str] | None = None,
) -> ClassifySummary:
    """Classify all recordings of ``inputs`` into the folder ``out``, or go on where an earlier run stopped.

    Parameters
    ----------
    inputs : Sequence[str]
        Files, folders, globs, manifests or inventories.
    out : str
        Path or URL of a new folder, or of one that holds this job.
    settings : JobSettings
        With ``retry_failed``, the limits may differ from those of the job in ``out``: they are those of the retry.
    console : Console
        Takes what is said meanwhile.
    update : bool
        Recordings that are new or have changed since are classified as a further generation.
    retry_failed : Collection[str] | None
        Recordings that have failed with one of these error types, or with any if it is empty, are classified as a
        further generation. A retry that was begun and not finished is finished instead. None retries nothing.

    Raises
    ------
    UsageError
        An input, the output or the model cannot be used; no work has begun.
    JobError
        The work began and could not be finished.
    """
    if update and retry_failed is not None:
        raise UsageError("give --update or --retry-failed, not both: run one after the other")
    from jobs.cluster.connect import check_certificates  # Loads Dask, which 'reclassify' may do without.

    retry_limits = settings.limits
    with reaching(settings):
        if retry_failed is not None:
            # Whatever is not a retry keeps the limits that the job began with.
            settings = settings.model_copy(update={"limits": Ledger(out).find_limits() or retry_limits})
        check_certificates(settings.cluster)
        manifest = read_manifest(settings.model)
        read_weights(settings.model, manifest)  # Before any work: each worker would refuse damaged ones.
        features = features_written(settings, manifest)
        found = Found(inputs, settings)
        settings = settings.model_copy(update={"keep_columns": found.kept_names})
        own = table_schemas(manifest.labels, features).values()
        check_names(settings.keep_columns, [name for one in own for name in one.names])
        identity = job_identity("classify", inputs, settings, model=manifest.model_id, features=list(features))
        identity = found.identity_of(identity)

        def make_plan() -> Iterable[list[Recording]]:
            yield from make_shards(found, settings.shards)
            found.report(console)

        with begin(out, identity, settings, make_plan, console) as run:
            if run.is_finished and not update and retry_failed is None:
                console.print("the inputs were not looked at: --update takes what is new or has changed in them")
            begun = None if run.is_finished else run.generations[-1]
            n_committed = len(run.commits)
            totals = _work(run, manifest, settings, console)
            if update and not run.is_new:
                run = _add_update(run, found, settings, console)
                totals = _work(run, manifest, settings, console)
            elif retry_failed is not None and begun is not None and begun.limits is not None:
                console.print(
                    f"retry {begun.number} had been begun and is finished now: run this again to begin another"
                )
            elif retry_failed is not None and not run.is_new:
                run = _add_retry(run, retry_failed, retry_limits, settings, console)
                totals = _work(run, manifest, settings, console)
            if len(run.commits) > n_committed:
                try_report(run.ledger.out, run.commits, console)
            labels, errors = count_newest(run.ledger.out, run.commits.values(), len(run.generations))
    return ClassifySummary(run.ledger.out, manifest.model_id, totals, by_count(labels), by_count(errors))


def table_schemas(labels: Labels, features: Sequence[str]) -> dict[str, Schema]:
    """Return the columns of each table, without those that are kept.

    Parameters
    ----------
    labels : Labels
        The labels of the model, by code.
    features : Sequence[str]
        Feature sets that are written.

    Returns
    -------
    dict[str, Schema]
        By name of the table: those of ``TABLES``, and ``duplicates``.

    Raises
    ------
    ConfigError
        As ``catalogue.sets_written``.
    """
    own = (schema.predictions_schema(labels), schema.features_schema(features), schema.FAILURES)
    return {**dict(zip(TABLES, own, strict=True)), "duplicates": DUPLICATES}


def features_written(settings: JobSettings, manifest: BundleManifest) -> tuple[str, ...]:
    """Return the feature sets that the job writes: those of the settings, else the default ones for the model."""
    return settings.features or default_sets(manifest.recipe.input)


def _work(run: Run, manifest: BundleManifest, settings: JobSettings, console: Console) -> Totals:
    """Run what is left, store the tables that follow from it, and mark the folder as finished."""
    complete = partial(keep_derived, run, manifest, console)
    if run.is_committed:
        return finish(run, complete)
    # A worker finds a shipped model in its own installation. Any other path is made absolute, since a worker has
    # another working directory.
    model = settings.model if settings.model in shipped_models() else resolve(settings.model)
    with on_cluster(run, settings, console, worth_workers(run)) as connection:
        check_secret(connection, settings.salt_env)
        # A driver that had planned an update or a retry and died then has left the mark of what was finished before.
        run.ledger.unmark_success()
        features = features_written(settings, manifest)
        write_schemas(run, table_schemas(manifest.labels, features))
        facts = run_facts(run, settings, manifest.provenance, connection)
        job = ClassifyJob(facts, model, manifest.digest, features)
        begin_tables(facts)
        keep_manifest(run.ledger.out, manifest)
        run_shards(run, connection, classify_task, job, settings, console, "classify")
        return finish(run, complete)


def _add_update(run: Run, listing: Found, settings: JobSettings, console: Console) -> Run:
    """List the inputs again and plan what is new or has changed; return the run with that generation, if any."""
    with KnownRecordings() as known:
        for shard in run.shards():
            known.update(shard.recordings)
        errors = newest_errors(run.ledger.out)
        replaced = Replaced()

        def fresh() -> Iterator[Recording]:
            for recording in listing:
                if not known.is_current(recording):
                    if known.holds(recording):
                        replaced.add(errors.get(recording.recording_id))
                    yield recording

        generation = _settle(run, fresh(), settings, replaced)
    listing.report(console)
    if generation is None:
        console.print("nothing is new and nothing has changed")
        return run
    told = "1 recording is" if generation.n_recordings == 1 else f"{generation.n_recordings} recordings are"
    console.print(f"update {generation.number}: {told} new or changed")
    return replace(run, generations=(*run.generations, generation), commits=dict(run.commits))


def _add_retry(run: Run, error_types: Collection[str], limits: Limits, settings: JobSettings, console: Console) -> Run:
    """Plan the recordings that have failed once more; return the run with that generation, if any."""
    errors = newest_errors(run.ledger.out)
    replaced = Replaced()

    def failed() -> Iterator[Recording]:
        pieces = (located(piece, settings.salt_env) for piece in failed_recordings(run.ledger.out, error_types))
        for recording in chain.from_iterable(map(look_again, pieces)):
            replaced.add(errors[recording.recording_id])
            yield recording

    generation = _settle(run, failed(), settings, replaced, limits)
    if generation is None:
        kinds = f" with {' or '.join(error_types)}" if error_types else ""
        console.print(f"nothing is retried: no recording has failed{kinds}")
        return run
    console.print(f"retry {generation.number}: {counted(generation.n_recordings, 'recording')} that had failed")
    return replace(run, generations=(*run.generations, generation), commits=dict(run.commits))


def _settle(
    run: Run, recordings: Iterable[Recording], settings: JobSettings, replaced: Replaced, limits: Limits | None = None
) -> Generation | None:
    """Plan recordings as the next generation; None where there are none."""
    shards = make_shards(recordings, settings.shards)
    first = next(shards, None)
    if first is None:
        return None
    types = KeptTypes([one.name for one in run.kept], run.kept)
    return run.plans.settle(len(run.generations), run.n_shards, chain([first], shards), types, limits, replaced)
