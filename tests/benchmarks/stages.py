"""Where a recording's time goes, on one core: milliseconds a recording, and the share of the whole.

    python -m tests.benchmarks.stages [--data FOLDER] [--recipe seed-main] [--runs 3] [--json FILE]

The stages are called one after the other over all recordings, as ``recording.process`` and the tasks call them; infer
and write take a shard's results together. No one command pays all of them: "scale" is what training pays for a row, its
padding and z-scores, and what serving pays for them is in "infer", where the scaler is folded into the network. The
network is one of the recipe's with random weights, since what it has learned costs no time.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from rich.table import Table

from heartbeat_core.alignment.placement import Reference, pad, place
from heartbeat_core.alignment.scaling import ScalerFit
from heartbeat_core.arrays import Frames
from heartbeat_core.audio import decode, quality
from heartbeat_core.errors import RecordingError
from heartbeat_core.features.frames import compute_frames
from heartbeat_core.formats.parquet import to_parquet
from heartbeat_core.labels import ORIGINAL_LABELS
from heartbeat_core.learning.fcnn import FCNN
from heartbeat_core.learning.scorer import Scorer
from heartbeat_core.recipe import Recipe
from heartbeat_core.recordings.process import RecordingResult, process
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.results.schema import recordings_table
from heartbeat_core.settings import Limits
from jobs.settings import load_recipe
from jobs.tasks.parts import BATCH_RECORDINGS
from tests.benchmarks.common import arguments, audio_files, recordings, report, run_as_a_worker

T = TypeVar("T")


def main() -> None:
    """Time the stages and print the table."""
    parser = arguments("Time the stages of a recording on one core.")
    parser.add_argument("--recipe", default="seed-main")
    parser.set_defaults(runs=3)
    options = parser.parse_args()
    run_as_a_worker()
    recipe = load_recipe(options.recipe)
    with TemporaryDirectory() as scratch:
        files = audio_files(recordings(options.data, Path(scratch)))
        stages = _Stages(files, recipe)
        runs = [stages.run() for _ in range(options.runs)]
    medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    whole = sum(medians.values())
    table = Table("stage", "ms a recording", "share", title=f"{options.recipe}, {len(files)} recordings, one core")
    for name, value in medians.items():
        table.add_row(name, f"{value:.2f}", f"{value / whole:.0%}")
    table.add_row("all", f"{whole:.2f}", "100%", style="bold")
    report("stages", [table], {"recipe": options.recipe, "recordings": len(files), "ms": medians}, options.json)


class _Stages:
    """The stages over all recordings; what is made once is made before the first run."""

    def __init__(self, files: list[Path], recipe: Recipe) -> None:
        self.recipe = recipe
        self.files = []
        longest = np.empty((0, 2), np.float32)
        for path in files:
            try:
                waveform = decode.decode(path.read_bytes())
                frames = compute_frames(waveform.samples, waveform.sample_rate_hz, recipe.frames)
            except RecordingError:
                continue
            self.files.append(path)
            longest = max(longest, frames, key=len)
        self.reference = Reference(longest)
        fit = ScalerFit(len(longest))
        fit.add(longest, 0)
        fit.add(longest[: len(longest) // 2], 0)
        torch.manual_seed(0)
        torch.set_num_threads(1)
        network = FCNN(2 * len(longest), recipe.network.hidden, len(ORIGINAL_LABELS), recipe.network.dropout).eval()
        self.scaler = fit.finish()
        self.scorer = Scorer(network, self.scaler)

    def run(self) -> dict[str, float]:
        """Return each stage's milliseconds a recording."""
        spent: defaultdict[str, float] = defaultdict(float)

        def timed(name: str, function: Callable[..., T], *arguments: Any) -> T:
            started = time.perf_counter()
            value = function(*arguments)
            spent[name] += time.perf_counter() - started
            return value

        fit = ScalerFit(len(self.reference))
        size = BATCH_RECORDINGS
        for batch in (self.files[begin : begin + size] for begin in range(0, len(self.files), size)):
            results = []
            for path in batch:
                data = timed("read", path.read_bytes)
                waveform = timed("decode", decode.decode, data)
                framing = waveform.samples, waveform.sample_rate_hz, self.recipe.frames
                frames = timed("frames", compute_frames, *framing)
                placement = timed("align", place, frames, self.reference, self.recipe.alignment.pad_mode)
                timed("quality", quality.measure, waveform)
                timed("digest", _digest, data)
                timed("scaler fit", fit.add, frames, placement.offset_frames)
                timed("scale", self._scale, frames, placement.offset_frames)
                results.append(self._result(path, data))
            offsets = [one.placement.offset_frames for one in results]
            timed("infer", self.scorer.score, [one.frames for one in results], offsets)
            timed("write", _encode, results)
        return {name: 1e3 * seconds / len(self.files) for name, seconds in spent.items()}

    def _scale(self, frames: Frames, offset: int) -> NDArray[np.float32]:
        return self.scaler.transform(pad(frames, offset, len(self.reference)))

    def _result(self, path: Path, data: bytes) -> RecordingResult:
        recording = Recording(path.as_uri(), path.name, len(data))
        return process(recording, data, self.recipe, self.reference, Limits())


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()


def _encode(results: Sequence[RecordingResult]) -> bytes:
    return to_parquet(recordings_table(results, None, ORIGINAL_LABELS))


if __name__ == "__main__":
    main()
