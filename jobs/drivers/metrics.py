"""Metrics of a job: those of a folder as text, and those of a running driver served on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from jobs.output.ledger import Commit, Ledger
from jobs.output.plans import PlanFolder
from jobs.output.status import read_state

if TYPE_CHECKING:
    from jobs.drivers.run import Run

Take = Callable[[Iterable[Commit]], None]


def read_metrics(out: str) -> str:
    """Return the metrics of an output folder in Prometheus's text format, also while its job runs.

    Raises
    ------
    InputError
        It is not the output of a job with shards.
    """
    from jobs.output.metrics import JobMetrics, as_text  # Imported here: jobs that serve none do without.

    status, commits = read_state(out)
    n_recordings = sum(one.n_recordings for one in PlanFolder(Ledger(out).out).generations())
    metrics = JobMetrics(status.job, status.run_id, status.shards, n_recordings)
    metrics.take(commits.values())
    return as_text(metrics)


@contextmanager
def serving_metrics(run: Run, port: int | None, job: str, console: Console) -> Iterator[Take]:
    """Serve the metrics of a run while the block runs, if there is a port; yields what takes in commit records.

    Parameters
    ----------
    run : Run
    port : int | None
        Of loopback; 0 takes any free one, None serves nothing.
    job : str
        The name of the job in the metrics.
    console : Console
        Told the address.

    Raises
    ------
    ConfigError
        The port cannot be used.
    """
    if port is None:
        yield lambda commits: None
        return
    from jobs.output.metrics import JobMetrics, served  # Imported here: jobs that serve none do without.

    metrics = JobMetrics(job, run.run_id, run.n_shards, run.n_recordings)
    metrics.take(run.commits.values())
    with served(metrics, port) as address:
        console.print(f"metrics: {address}")
        yield metrics.take
