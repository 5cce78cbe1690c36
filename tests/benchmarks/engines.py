"""Time the dataset job against a plain loop, multiprocessing, Ray Data and PySpark over the same functions.

    python -m tests.benchmarks.engines [--data FOLDER] [--copies N] [--recipe seed-main] [--runs 5]
                                       [--only loop,pool,job,ray,spark] [--json FILE]

Each builds the aligned dataset of all recordings with ``labels.csv`` from a local folder, as a whole process from its
start to its exit, in turn: headers scanned for the longest recording, every recording decoded, framed and aligned, rows
as zstd Parquet, the scaler fitted and written. All call the functions of ``engine_work``, which are the core's own, by
as many processes as there are cores and with the same settings of malloc. How each is tuned stands in its script; only
the job syncs what it writes to disk, commits it and reads it back.

The first run of each is not counted: its rows and its scaler are compared with the loop's (with the first of ``--only``
where the loop is left out), and who differs is not reported.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy
from rich.console import Console
from rich.table import Table

from heartbeat_core.alignment.scaling import Scaler
from heartbeat_core.datasets.dataset import SCALER_NAME
from heartbeat_core.storage.uris import ROWS_FOLDER
from tests.benchmarks import common

TITLES = {
    "loop": "plain loop",
    "pool": "multiprocessing",
    "job": "heartbeat job",
    "ray": "Ray Data",
    "spark": "PySpark",
}
SCRIPTS = {"loop": "plain_loop", "pool": "engine_pool", "ray": "engine_ray", "spark": "engine_spark"}
PEERS = {"ray": ("ray", "ray[data]"), "spark": ("pyspark", "pyspark")}
"""Module and requirement of the engines that the project does not need itself."""

COMPARED = ["recording_id", "audio_sha256", "label", "n_frames", "offset_frames"]
SCALER_TOLERANCE = 1e-6
"""Relative to the largest value: fits that are merged in another order differ by rounding."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a contestant wrote: its rows, sorted, without the frames, and the scaler."""

    rows: pa.Table
    scaler: Scaler


@dataclass(slots=True)
class Contestant:
    """One engine and its counted runs."""

    name: str
    command: list[str]
    out: Path
    timings: list[common.Timing] = field(default_factory=list)

    def run(self, scratch: Path) -> common.Timing:
        """Build the dataset anew."""
        shutil.rmtree(self.out, ignore_errors=True)
        folders = {"RAY_TMPDIR": str(scratch / "ray"), "SPARK_LOCAL_DIRS": str(scratch / "spark")}
        return common.timed_process(self.command, **common.MALLOC, **folders)

    @property
    def seconds(self) -> list[float]:
        """Wall seconds of each counted run."""
        return [timing.seconds for timing in self.timings]

    @property
    def peak_mb(self) -> float:
        """Resident MB of the largest process of all runs."""
        return max(timing.peak_mb for timing in self.timings)


def main() -> None:
    """Run all in turn, print the table and write the figures."""
    parser = common.arguments("Time the dataset job against other engines over the same functions.")
    parser.add_argument("--copies", type=int, default=1, help="take each recording so many times [default: 1]")
    parser.add_argument("--recipe", default="seed-main", help="[default: seed-main]")
    parser.add_argument("--only", default=",".join(TITLES), help=f"[default: {','.join(TITLES)}]")
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    unknown = sorted(set(names) - TITLES.keys())
    if unknown:
        parser.error(f"--only: no engine {', '.join(unknown)}: {', '.join(TITLES)}")
    if arguments.runs < 1:
        parser.error("--runs: at least 1")
    names = [name for name in TITLES if name in names and _is_there(name)]
    with tempfile.TemporaryDirectory() as scratch:
        _compete(names, arguments, Path(scratch))


def read_result(out: Path) -> Result:
    """Return what a contestant wrote, in an order that does not depend on its parts."""
    parts = [pq.ParquetFile(path).read(COMPARED, use_threads=False) for path in (out / ROWS_FOLDER).glob("*.parquet")]
    rows = pa.concat_tables([part.replace_schema_metadata(None) for part in parts], promote_options="permissive")
    arrays = safetensors.numpy.load((out / SCALER_NAME).read_bytes())
    order = [(name, "ascending") for name in COMPARED]
    return Result(rows.sort_by(order), Scaler(arrays["scaler.mean"], arrays["scaler.scale"]))


def difference(result: Result, expected: Result) -> str | None:
    """Tell in one line how a result differs from what is expected of all, None where it does not."""
    if result.rows.num_rows != expected.rows.num_rows:
        return f"{result.rows.num_rows} rows in place of {expected.rows.num_rows}"
    for name in COMPARED:
        if result.rows[name].to_pylist() != expected.rows[name].to_pylist():
            return f"other values of {name}"
    for name in ("mean", "scale"):
        ours, theirs = getattr(result.scaler, name), getattr(expected.scaler, name)
        if ours.shape != theirs.shape or np.abs(ours - theirs).max() > SCALER_TOLERANCE * np.abs(theirs).max():
            return f"another scaler: {name}"
    return None


def _is_there(name: str) -> bool:
    """Tell whether an engine is installed; says so where it is not."""
    module, requirement = PEERS.get(name, (None, None))
    if module is not None and importlib.util.find_spec(module) is None:
        print(f"{name}: left out; to have it: {sys.executable} -m pip install -c requirements.lock '{requirement}'")
        return False
    if name == "spark" and not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        print("spark: left out; it needs Java 17 or newer: java is not on the PATH and JAVA_HOME is not set")
        return False
    return True


def _compete(names: Sequence[str], arguments: argparse.Namespace, scratch: Path) -> None:
    folder = common.recordings(arguments.data, scratch)
    if arguments.copies > 1:
        folder = common.multiply(folder, arguments.copies, scratch / "copies")
    contestants, n_rows = _qualify([_contestant(name, folder, arguments.recipe, scratch) for name in names], scratch)
    for _ in range(arguments.runs):
        for contestant in contestants:
            contestant.timings.append(contestant.run(scratch))
    figures = {
        "recipe": arguments.recipe,
        "rows": n_rows,
        "engines": {
            one.name: {"seconds": one.seconds, "peak_mb": one.peak_mb, "rows_per_s": n_rows / _median(one)}
            for one in contestants
        },
    }
    title = f"{arguments.recipe}, {n_rows} recordings, {os.cpu_count()} cores, {arguments.runs} runs in turn"
    common.report("engines", [_table(contestants, n_rows, title)], figures, arguments.json)


def _contestant(name: str, folder: Path, recipe: str, scratch: Path) -> Contestant:
    workers = ["--workers", str(os.cpu_count())]
    out = scratch / "out"
    if name == "job":
        heartbeat = str(Path(sys.executable).with_name("heartbeat"))
        labels = ["--labels", str(folder / "labels.csv")]
        job = [heartbeat, "build-dataset", str(folder), "-o", str(out), "--recipe", recipe, *labels, *workers]
        return Contestant(name, job, out)
    script = [sys.executable, "-m", f"tests.benchmarks.{SCRIPTS[name]}", str(folder), str(out), recipe]
    return Contestant(name, script if name == "loop" else [*script, *workers], out)


def _qualify(contestants: Sequence[Contestant], scratch: Path) -> tuple[list[Contestant], int]:
    """Run each once; return those whose result is the first one's, and its count of rows."""
    console = Console()
    expected: Result | None = None
    qualified = []
    for contestant in contestants:
        contestant.run(scratch)
        result = read_result(contestant.out)
        expected = expected or result
        found = difference(result, expected)
        if found is None:
            qualified.append(contestant)
        else:
            console.print(f"{contestant.name}: not reported: {found}", style="red")
    if expected is None:
        raise SystemExit("none of the engines is installed")
    return qualified, expected.rows.num_rows


def _table(contestants: Sequence[Contestant], n_rows: int, title: str) -> Table:
    table = Table(title=title)
    table.add_column("", no_wrap=True)
    for heading in ("median, s", "job / it", "it / loop", "largest process, MB", "recordings a second"):
        table.add_column(heading, justify="right")
    by_name = {one.name: one for one in contestants}
    for one in contestants:
        table.add_row(
            TITLES[one.name],
            f"{_median(one):.2f}",
            _ratio(by_name, "job", one.name),
            _ratio(by_name, one.name, "loop"),
            f"{one.peak_mb:.0f}",
            f"{n_rows / _median(one):.0f}",
        )
    return table


def _ratio(contestants: Mapping[str, Contestant], name: str, other: str) -> str:
    if name == other or name not in contestants or other not in contestants:
        return ""
    return common.ratio(contestants[name].seconds, contestants[other].seconds)


def _median(contestant: Contestant) -> float:
    return statistics.median(contestant.seconds)


if __name__ == "__main__":
    main()
