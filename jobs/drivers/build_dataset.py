"""Build an aligned dataset on the cluster: from recordings and labels to frames, offsets and a scaler."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import safetensors.numpy
from rich.console import Console

from heartbeat_core import storage
from heartbeat_core.datasets.dataset import (
    FACTS_NAME,
    REFERENCE_NAME,
    SCALER_NAME,
    SEGMENTS_NAME,
    DatasetFacts,
    Layout,
)
from heartbeat_core.errors import NothingSucceeded
from heartbeat_core.formats.kept import check_names
from heartbeat_core.formats.parquet import to_parquet
from heartbeat_core.labels import Labels, ordered_counts, settle_labels
from heartbeat_core.recipe import Recipe
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.results.schema import FAILURES, RECORDINGS, segments_table, with_metadata
from heartbeat_core.settings import fingerprint, parse_settings
from heartbeat_core.storage import uris
from heartbeat_core.storage.uris import ROWS_FOLDER
from jobs.cluster.connect import check_certificates
from jobs.cluster.connection import Connection
from jobs.cluster.runner import Tasks, run_tasks
from jobs.drivers.facts import begin_tables, run_facts, write_schemas
from jobs.drivers.reach import reaching
from jobs.drivers.report import try_report
from jobs.drivers.run import (
    Run,
    begin,
    count,
    finish,
    job_identity,
    on_cluster,
    report_listing,
    run_shards,
    worth_workers,
)
from jobs.listing.kept import ManifestColumns
from jobs.listing.labels import LabelTable, LabelWords, Matching, label_from_parent_folder, match_labels
from jobs.listing.listing import Listing
from jobs.listing.shards import make_shards
from jobs.output.ledger import Totals, by_count, count_errors, count_labels
from jobs.output.provenance import claim_entries, inputs_entry
from jobs.progress import meter
from jobs.settings import JobSettings
from jobs.tasks import reference
from jobs.tasks.context import TASK_PATIENCE_S
from jobs.tasks.reference import Claim, Longest, NoReference, ScanJob, claim_task, scan_task
from jobs.tasks.scalers import MergeJob, levels, merge, read_fit, remove_fits
from jobs.tasks.shards import DatasetJob, dataset_task, in_isolation

UNMATCHED_NAME = "_unmatched_labels.csv"


@dataclass(frozen=True, slots=True)
class DatasetOptions:
    """What a dataset is built from, besides its recordings.

    Attributes
    ----------
    recipe : Recipe
        Its frames and alignment settings are used.
    layout : Layout
        ``compact`` stores frames as they are, ``padded`` with zeros to the length of the reference.
    labels : LabelTable | None
        The table of labels; None if there is none.
    label_from_folder : bool
        Without a table: take each label from the name of the recording's folder.
    words : LabelWords
        How these names become labels; a table has its own labels already.
    """

    recipe: Recipe
    layout: Layout = "compact"
    labels: LabelTable | None = None
    label_from_folder: bool = False
    words: LabelWords = field(default_factory=LabelWords)


@dataclass(frozen=True, slots=True)
class DatasetSummary:
    """What the job has written.

    Attributes
    ----------
    out : str
        URI of the output folder.
    facts : DatasetFacts
    totals : Totals
    errors : dict[str, int]
        Failures by ``error_type``, the commonest first.
    unmatched : dict[str, int]
        Labels and recordings without their counterpart, by kind.
    """

    out: str
    facts: DatasetFacts
    totals: Totals
    errors: dict[str, int]
    unmatched: dict[str, int]


def build_dataset(
    inputs: Sequence[str], out: str, options: DatasetOptions, settings: JobSettings, console: Console
) -> DatasetSummary:
    """Align all recordings of ``inputs`` with the longest of them into ``out``, or go on where an earlier run stopped.

    Parameters
    ----------
    inputs : Sequence[str]
        Files, folders, globs, manifests or inventories.
    out : str
        Path or URL of a new folder, or of one that holds this job.
    options : DatasetOptions
    settings : JobSettings
    console : Console
        Takes what is said meanwhile.

    Raises
    ------
    UsageError
        An input, the labels or the output cannot be used; no work has begun.
    JobError
        The work began and could not be finished.
    """
    recipe = options.recipe
    check_names(settings.keep_columns, [*RECORDINGS.names, *FAILURES.names])
    check_certificates(settings.cluster)
    with reaching(settings):
        identity = job_identity(
            "build-dataset",
            inputs,
            settings,
            recipe=recipe.dataset_settings(),
            layout=options.layout,
            labels=None if options.labels is None else options.labels.fingerprint(),
            label_from_folder=options.label_from_folder,
            label_words=fingerprint(
                [options.words.declared, None if options.words.map is None else options.words.map.words]
            ),
        )

        def make_plan() -> Iterable[list[Recording]]:
            # Labels are matched by unique names, which needs all recordings at once.
            elsewhere = () if options.labels is None else options.labels.columns
            columns = ManifestColumns(settings.keep_columns, settings.patient_column, elsewhere)
            listing = Listing(inputs, settings.path_column, settings.selection, columns)
            recordings = list(listing)
            report_listing(listing, console)
            return make_shards(_match(recordings, options)[0].recordings, settings.shards)

        with begin(out, identity, settings, make_plan, console) as run:
            n_committed = len(run.commits)
            summary = _build(run, options, settings, console)
            if len(run.commits) > n_committed:
                try_report(run.ledger.out, run.commits, console)
            return summary


def _build(run: Run, options: DatasetOptions, settings: JobSettings, console: Console) -> DatasetSummary:
    recordings = [recording for shard in run.shards() for recording in shard.recordings]
    matching, labels = _match(recordings, options)
    unmatched = _unmatched(matching)
    provenance = {"recipe": options.recipe.name, "layout": options.layout}
    scaler = storage.join(run.ledger.out, SCALER_NAME)
    if not run.is_committed or reference.read_choice(run.ledger.out) is None or not storage.exists(scaler):
        with on_cluster(run, settings, console, worth_workers(run)) as connection:
            facts = run_facts(run, settings, provenance, connection)
            _settle_reference(run, connection, ScanJob(facts, options.recipe.frames), settings, console)
            write_schemas(run, {ROWS_FOLDER: RECORDINGS, uris.FAILURES: FAILURES})
            reference_uri = storage.join(run.ledger.out, REFERENCE_NAME)
            job = DatasetJob(facts, options.recipe, reference_uri, labels, options.layout == "padded")
            begin_tables(facts)
            run_shards(run, connection, dataset_task, job, settings, console, "build-dataset")
            if not storage.exists(scaler):
                _store_scaler(run, connection, scaler, settings)
    totals = count(run)
    _write_unmatched(run.ledger.out, unmatched)
    _write_segments(run, options.labels, matching, provenance)
    facts_written = _write_facts(run, options, labels, totals)
    finish(run)
    remove_fits(run.ledger.out)
    return DatasetSummary(
        run.ledger.out,
        facts_written,
        totals,
        by_count(count_errors(run.commits.values())),
        {what: len(paths) for what, paths in unmatched.items()},
    )


def _match(recordings: Sequence[Recording], options: DatasetOptions) -> tuple[Matching, Labels]:
    """Return the recordings with their labels, and the labels that codes stand for."""
    if options.labels is not None:
        return match_labels(recordings, options.labels), options.labels.labels
    if options.label_from_folder:
        return label_from_parent_folder(recordings, options.words)
    matching = Matching(recordings=list(recordings), without_label=[one.relative_path for one in recordings])
    return matching, settle_labels((), options.words.declared)


def _settle_reference(run: Run, connection: Connection, scan: ScanJob, settings: JobSettings, console: Console) -> None:
    """Store the reference: the longest recording, or the one that an earlier or another driver has chosen."""
    longest = reference.read_choice(run.ledger.out)
    if longest is None:
        claims: dict[int, int] = {}
        errors: Counter[str] = Counter()
        with meter(console, "scan headers", run.n_shards, "shards") as shown:

            def take(claim: Claim) -> None:
                claims[claim.shard] = claim.n_frames
                errors.update(claim.errors)
                shown.advance()

            run_tasks(connection, Tasks(claim_task, scan, settings.task_retries, take, in_isolation), run.planned())

        def decode(shards: set[int]) -> list[Longest | None]:
            found: list[Longest | None] = []
            tasks = Tasks(scan_task, scan, settings.task_retries, found.append, in_isolation)
            run_tasks(connection, tasks, (shard for shard in run.planned() if shard.index in shards))
            return found

        try:
            longest = reference.choose(claims, decode)
        except NoReference as error:
            if n_undecodable := run.n_recordings - errors.total():
                errors["not decodable"] = n_undecodable
            told = ", ".join(f"{count} {error_type}" for error_type, count in by_count(errors).items())
            run.presence.stage = "planned"  # No task has written anything, and none is under way.
            raise NothingSucceeded(f"{error} ({told})") from None
    stored: list[Longest] = []
    run_tasks(connection, Tasks(reference.store, scan, settings.task_retries, stored.append), [longest])
    [settled] = stored
    console.print(f"reference: {settled.n_frames} frames, {storage.display(settled.uri)}")


def _store_scaler(run: Run, connection: Connection, uri: str, settings: JobSettings) -> None:
    """Merge the fits of all shards on the workers, level by level, and store the scaler over all rows."""
    job = MergeJob(run.ledger.out, run.access, TASK_PATIENCE_S)
    tree = levels(run.n_shards)
    try:
        for level in tree:
            run_tasks(connection, Tasks(merge, job, settings.task_retries, lambda _: None), level)
        fit = read_fit(run.ledger.out, len(tree), 0).finish()
    except FileNotFoundError:
        # Meanwhile another driver may have stored the scaler, and removed the fits.
        if storage.exists(uri):
            return
        raise
    storage.create(uri, safetensors.numpy.save({"scaler.mean": fit.mean, "scaler.scale": fit.scale}))


def _write_facts(run: Run, options: DatasetOptions, labels: Labels, totals: Totals) -> DatasetFacts:
    """Write the facts of the dataset, and return what is stored."""
    out = run.ledger.out
    longest = reference.read_choice(out)
    if longest is None:
        raise RuntimeError("a dataset whose shards are committed has no reference")
    facts = DatasetFacts(
        recipe=options.recipe,
        labels=labels,
        layout=options.layout,
        length_frames=longest.n_frames,
        reference_recording_id=longest.recording_id,
        reference_audio_sha256=longest.audio_sha256,
        reference_sample_rate_hz=longest.sample_rate_hz,
        n_rows=totals.done,
        n_failures=totals.failed,
        rows_by_label=ordered_counts(count_labels(run.commits.values()), labels),
        run_id=run.run_id,
    )
    text = json.dumps(facts.model_dump(mode="json"), indent=2) + "\n"
    storage.create(storage.join(out, FACTS_NAME), text.encode())
    return parse_settings(DatasetFacts, json.loads(storage.read(storage.join(out, FACTS_NAME))), FACTS_NAME)


def _write_segments(run: Run, table: LabelTable | None, matching: Matching, provenance: Mapping[str, str]) -> None:
    """Write the segments of the recordings of the dataset, if the source of the labels has any."""
    if table is None or not table.segments:
        return
    ids = {path: recording.recording_id for path, recording in matching.by_path.items()}
    rows = [(ids[one.path], one.start_s, one.end_s, one.state) for one in table.segments if one.path in ids]
    out = run.ledger.out
    entries = {**claim_entries(out, inputs_entry(run.generations)), **provenance}
    storage.create(storage.join(out, SEGMENTS_NAME), to_parquet(with_metadata(segments_table(rows), entries)))


def _unmatched(matching: Matching) -> dict[str, list[str]]:
    return {
        "label without a recording": matching.without_recording,
        "label whose file name is not unique": matching.ambiguous,
        "recording without a label": matching.without_label,
    }


def _write_unmatched(out: str, unmatched: Mapping[str, list[str]]) -> None:
    """Write the labels without a recording and the recordings without a label into a table, for people."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(["what", "path"])
    for what, paths in unmatched.items():
        writer.writerows((what, path) for path in paths)
    storage.create(storage.join(out, UNMATCHED_NAME), sink.getvalue().encode())
