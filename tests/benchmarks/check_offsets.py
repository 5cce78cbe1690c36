"""Hold the alignment against the plain loop on recordings of one's own.

    python -m tests.benchmarks.check_offsets FOLDER [--main 20] [--seed 0]

Every recording at small level, and some at main level, chosen at random: their offsets by FFT and by the original's
loop, each with the longest recording as the reference. Prints the count of differences; exit code 1 if there is one.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache

import numpy as np
from rich.console import Console
from rich.progress import track

from heartbeat_core import storage
from heartbeat_core.alignment.placement import Frames, Reference, place
from heartbeat_core.audio import decode
from heartbeat_core.errors import RecordingError
from heartbeat_core.features.frames import compute_frames
from heartbeat_core.settings import Limits
from jobs.listing.listing import Listing
from jobs.settings import load_recipe
from tests import naive


def main() -> int:
    """Compare, print, and return the exit code."""
    parser = argparse.ArgumentParser(description="Compare the offsets with the plain loop's.")
    parser.add_argument("folder")
    parser.add_argument("--main", type=int, default=20, help="recordings at main level [default: 20]")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    uris = [recording.uri for recording in Listing([arguments.folder])]
    chosen = np.random.default_rng(arguments.seed).permutation(len(uris))[: arguments.main]
    differences = _compare("seed-small", uris, uris)
    differences += _compare("seed-main", uris, [uris[i] for i in sorted(chosen.tolist())])
    return 1 if differences else 0


def _compare(recipe: str, uris: list[str], chosen: list[str]) -> int:
    console = Console()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        lengths = list(pool.map(_length, [recipe] * len(uris), uris, chunksize=16))
        longest = uris[lengths.index(max(lengths))]
        tasks = pool.map(_differs, [recipe] * len(chosen), [longest] * len(chosen), chosen)
        found = [one for one in track(tasks, recipe, len(chosen), console=console) if one is not None]
    for line in found:
        console.print(line)
    console.print(f"{recipe}: {len(chosen)} recordings, reference of {max(lengths)} frames, {len(found)} differences")
    return len(found)


def _differs(recipe: str, longest: str, uri: str) -> str | None:
    try:
        frames = _frames(recipe, uri)
    except RecordingError:
        return None
    reference = _reference(recipe, longest)
    ours = place(frames, reference, "both")
    offset, _, distance = naive.place(frames, reference.frames, "both")
    if (ours.offset_frames, ours.distance) == (offset, distance):
        return None
    return f"{storage.display(uri)}: {ours.offset_frames} ({ours.distance}) and by the loop {offset} ({distance})"


def _length(recipe: str, uri: str) -> int:
    try:
        return len(_frames(recipe, uri))
    except RecordingError:
        return 0


def _frames(recipe: str, uri: str) -> Frames:
    waveform = decode.decode(storage.read(uri), Limits())
    return compute_frames(waveform.samples, waveform.sample_rate_hz, load_recipe(recipe).frames)


@lru_cache(maxsize=1)
def _reference(recipe: str, uri: str) -> Reference:
    return Reference(_frames(recipe, uri))


if __name__ == "__main__":
    sys.exit(main())
