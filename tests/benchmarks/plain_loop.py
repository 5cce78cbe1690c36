"""The dataset job without the job: one process, one loop, the same core functions, the same Parquet.

    python -m tests.benchmarks.plain_loop FOLDER OUT RECIPE LABELS.csv

It is what ``heartbeat build-dataset`` is measured against: it scans headers for the longest recording, frames and
aligns every recording, fits the scaler, and writes parts of the same rows, without fsync, commit or read-back.
"""

from __future__ import annotations

import sys
from pathlib import Path

import safetensors.numpy

from heartbeat_core import audio
from heartbeat_core.alignment import Reference
from heartbeat_core.config import Limits
from heartbeat_core.frames import compute_frames, count_frames
from heartbeat_core.recording import process
from heartbeat_core.scaling import ScalerFit
from heartbeat_core.schema import recordings_table
from heartbeat_core.tables import to_parquet
from jobs.labels import match_labels, read_labels
from jobs.plan import list_inputs, make_shards
from jobs.settings import ShardSettings, load_recipe


def main(folder: str, out: str, recipe_name: str, labels: str) -> None:
    """Build the dataset in a plain loop."""
    recipe, limits = load_recipe(recipe_name), Limits()
    recordings = match_labels(list_inputs([folder]).recordings, read_labels(labels, None, None, None)).recordings
    paths = [Path(recording.uri.removeprefix("file://")) for recording in recordings]
    headers = [audio.read_header(path.read_bytes(), limits) for path in paths]
    claims = [count_frames(h.n_samples or 0, h.sample_rate_hz, recipe.frames.delta_time_s) for h in headers]
    longest = audio.decode(paths[claims.index(max(claims))].read_bytes(), limits)
    reference = Reference(compute_frames(longest.samples, longest.sample_rate_hz, recipe.frames))
    target = Path(out, "recordings")
    target.mkdir(parents=True)
    fit = ScalerFit(len(reference))
    for index, shard in enumerate(make_shards(recordings, ShardSettings())):
        results = []
        for recording in shard:
            data = Path(recording.uri.removeprefix("file://")).read_bytes()
            results.append(process(recording, data, recipe, reference, limits))
            fit.add(results[-1].frames, results[-1].placement.offset_frames)
        target.joinpath(f"part-{index:06d}.parquet").write_bytes(to_parquet(recordings_table(results, None)))
    scaler = fit.finish()
    arrays = {"scaler.mean": scaler.mean, "scaler.scale": scaler.scale}
    Path(out, "_scaler.safetensors").write_bytes(safetensors.numpy.save(arrays))


if __name__ == "__main__":
    main(*sys.argv[1:5])
