"""The main job: recordings to predictions, features and failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from heartbeat_core import storage
from heartbeat_core.manifest import read_manifest, resolve, shipped_models
from heartbeat_core.recording import Recording
from heartbeat_core.tables import Table, from_parquet
from jobs.cluster import connect
from jobs.driver import announce, begin, finish, job_identity, run_facts, run_shards
from jobs.ledger import FAILURES, RUN_NAME, Totals
from jobs.plan import Listing, list_inputs, make_shards
from jobs.settings import JobSettings
from jobs.shard import ClassifyJob, classify_shard

TABLES = ("predictions", "features", FAILURES)


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
    model_id = manifest.model_id
    identity = job_identity("classify", inputs, settings, model=model_id, features=list(settings.features))

    def make_plan() -> list[list[Recording]]:
        listing = list_inputs(inputs, settings.path_column)
        report_listing(listing, console)
        return make_shards(listing.recordings, settings.shards)

    run = begin(out, identity, make_plan, console)
    if run.remaining:
        facts = run_facts(run, settings, {"model_id": model_id, "recipe": manifest.recipe.name})
        # A worker finds a shipped model in its own installation, and a path not from its own working directory.
        model = settings.model if settings.model in shipped_models() else resolve(settings.model)
        job = ClassifyJob(facts, model, manifest.digest)
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
    console.print(", ".join(parts))


def count_values(out: str, table: str, column: str) -> Counter[str]:
    """Return how often each text occurs in a column of a finished table."""
    counts: Counter[str] = Counter()
    for part in _parts(out, table, [column]):
        counts.update(part.column(column).to_pylist())
    return counts


def read_failures(out: str) -> list[dict[str, Any]]:
    """Return the rows of a finished failures table."""
    return [row for part in _parts(out, FAILURES, None) for row in part.to_pylist()]


def _parts(out: str, table: str, columns: list[str] | None) -> Iterator[Table]:
    folder = storage.join(out, table)
    for name in storage.list_names(folder):
        # A worker that was killed may have left a temporary file.
        if name.endswith(".parquet"):
            yield from_parquet(storage.read(storage.join(folder, name)), columns)
