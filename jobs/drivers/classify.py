"""The main job: recordings to predictions, features and failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from rich.console import Console

from heartbeat_core import storage
from heartbeat_core.bundles.manifest import BundleManifest, read_manifest, resolve, shipped_models
from heartbeat_core.recordings.recording import Recording
from jobs.cluster.connect import check_certificates, connect
from jobs.drivers.run import Run, announce, begin, finish, job_identity, reaching, report_listing, run_facts, run_shards
from jobs.listing.listing import Listing
from jobs.listing.seen import KnownRecordings
from jobs.listing.shards import make_shards
from jobs.output.ledger import FAILURES, RUN_NAME, Totals, count_labels
from jobs.output.newest import read_newest
from jobs.settings import JobSettings
from jobs.tasks.shards import ClassifyJob, classify_shard


@dataclass(frozen=True, slots=True)
class ClassifySummary:
    """What the job left behind; ``totals`` and ``labels`` count every recording once, by its newest row."""

    out: str
    model_id: str
    totals: Totals
    labels: dict[str, int]


def classify(
    inputs: Sequence[str], out: str, settings: JobSettings, console: Console, *, update: bool = False
) -> ClassifySummary:
    """Classify all recordings of ``inputs`` into the folder ``out``; goes on where an earlier run stopped.

    With ``update``, what is new or has changed since the folder was finished is taken as a further generation.

    Raises
    ------
    UsageError
        An input, the output or the model cannot be used; no work has begun.
    JobError
        The work began and could not be finished.
    """
    with reaching(settings):
        check_certificates(settings.cluster)
        manifest = read_manifest(settings.model)
        identity = job_identity("classify", inputs, settings, model=manifest.model_id, features=list(settings.features))
        listing = Listing(inputs, settings.path_column, settings.selection)

        def make_plan() -> Iterable[list[Recording]]:
            yield from make_shards(listing, settings.shards)
            report_listing(listing, console)

        with begin(out, identity, settings, make_plan, console) as run:
            totals = _work(run, manifest, settings, console)
            if update and not run.is_new:
                run = _add_generation(run, listing, settings, console)
                totals = _work(run, manifest, settings, console)
            labels = _newest_labels(run)
            totals = _newest_totals(run, totals)
    return ClassifySummary(run.ledger.out, manifest.model_id, totals, dict(labels.most_common()))


def _work(run: Run, manifest: BundleManifest, settings: JobSettings, console: Console) -> Totals:
    """Run what is left, and mark the folder as finished."""
    if run.is_committed:
        return finish(run)
    # A worker finds a shipped model in its own installation, and a path not from its own working directory.
    model = settings.model if settings.model in shipped_models() else resolve(settings.model)
    with connect(settings.cluster, storage.join(run.ledger.out, RUN_NAME), run.access) as connection:
        # An update's plan may have been settled by a driver that died then, with the mark of what was finished before.
        run.ledger.unmark_success()
        announce(connection, console)
        facts = run_facts(run, settings, {"model_id": manifest.model_id, "recipe": manifest.recipe.name})
        job = ClassifyJob(facts, model, manifest.digest, settings.features)
        run_shards(run, connection, classify_shard, job, settings, console, "classify")
        return finish(run)


def _add_generation(run: Run, listing: Listing, settings: JobSettings, console: Console) -> Run:
    """List again and plan what is new or has changed; the run as it is where nothing is."""
    with KnownRecordings() as known:
        for shard in run.shards():
            known.update(shard.recordings)
        fresh = (recording for recording in listing if not known.is_current(recording))
        shards = make_shards(fresh, settings.shards)
        first = next(shards, None)
        if first is None:
            report_listing(listing, console)
            console.print("nothing is new and nothing has changed")
            return run
        generation = run.plans.settle(len(run.generations), run.n_shards, chain([first], shards))
    report_listing(listing, console)
    console.print(f"update {generation.number}: {generation.n_recordings} recordings are new or have changed")
    return replace(run, generations=(*run.generations, generation), commits=dict(run.commits))


def _newest_labels(run: Run) -> Counter[str]:
    """Count the newest prediction of every recording, by label."""
    if len(run.generations) == 1:
        return count_labels(run.commits.values())
    counts: Counter[str] = Counter()
    for part in read_newest(run.ledger.out, "predictions", ["predicted_label"]):
        counts.update(part.column("predicted_label").to_pylist())
    return counts


def _newest_totals(run: Run, totals: Totals) -> Totals:
    """Count every recording once, though updates may have taken it again."""
    if len(run.generations) == 1:
        return totals
    out = run.ledger.out
    done, failed = (sum(part.num_rows for part in read_newest(out, table, [])) for table in ("predictions", FAILURES))
    return Totals(done + failed, failed)
