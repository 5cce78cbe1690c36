"""Classify the recordings of finished results with another model, from their stored features where these suffice."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from rich.console import Console

from heartbeat_core import storage
from heartbeat_core.bundles.manifest import BundleManifest, read_manifest, read_weights, resolve, shipped_models
from heartbeat_core.errors import InputError, UsageError
from heartbeat_core.features.catalogue import default_sets
from heartbeat_core.formats.kept import KeptColumn
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.results.files import read_file
from heartbeat_core.results.folder import Results
from heartbeat_core.results.stored import lacking_inputs
from heartbeat_core.settings import Limits
from heartbeat_core.storage.uris import COMPACT_PREFIX, FAILURES
from jobs.cluster.connection import HERE, Connection
from jobs.drivers.classify import ClassifySummary, table_schemas
from jobs.drivers.derived import keep_derived
from jobs.drivers.facts import begin_tables, run_facts, write_schemas
from jobs.drivers.found import check_secret
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
from jobs.listing.pseudonyms import check_salt, located, pseudonyms
from jobs.listing.shards import make_shards
from jobs.output.ledger import by_count, count_errors, count_labels
from jobs.output.model import keep_manifest
from jobs.output.newest import newest_recordings, read_newest
from jobs.output.places import RUN_NAME, part_name
from jobs.output.plans import PlanFolder
from jobs.output.provenance import recorded
from jobs.output.status import read_status
from jobs.settings import ClusterSettings, JobSettings
from jobs.tasks.reclassify import ReclassifyJob, reclassify_task
from jobs.tasks.shards import ClassifyJob


@dataclass(frozen=True, slots=True)
class ReclassifySummary:
    """What the job has written.

    Attributes
    ----------
    classified : ClassifySummary
    n_stored : int
        Recordings whose stored features were used.
    lacking : list[str]
        The feature sets that the model reads and the results do not hold; then the audio of all recordings was read.
    """

    classified: ClassifySummary
    n_stored: int
    lacking: list[str]


@dataclass(frozen=True, slots=True)
class _Source:
    """Finished results: their folder, what tells their job from another, and the columns that they keep."""

    uri: str
    run_id: str
    identity: Mapping[str, Any]
    n_generations: int
    kept: tuple[KeptColumn, ...]


def reclassify(source: str, out: str, settings: JobSettings, console: Console) -> ReclassifySummary:
    """Classify the recordings of the results in ``source`` with the model of the settings, into the folder ``out``.

    Recordings whose newest row is a failure are read again. Where nothing has to be read, and the settings ask for no
    cluster, the work is done in this process.

    Parameters
    ----------
    source : str
        Path or URL of the finished output of ``classify``.
    out : str
        Path or URL of another folder: a new one, or one that holds this job.
    settings : JobSettings
        Limits, kept columns, path column and patient column are those of the results, whatever is set here.
    console : Console
        Takes what is said meanwhile.

    Raises
    ------
    UsageError
        The results, the output or the model cannot be used; no work has begun.
    JobError
        The work began and could not be finished.
    """
    with reaching(settings):
        found = _read_source(source)
        if storage.to_uri(out).rstrip("/") == found.uri.rstrip("/"):
            raise UsageError("the results are never changed: name another folder for the output")
        manifest = read_manifest(settings.model)
        read_weights(settings.model, manifest)  # Before any work: each worker would refuse damaged ones.
        settings = settings.model_copy(
            update={
                "limits": Limits.model_validate(found.identity["limits"]),
                "path_column": found.identity["path_column"],
                "patient_column": found.identity["patient_column"],
                "keep_columns": tuple(found.identity["keep_columns"]),
            }
        )
        lacking = lacking_inputs(Results(found.uri).schema("features"), manifest.recipe)
        features = tuple(found.identity["features"])
        if lacking:
            features = tuple(dict.fromkeys((*features, *default_sets(manifest.recipe.input))))
        check_salt(found.identity.get("salt"), settings.salt_env)
        names = None if settings.salt_env is None else pseudonyms(settings.salt_env)
        identity = job_identity(
            "classify",
            [found.uri if names is None else names.name("input", found.uri)],
            settings,
            model=manifest.model_id,
            features=list(features),
            source={"run_id": found.run_id, "generations": found.n_generations},
            **({} if names is None else {"salt": names.digest}),
        )

        def make_plan() -> Iterable[list[Recording]]:
            return _plan(found.uri, settings, read_all=bool(lacking))

        with begin(out, identity, settings, make_plan, console, found.kept) as run:
            n_stored = sum(one.stored_in is not None for shard in run.shards() for one in shard.recordings)
            has_worked = not run.is_committed
            if has_worked:
                _work(run, found, manifest, features, settings, console, is_read=n_stored < run.n_recordings)
            totals = finish(run, lambda: keep_derived(run, manifest, console))
            if has_worked:
                try_report(run.ledger.out, run.commits, console)
            commits = run.commits.values()
            labels, errors = by_count(count_labels(commits)), by_count(count_errors(commits))
    classified = ClassifySummary(run.ledger.out, manifest.model_id, totals, labels, errors)
    return ReclassifySummary(classified, n_stored, lacking)


def _read_source(source: str) -> _Source:
    status = read_status(source)
    uri = storage.to_uri(source)
    shown = storage.display(uri)
    if status.job != "classify":
        raise InputError(f"{shown} is the output of '{status.job}': name the output of 'classify'")
    if not status.finished or status.committed < status.shards:
        raise InputError(f"{shown} is not finished: run its job again to go on, then classify it with another model")
    identity = json.loads(storage.read(storage.join(uri, RUN_NAME)))["identity"]
    generations = PlanFolder(uri).generations()
    return _Source(uri, status.run_id, identity, len(generations), generations[0].kept)


def _plan(source: str, settings: JobSettings, *, read_all: bool) -> Iterator[list[Recording]]:
    """Yield shards: for each part of the features its recordings, and then the recordings that have to be read."""
    if read_all:
        newest = located((one for _, one in newest_recordings(source)), settings.salt_env)
        yield from make_shards(look_again(newest), settings.shards)
        return
    failed = {one for part in read_newest(source, FAILURES, []) for one in part.column("recording_id").to_pylist()}
    unread: list[Recording] = []
    for _, recordings in groupby(_stored(source, failed, unread), key=lambda one: one.stored_in):
        yield list(recordings)
    yield from make_shards(look_again(located(unread, settings.salt_env)), settings.shards)


def _stored(source: str, failed: Collection[str], unread: list[Recording]) -> Iterator[Recording]:
    """Yield the recordings that have features, each with its part; add the others to ``unread``."""
    folder = storage.join(source, "features")
    names = storage.list_parts(folder)
    part_of: dict[str, str] = {}
    if any(name.startswith(COMPACT_PREFIX) for name in names):  # The names do not tell the shard any more.
        for name in names:
            ids = read_file(storage.join(folder, name), ["recording_id"]).column("recording_id")
            part_of.update(dict.fromkeys(ids.to_pylist(), name))
    for shard, recording in newest_recordings(source):
        if recording.recording_id in failed:
            unread.append(recording)
        else:
            part = part_of.get(recording.recording_id, f"{part_name(shard)}.parquet")
            yield replace(recording, stored_in=part)


def _work(
    run: Run,
    source: _Source,
    manifest: BundleManifest,
    features: tuple[str, ...],
    settings: JobSettings,
    console: Console,
    *,
    is_read: bool,
) -> None:
    model = settings.model if settings.model in shipped_models() else resolve(settings.model)
    write = {**manifest.provenance, "source_run_id": source.run_id}

    def run_on(connection: Connection | None) -> None:
        facts = run_facts(run, settings, write, connection)
        job = ReclassifyJob(ClassifyJob(facts, model, manifest.digest, features), storage.join(source.uri, "features"))
        write_schemas(run, table_schemas(manifest.labels, features))
        begin_tables(job.classify.run)
        keep_manifest(run.ledger.out, manifest)
        run_shards(run, connection, reclassify_task, job, settings, console, "reclassify")

    if not is_read and settings.cluster == ClusterSettings():
        with recorded(run.ledger.out, run.presence.id, settings, HERE):
            run_on(None)
    else:
        with on_cluster(run, settings, console, worth_workers(run)) as connection:
            check_secret(connection, settings.salt_env)
            run_on(connection)
