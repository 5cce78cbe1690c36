"""Commands that look into an output folder: sql, open, describe, diff."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from heartbeat_core.errors import UsageError
from jobs.cli.app import app, exit_codes, show
from jobs.cli.options import AsJson, Folder, StoreConfig, job_settings
from jobs.cli.printing import complain, print_columns, print_comparison
from jobs.cli.prompt import AnswerFormat, print_answers, python_lines, run_prompt, run_python
from jobs.cli.records import print_json

_CODES = "Exit codes: 0 done, 1 the store failed, 2 wrong usage, 130 interrupted."


@app.command(epilog=_CODES)
def sql(
    output: Folder,
    command: Annotated[
        str | None,
        typer.Option("--command", "-c", metavar="SQL", help="Run this and end. Several statements are divided by ';'."),
    ] = None,
    answer_format: Annotated[
        AnswerFormat, typer.Option("--format", help="How answers are printed.")
    ] = AnswerFormat.table,
    config: StoreConfig = None,
) -> None:
    """Ask an output folder questions in SQL, with DuckDB.

    Each table of the folder is a view of its newest rows: predictions, features, failures and whatever else is
    there. parts.TABLE has the rows of all generations. The folder is only read. Without --command, statements come
    from the prompt, or from standard input where that is no terminal.

    Example: **heartbeat sql results/ -c "SELECT predicted_label, count(*) FROM predictions GROUP BY ALL"**
    """
    with exit_codes("interrupted"):
        from heartbeat_core.results.database import connect
        from heartbeat_core.results.tables import find_tables
        from jobs.drivers.reach import reaching

        with reaching(job_settings(config, None, None)):
            connection = connect(output)
            _tell_unfinished(output)
            if command is not None:
                print_answers(connection, command, answer_format)
            elif sys.stdin.isatty():
                run_prompt(connection, list(find_tables(output)), answer_format)
            else:
                print_answers(connection, sys.stdin.read(), answer_format)


@app.command("open", epilog=_CODES)
def open_python(output: Folder, config: StoreConfig = None) -> None:
    """Open the results of a job in Python: pandas, polars or Arrow.

    At a terminal, a Python prompt starts that knows the tables. Elsewhere, the lines are printed that open them in a
    program or notebook.

    Example: **heartbeat open results/**
    """
    with exit_codes("interrupted"):
        from heartbeat_core.results.folder import Results
        from heartbeat_core.results.tables import find_tables
        from heartbeat_core.storage.uris import FAILURES
        from jobs.drivers.reach import reaching

        settings = job_settings(config, None, None)
        with reaching(settings):
            results, names = Results(output), list(find_tables(output))
            first = next((name for name in names if name != FAILURES), FAILURES)
            _tell_unfinished(output)
            if not sys.stdin.isatty():
                typer.echo(python_lines(results.uri, settings.s3, first))
                return
            tables = {name: results.sql(f'FROM "{name}"') for name in names}
            banner = (
                f"tables: {', '.join(tables)}. {first}.df() is a pandas table, .pl() polars, .to_arrow_table() Arrow.\n"
                f'Also: results, sql("SELECT … FROM {first}").df(). Leave with Ctrl-D.'
            )
            run_python({**tables, "results": results, "sql": results.sql}, banner)


@app.command(epilog=_CODES)
def describe(
    output: Folder,
    table: Annotated[
        str | None,
        typer.Argument(metavar="[TABLE]", help="One table, such as features; all without it.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    config: StoreConfig = None,
) -> None:
    """Explain every column of the tables in an output folder: type, unit, method and meaning.

    Example: **heartbeat describe results/ predictions**
    """
    with exit_codes("interrupted"):
        from heartbeat_core.results.tables import describe_tables
        from jobs.drivers.reach import reaching

        with reaching(job_settings(config, None, None)):
            found = describe_tables(output, table)
        if as_json:
            print_json(found)
        else:
            for name, described in found.items():
                print_columns(name, described)


@app.command(epilog=_CODES)
def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="Results: folder or URL.", show_default=False)],
    after: Annotated[
        str | None,
        typer.Argument(
            metavar="[B]",
            help="The results to compare A with; without it, A before its last update.",
            show_default=False,
        ),
    ] = None,
    generations: Annotated[
        str | None,
        typer.Option("--generations", metavar="M,N", help="Compare A as it was after these two generations."),
    ] = None,
    as_json: AsJson = False,
    config: StoreConfig = None,
) -> None:
    """Compare two results: labels that changed, the most confident of them, and drift.

    Recordings are matched by their ids, so that the inputs must have the same paths or URLs. The drift is measured
    over all rows of each side, whether they are matched or not.

    Example: **heartbeat diff results/ results-2/**

    Example: **heartbeat diff results/ --generations 0,1**
    """
    with exit_codes("interrupted"):
        from heartbeat_core.results.comparison import (
            compare_generations,
            compare_results,
            last_generation,
            was_compacted,
        )
        from jobs.drivers.reach import reaching

        if after is not None and generations is not None:
            raise UsageError("--generations compares one folder with itself: leave B out")
        with reaching(job_settings(config, None, None)):
            if after is not None:
                found = compare_results(before, after)
            else:
                found = compare_generations(before, *_two_generations(generations, lambda: last_generation(before)))
                if was_compacted(before):
                    _note("'compact' has removed rows that later ones replace: recordings that changed look new here")
            for one in (before, after):
                if one is not None:
                    _tell_unfinished(one)
        show(as_json, found, print_comparison)


def _tell_unfinished(output: str) -> None:
    """Say that more rows will come, where a job is not finished."""
    from heartbeat_core import storage
    from heartbeat_core.storage.uris import SUCCESS_NAME
    from jobs.output.places import RUN_NAME

    is_there = [storage.find(storage.join(storage.to_uri(output), name)) for name in (RUN_NAME, SUCCESS_NAME)]
    if is_there[0] is not None and is_there[1] is None:
        _note(f"{output} is not finished: 'heartbeat status' says how many recordings are left")


def _note(text: str) -> None:
    complain(f"note: {text}", "warning")


def _two_generations(text: str | None, last_generation: Callable[[], int]) -> tuple[int, int]:
    last = last_generation()
    if text is None:
        if last == 0:
            raise UsageError("these results have one generation: name a second folder to compare them with")
        return last - 1, last
    numbers = [int(one) for one in text.split(",") if one.strip().isdecimal()]
    if len(numbers) != 2 or text.count(",") != 1 or numbers[0] == numbers[1] or max(numbers) > last:
        raise UsageError(
            f"--generations {text}: expected two numbers of generations from 0 to {last}, such as 0,{last}"
        )
    return numbers[0], numbers[1]
