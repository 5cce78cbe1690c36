"""A model's size, and how long one recording takes from its bytes to its prediction, on one core.

    python -m tests.benchmarks.prediction [--data FOLDER] [--model NAME] [--runs 5] [--json FILE]

Recordings are in memory; each is processed and scored alone, as a phone would, and as ``predict`` does after reading.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.table import Table

from heartbeat_core.bundles import bundle as bundles
from heartbeat_core.bundles.bundle import Bundle
from heartbeat_core.bundles.manifest import WEIGHTS_NAME, read_file, resolve
from heartbeat_core.errors import RecordingError
from heartbeat_core.recordings.process import process
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.settings import DEFAULT_MODEL, Limits
from tests.benchmarks.common import arguments, audio_files, recordings, report, run_as_a_worker


def main() -> None:
    """Time the predictions and print the table."""
    parser = arguments("Time a recording from its bytes to its prediction, on one core.")
    parser.add_argument(
        "--model", default=DEFAULT_MODEL, help=f"shipped model or a bundle's place [default: {DEFAULT_MODEL}]"
    )
    options = parser.parse_args()
    run_as_a_worker()
    bundle = bundles.load(options.model)
    n_bytes = len(read_file(resolve(options.model), WEIGHTS_NAME, options.model))
    with TemporaryDirectory() as scratch:
        contents = [path.read_bytes() for path in audio_files(recordings(options.data, Path(scratch)))]
    runs = [[taken for data in contents if (taken := _seconds(bundle, data)) is not None] for _ in range(options.runs)]
    each = [1e3 * statistics.median(times) for times in zip(*runs, strict=True)]
    figures = {
        "weights_kb": n_bytes / 1e3,
        "mean_ms": statistics.fmean(each),
        "median_ms": statistics.median(each),
        "longest_ms": max(each),
    }
    table = Table("figure", "value", title=f"{options.model}, {len(each)} recordings, one core")
    for name, value in figures.items():
        table.add_row(name, f"{value:,.1f}")
    report("prediction", [table], {"model": options.model, "recordings": len(each), **figures}, options.json)


def _seconds(bundle: Bundle, data: bytes) -> float | None:
    """Return how long one recording takes, None where it cannot be processed."""
    recipe = bundle.manifest.recipe
    started = time.perf_counter()
    try:
        result = process(Recording("memory://one", ""), data, recipe, bundle.reference, Limits(), bundle.vectors)
    except RecordingError:
        return None
    bundle.classify([result])
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
