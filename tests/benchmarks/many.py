"""Classify very many short recordings, and tell whether the last tenth is as fast as the first.

    python -m tests.benchmarks.many [--data FOLDER] [--pieces 100000] [--seconds 1] [--workers 2] [--json FILE]

The recordings of a folder are cut into pieces of a second, in a temporary folder: first without overlap, then again
from a later start, until there are enough. The order is random, so that all tenths have the same work. ``heartbeat
classify`` classifies the pieces. Each row of its predictions says when it was made, and a tenth of the rows is one line
of the table. The first rows do not count, since the workers start meanwhile.

A machine that has other work makes wall time useless. So the table also has the CPU seconds of driver and workers,
which are sampled from ``/proc``, and the memory of the largest process.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import soundfile
from numpy.typing import NDArray
from rich.table import Table

from heartbeat_core.errors import RecordingError
from heartbeat_core.results.folder import Results
from jobs.output.status import read_status
from jobs.settings import threads_a_worker
from jobs.tasks.parts import BATCH_RECORDINGS
from tests.benchmarks import common

TENTHS = 10
PIECES_A_FOLDER = 1000
LOOK_S = 0.2
SHIFT = 0.618
"""How much later the next pass starts, in lengths of a piece; what is above 1 starts again from 0."""


@dataclass(frozen=True, slots=True)
class Look:
    """The processes of a run at one moment: when, their CPU seconds together, the MB of the largest."""

    at_s: float
    cpu_s: float
    largest_mb: float


def main() -> None:
    """Cut, classify and print the table."""
    parser = common.arguments("Classify very many short recordings.")
    parser.add_argument("--pieces", type=int, default=100_000, help="how many [default: 100000]")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a piece [default: 1]")
    parser.add_argument("--workers", type=int, default=2, help="worker processes [default: 2]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = common.recordings(options.data, Path(scratch))
        n_pieces = cut(folder, Path(scratch, "pieces"), options.pieces, options.seconds)
        figures = measure(Path(scratch, "pieces"), Path(scratch, "results"), options.workers)
    common.report("many", [_table(n_pieces, figures, options)], {"pieces": n_pieces, **figures}, options.json)


def cut(folder: Path, target: Path, n_pieces: int, seconds: float) -> int:
    """Write so many pieces in random order; returns how many, which is less only where no piece fits."""
    places = np.random.default_rng(0).permutation(n_pieces).tolist()
    number = 0
    for turn in range(n_pieces):
        before = number
        for path in common.audio_files(folder):
            with suppress(RecordingError, soundfile.LibsndfileError):
                samples, rate = soundfile.read(path, dtype="int16")
                length = round(seconds * rate)
                starts = range(round((turn * SHIFT % 1) * length), len(samples) - length + 1, length)
                for start in starts[: n_pieces - number]:
                    place = places[number]
                    piece = target / f"{place // PIECES_A_FOLDER:04d}" / f"{place:06d}.wav"
                    piece.parent.mkdir(parents=True, exist_ok=True)
                    soundfile.write(piece, samples[start : start + length], rate, subtype="PCM_16")
                    number += 1
        if number in (before, n_pieces):
            break
    return number


def measure(folder: Path, out: Path, n_workers: int) -> dict[str, Any]:
    """Classify, and return the figures of each tenth of the rows, in the order in which they were made."""
    heartbeat = str(Path(sys.executable).with_name("heartbeat"))
    looks = watch([heartbeat, "classify", str(folder), "-o", str(out), "--workers", str(n_workers)])
    status = read_status(str(out))
    results = Results(out)
    made_s = np.sort(seconds_of(results.predictions(["processed_at"]).column("processed_at")))
    # The first batches of all tasks come together, after the start of the workers.
    first = min(n_workers * threads_a_worker(on_disk=True) * BATCH_RECORDINGS, len(made_s) // TENTHS)
    bounds = np.linspace(first, len(made_s) - 1, TENTHS + 1).round().astype(int)
    at_s = made_s[bounds]
    cpu_s = np.interp(at_s, [one.at_s for one in looks], [one.cpu_s for one in looks])
    tenths = [
        {
            "rows": rows,
            "rows_per_s": rows / (end - begin),
            "cpu_ms_a_row": 1e3 * (cpu_end - cpu_begin) / rows,
            "largest_mb": max([one.largest_mb for one in looks if begin <= one.at_s <= end], default=0.0),
        }
        for rows, begin, end, cpu_begin, cpu_end in zip(
            np.diff(bounds).tolist(), at_s, at_s[1:], cpu_s, cpu_s[1:], strict=False
        )
    ]
    return {
        "failed": status.failed,
        "shards": status.shards,
        "seconds": looks[-1].at_s - looks[0].at_s,
        "files": sum(len(results.part_uris(table)) for table in ("predictions", "features", "failures")),
        "tenths": tenths,
        "last_over_first_rows_per_s": tenths[-1]["rows_per_s"] / tenths[0]["rows_per_s"],
        "last_over_first_cpu": tenths[-1]["cpu_ms_a_row"] / tenths[0]["cpu_ms_a_row"],
    }


def seconds_of(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Return timestamps in microseconds as seconds."""
    return np.array(column.cast(pa.int64()).to_pylist(), np.float64) / 1e6


def watch(command: list[str]) -> list[Look]:
    """Run a command to its end, and look at its processes meanwhile; its own failure is an error."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        looks = [Look(time.time(), 0.0, 0.0)]
        spent: dict[int, float] = {}
        try:
            while process.poll() is None:
                time.sleep(LOOK_S)
                spent.update(cpu_seconds(process.pid))
                memory = common.memory_mb(process.pid)
                looks.append(Look(time.time(), sum(spent.values()), max(memory.values(), default=0.0)))
        finally:  # After Ctrl-C, which the job does not get: it has a session of its own.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        if process.returncode:
            log.seek(0)
            raise SystemExit(f"{' '.join(command)}\n{log.read().decode()}\nended with {process.returncode}")
    return looks


def cpu_seconds(session: int) -> dict[int, float]:
    """Return the CPU seconds that each process of a session has used, by its id."""
    found = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError, IndexError):
            pid = int(entry.name)
            if os.getsid(pid) == session:
                user, system = (entry / "stat").read_text().rpartition(")")[2].split()[11:13]
                found[pid] = (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return found


def _table(n_pieces: int, figures: dict[str, Any], options: argparse.Namespace) -> Table:
    title = (
        f"{n_pieces:,} pieces of {options.seconds:g} s, {options.workers} workers, {figures['seconds']:.0f} s in all"
    )
    table = Table("tenth", "rows", "rows a second", "CPU ms a row", "largest process, MB", title=title)
    for number, tenth in enumerate(figures["tenths"], start=1):
        values = (f"{tenth[key]:,.1f}" for key in ("rows_per_s", "cpu_ms_a_row", "largest_mb"))
        table.add_row(str(number), f"{tenth['rows']:,}", *values)
    table.caption = (
        f"the last tenth has {figures['last_over_first_rows_per_s']:.3f} times the first's rows a second, and "
        f"{figures['last_over_first_cpu']:.3f} times its CPU a row; {figures['shards']} shards, "
        f"{figures['files']} files, {figures['failed']} failures"
    )
    return table


if __name__ == "__main__":
    main()
