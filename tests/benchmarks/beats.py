"""The beat tracker of ``pcg-cycles-v1`` against true positions of S1 and S2.

    python -m tests.benchmarks.beats FOLDER

FOLDER is PASCAL CHSC2011 with its ``set_a_timing.csv``: columns ``fname``, ``sound`` (S1 or S2) and ``location``, a
place in samples. Looked at is the stretch of a recording that has positions. A beat is found where one lies within
0.1 s of it.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from heartbeat_core.audio import decode
from heartbeat_core.features.cycles import beat_strength, heart_period, relative_envelopes, track_beats
from heartbeat_core.features.series import ENVELOPE_HZ
from heartbeat_core.features.signal import prepare
from heartbeat_core.settings import Limits

NEAR_S = 0.1
SAME_PERIOD = 0.1


def main() -> None:
    """Compare and print the table."""
    parser = argparse.ArgumentParser(description="Beats against true positions of S1 and S2.")
    parser.add_argument("folder", type=Path, help="PASCAL CHSC2011 with its set_a_timing.csv")
    folder: Path = parser.parse_args().folder
    places: dict[str, dict[str, list[int]]] = defaultdict(lambda: {"S1": [], "S2": []})
    with (folder / "set_a_timing.csv").open(newline="") as lines:
        for row in csv.DictReader(lines):
            places[row["fname"]][row["sound"]].append(int(row["location"]))
    table = Table("recording", "true period, s", "period, s", "beats", "on S1", "on S2", "S1 found", "S1 or S2 found")
    same_period, totals = 0, np.zeros(6, dtype=np.int64)
    for name, true in places.items():
        path = folder / name
        # The table names WAV files, also where the folder holds them as FLAC.
        path = path if path.exists() else path.with_suffix(".flac")
        waveform = decode.decode(path.read_bytes(), Limits())
        first, second = (np.array(sorted(true[sound])) / waveform.sample_rate_hz for sound in ("S1", "S2"))
        relative = relative_envelopes(prepare(waveform.samples, waveform.sample_rate_hz))
        _, period = heart_period(relative)
        beats = track_beats(beat_strength(relative), period) / ENVELOPE_HZ
        begin, end = min(first[0], second[0]) - NEAR_S, max(first[-1], second[-1]) + NEAR_S
        beats = beats[(beats >= begin) & (beats <= end)]
        true_period = median(np.diff(first).tolist())
        same_period += abs(period / ENVELOPE_HZ / true_period - 1) < SAME_PERIOD
        on_first, on_second = _near(beats, first), _near(beats, second)
        found, other = _near(first, beats), _near(second, beats)
        totals += [len(beats), on_first, on_second, len(first), found, max(found, other)]
        table.add_row(
            path.stem,
            f"{true_period:.2f}",
            f"{period / ENVELOPE_HZ:.2f}",
            str(len(beats)),
            str(on_first),
            str(on_second),
            f"{found} of {len(first)}",
            f"{max(found, other)} of {len(first)}",
        )
    console = Console()
    console.print(table)
    n_beats, on_first, on_second, n_first, found, either = totals.tolist()
    console.print(
        f"period within {SAME_PERIOD:.0%}: {same_period} of {len(places)} recordings; of {n_beats} beats {on_first} on "
        f"S1, {on_second} on S2; of {n_first} S1 {found} found, {either} where a recording's beats may be all S2"
    )


def _near(places_s: NDArray[np.float64], others_s: NDArray[np.float64]) -> int:
    """Return how many of ``places_s`` have one of ``others_s`` within ``NEAR_S``."""
    if not len(others_s):
        return 0
    return int((np.abs(places_s[:, np.newaxis] - others_s).min(axis=1) <= NEAR_S).sum())


if __name__ == "__main__":
    main()
