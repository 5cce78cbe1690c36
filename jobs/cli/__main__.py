"""The command line: ``heartbeat``, or ``python -m jobs.cli``."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from jobs.cli import challenges, datasets, folders, models, queries, recordings, reviews
from jobs.cli.app import EXIT_INTERRUPTED, app

__all__ = ["app", "challenges", "datasets", "folders", "main", "models", "queries", "recordings", "reviews"]

_ORDER = (
    *(recordings.demo, recordings.predict, recordings.plan, recordings.classify, folders.status, folders.metrics),
    *(folders.report, folders.inspect, reviews.review),
    *(folders.compact, recordings.reclassify, queries.sql, queries.open_python, queries.describe, queries.diff),
    *(datasets.build_dataset, models.evaluate, models.train, challenges.score, models.export, folders.certs),
)
"""The commands in the order of their use, in which the help lists them."""
app.registered_commands.sort(key=lambda one: _ORDER.index(one.callback))


_OBJECTS_BETWEEN_COLLECTIONS = 50_000


def main(arguments: Sequence[str] | None = None, name: str = "heartbeat") -> None:
    """Run the command line, with the arguments of the process unless others are given; SIGTERM is like Ctrl-C."""
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    # To load libraries makes many objects and hardly any garbage, and Python looks through all of them again and again.
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    try:
        app(arguments, prog_name=name)
    finally:
        # The process ends, so a last garbage collection, which takes half a second, is of no use; but without it,
        # DuckDB reports its objects as leaked.
        if "duckdb" not in sys.modules:
            gc.freeze()


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """Stop in order the first time, and at once the second time."""
    signal.signal(signal.SIGINT, _interrupt_again)
    signal.signal(signal.SIGTERM, _interrupt_again)
    os.write(2, b"\nstopping in order; press Ctrl-C again to stop at once\n")
    raise KeyboardInterrupt


def _interrupt_again(signum: int, frame: FrameType | None) -> None:
    os._exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
