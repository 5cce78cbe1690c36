"""What the benchmarks share: their arguments, recordings to work on, timing in turn, and the report.

Timings are of one machine at one moment and drift together, so everything that is compared is run in turn, and what is
quoted is the median of the ratios.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table

from heartbeat_core.audio.synthesis import synthesise
from jobs.cluster.forkserver import WORKER_ENVIRONMENT
from jobs.listing.listing import Listing

N_SYNTHETIC = 200

MALLOC = {name: value for name, value in WORKER_ENVIRONMENT.items() if name.startswith("MALLOC")}
"""What our workers run with; whoever is compared with them gets it as well."""


@dataclass(frozen=True, slots=True)
class Timing:
    """One run of a process: wall seconds, and the largest resident size of any of its processes."""

    seconds: float
    peak_mb: float


def run_as_a_worker() -> None:
    """Begin this process anew with a worker's environment, which libraries read when they are loaded.

    To be called after the arguments were parsed, so that ``--help`` ends before.
    """
    if not WORKER_ENVIRONMENT.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **WORKER_ENVIRONMENT})


def arguments(description: str) -> argparse.ArgumentParser:
    """Return a parser with what every benchmark takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", help="folder of recordings [default: synthetic ones]")
    parser.add_argument("--runs", type=int, default=5, help="runs of each, in turn [default: 5]")
    parser.add_argument("--json", type=Path, help="where the figures go as JSON [default: build/benchmarks/NAME.json]")
    return parser


def recordings(data: str | None, scratch: Path) -> Path:
    """Return the folder that was named, or one of synthetic recordings with their ``labels.csv``."""
    return Path(data) if data else synthesise_folder(scratch / "recordings")


def audio_files(folder: Path) -> list[Path]:
    """Return all recordings below a folder, in order."""
    return [Path(one.uri.removeprefix("file://")) for one in Listing([str(folder)])]


def synthesise_folder(folder: Path, n_recordings: int = N_SYNTHETIC) -> Path:
    """Fill a folder with sounds of 3 to 20 s at two sample rates, and labels."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    with open(folder / "labels.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        for number in range(n_recordings):
            rate, label = ((44_100, "normal"), (4_000, "murmur"))[number % 2]
            name = f"{number:04d}.flac"
            soundfile.write(folder / name, synthesise(label, rate, rng.uniform(3, 20), rng), rate)
            writer.writerow([name, label])
    return folder


def multiply(folder: Path, copies: int, target: Path) -> Path:
    """Fill ``target`` with so many copies of all recordings under other names, and their ``labels.csv``.

    The copies are hard links where the disk allows it: the same bytes under another URI.
    """
    with open(folder / "labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    path_column = next(iter(rows[0]))
    target.mkdir(parents=True)
    with open(target / "labels.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for copy in range(copies):
            for row in rows:
                name = f"{copy:03d}/{row[path_column]}"
                place = target / name
                place.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.link(folder / row[path_column], place)
                except OSError:
                    place.write_bytes((folder / row[path_column]).read_bytes())
                writer.writerow({**row, path_column: name})
    return target


def in_turn(runs: int, contestants: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Call each contestant once unmeasured, and then all of them in turn; each returns what it took."""
    for run in contestants.values():
        run()
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(runs):
        for name, run in contestants.items():
            taken[name].append(run())
    return taken


def timed(function: Callable[..., Any], *arguments: Any) -> float:
    """Return how many seconds a call takes."""
    started = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - started


def timed_process(command: Sequence[str], **variables: str) -> Timing:
    """Run a command to its end with nothing printed; its own failure is an error.

    ``peak_mb`` is the largest of its processes, workers of workers included, as sampled from ``/proc``.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **variables},
        start_new_session=True,
    )
    peak = 0.0
    output = b""
    while True:
        try:
            output, _ = process.communicate(timeout=0.1)
            break
        except subprocess.TimeoutExpired:
            peak = max([peak, *memory_mb(process.pid).values()])
    seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}\n{output.decode(errors='replace')}\nended with {process.returncode}")
    return Timing(seconds, peak)


def memory_mb(session: int) -> dict[int, float]:
    """Return the resident MB of each process of a session, by its id."""
    found = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError, IndexError):
            pid = int(entry.name)
            if os.getsid(pid) == session:
                found[pid] = int((entry / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return found


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Return ``ours / theirs`` pair by pair as text: the median, and the least and the most."""
    pairs = [a / b for a, b in zip(ours, theirs, strict=True)]
    return f"{statistics.median(pairs):.2f} ({min(pairs):.2f} to {max(pairs):.2f})"


def report(name: str, tables: Sequence[Table], figures: Mapping[str, Any], path: Path | None) -> None:
    """Print the tables, and write the figures with what machine they are of."""
    console = Console()
    for table in tables:
        console.print(table)
    path = path or Path("build", "benchmarks", f"{name}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    path.write_text(json.dumps({"benchmark": name, "machine": machine, **figures}, indent=2) + "\n")
    console.print(f"written: {path}")
