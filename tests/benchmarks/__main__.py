"""Time the dataset job against the plain loop, whole processes in turn.

    python -m tests.benchmarks [--data FOLDER --labels FILE] [--recipe seed-main] [--runs 5]

Without ``--data`` it synthesises recordings. Prints medians and the ratio of each pair; timings of one machine at one
moment, so quote the ratios.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table

from heartbeat_core.synthesis import synthesise

N_SYNTHETIC = 200


def main() -> None:
    """Run both in turn and print the table."""
    parser = argparse.ArgumentParser(description="Time 'heartbeat build-dataset' against the plain loop.")
    parser.add_argument("--data", help="folder of recordings [default: synthetic ones]")
    parser.add_argument("--labels", help="their labels [default: FOLDER/labels.csv]")
    parser.add_argument("--recipe", default="seed-main")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        data = arguments.data or _synthesise(Path(scratch, "recordings"))
        labels = arguments.labels or f"{data}/labels.csv"
        out = Path(scratch, "out")
        heartbeat = str(Path(sys.executable).with_name("heartbeat"))
        job = [heartbeat, "build-dataset", data, "-o", str(out), "--recipe", arguments.recipe, "--labels", labels]
        loop = [sys.executable, "-m", "tests.benchmarks.plain_loop", data, str(out), arguments.recipe, labels]
        _time(loop, out)  # Not counted: it warms the disk's cache.
        seconds = [(_time(loop, out), _time(job, out)) for _ in range(arguments.runs)]
    table = Table("run", "plain loop, s", "job, s", "job / loop", title=f"build-dataset --recipe {arguments.recipe}")
    for number, (of_loop, of_job) in enumerate(seconds, start=1):
        table.add_row(str(number), f"{of_loop:.2f}", f"{of_job:.2f}", f"{of_job / of_loop:.2f}")
    medians = [statistics.median(column) for column in zip(*seconds, strict=True)]
    ratio = statistics.median(of_job / of_loop for of_loop, of_job in seconds)
    table.add_row("median", f"{medians[0]:.2f}", f"{medians[1]:.2f}", f"{ratio:.2f}", style="bold")
    Console().print(table)


def _time(command: list[str], out: Path) -> float:
    shutil.rmtree(out, ignore_errors=True)
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def _synthesise(folder: Path) -> str:
    rng = np.random.default_rng(0)
    folder.mkdir()
    with open(folder / "labels.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        for number in range(N_SYNTHETIC):
            rate, label = ((44_100, "normal"), (4_000, "murmur"))[number % 2]
            name = f"{number:04d}.flac"
            soundfile.write(folder / name, synthesise(label, rate, rng.uniform(3, 20), rng), rate)
            writer.writerow([name, label])
    return str(folder)


if __name__ == "__main__":
    main()
