"""The dataset job without the job: one process, one loop, the same core functions, the same Parquet.

It scans headers for the longest recording, frames and aligns every recording, fits the scaler, and writes parts of the
same rows, without fsync, commit or read-back.
"""

from __future__ import annotations

from heartbeat_core.alignment.placement import Reference
from heartbeat_core.alignment.scaling import ScalerFit
from tests.benchmarks import engine_work


def main() -> None:
    """Build the dataset in a plain loop."""
    arguments = engine_work.engine_parser("Build an aligned dataset in a plain loop.").parse_args()
    recipe = arguments.recipe
    recordings = engine_work.labelled_recordings(arguments.folder)
    claims = engine_work.scan_headers(recordings, recipe)
    reference = Reference(engine_work.longest_frames(recordings, claims, recipe))
    fit = ScalerFit(len(reference))
    for index, part in enumerate(engine_work.small_parts(recordings)):
        table = engine_work.align(part, recipe, reference, fit)
        engine_work.write_part(arguments.out, f"{index:06d}", table)
    engine_work.write_scaler(arguments.out, iter([fit]))


if __name__ == "__main__":
    main()
