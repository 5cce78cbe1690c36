"""The main job: recordings to predictions, features and failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from heartbeat_core import storage
from heartbeat_core.manifest import read_manifest
from heartbeat_core.recording import Recording
from heartbeat_core.tables import from_parquet
from jobs.cluster import connect
from jobs.driver import announce, begin, finish, job_identity, run_facts, run_shards
from jobs.ledger import RUN_NAME, Totals
from jobs.plan import Listing, list_inputs, make_shards
from jobs.settings import JobSettings
from jobs.shard import ClassifyJob, classify_shard

TABLES = ("predictions", "features", "failures")


@dataclass(frozen=True, slots=True)
class ClassifySummary:
    """What the job left behind."""

    out: str
    model_id: str
    totals: Totals


def classify(inputs: Sequence[str], out: str, settings: JobSettings, console: Console) -> ClassifySummary:
    """Classify all recordings of ``inputs`` into the folder ``out``; goes on where an earlier run stopped.

    Raises:
        UsageError: an input, the output or the model cannot be used; no work has begun.
        JobError: the work began and could not be finished.
    """
    manifest = read_manifest(settings.model)
    model_id = f"{manifest.name}@{manifest.digest}"
    identity = job_identity("classify", inputs, settings, model=model_id, features=list(settings.features))

    def make_plan() -> list[list[Recording]]:
        listing = list_inputs(inputs, settings.path_column)
        report_listing(listing, console)
        return make_shards(listing.recordings, settings.shards)

    run = begin(out, identity, make_plan, console)
    if run.remaining:
        facts = run_facts(run, settings, {"model_id": model_id, "recipe": manifest.recipe.name})
        job = ClassifyJob(facts, settings.model, manifest.digest)
        with connect(settings.cluster, storage.join(run.ledger.out, RUN_NAME)) as connection:
            announce(connection, console)
            run_shards(run, connection, classify_shard, job, settings, console, "classify")
    return ClassifySummary(run.ledger.out, model_id, finish(run))


def report_listing(listing: Listing, console: Console) -> None:
    """Print what the inputs hold."""
    parts = [f"{len(listing.recordings)} recordings listed"]
    if listing.n_skipped:
        parts.append(f"{listing.n_skipped} other files skipped")
    if listing.n_duplicates:
        parts.append(f"{listing.n_duplicates} named twice and taken once")
    console.print(", ".join(parts), highlight=False)


def count_values(out: str, table: str, column: str) -> Counter[str]:
    """Return how often each text occurs in a column of a finished table."""
    folder = storage.join(out, table)
    counts: Counter[str] = Counter()
    for name in storage.list_names(folder):
        counts.update(from_parquet(storage.read(storage.join(folder, name)), [column]).column(column).to_pylist())
    return counts
