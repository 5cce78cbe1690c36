"""What classify and build-dataset share: begin or go on, run what is left, hold the rows against the plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from rich.console import Console

import heartbeat_core
from heartbeat_core import storage
from heartbeat_core.config import RESULTS_VERSION
from heartbeat_core.recording import Recording, public_uri
from jobs.cluster import Connection
from jobs.ledger import Commit, Ledger, Totals
from jobs.progress import meter
from jobs.runner import run_tasks
from jobs.settings import JobSettings
from jobs.shard import RunFacts, Shard

JobT = TypeVar("JobT")


@dataclass(frozen=True, slots=True)
class Run:
    """A job in its output folder, with what earlier runs of it have committed."""

    ledger: Ledger
    run_id: str
    shards: list[list[Recording]]
    commits: dict[int, Commit]

    @property
    def remaining(self) -> list[Shard]:
        """Shards that are not committed, in order."""
        return [
            Shard(index, tuple(recordings)) for index, recordings in enumerate(self.shards) if index not in self.commits
        ]


def job_identity(job: str, inputs: Sequence[str], settings: JobSettings, **more: Any) -> dict[str, Any]:
    """Return what makes two commands the same job: everything that changes its rows or their parts."""
    return {
        "job": job,
        "inputs": [public_uri(storage.to_uri(text)) for text in inputs],
        "path_column": settings.path_column,
        "limits": settings.limits.model_dump(mode="json"),
        "shards": settings.shards.model_dump(mode="json"),
        "results_version": RESULTS_VERSION,
        **more,
    }


def begin(
    out: str,
    identity: Mapping[str, Any],
    make_plan: Callable[[], list[list[Recording]]],
    console: Console,
) -> Run:
    """Begin a job in a free folder, or go on with the one that is there, without listing again.

    Raises:
        OutputError: the folder is not free and holds something else.
        InputError: whatever ``make_plan`` finds wrong; nothing has been written then.
    """
    ledger = Ledger(out)
    found = ledger.find_run(identity)
    shards = None if found is None else ledger.read_plan()
    listed = shards or make_plan()
    run_id = found or ledger.claim(identity)
    if shards is None:
        shards = ledger.settle_plan(listed)
    commits = ledger.commits()
    if commits:
        console.print(f"going on: {len(commits)} of {len(shards)} shards are committed already")
    return Run(ledger, run_id, shards, commits)


def run_facts(run: Run, settings: JobSettings, provenance: Mapping[str, str]) -> RunFacts:
    """Return what every part of the run carries."""
    entries = {"run_id": run.run_id, "heartbeat_version": heartbeat_core.__version__, **provenance}
    return RunFacts(run.ledger.out, run.run_id, settings.limits, tuple(sorted(entries.items())))


def announce(connection: Connection, console: Console) -> None:
    """Tell where the work happens."""
    where = "on this machine" if connection.is_local else f"at {connection.address}"
    console.print(f"{connection.n_threads} worker threads {where}; dashboard: {connection.dashboard}")


def run_shards(
    run: Run,
    connection: Connection,
    function: Callable[[Shard, JobT], Commit],
    job: JobT,
    settings: JobSettings,
    console: Console,
    title: str,
) -> None:
    """Run the shards that are left, with progress."""
    done = sum(commit.listed for commit in run.commits.values())
    failed = sum(commit.failed for commit in run.commits.values())
    with meter(console, title, sum(map(len, run.shards)), done=done, failed=failed) as shown:
        run_tasks(
            connection,
            function,
            run.remaining,
            job,
            settings.task_retries,
            lambda commit: shown.advance(commit.listed, commit.failed),
        )


def finish(run: Run) -> Totals:
    """Hold rows against recordings and write the success mark."""
    totals = run.ledger.reconcile(run.shards)
    run.ledger.mark_success(totals)
    return totals


def exceeds(totals: Totals, settings: JobSettings) -> bool:
    """Tell whether more recordings failed than the settings allow."""
    return totals.failed / totals.listed > settings.max_failure_rate
