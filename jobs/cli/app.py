"""The application: its help, exit codes, and what every command does first and last.

Jobs are imported by the command that runs them, so that ``--help`` does not wait for numeric libraries.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from heartbeat_core import __version__
from heartbeat_core.errors import HeartbeatError, UsageError
from jobs.cli.printing import log, out
from jobs.cluster.forkserver import start_server

if TYPE_CHECKING:
    from jobs.output.ledger import Totals
    from jobs.settings import JobSettings


EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_TOO_MANY_FAILURES = 3
EXIT_INTERRUPTED = 130
EXIT_CODES = (
    "Exit codes: 0 every listed recording is accounted for, 1 the job failed, 2 usage, "
    "3 more failures than --max-failure-rate, 130 interrupted (the same command goes on)."
)
app = typer.Typer(
    name="heartbeat",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Heart-sound recordings to features and predictions in Parquet, on a Dask cluster. "
    "Not a medical device.\n\nStart with 'heartbeat demo'.",
    epilog=EXIT_CODES,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(f"heartbeat {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def prepare_workers(cluster: str | None, *modules: str) -> None:
    """Have the workers' libraries loaded while this process loads its own, where workers will be started here."""
    if cluster in (None, "local"):
        start_server(modules)


@contextmanager
def exit_codes(interrupted: str = "interrupted; the same command goes on where it stopped") -> Iterator[None]:
    """Turn the project's errors into one line and an exit code; other errors stay loud."""
    try:
        yield
    except HeartbeatError as error:
        log.print(f"heartbeat: {error}")
        raise typer.Exit(EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED) from None
    except KeyboardInterrupt:
        log.print(f"heartbeat: {interrupted}")
        raise typer.Exit(EXIT_INTERRUPTED) from None


def refuse_failures(totals: Totals, settings: JobSettings) -> None:
    log.print(
        f"heartbeat: {totals.failed} of {totals.listed} recordings failed, "
        f"more than --max-failure-rate {settings.max_failure_rate:g} allows",
    )
    raise typer.Exit(EXIT_TOO_MANY_FAILURES)
