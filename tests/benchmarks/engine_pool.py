"""The dataset by the standard library's ``multiprocessing``: spawned processes, one part a task.

One pool scans the headers and then aligns, so that the libraries are loaded once a process. The reference goes through
a file that each process reads once; partial fits come back through the pool's pipe and are merged as they come.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from heartbeat_core.alignment.scaling import ScalerFit
from heartbeat_core.recipe import Recipe
from heartbeat_core.recordings.recording import Recording
from tests.benchmarks import engine_work


def build_part(job: tuple[int, Sequence[Recording]], out: Path, recipe: Recipe) -> ScalerFit:
    """Write one numbered part; returns its fit."""
    index, recordings = job
    reference = engine_work.read_reference(out)
    fit = ScalerFit(len(reference))
    engine_work.write_part(out, f"{index:06d}", engine_work.align(recordings, recipe, reference, fit))
    return fit


def main() -> None:
    """Build the dataset with a pool of processes."""
    arguments = engine_work.parallel_parser("Build an aligned dataset with multiprocessing.").parse_args()
    recipe, out = arguments.recipe, arguments.out
    recordings = engine_work.labelled_recordings(arguments.folder)
    parts = engine_work.small_parts(recordings)
    with multiprocessing.get_context("spawn").Pool(arguments.workers) as pool:
        claims: dict[str, int] = {}
        for found in pool.imap_unordered(partial(engine_work.scan_headers, recipe=recipe), parts):
            claims |= found
        engine_work.write_reference(out, engine_work.longest_frames(recordings, claims, recipe))
        build = partial(build_part, out=out, recipe=recipe)
        engine_work.write_scaler(out, pool.imap_unordered(build, enumerate(parts)))


if __name__ == "__main__":
    main()
