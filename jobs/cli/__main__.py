"""The command line: ``heartbeat``, or ``python -m jobs.cli``."""

from __future__ import annotations

import errno
import gc
import io
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

from jobs.cli import challenges, datasets, folders, models, queries, recordings, reviews
from jobs.cli.app import EXIT_FAILED, EXIT_INTERRUPTED, app
from jobs.cli.printing import complain, log
from jobs.logs import json_lines

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
_OF_OUTPUT = (errno.ENOSPC, errno.EDQUOT)
"""What the system says of a file that takes no more, to which the standard output goes."""


def main(arguments: Sequence[str] | None = None, name: str = "heartbeat") -> None:
    """Run the command line, with the arguments of the process unless others are given; SIGTERM is like Ctrl-C."""
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    if sys.stdout is None:  # As cron may start a process.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    # A name that the terminal's encoding does not have is printed with escapes.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    # To load libraries makes many objects and hardly any garbage, and Python looks through all of them again and again.
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    try:
        _run(arguments, name)
    finally:
        # The process ends, so a last garbage collection, which takes half a second, is of no use; but without it,
        # DuckDB reports its objects as leaked.
        if "duckdb" not in sys.modules:
            gc.freeze()


def _run(arguments: Sequence[str] | None, name: str) -> None:
    """Run the command line; an answer that cannot be printed, as on a full disk, is an error like any other."""
    try:
        try:
            app(arguments, prog_name=name)
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.filename is not None or error.errno not in _OF_OUTPUT:
            raise
        with suppress(OSError):
            sys.stdout.close()  # Or Python writes the rest at its end, and complains again.
        complain(f"the answer cannot be printed: {os.strerror(error.errno)}")
        sys.exit(EXIT_FAILED)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """Stop in order the first time, and at once the second time."""
    signal.signal(signal.SIGINT, _interrupt_again)
    signal.signal(signal.SIGTERM, _interrupt_again)
    # A handler may interrupt any write, so that it cannot use the streams of this process.
    told, lines = "stopping in order; press Ctrl-C again to stop at once", json_lines(log)
    os.write(2, f"\n{told}\n".encode() if lines is None else lines.line(told, "warning").encode())
    raise KeyboardInterrupt


def _interrupt_again(signum: int, frame: FrameType | None) -> None:
    os._exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
