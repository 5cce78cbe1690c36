"""Time a whole job with two workers against two plain loops side by side, each with half of the recordings.

    python -m tests.benchmarks.side_by_side [--data FOLDER] [--copies N] [--job classify|build-dataset] [--runs 5]

The loops call the same core functions and write the same Parquet. They share nothing and commit nothing, so two of them
are what two cores can do. One loop alone with all recordings stands beside them. All run as whole processes, in turn.
"""

from __future__ import annotations

import csv
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rich.table import Table

from jobs.cluster.forkserver import WORKER_ENVIRONMENT
from tests.benchmarks import common

JOB, LOOPS, LOOP = "the job, two workers", "two loops side by side", "one loop"


def main() -> None:
    """Run all in turn, print the table and write the figures."""
    parser = common.arguments("Time a whole job against two plain loops side by side.")
    parser.add_argument("--copies", type=int, default=1, help="take each recording so many times [default: 1]")
    parser.add_argument("--job", choices=("classify", "build-dataset"), default="classify", help="[default: classify]")
    parser.add_argument("--recipe", default="seed-main", help="of build-dataset [default: seed-main]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        whole = common.multiply(common.recordings(options.data, Path(scratch)), options.copies, Path(scratch, "whole"))
        halves = halve(whole, Path(scratch, "halves"))
        out = Path(scratch, "out")
        commands = partial(_loops, options.job, options.recipe, out)
        contestants: dict[str, Callable[[], float]] = {
            JOB: partial(_seconds, [_job(options.job, options.recipe, whole, out)], out),
            LOOPS: partial(_seconds, commands(halves), out),
            LOOP: partial(_seconds, commands([whole]), out),
        }
        taken = common.in_turn(options.runs, contestants)
        n_recordings = len(common.audio_files(whole))
    table = Table(title=f"{options.job}, {n_recordings} recordings, {options.runs} runs in turn")
    for heading in ("", "median, s", "job / it"):
        table.add_column(heading)
    for name, seconds in taken.items():
        table.add_row(
            name, f"{statistics.median(seconds):.2f}", "" if name == JOB else common.ratio(taken[JOB], seconds)
        )
    figures = {"job": options.job, "recordings": n_recordings, "seconds": taken}
    common.report(f"side_by_side_{options.job}", [table], figures, options.json)


def halve(folder: Path, target: Path) -> list[Path]:
    """Fill two folders with every other recording of a folder and their ``labels.csv``; return them."""
    with open(folder / "labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    path_column = next(iter(rows[0]))
    found = []
    for half in range(2):
        place = target / str(half)
        for row in rows[half::2]:
            (place / row[path_column]).parent.mkdir(parents=True, exist_ok=True)
            (place / row[path_column]).hardlink_to(folder / row[path_column])
        with open(place / "labels.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows[half::2])
        found.append(place)
    return found


def _job(job: str, recipe: str, folder: Path, out: Path) -> list[str]:
    heartbeat = str(Path(sys.executable).with_name("heartbeat"))
    more = ["--recipe", recipe, "--labels", str(folder / "labels.csv")] if job == "build-dataset" else []
    return [heartbeat, job, str(folder), "-o", str(out / "job"), "--workers", "2", *more]


def _loops(job: str, recipe: str, out: Path, folders: Sequence[Path]) -> list[list[str]]:
    script, more = ("classify_loop", []) if job == "classify" else ("plain_loop", [recipe])
    return [
        [sys.executable, "-m", f"tests.benchmarks.{script}", str(folder), str(out / str(number)), *more]
        for number, folder in enumerate(folders)
    ]


def _seconds(commands: Sequence[Sequence[str]], out: Path) -> float:
    """Run the commands side by side; return how many seconds all of them take."""
    shutil.rmtree(out, ignore_errors=True)
    return common.timed(_run, commands)


def _run(commands: Sequence[Sequence[str]]) -> None:
    environment = {**os.environ, **WORKER_ENVIRONMENT}
    running = [
        subprocess.Popen(one, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for one in commands
    ]
    for process in running:
        output, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"{process.args!r}\n{output.decode(errors='replace')}\nended with {process.returncode}")


if __name__ == "__main__":
    main()
