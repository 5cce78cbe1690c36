"""What classify and build-dataset share: begin or go on, run what is left, hold the rows against the plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Any, TypeVar

from rich.console import Console

import heartbeat_core
from heartbeat_core import storage
from heartbeat_core.errors import OutputError, StorageError
from heartbeat_core.recipe import RESULTS_VERSION
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.storage.uris import public_uri
from jobs.cluster.connect import Connection
from jobs.cluster.runner import Tasks, run_tasks
from jobs.listing.listing import Listing
from jobs.listing.shards import Shard, expected_cost
from jobs.output.lease import Presence, present
from jobs.output.ledger import Commit, Ledger, Totals, reconcile
from jobs.output.plans import Generation, PlanFolder
from jobs.progress import meter
from jobs.settings import JobSettings
from jobs.tasks.context import RunFacts, stop_work
from jobs.tasks.shards import in_isolation

START_PATIENCE_S = 5.0
"""For how long a store is asked again before anything was heard of it: a wrong endpoint is told soon."""
WORK_PATIENCE_S = 300.0
"""For how long a store is asked again once the work has begun."""

JobT = TypeVar("JobT")


@dataclass(frozen=True, slots=True)
class Run:
    """A job in its output folder, with what was committed before this driver began.

    ``access`` is how stores are reached, ``presence`` what this driver tells of itself.
    """

    ledger: Ledger
    run_id: str
    access: storage.Access
    plans: PlanFolder
    generations: tuple[Generation, ...]
    commits: dict[int, Commit]
    presence: Presence
    is_new: bool = False
    """Whether the inputs were listed just now."""

    @property
    def n_shards(self) -> int:
        """Shards of all generations."""
        return self.generations[-1].end_shard if self.generations else 0

    @property
    def n_recordings(self) -> int:
        """Recordings of all generations."""
        return sum(generation.n_recordings for generation in self.generations)

    @property
    def is_committed(self) -> bool:
        """Whether nothing is left to run."""
        return len(self.commits) == self.n_shards

    def shards(self) -> Iterator[Shard]:
        """Yield all shards, in order, as the plan holds them."""
        for generation in self.generations:
            yield from self.plans.shards(generation)

    def remaining(self) -> Iterator[Shard]:
        """Yield the shards that were not committed when this driver began.

        Of those that are read from the plan together the long ones come first, so that no worker waits at the end.
        """
        for generation in self.generations:
            for piece in self.plans.pieces(generation):
                left = [shard for shard in piece if shard.index not in self.commits]
                yield from sorted(left, key=lambda shard: -sum(map(expected_cost, shard.recordings)))


def job_identity(job: str, inputs: Sequence[str], settings: JobSettings, **more: Any) -> dict[str, Any]:
    """Return what makes two commands the same job: everything that changes its rows or their parts."""
    return {
        "job": job,
        "inputs": [public_uri(storage.to_uri(text)) for text in inputs],
        "path_column": settings.path_column,
        "selection": settings.selection.model_dump(mode="json"),
        "limits": settings.limits.model_dump(mode="json"),
        "shards": settings.shards.model_dump(mode="json"),
        "results_version": RESULTS_VERSION,
        **more,
    }


@contextmanager
def reaching(settings: JobSettings) -> Iterator[None]:
    """Reach stores as the settings say, and be told soon of one that does not answer."""
    with storage.using(storage.Access(settings.s3), START_PATIENCE_S):
        yield


@contextmanager
def begin(
    out: str,
    identity: Mapping[str, Any],
    settings: JobSettings,
    make_plan: Callable[[], Iterable[Sequence[Recording]]],
    console: Console,
) -> Iterator[Run]:
    """Begin a job in a free folder, or go on with the one that is there, without listing again.

    While the block runs this driver tells of itself, is alone where the store asks for it, and is patient with stores.

    Raises
    ------
    OutputError
        The folder is not free and holds something else, or another driver works where one must be alone.
    InputError
        Whatever ``make_plan`` finds wrong; nothing is left behind then.
    """
    ledger = Ledger(out)
    run_id = ledger.find_run(identity)
    plans = PlanFolder(ledger.out)
    listed: Iterable[Sequence[Recording]] = ()
    if run_id is None or not plans.generations():
        shards = iter(make_plan())
        # What is wrong with the inputs shows before anything is written.
        listed = chain(list(islice(shards, 1)), shards)
    honours_conditions = _honours_conditions(ledger.out)
    access = storage.Access(settings.s3, looks_first=not honours_conditions)
    with storage.using(access, WORK_PATIENCE_S), present(ledger.out, alone=not honours_conditions) as presence:
        claimed = run_id is None
        run_id = run_id or ledger.claim(identity)
        try:
            # Another driver may have listed meanwhile.
            generations = plans.generations() or [plans.settle(0, 0, listed)]
        except BaseException:
            if claimed:
                ledger.release(run_id)
            raise
        commits = ledger.commits(ledger.committed())
        run = Run(ledger, run_id, access, plans, tuple(generations), commits, presence, is_new=claimed)
        if commits:
            console.print(f"going on: {len(commits)} of {run.n_shards} shards are committed already")
        yield run


def run_facts(run: Run, settings: JobSettings, provenance: Mapping[str, str]) -> RunFacts:
    """Return what every part of the run carries."""
    entries = {"run_id": run.run_id, "heartbeat_version": heartbeat_core.__version__, **provenance}
    return RunFacts(
        run.ledger.out,
        run.run_id,
        settings.limits,
        tuple(sorted(entries.items())),
        run.access,
        settings.path_column,
        run.presence.id,
        settings.device,
    )


def announce(connection: Connection, console: Console) -> None:
    """Tell where the work happens."""
    where = "on this machine" if connection.is_local else f"at {connection.address}"
    workers = "1 worker" if connection.n_workers == 1 else f"{connection.n_workers} workers"
    console.print(f"{workers} {where}; dashboard: {connection.dashboard}")


def run_shards(
    run: Run,
    connection: Connection,
    function: Callable[[Shard, JobT], Commit],
    job: JobT,
    settings: JobSettings,
    console: Console,
    title: str,
) -> None:
    """Run the shards that are left, with progress; what they commit is added to the run's commits."""
    presence = run.presence
    done = sum(commit.listed for commit in run.commits.values())
    failed = sum(commit.failed for commit in run.commits.values())
    with meter(console, title, run.n_recordings, done=done, failed=failed) as shown:

        def take(commit: Commit) -> None:
            run.commits[commit.shard] = commit
            presence.finished(commit.shard, commit.listed, commit.failed)
            shown.advance(commit.listed, commit.failed)

        tasks = Tasks(
            function,
            job,
            settings.task_retries,
            take,
            isolate=in_isolation,
            on_submit=lambda shard: presence.submitted(shard.index),
            stop=partial(stop_work, presence.id),
        )
        run_tasks(connection, tasks, run.remaining())


def finish(run: Run) -> Totals:
    """Hold what is stored against what was listed and write the success mark."""
    totals = count(run)
    run.ledger.mark_success(totals)
    return totals


def count(run: Run) -> Totals:
    """Hold the commit records against the plan.

    Raises
    ------
    JobError
        A shard is not committed, or rows and recordings do not add up.
    """
    committed = run.ledger.committed()
    run.commits.update(run.ledger.commits(committed - run.commits.keys()))
    there = {shard: commit for shard, commit in run.commits.items() if shard in committed}
    return reconcile(run.n_shards, run.n_recordings, there)


def exceeds(totals: Totals, settings: JobSettings) -> bool:
    """Tell whether more recordings failed than the settings allow."""
    return totals.failed / totals.listed > settings.max_failure_rate


def _honours_conditions(out: str) -> bool:
    try:
        return storage.honours_conditions(out)
    except StorageError as error:
        raise OutputError(str(error)) from None


def report_listing(listing: Listing, console: Console) -> None:
    """Print what was listed and what was left out."""
    # A file's name may look like markup, and a path that is wrapped cannot be copied.
    console.print(listing.describe(), markup=False, soft_wrap=True)
