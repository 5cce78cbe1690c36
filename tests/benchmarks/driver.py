"""What a shard costs the driver and the scheduler, when its work is nothing: CPU, and memory as the shards go by.

    python -m tests.benchmarks.driver [--shards 20000] [--recordings 16 128] [--workers 2x128 256x4] [--json FILE]

A real plan, a real run and a real ``dask scheduler``. Its workers are Dask's own, each with a connection of its own,
in at most eight processes. Each task reads its recordings from the plan and answers with the commit record of a shard
that did not fail; it stores nothing. So only the driver's and the scheduler's CPU counts here, which other processes do
not change as they change wall time. The last columns are further drivers of the same run, which find every shard
committed: the first reads the records and finishes the run, the second reads the journal.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
from distributed import Worker
from rich.console import Console
from rich.table import Table

from heartbeat_core import storage
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.settings import Limits, canonical_json
from heartbeat_core.storage.uris import FAILURES
from jobs.cluster.connect import connect
from jobs.drivers.run import Run, begin, finish, run_shards
from jobs.output.ledger import Commit
from jobs.output.places import COMMITS_FOLDER, part_name
from jobs.output.plans import PlannedShard
from jobs.settings import ClusterSettings, JobSettings
from jobs.tasks.context import RunFacts
from jobs.tasks.shards import planned_shard
from tests.benchmarks.common import report

ROOT = Path(__file__).parents[2]
N_PROCESSES = 8
QUIET = Console(quiet=True)


def main() -> None:
    """Run each combination in processes of its own, and print the table; ``stage`` and ``workers`` are of them."""
    if sys.argv[1:2] == ["stage"]:
        print(json.dumps(run(*map(int, sys.argv[2:]))))
        return
    if sys.argv[1:2] == ["workers"]:
        asyncio.run(_work(sys.argv[2], *map(int, sys.argv[3:])))
        return
    parser = argparse.ArgumentParser(description="Run shards that need no work, and tell what they cost the driver.")
    parser.add_argument("--shards", type=int, default=20_000)
    parser.add_argument("--recordings", type=int, nargs="*", default=[16, 128], help="in each shard [default: 16 128]")
    parser.add_argument(
        "--workers", nargs="*", default=["2x128", "256x4"], help="and the threads of each [default: 2x128 256x4]"
    )
    parser.add_argument("--json", type=Path, help="where the figures go [default: build/benchmarks/driver.json]")
    arguments = parser.parse_args()
    rows = []
    for n_recordings in arguments.recordings:
        for workers in arguments.workers:
            command = [sys.executable, "-m", "tests.benchmarks.driver", "stage"]
            command += [str(arguments.shards), str(n_recordings), *workers.split("x")]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
    table = Table(*(key.replace("_", " ") for key in rows[0]), title="driver and scheduler")
    for row in rows:
        table.add_row(*(f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" for value in row.values()))
    report("driver", [table], {"runs": rows}, arguments.json)


def run(n_shards: int, n_recordings: int, n_workers: int, n_threads: int) -> dict[str, Any]:
    """Run so many shards on so many workers."""
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        scheduler = stack.enter_context(_cluster(Path(scratch), n_workers, n_threads))
        out = Path(scratch, "out")
        place = str(Path(scratch, "scheduler.json"))
        cluster = ClusterSettings(kind="scheduler-file", scheduler_file=place, workers=n_workers)
        settings = JobSettings(cluster=cluster)
        with begin(str(out), {}, settings, lambda: _shards(n_shards, n_recordings), QUIET) as job:
            shared = storage.join(job.ledger.out, "_run.json")
            with connect(cluster, shared, job.access) as connection:
                figures = _measured(job, connection, settings, scheduler)
            for shard, commit in job.commits.items():
                place = storage.join(job.ledger.out, COMMITS_FOLDER, f"{part_name(shard)}.json")
                Path(place.removeprefix("file://")).parent.mkdir(exist_ok=True)
                Path(place.removeprefix("file://")).write_bytes(canonical_json(asdict(commit)))
        again_s = []
        for _ in ("by its commit records", "by its journal"):
            before = time.process_time()
            with begin(str(out), {}, settings, list, QUIET) as job:
                totals = finish(job)
            again_s.append(time.process_time() - before)
            assert totals.listed == totals.done == n_shards * n_recordings
    return {
        "workers": n_workers,
        "threads_a_worker": n_threads,
        "shards": n_shards,
        "recordings_a_shard": n_recordings,
        **figures,
        "again_by_records_ms_a_shard": 1e3 * again_s[0] / n_shards,
        "again_by_journal_ms_a_shard": 1e3 * again_s[1] / n_shards,
    }


def _measured(job: Run, connection: Any, settings: JobSettings, scheduler: psutil.Process) -> dict[str, Any]:
    processes = {"driver": psutil.Process(), "scheduler": scheduler}
    memory: dict[str, list[float]] = {name: [] for name in processes}
    before = {name: _cpu_s(process) for name, process in processes.items()}
    started = time.perf_counter()
    facts = RunFacts(job.ledger.out, job.run_id, Limits(), ())
    finished = job.presence.finished

    def look(shard: int, done: int, failed: int) -> None:
        finished(shard, done, failed)
        n = len(job.commits)
        if n in (job.n_shards // 10, job.n_shards):
            for name, process in processes.items():
                memory[name].append(process.memory_info().rss / 1e6)

    job.presence.finished = look  # type: ignore[method-assign]
    run_shards(job, connection, null_task, facts, settings, QUIET, "null")
    seconds = time.perf_counter() - started
    spent = {name: _cpu_s(process) - before[name] for name, process in processes.items()}
    figures: dict[str, Any] = {"wall_s": seconds}
    for name in processes:
        figures[f"{name}_ms_a_shard"] = 1e3 * spent[name] / job.n_shards
    figures["both_ms_a_shard"] = 1e3 * sum(spent.values()) / job.n_shards
    for name in processes:
        figures[f"{name}_mb_after_a_tenth"], figures[f"{name}_mb_at_the_end"] = memory[name]
    return figures


def null_task(planned: PlannedShard, facts: RunFacts) -> Commit:
    """Answer as if a shard's recordings were stored."""
    n = len(planned_shard(planned, facts).recordings)
    return Commit(planned.index, n, {"features": n, "predictions": n, FAILURES: 0}, facts.run_id, {"normal": n})


def _shards(n_shards: int, n_recordings: int) -> Iterator[list[Recording]]:
    for shard in range(n_shards):
        names = [f"2026/ward-{shard % 97:02d}/patient-{shard:06d}/{n:05d}.wav" for n in range(n_recordings)]
        yield [Recording(f"s3://bucket/{name}", name, 100_000 + n, f"{n:032x}") for n, name in enumerate(names)]


@contextmanager
def _cluster(folder: Path, n_workers: int, n_threads: int) -> Iterator[psutil.Process]:
    """Start a scheduler and its workers; yields the scheduler's process."""
    n_processes = min(n_workers, N_PROCESSES)
    place = str(folder / "scheduler.json")
    options = ["--port", "0", "--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", place]
    commands = [["distributed.cli.dask_scheduler", *options]]
    for number in range(n_processes):
        n_here = len(range(number, n_workers, n_processes))
        commands.append(["tests.benchmarks.driver", "workers", str(folder), str(n_here), str(n_threads)])
    # Settings as on any cluster; and this package for the tasks' functions.
    variables = {"DASK_CONFIG": str(ROOT / "deploy" / "dask.yaml"), "PYTHONPATH": str(ROOT)}
    started: list[subprocess.Popen[bytes]] = []
    with open(folder / "log", "wb") as log:
        try:
            for command in commands:
                line = [sys.executable, "-m", *command]
                started.append(subprocess.Popen(line, stdout=log, stderr=log, env={**os.environ, **variables}))
            yield psutil.Process(started[0].pid)
        finally:
            for process in reversed(started):
                process.terminate()
            for process in started:
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:  # A worker may wait long for a scheduler that has ended.
                    process.kill()


async def _work(folder: str, n_workers: int, n_threads: int) -> None:
    """Be so many workers, until the process is ended."""
    place = os.path.join(folder, "scheduler.json")
    async with AsyncExitStack() as stack:
        for _ in range(n_workers):
            worker = Worker(scheduler_file=place, nthreads=n_threads, local_directory=folder, dashboard=False)
            await stack.enter_async_context(worker)
        await worker.finished()


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    main()
