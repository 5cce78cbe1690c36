"""What a person sees of a job: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from heartbeat_core.wording import counted

LINE_EVERY_S = 5.0
RECORDINGS = "recordings"


class Meter:
    """Counts what is done and, of recordings, what failed; and shows it.

    Parameters
    ----------
    console : Console
        On a terminal it gets a live bar, elsewhere a line at most every 5 s, and one at the end.
    title : str
        What stands before the numbers.
    unit : str
        What is counted, in the plural. Failures are shown of ``recordings`` alone.
    total, done, failed : int
        How many units there are in all, and how many of them were done, or had failed, before.
    """

    def __init__(self, console: Console, title: str, unit: str, total: int, done: int, failed: int) -> None:
        self._console = console
        self._title = title
        self._unit = unit
        self._total = total
        self._already = done
        self._done = done
        self._failed = failed
        self._started = time.monotonic()
        self._last_line = self._started
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TextColumn("{task.fields[failures]}"),
                TimeRemainingColumn(),
                console=console,
            )
            self._task = self._bar.add_task(title, total=total, completed=done, **self._fields())
            self._bar.start()

    def advance(self, done: int = 1, failed: int = 0) -> None:
        """Take in further units that are done.

        Parameters
        ----------
        done : int
            How many, with those that failed.
        failed : int
            How many of them failed.
        """
        self._done += done
        self._failed += failed
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, **self._fields())
        elif self._done == self._total or time.monotonic() - self._last_line >= LINE_EVERY_S:
            self._last_line = time.monotonic()
            told = [f"{self._done}/{self._total} {self._unit}", *self._fields().values(), f"{self._eta()} left"]
            self._console.print(f"{self._title}: {', '.join(filter(None, told))}")

    def close(self) -> None:
        """Leave the terminal as it was found."""
        if self._bar is not None:
            self._bar.stop()

    def _rate(self) -> float:
        return (self._done - self._already) / max(time.monotonic() - self._started, 1e-9)

    def _fields(self) -> dict[str, Any]:
        failures = counted(self._failed, "failure") if self._unit == RECORDINGS else ""
        return {"rate": f"{self._rate():.0f}/s", "failures": failures}

    def _eta(self) -> str:
        rate = self._rate()
        if rate == 0:
            return "unknown time"
        return str(timedelta(seconds=round((self._total - self._done) / rate)))


@contextmanager
def meter(
    console: Console, title: str, total: int, unit: str = RECORDINGS, done: int = 0, failed: int = 0
) -> Iterator[Meter]:
    """Show progress while the block runs.

    Parameters
    ----------
    console, title, unit
        As of ``Meter``.
    total : int
        How many units there are in all, with those that an earlier run did.
    done, failed : int
        What an earlier run did.

    Examples
    --------
    >>> import io
    >>> console = Console(file=io.StringIO(), force_terminal=False)
    >>> with meter(console, "folds", 2, "folds") as shown:
    ...     shown.advance(2)
    >>> console.file.getvalue().startswith("folds: 2/2 folds, ")
    True
    """
    shown = Meter(console, title, unit, total, done, failed)
    try:
        yield shown
    finally:
        shown.close()
