"""The alignment against the original's loop, ``scipy.signal.correlate`` and ``stumpy.mass``, with the offsets compared.

    python -m tests.benchmarks.alignment [--data FOLDER] [--queries 40] [--runs 3] [--json FILE]

At the three levels the longest recording is the reference and some others, chosen at random, are placed on it; besides,
recordings of about 9 s at 44.1 kHz on a reference of at least 69 s, which is 381,000 frames. What the data lacks for
that is synthesised. Everything runs on one thread: a run is one contestant after the other, each over all queries, as a
worker has them.

The loop takes hours over a folder at main level: it is timed on 200 offsets a query, chosen at random, and
extrapolated. Its value at our offset is held against those at the 200, and for a few queries it is run whole and the
offsets are compared; ``make offsets`` compares more. The peers work in float64. What depends on the reference alone is
done once for all contestants: its float64 copy, its channels, its energies. ``stumpy.mass`` is ``normalize=False``,
compiled before it is timed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import scipy.signal
from numpy.typing import NDArray
from rich.progress import track
from rich.table import Table

from heartbeat_core.alignment.placement import Reference, place
from heartbeat_core.arrays import Frames
from heartbeat_core.audio import decode
from heartbeat_core.audio.synthesis import synthesise
from heartbeat_core.errors import RecordingError
from heartbeat_core.features.frames import compute_frames
from jobs.settings import load_recipe
from tests.benchmarks.common import arguments, audio_files, recordings, report, run_as_a_worker

LOOP_OFFSETS = 200
LONG = "long"
WHOLE_LOOPS = {"seed-mini": 5, "seed-small": 5, "seed-main": 2, LONG: 0}
"""For how many queries of a level the loop is run to its end; one takes a minute on the long reference."""

LONG_REFERENCE_S, LONG_QUERY_S, RATE_HZ = 69.2, 9.0, 44_100
LONG_REFERENCE_FRAMES = 381_000
N_LONG_QUERIES = 4

NO_STUMPY = "not installed: pip install stumpy"

Placer = Callable[[Frames], int]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the peers take of a reference, made once.

    Attributes:
        frames: [length, 2] float64.
        channels: [2, length] float64, each channel in one piece.
        energy: [length + 1] float64, the running sum of both channels' squares.
    """

    frames: NDArray[np.float64]
    channels: NDArray[np.float64]
    energy: NDArray[np.float64]


def main() -> None:
    """Time all contestants at all levels and print the table."""
    parser = arguments("Time the alignment against the plain loop and its peers, on one thread.")
    parser.add_argument("--queries", type=int, default=40, help="recordings at each level [default: 40]")
    parser.set_defaults(runs=3)
    options = parser.parse_args()
    run_as_a_worker()
    with TemporaryDirectory() as scratch:
        files = audio_files(recordings(options.data, Path(scratch)))
        levels = {recipe: _frames_of(files, recipe) for recipe in ("seed-mini", "seed-small", "seed-main")}
        levels[LONG] = _long_frames(files)
    rows = [_compare(name, frames, options.queries, options.runs) for name, frames in levels.items()]
    table = Table(
        *("level", "frames", "ours, ms", "loop", "least", "correlate", "stumpy"),
        title="alignment on one thread: how many times as long as ours, and how many queries have our offset",
        caption=f"frames: of the reference. The loop's time is extrapolated from {LOOP_OFFSETS} offsets a query, and "
        "its offsets are of the few queries for which it was run whole; least: queries where it finds none better than "
        f"ours among the {LOOP_OFFSETS}.",
    )
    for row in rows:
        table.add_row(*_cells(row))
    report("alignment", [table], {"levels": rows}, options.json)


def _cells(row: dict[str, Any]) -> list[str]:
    facts = [row["level"], f"{row['reference_frames']:,}", f"{row['ours_ms']:.2f}"]
    loop, correlate, stumpy = (
        f"{_shown(row[f'{who}_ratio'])}\n{row[f'equal_to_{who}']}" if row[f"{who}_ratio"] else NO_STUMPY
        for who in ("loop", "correlate", "stumpy")
    )
    return [*facts, loop, row["equal_to_loop_sample"], correlate, stumpy]


def _compare(name: str, frames: Sequence[Frames], n_queries: int, runs: int) -> dict[str, Any]:
    """Return a level's row."""
    longest = max(frames, key=len)
    others = [one for one in frames if len(one) < len(longest)]
    chosen = np.random.default_rng(0).permutation(len(others))[:n_queries]
    queries = [others[index] for index in chosen.tolist()]
    reference, prepared = Reference(longest), _prepare(longest)
    placers: dict[str, Placer] = {
        "ours": lambda query: place(query, reference, "both").offset_frames,
        "correlate": lambda query: _by_correlate(query, prepared),
    }
    if find_spec("stumpy"):
        placers["stumpy"] = lambda query: _by_stumpy(query, prepared)
    # The first call of each makes what is kept: our reference's transforms, stumpy's machine code.
    offsets = {who: [placer(query) for query in queries] for who, placer in placers.items()}
    taken = [_run(queries, placers, prepared) for _ in track(range(runs), name, transient=True)]

    def ratio(who: str) -> float | None:
        return statistics.median(one[who] / one["ours"] for one in taken) if who in taken[0] else None

    return {
        "level": name,
        "reference_frames": len(longest),
        "queries": len(queries),
        "ours_ms": 1e3 * statistics.median(one["ours"] for one in taken) / len(queries),
        "loop_ratio": ratio("loop"),
        "correlate_ratio": ratio("correlate"),
        "stumpy_ratio": ratio("stumpy"),
        **_equal(offsets, queries, prepared, WHOLE_LOOPS[name]),
    }


def _run(queries: Sequence[Frames], placers: dict[str, Placer], prepared: Prepared) -> dict[str, float]:
    """Return the seconds of each contestant over all queries."""
    seconds = {}
    for who, placer in placers.items():
        started = time.perf_counter()
        for query in queries:
            placer(query)
        seconds[who] = time.perf_counter() - started
    seconds["loop"] = sum(_loop_seconds(query, prepared.frames, number) for number, query in enumerate(queries))
    return seconds


def _equal(
    offsets: dict[str, list[int]], queries: Sequence[Frames], prepared: Prepared, n_whole: int
) -> dict[str, str | None]:
    """Return for how many queries each contestant has our offset."""
    ours, n = offsets["ours"], len(queries)
    whole = [_by_loop(query, prepared.frames) for query in queries[:n_whole]]
    least = sum(_is_least(query, prepared.frames, ours[number], number) for number, query in enumerate(queries))
    return {
        "equal_to_loop": f"{_n_equal(ours, whole)} of {len(whole)}" if whole else "none run",
        "equal_to_loop_sample": f"{least} of {n}",
        "equal_to_correlate": f"{_n_equal(ours, offsets['correlate'])} of {n}",
        "equal_to_stumpy": f"{_n_equal(ours, offsets['stumpy'])} of {n}" if "stumpy" in offsets else None,
    }


def _n_equal(ours: Sequence[int], theirs: Sequence[int]) -> int:
    return sum(a == b for a, b in zip(ours, theirs, strict=False))


def _loop_distance(query: NDArray[np.float64], reference: NDArray[np.float64], offset: int) -> float:
    return float(np.sqrt(np.sum(np.square(query - reference[offset : offset + len(query)]))))


def _some_offsets(query: Frames, reference: NDArray[np.float64], seed: int) -> list[int]:
    n_offsets = len(reference) - len(query) + 1
    some: list[int] = np.random.default_rng(seed).integers(0, n_offsets, min(LOOP_OFFSETS, n_offsets)).tolist()
    return some


def _loop_seconds(query: Frames, reference: NDArray[np.float64], seed: int) -> float:
    """Return what the loop would take over all offsets, from some of them."""
    exact, some = query.astype(np.float64), _some_offsets(query, reference, seed)
    started = time.perf_counter()
    for offset in some:
        _loop_distance(exact, reference, offset)
    return (time.perf_counter() - started) * (len(reference) - len(query) + 1) / len(some)


def _is_least(query: Frames, reference: NDArray[np.float64], ours: int, seed: int) -> bool:
    """Return whether the loop, which takes the first of equals, finds none better than our offset among some."""
    exact = query.astype(np.float64)
    best = (_loop_distance(exact, reference, ours), ours)
    return all(best <= (_loop_distance(exact, reference, one), one) for one in _some_offsets(query, reference, seed))


def _by_loop(query: Frames, reference: NDArray[np.float64]) -> int:
    exact = query.astype(np.float64)
    return int(np.argmin([_loop_distance(exact, reference, i) for i in range(len(reference) - len(query) + 1)]))


def _prepare(reference: Frames) -> Prepared:
    frames = reference.astype(np.float64)
    energy = np.concatenate(([0.0], np.cumsum(np.square(frames).sum(axis=1))))
    return Prepared(frames, np.ascontiguousarray(frames.T), energy)


def _by_correlate(query: Frames, prepared: Prepared) -> int:
    x = np.ascontiguousarray(query.T, dtype=np.float64)
    profile = prepared.energy[len(query) :] - prepared.energy[: -len(query)]
    for channel, r in zip(x, prepared.channels, strict=True):
        profile -= 2 * scipy.signal.correlate(r, channel, mode="valid", method="fft")
    return int(np.argmin(profile))


def _by_stumpy(query: Frames, prepared: Prepared) -> int:
    # Imported here: it is an optional package, and compiles for seconds.
    import stumpy

    x = np.ascontiguousarray(query.T, dtype=np.float64)
    profile = np.zeros(len(prepared.frames) - len(query) + 1)
    for channel, r in zip(x, prepared.channels, strict=True):
        profile += np.square(stumpy.mass(channel, r, normalize=False).astype(np.float64))
    return int(np.argmin(profile))


def _frames_of(files: Sequence[Path], recipe: str) -> list[Frames]:
    settings = load_recipe(recipe).frames
    found = []
    for path in track(files, f"{recipe}: frames", transient=True):
        try:
            waveform = decode.decode(path.read_bytes())
            found.append(compute_frames(waveform.samples, waveform.sample_rate_hz, settings))
        except RecordingError:
            continue
    return found


def _long_frames(files: Sequence[Path]) -> list[Frames]:
    """Return the frames of the long reference and of its queries at main level, synthetic where the data has none."""
    settings = load_recipe("seed-main").frames
    rng = np.random.default_rng(0)
    queries: list[Frames] = []
    longest: Frames = np.empty((0, 2), np.float32)
    for path in track(files, f"{LONG}: frames", transient=True):
        try:
            waveform = decode.decode(path.read_bytes())
        except RecordingError:
            continue
        wanted = len(queries) < N_LONG_QUERIES and abs(waveform.duration_s - LONG_QUERY_S) <= 1
        if waveform.sample_rate_hz == RATE_HZ and (wanted or waveform.duration_s >= LONG_REFERENCE_S):
            frames = compute_frames(waveform.samples, RATE_HZ, settings)
            longest = max(longest, frames, key=len)
            if wanted:
                queries.append(frames)

    def synthetic(seconds: float) -> Frames:
        return compute_frames(synthesise("normal", RATE_HZ, seconds, rng), RATE_HZ, settings)

    if len(longest) < LONG_REFERENCE_FRAMES:
        longest = synthetic(LONG_REFERENCE_S)
    return [longest, *(queries or [synthetic(LONG_QUERY_S) for _ in range(N_LONG_QUERIES)])]


def _shown(ratio: float) -> str:
    return f"{ratio:,.2f}" if ratio < 100 else f"{ratio:,.0f}"


if __name__ == "__main__":
    main()
