"""What every engine of ``tests.benchmarks.engines`` does with recordings: plain functions, the same for all.

Only how they are spread, and how rows and partial fits of the scaler come back, is the engines' own.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import safetensors.numpy

from heartbeat_core.alignment.placement import Frames, Reference
from heartbeat_core.alignment.scaling import ScalerFit
from heartbeat_core.datasets.dataset import REFERENCE_NAME, SCALER_NAME
from heartbeat_core.errors import RecordingError
from heartbeat_core.formats.parquet import to_parquet
from heartbeat_core.labels import ORIGINAL_LABELS
from heartbeat_core.recipe import Recipe
from heartbeat_core.recordings.process import process
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.results.schema import recordings_table
from heartbeat_core.settings import Limits
from heartbeat_core.storage.uris import ROWS_FOLDER
from jobs.listing.labels import match_labels, read_labels
from jobs.listing.listing import Listing
from jobs.settings import load_recipe
from jobs.tasks.reference import claim_frames, decode_frames

LIMITS = Limits()
PART_RECORDINGS = 32
"""Recordings of a part for an engine to which a task costs little."""
LARGE_PART_RECORDINGS = 128
"""For an engine to which a task costs more; some 40 MB of rows."""
PARTS_A_WORKER = 4
"""At least so many, so that none waits long for another at the end."""


def engine_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with what every engine's script takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("folder", help="local recordings with their labels.csv")
    parser.add_argument("out", type=Path, help="the dataset's folder, which is not there yet")
    parser.add_argument("recipe", type=load_recipe)
    return parser


def parallel_parser(description: str) -> argparse.ArgumentParser:
    """Return ``engine_parser`` with a count of workers."""
    parser = engine_parser(description)
    parser.add_argument("--workers", type=int, required=True, help="processes that compute")
    return parser


def labelled_recordings(folder: str) -> list[Recording]:
    """Return all recordings of a folder with the labels of its ``labels.csv``."""
    return match_labels(list(Listing([folder])), read_labels(f"{folder}/labels.csv")).recordings


def small_parts(recordings: Sequence[Recording]) -> list[Sequence[Recording]]:
    """Cut a list into parts of ``PART_RECORDINGS``, in order."""
    return _cut(recordings, PART_RECORDINGS)


def large_parts(recordings: Sequence[Recording], workers: int) -> list[Sequence[Recording]]:
    """Cut a list into ``PARTS_A_WORKER`` parts for each worker, or into more of ``LARGE_PART_RECORDINGS``, in order."""
    return _cut(recordings, min(LARGE_PART_RECORDINGS, math.ceil(len(recordings) / (PARTS_A_WORKER * workers))))


def scan_headers(recordings: Iterable[Recording], recipe: Recipe) -> dict[str, int]:
    """Return how many frames each header promises, by URI; what cannot be read is left out."""
    claims = {}
    for recording in recordings:
        try:
            claims[recording.uri] = claim_frames(_read(recording), LIMITS, recipe.frames)
        except RecordingError:
            continue
    return claims


def longest_frames(recordings: Sequence[Recording], claims: Mapping[str, int], recipe: Recipe) -> Frames:
    """Return the frames of the longest recording, the first of equals.

    A header's claim counts once the recording was decoded; what cannot be is passed over.
    """
    longest: tuple[int, int, Frames] | None = None
    read = [(order, recording) for order, recording in enumerate(recordings) if recording.uri in claims]
    for order, recording in sorted(read, key=lambda one: (-claims[one[1].uri], one[0])):
        if longest is not None and (-claims[recording.uri], order) > longest[:2]:
            break
        try:
            frames, _ = decode_frames(_read(recording), LIMITS, recipe.frames)
        except RecordingError:
            continue
        if longest is None or (-len(frames), order) < longest[:2]:
            longest = (-len(frames), order, frames)
    if longest is None:
        raise SystemExit("none of the recordings can be decoded")
    return longest[2]


def align(recordings: Iterable[Recording], recipe: Recipe, reference: Reference, fit: ScalerFit) -> pa.Table:
    """Return a dataset's rows of recordings, and take them into a scaler's fit.

    A recording that cannot be processed has no row; of our job's own rows these are the failures.
    """
    results = []
    for recording in recordings:
        try:
            result = process(recording, _read(recording), recipe, reference, LIMITS)
        except RecordingError:
            continue
        fit.add(result.frames, result.placement.offset_frames)
        results.append(result)
    return recordings_table(results, None, ORIGINAL_LABELS)


def write_part(out: Path, name: str, table: pa.Table) -> None:
    """Write one part of a dataset's rows."""
    folder = out / ROWS_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"part-{name}.parquet").write_bytes(to_parquet(table))


def write_scaler(out: Path, fits: Iterator[ScalerFit]) -> None:
    """Merge partial fits, one at a time, and write the scaler."""
    merged = next(fits)
    for fit in fits:
        merged.merge(fit)
    scaler = merged.finish()
    arrays = {"scaler.mean": scaler.mean, "scaler.scale": scaler.scale}
    (out / SCALER_NAME).write_bytes(safetensors.numpy.save(arrays))


def write_reference(out: Path, frames: Frames) -> None:
    """Write the reference's frames where ``read_reference`` finds them."""
    out.mkdir(parents=True)
    (out / REFERENCE_NAME).write_bytes(safetensors.numpy.save({"reference.frames": frames}))


@lru_cache(maxsize=1)
def read_reference(out: Path) -> Reference:
    """Return the reference of a dataset's folder, read once a process."""
    return Reference(safetensors.numpy.load((out / REFERENCE_NAME).read_bytes())["reference.frames"])


def _cut(recordings: Sequence[Recording], length: int) -> list[Sequence[Recording]]:
    return [recordings[i : i + length] for i in range(0, len(recordings), length)]


def _read(recording: Recording) -> bytes:
    return Path(recording.uri.removeprefix("file://")).read_bytes()
