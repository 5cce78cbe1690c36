"""``classify`` without the job: one process, one loop, the same core functions, the same Parquet.

It writes parts of predictions and features, without fsync, commit, read-back or report.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from heartbeat_core.bundles import bundle as bundles
from heartbeat_core.features.catalogue import default_sets
from heartbeat_core.settings import DEFAULT_MODEL, Limits
from jobs.listing.listing import Listing
from jobs.tasks.isolation import Here
from jobs.tasks.parts import ClassifyWork, PartFacts, ShardParts
from jobs.tasks.processing import process_recordings

PART_RECORDINGS = 128


def main() -> None:
    """Classify the recordings of a folder in a plain loop."""
    parser = argparse.ArgumentParser(description="Classify the recordings of a folder in a plain loop.")
    parser.add_argument("folder", help="local recordings")
    parser.add_argument("out", type=Path, help="where the parts go")
    arguments = parser.parse_args()
    limits, facts = Limits(), PartFacts("loop", 0, {})
    bundle = bundles.load(DEFAULT_MODEL)
    work = ClassifyWork(bundle, default_sets(bundle.manifest.recipe.input))
    recordings = list(Listing([arguments.folder]))
    for start in range(0, len(recordings), PART_RECORDINGS):
        parts = ShardParts(work, facts)
        results, _ = process_recordings(recordings[start : start + PART_RECORDINGS], work, limits, Here(limits))
        for result in results:
            parts.add(result)
        for table, content in parts.finish().tables.items():
            (arguments.out / table).mkdir(parents=True, exist_ok=True)
            (arguments.out / table / f"part-{start:06d}.parquet").write_bytes(content)


if __name__ == "__main__":
    main()
