"""The alignment against the original's loop, ``scipy.signal.correlate`` and ``stumpy.mass``, with the offsets compared.

    python -m tests.benchmarks.alignment [--data FOLDER] [--queries 40] [--runs 3] [--json FILE]

At the three levels the longest recording is the reference and some others, chosen at random, are placed on it; besides,
9 s at 44.1 kHz on a synthetic reference of 69 s, which is 381,000 frames. Everything runs on one core, each query by
all contestants in turn. The loop takes hours at main level: it is timed on 200 offsets chosen at random and
extrapolated, and run whole where a query has no more than 3,000 of them; ``make offsets`` compares more. The peers work
in float64 and get the channels' energies and the minimum as ours does; ``stumpy.mass`` is ``normalize=False``, compiled
before it is timed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import scipy.signal
from rich.progress import track
from rich.table import Table

from heartbeat_core import audio
from heartbeat_core.alignment import Reference, place
from heartbeat_core.correlation import Frames
from heartbeat_core.errors import RecordingError
from heartbeat_core.frames import compute_frames
from heartbeat_core.synthesis import synthesise
from jobs.settings import load_recipe
from tests.benchmarks.common import arguments, audio_files, recordings, report, run_as_a_worker

LOOP_OFFSETS = 200
WHOLE_LOOP_OFFSETS = 3_000
LONG_REFERENCE_S, LONG_QUERY_S, RATE_HZ = 69.2, 9.0, 44_100

Placer = Callable[[Frames], int]


def main() -> None:
    """Time all contestants at all levels and print the table."""
    run_as_a_worker()
    parser = arguments("Time the alignment against the plain loop and its peers, on one core.")
    parser.add_argument("--queries", type=int, default=40, help="recordings at each level [default: 40]")
    parser.set_defaults(runs=3)
    options = parser.parse_args()
    with TemporaryDirectory() as scratch:
        files = audio_files(recordings(options.data, Path(scratch)))
        levels = {recipe: _frames_of(files, recipe) for recipe in ("seed-mini", "seed-small", "seed-main")}
    levels["381,000 frames"] = _long_frames()
    rows = [_compare(name, frames, options.queries, options.runs) for name, frames in levels.items()]
    table = Table(
        *("level", "reference", "queries", "ours, ms", "loop / ours", "correlate / ours", "stumpy / ours"),
        *("equal to loop", "correlate", "stumpy"),
        title=f"alignment on one core; the loop's time is from {LOOP_OFFSETS} offsets a query",
    )
    for row in rows:
        table.add_row(*(_shown(value) for value in row.values()))
    report("alignment", [table], {"levels": rows}, options.json)


def _compare(name: str, frames: list[Frames], n_queries: int, runs: int) -> dict[str, Any]:
    longest = max(frames, key=len)
    reference = Reference(longest)
    others = [one for one in frames if len(one) < len(longest)]
    chosen = np.random.default_rng(0).permutation(len(others))[:n_queries]
    queries = [others[index] for index in chosen.tolist()]
    placers: dict[str, Placer] = {
        "ours": lambda query: place(query, reference, "both").offset_frames,
        "correlate": lambda query: _by_correlate(query, longest),
    }
    if find_spec("stumpy"):
        placers["stumpy"] = lambda query: _by_stumpy(query, longest)
    for placer in placers.values():
        for query in queries:
            placer(query)
    seconds: dict[str, list[float]] = {who: [] for who in placers} | {"loop": []}
    equal = {"loop": 0, "correlate": 0, "stumpy": 0}
    n_whole = 0
    for run in track(range(runs), name, transient=True):
        taken = dict.fromkeys(seconds, 0.0)
        for number, query in enumerate(queries):
            offsets = {}
            for who, placer in placers.items():
                started = time.perf_counter()
                offsets[who] = placer(query)
                taken[who] += time.perf_counter() - started
            taken["loop"] += _loop_seconds(query, longest, seed=number)
            if run == 0:
                for who in offsets.keys() - {"ours"}:
                    equal[who] += offsets[who] == offsets["ours"]
                if len(longest) - len(query) < WHOLE_LOOP_OFFSETS:
                    n_whole += 1
                    equal["loop"] += _by_loop(query, longest) == offsets["ours"]
        for who, value in taken.items():
            seconds[who].append(value)

    def ratio(who: str) -> float | None:
        pairs = [theirs / ours for theirs, ours in zip(seconds.get(who, []), seconds["ours"], strict=False)]
        return statistics.median(pairs) if pairs else None

    return {
        "level": name,
        "reference_frames": len(longest),
        "queries": len(queries),
        "ours_ms": 1e3 * statistics.median(seconds["ours"]) / len(queries),
        "loop_ratio": ratio("loop"),
        "correlate_ratio": ratio("correlate"),
        "stumpy_ratio": ratio("stumpy"),
        "equal_to_loop": f"{equal['loop']} of {n_whole}",
        "equal_to_correlate": f"{equal['correlate']} of {len(queries)}",
        "equal_to_stumpy": f"{equal['stumpy']} of {len(queries)}" if "stumpy" in placers else "not installed",
    }


def _loop_distance(query: Frames, reference: Frames, offset: int) -> float:
    return float(np.sqrt(np.sum(np.square(query - reference[offset : offset + len(query)]))))


def _loop_seconds(query: Frames, reference: Frames, seed: int) -> float:
    """Return what the loop would take over all offsets, from some of them."""
    n_offsets = len(reference) - len(query) + 1
    some = np.random.default_rng(seed).integers(0, n_offsets, min(LOOP_OFFSETS, n_offsets)).tolist()
    exact = query.astype(np.float64)
    started = time.perf_counter()
    for offset in some:
        _loop_distance(exact, reference, offset)
    return (time.perf_counter() - started) * n_offsets / len(some)


def _by_loop(query: Frames, reference: Frames) -> int:
    exact = query.astype(np.float64)
    return int(np.argmin([_loop_distance(exact, reference, i) for i in range(len(reference) - len(query) + 1)]))


def _by_correlate(query: Frames, reference: Frames) -> int:
    x, r = query.astype(np.float64), reference.astype(np.float64)
    profile = np.zeros(len(r) - len(x) + 1)
    for channel in (0, 1):
        profile -= 2 * scipy.signal.correlate(r[:, channel], x[:, channel], mode="valid", method="fft")
    energy = np.concatenate(([0.0], np.cumsum(np.square(r).sum(axis=1))))
    profile += energy[len(x) :] - energy[: len(profile)]
    return int(np.argmin(profile))


def _by_stumpy(query: Frames, reference: Frames) -> int:
    import stumpy

    x, r = query.astype(np.float64), reference.astype(np.float64)
    profile = np.zeros(len(r) - len(x) + 1)
    for channel in (0, 1):
        profile += np.square(
            stumpy.mass(
                np.ascontiguousarray(x[:, channel]), np.ascontiguousarray(r[:, channel]), normalize=False
            ).astype(np.float64)
        )
    return int(np.argmin(profile))


def _frames_of(files: list[Path], recipe: str) -> list[Frames]:
    settings = load_recipe(recipe).frames
    found = []
    for path in track(files, f"{recipe}: frames", transient=True):
        try:
            waveform = audio.decode(path.read_bytes())
            found.append(compute_frames(waveform.samples, waveform.sample_rate_hz, settings))
        except RecordingError:
            continue
    return found


def _long_frames() -> list[Frames]:
    """Return the frames of a synthetic reference and of four queries, at main level."""
    settings = load_recipe("seed-main").frames
    rng = np.random.default_rng(0)
    seconds = [LONG_REFERENCE_S, *[LONG_QUERY_S] * 4]
    return [compute_frames(synthesise("normal", RATE_HZ, one, rng), RATE_HZ, settings) for one in seconds]


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value or "not installed")


if __name__ == "__main__":
    main()
