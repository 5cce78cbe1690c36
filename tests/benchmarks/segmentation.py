"""The segmenter against annotated heart sounds: onsets of S1 and S2, heart rate, and its confidence.

    python -m tests.benchmarks.segmentation DATASET [--segments TABLE] [--pascal FOLDER]

DATASET and TABLE are those of ``train_segmenter``: each recording is segmented by the network that never saw its
person. Onsets count inside the annotated stretches, and each is found if one lies within the tolerance. The true heart
rate is 60 over the median interval of the annotated S1; it is compared with ``heart_rate_bpm``, which is of the whole
recording, and with the same figure of the annotated stretch alone.

FOLDER is PASCAL CHSC2011 with its ``labels.csv`` and ``set_a_timing.csv``, places of S1 and S2 in samples. No network
was trained on it; here the one that serves is used.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score

from heartbeat_core.audio.decode import decode
from heartbeat_core.features.analysis import Analysis
from heartbeat_core.features.beats import compute_beats
from heartbeat_core.features.decoding import S1, S2, STATE_HZ, Segmentation
from heartbeat_core.settings import Limits
from tests.benchmarks.segmented import Segmented, read_segmented

Values = NDArray[np.float64]
TOLERANCES_S = (0.1, 0.06)
SOUNDS = {"S1": S1, "S2": S2}
RATE_ERRORS_BPM = (5, 10)
RATE_GROUPS_BPM = (110, 130, 140, 150, 160, 250)
"""Where the groups of recordings by their true heart rate end: the segmenter loses the fastest hearts."""
INTERVALS_S = (0.25, 2.0)
"""Other intervals between annotated S1 span a gap."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Onsets that are true, predicted, and both."""

    true: int = 0
    predicted: int = 0
    found: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.true + other.true, self.predicted + other.predicted, self.found + other.found)

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return 2 * self.found / max(self.true + self.predicted, 1)


@dataclass(frozen=True, slots=True)
class Judged:
    """One recording: counts by sound and tolerance, and the heart rates (0 if unknown)."""

    counts: Mapping[tuple[str, float], Counts]
    true_bpm: float = 0.0
    found_bpm: float = 0.0
    stretch_bpm: float = 0.0


def main() -> None:
    """Segment, compare and print the tables."""
    parser = argparse.ArgumentParser(description="Onsets of S1 and S2, heart rate and confidence of the segmenter.")
    parser.add_argument("dataset")
    parser.add_argument("--segments", type=Path, help="CSV table of the segments [default: the dataset's own]")
    parser.add_argument("--pascal", type=Path, help="PASCAL CHSC2011 with labels.csv and set_a_timing.csv")
    arguments = parser.parse_args()
    recordings = read_segmented(arguments.dataset, arguments.segments)
    console = Console()
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        judged = list(pool.map(judge, recordings, chunksize=16))
        console.print(_onsets_table(f"{len(recordings)} recordings, persons held out", judged), _rates_table(judged))
        console.print(_rate_groups_table(judged))
        if arguments.pascal is not None:
            timed = list(pool.map(judge_timed, *zip(*_timings(arguments.pascal), strict=True)))
            console.print(_onsets_table(f"PASCAL set_a_timing.csv, {len(timed)} recordings", timed))
            names, paths = zip(*_labelled(arguments.pascal), strict=True)
            console.print(_confidence_table(names, list(pool.map(confidence, paths, chunksize=16))))


def judge(one: Segmented) -> Judged:
    """Segment one recording by the network that never saw its person, and compare."""
    waveform = one.waveform()
    segmentation = Analysis(waveform.samples, waveform.sample_rate_hz, one.person).segmentation
    known = one.segments[(one.segments[:, 2] > 0) & (one.segments[:, 1] > one.segments[:, 0])]
    if not len(known):
        return Judged({})
    # The first state may be cut by the stretch's start.
    begin_s, end_s = float(known[:, 0].min()) + 0.02, float(known[:, 1].max())
    counts = {}
    for sound, state in SOUNDS.items():
        true, predicted = known[known[:, 2] == state + 1, 0], segmentation.onsets(state)
        is_inside = ((known[:, 0] <= predicted[:, np.newaxis]) & (predicted[:, np.newaxis] < known[:, 1])).any(axis=1)
        for tolerance_s in TOLERANCES_S:
            counts[sound, tolerance_s] = count(
                true[true > begin_s], predicted[is_inside & (predicted > begin_s)], tolerance_s
            )
    intervals = np.diff(np.sort(known[known[:, 2] == S1 + 1, 0]))
    intervals = intervals[(intervals > INTERVALS_S[0]) & (intervals < INTERVALS_S[1])]
    if len(intervals) < 2:
        return Judged(counts)
    return Judged(
        counts, 60 / float(np.median(intervals)), _rate(segmentation), _rate(_cut(segmentation, begin_s, end_s))
    )


def judge_timed(path: Path, first: list[int], second: list[int]) -> Judged:
    """Segment one recording of PASCAL and compare the stretch from the first annotated sound to the last."""
    waveform = decode(path.read_bytes(), Limits())
    segmentation = Analysis(waveform.samples, waveform.sample_rate_hz).segmentation
    places = {sound: np.sort(at) / waveform.sample_rate_hz for sound, at in (("S1", first), ("S2", second))}
    begin_s = min(of[0] for of in places.values()) - TOLERANCES_S[0]
    end_s = max(of[-1] for of in places.values()) + TOLERANCES_S[0]
    counts = {}
    for sound, true in places.items():
        predicted = segmentation.onsets(SOUNDS[sound])
        predicted = predicted[(predicted >= begin_s) & (predicted <= end_s)]
        for tolerance_s in TOLERANCES_S:
            counts[sound, tolerance_s] = count(true, predicted, tolerance_s)
    return Judged(counts)


def count(true: Values, predicted: Values, tolerance_s: float) -> Counts:
    """Give each true onset the nearest predicted one that no earlier one took."""
    left, found = predicted.tolist(), 0
    for onset_s in true.tolist():
        nearest = min(left, key=lambda other: abs(other - onset_s), default=np.inf)
        if abs(nearest - onset_s) <= tolerance_s:
            left.remove(nearest)
            found += 1
    return Counts(len(true), len(predicted), found)


def confidence(path: Path) -> float:
    """Return the confidence of the segmenter in one recording."""
    waveform = decode(path.read_bytes(), Limits())
    return Analysis(waveform.samples, waveform.sample_rate_hz).segmentation.confidence


def _cut(segmentation: Segmentation, begin_s: float, end_s: float) -> Segmentation:
    stretch = slice(max(0, int((begin_s - TOLERANCES_S[0]) * STATE_HZ)), int((end_s + TOLERANCES_S[0]) * STATE_HZ))
    return replace(segmentation, states=segmentation.states[stretch], posteriors=segmentation.posteriors[stretch])


def _rate(segmentation: Segmentation) -> float:
    return float(compute_beats(segmentation)[0])


def _timings(folder: Path) -> Iterator[tuple[Path, list[int], list[int]]]:
    places: dict[str, dict[str, list[int]]] = defaultdict(lambda: {sound: [] for sound in SOUNDS})
    with (folder / "set_a_timing.csv").open(newline="") as lines:
        for row in csv.DictReader(lines):
            places[row["fname"]][row["sound"]].append(int(row["location"]))
    for name, at in places.items():
        # The table names WAV files, also where the folder holds them as FLAC.
        path = folder / name
        yield path if path.exists() else path.with_suffix(".flac"), at["S1"], at["S2"]


def _labelled(folder: Path) -> Iterator[tuple[str, Path]]:
    with (folder / "labels.csv").open(newline="") as lines:
        for row in csv.DictReader(lines):
            if row["label"]:
                yield row["label"], folder / row["path"]


def _onsets_table(title: str, judged: list[Judged]) -> Table:
    table = Table("sound", "tolerance, ms", "true", "predicted", "found", "F1", title=title)
    for sound in SOUNDS:
        for tolerance_s in TOLERANCES_S:
            total = sum((one.counts.get((sound, tolerance_s), Counts()) for one in judged), Counts())
            cells = (1000 * tolerance_s, total.true, total.predicted, total.found)
            table.add_row(sound, *(f"{cell:.0f}" for cell in cells), f"{total.f1:.4f}")
    return table


def _rates_table(judged: list[Judged]) -> Table:
    known = [one for one in judged if one.true_bpm]
    true = np.array([one.true_bpm for one in known])
    table = Table("heart rate of", *(f"within {most} bpm" for most in RATE_ERRORS_BPM), "median error, bpm")
    table.title = f"{len(known)} recordings, persons held out"
    for name, rates in (("recording", [o.found_bpm for o in known]), ("stretch", [o.stretch_bpm for o in known])):
        errors = np.abs(np.array(rates) - true)
        table.add_row(name, *(f"{np.mean(errors <= most):.4f}" for most in RATE_ERRORS_BPM), f"{np.median(errors):.2f}")
    return table


def _rate_groups_table(judged: list[Judged]) -> Table:
    table = Table("true heart rate, bpm", "recordings", *(f"within {most} bpm" for most in RATE_ERRORS_BPM))
    low = 0
    for high in RATE_GROUPS_BPM:
        of_group = [one for one in judged if low < one.true_bpm <= high]
        errors = np.array([abs(one.found_bpm - one.true_bpm) for one in of_group])
        shares = [f"{np.mean(errors <= most):.3f}" for most in RATE_ERRORS_BPM] if of_group else ["–", "–"]
        table.add_row(f"{low} to {high}", str(len(of_group)), *shares)
        low = high
    return table


def _confidence_table(names: tuple[str, ...], confidences: list[float]) -> Table:
    labels, values = np.array(names), np.array(confidences)
    table = Table("PASCAL label", "recordings", "confidence: median", "5th percentile", "95th percentile")
    for label in sorted(set(names)):
        of_label = values[labels == label]
        table.add_row(label, str(len(of_label)), *(f"{np.percentile(of_label, share):.3f}" for share in (50, 5, 95)))
    if 0 < np.count_nonzero(labels == "artifact") < len(labels):
        table.caption = f"AUC of hearts against artifacts: {roc_auc_score(labels != 'artifact', values):.4f}"
    return table


if __name__ == "__main__":
    main()
