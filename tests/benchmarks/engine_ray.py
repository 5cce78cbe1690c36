"""The dataset by Ray Data: ``map_batches`` over blocks of paths.

Tuned as Ray's own documents advise: a few large blocks a core and whole blocks as batches, so that nothing is split or
shuffled; Arrow batches; order not kept; one CPU a task; the reference's frames in the object store. The tasks write
their parts themselves with the encoder of all others, which spares Ray the rows' way through the object store, and hand
on the partial fits of the scaler. In trials actors and smaller blocks were no faster than tasks and these blocks.
No dashboard, no progress bars, no usage report.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pyarrow as pa
import ray
import safetensors.numpy

from heartbeat_core.alignment.placement import Reference
from heartbeat_core.alignment.scaling import ScalerFit
from heartbeat_core.recipe import Recipe
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.results.plan import plan_shards, plan_table
from tests.benchmarks import engine_work


def scan(block: pa.Table, recipe: Recipe) -> pa.Table:
    """Return the claims of a block's headers."""
    claims = engine_work.scan_headers(_recordings(block), recipe)
    return pa.table({"uri": pa.array(list(claims), pa.string()), "n_frames": pa.array(claims.values(), pa.int64())})


def build(block: pa.Table, reference: ray.ObjectRef, recipe: Recipe, out: Path) -> pa.Table:
    """Write a block's part; returns its fit as bytes in one row."""
    aligned_with = Reference(ray.get(reference))
    fit = ScalerFit(len(aligned_with))
    table = engine_work.align(_recordings(block), recipe, aligned_with, fit)
    engine_work.write_part(out, f"{block['shard'][0].as_py():06d}", table)
    return pa.table({"fit": pa.array([safetensors.numpy.save(fit.state())], pa.large_binary())})


def main() -> None:
    """Build the dataset with Ray Data."""
    arguments = engine_work.parallel_parser("Build an aligned dataset with Ray Data.").parse_args()
    recipe, out = arguments.recipe, arguments.out.absolute()
    _start(arguments.workers)
    recordings = engine_work.labelled_recordings(arguments.folder)
    parts = engine_work.large_parts(recordings, arguments.workers)
    blocks = ray.data.from_arrow([plan_table([part]) for part in enumerate(parts)])
    whole = {"batch_size": None, "batch_format": "pyarrow"}
    claimed = blocks.map_batches(scan, fn_kwargs={"recipe": recipe}, **whole)
    claims = {row["uri"]: row["n_frames"] for row in claimed.take_all()}
    reference = ray.put(engine_work.longest_frames(recordings, claims, recipe))
    fits = blocks.map_batches(build, fn_kwargs={"reference": reference, "recipe": recipe, "out": out}, **whole)
    states = (safetensors.numpy.load(row["fit"]) for row in fits.iter_rows())
    engine_work.write_scaler(out, map(ScalerFit.from_state, states))


def _start(workers: int) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = False


def _recordings(block: pa.Table) -> list[Recording]:
    return [recording for shard in plan_shards(block).values() for recording in shard]


if __name__ == "__main__":
    main()
