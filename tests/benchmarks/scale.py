"""Planning and running many recordings: time, and memory of driver, scheduler and workers.

    python -m tests.benchmarks.scale [--plan 1000 … 1000000] [--run 100000] [--workers 1 2 8 64] [--json FILE]

Three tables, each line in a process of its own:

* *plan*: so many made-up objects are listed, cut into shards and written to ``_plan``;
* *run*: a job whose stage does nothing, with all else: plan, tasks, parts, commit records, counts. The rows are empty
  but for the recordings' ids. Driver and scheduler are one process here, as in every local run;
* *workers*: shards that each wait for 200 ms in place of working, so that more workers than cores have something to do.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from heartbeat_core import storage
from heartbeat_core.formats.columns import column
from heartbeat_core.formats.parquet import to_parquet
from heartbeat_core.settings import Limits
from heartbeat_core.storage.stores import Entry
from jobs.cluster.connect import connect
from jobs.drivers.run import begin, finish, run_shards
from jobs.listing.listing import Listing
from jobs.listing.shards import Shard, make_shards
from jobs.output.commits import commit_shard, settle_failures
from jobs.output.ledger import Commit
from jobs.output.plans import PlannedShard
from jobs.settings import ClusterSettings, JobSettings
from jobs.tasks.context import RunFacts
from jobs.tasks.shards import planned_shard
from tests.benchmarks.common import MALLOC, report

WAIT_S = 0.2
QUIET = Console(quiet=True)


def main() -> None:
    """Run all three and print the tables; ``stage`` is what the processes of this one are asked for."""
    if sys.argv[1:2] == ["stage"]:
        print(json.dumps(STAGES[sys.argv[2]](*map(int, sys.argv[3:]))))
        return
    parser = argparse.ArgumentParser(description="Plan and run many recordings that need no work.")
    parser.add_argument("--plan", type=int, nargs="*", default=[10**3, 10**4, 10**5, 10**6])
    parser.add_argument("--run", type=int, nargs="*", default=[10**3, 10**4, 10**5])
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 8, 64])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures: dict[str, list[dict[str, Any]]] = {
        "plan": [_stage("plan", n) for n in arguments.plan],
        "run": [_stage("run", n, 2) for n in arguments.run],
        "workers": [_stage("wait", 8 * n, n) for n in arguments.workers],
    }
    report("scale", [_table(name, rows) for name, rows in figures.items() if rows], figures, arguments.json)


def plan(n_recordings: int) -> dict[str, Any]:
    """List, cut and write the plan of made-up objects."""
    _make_up(n_recordings)
    with tempfile.TemporaryDirectory() as scratch:
        started = time.perf_counter()
        listing = Listing(["memory://bucket"])
        with begin(scratch, {}, JobSettings(), lambda: make_shards(listing, JobSettings().shards), QUIET) as run:
            seconds = time.perf_counter() - started
            shards = run.n_shards
    return {"recordings": n_recordings, "shards": shards, "seconds": seconds, "driver_peak_mb": _peak_mb()}


def run(n_recordings: int, n_workers: int) -> dict[str, Any]:
    """Run a job whose stage does nothing."""
    _make_up(n_recordings)
    settings = JobSettings(cluster=ClusterSettings(workers=n_workers, dashboard="127.0.0.1:0"))
    with tempfile.TemporaryDirectory() as scratch:
        listing = Listing(["memory://bucket"])
        with (
            begin(scratch, {}, settings, lambda: make_shards(listing, settings.shards), QUIET) as job,
            connect(settings.cluster, storage.join(job.ledger.out, "_run.json"), job.access) as connection,
            _Memory() as memory,
        ):
            started = time.perf_counter()
            facts = RunFacts(job.ledger.out, job.run_id, Limits(), ())
            run_shards(job, connection, null_task, facts, settings, QUIET, "null")
            totals = finish(job)
            seconds = time.perf_counter() - started
            workers = connection.client.run(_peak_mb)
            shards = job.n_shards
    assert totals.listed == totals.done == n_recordings
    return {
        "recordings": n_recordings,
        "shards": shards,
        "seconds": seconds,
        "ms_a_recording": 1e3 * seconds / n_recordings,
        "tasks_a_second": shards / seconds,
        "driver_mb_after_a_tenth": memory.at(0.1),
        "driver_mb_at_the_end": memory.at(1.0),
        "worker_peak_mb": max(workers.values()),
    }


def wait(n_shards: int, n_workers: int) -> dict[str, Any]:
    """Run shards that wait."""
    cluster = ClusterSettings(workers=n_workers, dashboard="127.0.0.1:0")
    with connect(cluster, "file:///", storage.FROM_ENVIRONMENT) as connection:
        from jobs.cluster.runner import Tasks, run_tasks

        shards = [Shard(index, ()) for index in range(n_shards * connection.n_threads // n_workers)]
        connection.client.run(wait_shard, shards[0], None)  # Loads this module.
        started = time.perf_counter()
        run_tasks(connection, Tasks(wait_shard, None, 0, lambda _: None), shards)
        seconds = time.perf_counter() - started
        at_best = WAIT_S * len(shards) / connection.n_threads
    return {
        "workers": n_workers,
        "tasks": len(shards),
        "seconds": seconds,
        "share_of_the_best": at_best / seconds,
        "driver_peak_mb": _peak_mb(),
    }


STAGES = {"plan": plan, "run": run, "wait": wait}


def null_task(planned: PlannedShard, facts: RunFacts) -> Commit:
    """Do what every task does beside its work."""
    shard = planned_shard(planned, facts)
    ids = column([recording.recording_id for recording in shard.recordings], pa.string())
    rows = pa.Table.from_arrays([ids], names=["recording_id"])
    settled = settle_failures(facts.out, shard.index, None)
    labels = [None] * len(ids)
    return commit_shard(facts.out, shard.index, len(ids), settled, {"rows": to_parquet(rows)}, facts.run_id, labels)


def wait_shard(shard: Shard, nothing: None) -> int:
    """Wait in place of working."""
    time.sleep(WAIT_S)
    return shard.index


class _Memory:
    """This process's resident MB, looked at while a block runs."""

    def __enter__(self) -> _Memory:
        self._seen: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.05):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self._seen.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)

    def at(self, share: float) -> float:
        """Return what it was when such a share of the time was over."""
        return self._seen[max(0, round(share * len(self._seen)) - 1)]


def _make_up(n_recordings: int) -> None:
    """Have the store list objects that are not there; nothing opens them."""

    def walk(folder: str, *, with_unlisted: bool = False) -> Iterator[Entry]:
        for number in range(n_recordings):
            key = f"2026/ward-{number % 97:02d}/patient-{number:08d}/recording.wav"
            yield Entry(f"{folder}/{key}", key, 100_000 + number % 1_000, f"{number:032x}")

    storage.walk = walk
    storage.is_folder = lambda uri: uri.startswith("memory:") or Path(uri.removeprefix("file://")).is_dir()


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def _stage(*arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks.scale", "stage", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **MALLOC})
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _table(name: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(*(key.replace("_", " ") for key in rows[0]), title=name)
    for row in rows:
        table.add_row(*(f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" for value in row.values()))
    return table


if __name__ == "__main__":
    main()
