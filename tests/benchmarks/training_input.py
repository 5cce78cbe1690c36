"""Time the stream of training batches against padded Parquet and against the original's CSV with ``eval``.

    python -m tests.benchmarks.training_input [--data FOLDER] [--recipe seed-small seed-main] [--runs 5] [--json FILE]

For each recipe the recordings of a folder with ``labels.csv`` become a compact and a padded dataset by ``heartbeat
build-dataset``. Then all labelled rows are read as scaled inputs, in turn:

* by ``AlignedStream`` in this process, and by one and two workers that stand ready, an epoch each;
* from the padded layout with pyarrow in this process, a part at a time, and scaled, without shuffling;
* from a CSV file as the original's, a row a recording with its padded sequence as the text of a list of pairs, each
  parsed with ``eval``. That is timed on a few rows, and what all rows would take is extrapolated.

Nothing is done with a batch, so that a worker's way to this process counts whole. The files lie in the page cache.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.table import Table

from heartbeat_core.alignment.scaling import Scaler
from heartbeat_core.datasets.dataset import Dataset
from heartbeat_core.datasets.streaming import AlignedStream, loader
from tests.benchmarks import common

Read = Callable[[], Iterator[int]]
"""Reads an epoch, and tells how many rows each batch has."""

WORKERS = (0, 1, 2)
CSV_ROWS = 4
CSV = "CSV with eval"
PADDED = "padded Parquet"


def main() -> None:
    """Build, read and print a table a recipe."""
    parser = common.arguments("Time the stream of training batches against other ways to read them.")
    parser.add_argument("--recipe", nargs="+", default=["seed-small", "seed-main"], metavar="RECIPE")
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error("--runs: at least 1")
    with tempfile.TemporaryDirectory() as scratch:
        folder = common.recordings(arguments.data, Path(scratch))
        figures = {recipe: measure(folder, recipe, arguments, Path(scratch)) for recipe in arguments.recipe}
    common.report("training_input", [_table(recipe, of) for recipe, of in figures.items()], figures, arguments.json)


def measure(folder: Path, recipe: str, arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Return rows a second of each way to read a recipe's dataset, one figure a run."""
    compact, padded = (_build(folder, recipe, layout, scratch) for layout in ("compact", "padded"))
    n_rows = sum(compact.facts.rows_by_label.values())
    sample = scratch / f"{recipe}.csv"
    n_sample = write_csv(padded, sample)
    reads: dict[str, Read] = {f"stream, {n} workers": _stream(compact, n) for n in WORKERS}
    reads[PADDED] = partial(read_padded, padded)
    reads[CSV] = partial(read_csv, sample, padded.scaler)
    expected = {name: n_sample if name == CSV else n_rows for name in reads}
    seconds = common.in_turn(
        arguments.runs, {name: partial(common.timed, _exhaust, read, expected[name]) for name, read in reads.items()}
    )
    return {
        "rows": n_rows,
        "length_frames": len(compact.reference),
        "csv_rows": n_sample,
        "rows_per_s": {name: [expected[name] / one for one in taken] for name, taken in seconds.items()},
    }


def read_padded(dataset: Dataset) -> Iterator[int]:
    """Read the labelled rows of a padded dataset as one scaled array a part."""
    length = len(dataset.reference)
    for uri in dataset.part_uris():
        file = pq.ParquetFile(uri.removeprefix("file://"))
        table = file.read(["frequency_hz", "amplitude", "label_code"], use_threads=False)
        is_labelled = np.array([code is not None for code in table["label_code"].to_pylist()], dtype=bool)
        channels = [
            table[name].combine_chunks().values.to_numpy().reshape(-1, length)[is_labelled]
            for name in ("frequency_hz", "amplitude")
        ]
        yield len(_scaled(np.stack(channels, axis=2), dataset.scaler))


def write_csv(dataset: Dataset, path: Path) -> int:
    """Write the first labelled rows as the original did, at most ``CSV_ROWS``; returns their count."""
    rows = dataset.rows()
    chosen = rows.take(np.flatnonzero(rows.codes >= 0)[:CSV_ROWS])
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        for padded, code in zip(chosen.padded(len(dataset.reference)), chosen.codes.tolist(), strict=True):
            writer.writerow([str([tuple(frame) for frame in padded.tolist()]), code])
    return len(chosen)


def read_csv(path: Path, scaler: Scaler) -> Iterator[int]:
    """Parse each row with ``eval``, and scale it."""
    csv.field_size_limit(sys.maxsize)
    with open(path, newline="") as file:
        for sequence, _ in csv.reader(file):
            padded = np.array(eval(sequence), np.float32)
            yield len(_scaled(padded[np.newaxis], scaler))


def _scaled(padded: NDArray[np.float32], scaler: Scaler) -> NDArray[np.float32]:
    return scaler.transform(padded).reshape(len(padded), scaler.mean.size)


def _build(folder: Path, recipe: str, layout: str, scratch: Path) -> Dataset:
    heartbeat = str(Path(sys.executable).with_name("heartbeat"))
    out = str(scratch / f"{recipe}-{layout}")
    labels = ["--labels", str(folder / "labels.csv")]
    common.timed_process(
        [heartbeat, "build-dataset", str(folder), "-o", out, "--recipe", recipe, "--layout", layout, *labels]
    )
    return Dataset(out)


def _stream(dataset: Dataset, n_workers: int) -> Read:
    stream = AlignedStream(dataset)
    batches = loader(stream, n_workers)
    epochs = iter(range(sys.maxsize))

    def read() -> Iterator[int]:
        stream.set_epoch(next(epochs))
        return (len(codes) for _, codes in batches)

    return read


def _exhaust(read: Read, n_rows: int) -> None:
    found = sum(read())
    if found != n_rows:
        raise SystemExit(f"{found} rows were read in place of {n_rows}")


def _table(recipe: str, figures: dict[str, Any]) -> Table:
    rates: dict[str, list[float]] = figures["rows_per_s"]
    table = Table(title=f"{recipe}, {figures['rows']} rows of {figures['length_frames']} frames")
    table.add_column("", no_wrap=True)
    for heading in ("rows a second", "an epoch, s", "of padded Parquet's rate", "of the CSV's"):
        table.add_column(heading, justify="right")
    for name, rate in rates.items():
        median = statistics.median(rate)
        of_padded, of_csv = common.ratio(rate, rates[PADDED]), common.ratio(rate, rates[CSV]).partition(" ")[0]
        table.add_row(name, f"{median:.1f}", f"{figures['rows'] / median:.2f}", of_padded, of_csv)
    table.caption = f"CSV: timed on {figures['csv_rows']} rows, its epoch extrapolated"
    return table


if __name__ == "__main__":
    main()
