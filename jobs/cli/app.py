"""The application: its help, its exit codes, and what all commands share.

Each command imports its job when it runs, so that ``--help`` does not wait for numeric libraries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from heartbeat_core import __version__
from heartbeat_core.errors import HeartbeatError, NothingSucceeded, UsageError
from heartbeat_core.wording import counted
from jobs.cli.printing import complain, log, out, print_compacted
from jobs.cli.records import print_json
from jobs.cluster.forkserver import start_server, use_one_thread

if TYPE_CHECKING:
    from jobs.output.ledger import Totals
    from jobs.settings import JobSettings


T = TypeVar("T")

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_TOO_MANY_FAILURES = 3
EXIT_INTERRUPTED = 130
GOES_ON = "130 interrupted (the same command goes on)."
"""Of the commands that go on where they stopped."""
EXIT_CODES = (
    "Exit codes: 0 every listed recording has its row, 1 the job failed, 2 wrong usage, "
    f"3 all recordings failed, or more than --max-failure-rate allows, {GOES_ON}"
)
app = typer.Typer(
    name="heartbeat",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Turn heart-sound recordings into features and predictions in Parquet, on a Dask cluster. "
    "Not a medical device.\n\nStart with 'heartbeat demo'.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 too many recordings failed, 130 interrupted. "
    "The help of each command says what they mean there.",
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
    """Load the workers' libraries while this process loads its own, if the workers will run on this machine."""
    use_one_thread()  # The workers compute, not this process.
    if cluster in (None, "local"):
        start_server(modules)


@contextmanager
def exit_codes(interrupted: str = "interrupted; the same command goes on where it stopped") -> Iterator[None]:
    """Turn the project's own errors into one line and an exit code; any other error keeps its traceback."""
    try:
        yield
    except HeartbeatError as error:
        complain(str(error))
        raise typer.Exit(_exit_code(error)) from None
    except KeyboardInterrupt:
        complain(interrupted, "warning")
        raise typer.Exit(EXIT_INTERRUPTED) from None


def _exit_code(error: HeartbeatError) -> int:
    if isinstance(error, UsageError):
        return EXIT_USAGE
    return EXIT_TOO_MANY_FAILURES if isinstance(error, NothingSucceeded) else EXIT_FAILED


def compact_at_the_end(output: str, settings: JobSettings, *, as_json: bool) -> None:
    """Compact what a job has finished, unless it has added nothing since an earlier compaction."""
    from jobs.drivers.compact import compact_new
    from jobs.drivers.reach import reaching

    with reaching(settings):
        done = compact_new(output, log)
    if done is not None:
        show(as_json, done, print_compacted)


def show(as_json: bool, found: T, print_it: Callable[[T], None], record: Callable[[T], Any] | None = None) -> None:
    """Print what was found: for people, or with ``--json`` as one line for programs."""
    if as_json:
        print_json(found if record is None else record(found))
    else:
        print_it(found)


def check_failures(totals: Totals, max_failure_rate: float) -> None:
    """End with an exit code of its own where all recordings failed, or a larger share than is allowed."""
    if totals.done == 0:
        failed = f"{counted(totals.listed, 'recording')} failed, and none succeeded"
        complain(f"{failed}: see the reasons above, and the table 'failures'")
    elif totals.failed / totals.listed > max_failure_rate:
        complain(
            f"{totals.failed} of {counted(totals.listed, 'recording')} failed, "
            f"more than --max-failure-rate {max_failure_rate:g} allows"
        )
    else:
        return
    raise typer.Exit(EXIT_TOO_MANY_FAILURES)
