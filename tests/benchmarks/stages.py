"""Where a recording's time goes, on one core: CPU milliseconds a recording, and the share of the whole.

    python -m tests.benchmarks.stages [--data FOLDER] [--recipe seed-main] [--runs 3] [--json FILE]

The stages are called one after the other for each recording, as ``recordings.process`` and the tasks call them; infer
and write take a shard's results together. No one command pays all of them: "scale" is what training pays for a row, its
padding and z-scores, and what serving pays for them is in "infer", where the scaler is folded into the network. The
network is one of the recipe's with random weights, since what it has learned costs no time. The default model pays for
all features but the cycles.

Beside each stage stands how much of its time is left where only its Fourier transforms are done, in the same number,
length and precision, and where what it reads is only copied: how far it is from the limit.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from rich.table import Table

from heartbeat_core.alignment.placement import Reference, pad, place
from heartbeat_core.alignment.scaling import ScalerFit
from heartbeat_core.arrays import Frames
from heartbeat_core.audio import decode, quality
from heartbeat_core.errors import RecordingError
from heartbeat_core.features import cycle_spectrum, segmenter, signal
from heartbeat_core.features.analysis import Analysis
from heartbeat_core.features.catalogue import FEATURE_SETS
from heartbeat_core.features.cycles_columns import BANDS_HZ as CYCLES_BANDS_HZ
from heartbeat_core.features.frames import compute_frames, stft_parameters
from heartbeat_core.features.series import ENVELOPE_HZ
from heartbeat_core.features.statistics_columns import RHYTHM_BANDS_HZ
from heartbeat_core.formats.parquet import to_parquet
from heartbeat_core.labels import ORIGINAL_LABELS
from heartbeat_core.learning.fcnn import FCNN, as_arrays
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
FFT, COPY = "a bare FFT", "a bare copy"
Transform = Callable[[NDArray[Any]], NDArray[Any]]


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
    medians = {
        kind: {name: statistics.median(run[kind, name] for run in runs) for one, name in runs[0] if one == kind}
        for kind in ("ms", FFT, COPY)
    }
    whole = sum(medians["ms"].values())
    title = f"{options.recipe}, {len(files)} recordings, one core, CPU time"
    table = Table("stage", "ms a recording", "share", FFT, COPY, title=title)
    for name, value in medians["ms"].items():
        bare = [f"{medians[kind][name] / value:.0%}" if name in medians[kind] else "" for kind in (FFT, COPY)]
        table.add_row(name, f"{value:.2f}", f"{value / whole:.0%}", *bare)
    bare_sums = [f"{sum(medians[kind].values()) / whole:.0%}" for kind in (FFT, COPY)]
    table.add_row("all", f"{whole:.2f}", "100%", *bare_sums, style="bold")
    report("stages", [table], {"recipe": options.recipe, "recordings": len(files), **medians}, options.json)


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
        self.scorer = Scorer(as_arrays(network), self.scaler)

    def run(self) -> dict[tuple[str, str], float]:
        """Return each stage's milliseconds a recording, and those of its bare transforms and copies."""
        spent: defaultdict[tuple[str, str], float] = defaultdict(float)

        def timed(name: str, function: Callable[..., T], *arguments: Any, kind: str = "ms") -> T:
            started = time.process_time()
            value = function(*arguments)
            spent[kind, name] += time.process_time() - started
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
                timed("quality", quality.measure, waveform.samples, waveform.sample_rate_hz)
                timed("digest", _digest, data)
                analysis = Analysis(waveform.samples, waveform.sample_rate_hz)
                timed("signal", getattr, analysis, "signal")
                timed("power, log-mel", getattr, analysis, "log_mel")
                timed("statistics", FEATURE_SETS.get("statistics").compute, analysis)
                timed("segmentation", getattr, analysis, "segmentation")
                timed("beats", _beats, analysis)
                timed("cycle spectrum", FEATURE_SETS.get("cycle-spectrum").compute, analysis)
                timed("cycles", FEATURE_SETS.get("cycles").compute, analysis)
                for name, transform, shape, dtype in _transforms(analysis, self.recipe):
                    timed(name, transform, np.ones(shape, dtype), kind=FFT)
                for name, read in _read(data, waveform.samples, frames, analysis).items():
                    timed(name, np.copy, read, kind=COPY)
                timed("scaler fit", fit.add, frames, placement.offset_frames)
                timed("scale", self._scale, frames, placement.offset_frames)
                results.append(self._result(path, data))
            offsets = [one.placement.offset_frames for one in results]
            timed("infer", self.scorer.score, [one.frames for one in results], offsets)
            timed("write", _encode, results)
        return {key: 1e3 * seconds / len(self.files) for key, seconds in spent.items()}

    def _scale(self, frames: Frames, offset: int) -> NDArray[np.float32]:
        return self.scaler.transform(pad(frames, offset, len(self.reference)))

    def _result(self, path: Path, data: bytes) -> RecordingResult:
        recording = Recording(path.as_uri(), path.name, len(data))
        return process(recording, data, self.recipe, self.reference, Limits())


def _beats(analysis: Analysis) -> None:
    FEATURE_SETS.get("beats").compute(analysis)
    FEATURE_SETS.get("beats").compute_lists(analysis)


def _transforms(analysis: Analysis, recipe: Recipe) -> Iterator[tuple[str, Transform, tuple[int, ...], type]]:
    """Yield the large Fourier transforms of the stages: the stage, the transform, and what it is applied to."""
    rfft, irfft, ifft = scipy.fft.rfft, scipy.fft.irfft, scipy.fft.ifft
    n_fft, hop_length = stft_parameters(analysis.sample_rate_hz, recipe.frames.delta_time_s)
    yield "frames", rfft, (analysis.samples.size // hop_length + 1, n_fft), float
    spectrum, n_samples = analysis.signal.spectrum, len(analysis.signal.samples)
    yield "signal", rfft, (2 * (len(spectrum) - 1),), float
    yield "signal", irfft, spectrum.shape, complex
    yield "power, log-mel", rfft, (len(analysis.power), signal.N_FFT), float
    yield "cycle spectrum", rfft, (n_samples // cycle_spectrum.HOP + 1, signal.N_FFT), np.float32
    bands = {"statistics": RHYTHM_BANDS_HZ.values(), "segmentation": segmenter.BANDS_HZ, "cycles": CYCLES_BANDS_HZ}
    for name, edges_hz in bands.items():
        for low_hz, high_hz in edges_hz:
            # As many points every 10 ms as hold the band and its edges.
            n_points = math.ceil((1.2 * high_hz - 0.8 * low_hz) / ENVELOPE_HZ)
            yield name, ifft, (n_points * (spectrum.size // 20),), complex


def _read(data: bytes, samples: NDArray[np.float32], frames: Frames, analysis: Analysis) -> dict[str, NDArray[Any]]:
    """Return the largest array that each stage reads."""
    content, spectrum = np.frombuffer(data, np.uint8), analysis.signal.spectrum
    return {
        "read": content,
        "decode": samples,
        "frames": samples,
        "align": frames,
        "quality": samples,
        "digest": content,
        "signal": samples,
        "power, log-mel": analysis.signal.samples,
        "statistics": spectrum,
        "segmentation": spectrum,
        "cycle spectrum": analysis.signal.samples,
        "cycles": spectrum,
    }


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()


def _encode(results: Sequence[RecordingResult]) -> bytes:
    return to_parquet(recordings_table(results, None, ORIGINAL_LABELS))


if __name__ == "__main__":
    main()
