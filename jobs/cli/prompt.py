"""The answers of ``heartbeat sql`` as text, and its prompt."""

from __future__ import annotations

import csv
import json
import math
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import date, datetime, time
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from heartbeat_core.errors import HeartbeatError
from heartbeat_core.settings import S3Settings
from heartbeat_core.storage.uris import display, public_uri
from jobs.cli.printing import log, out

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MOST_ROWS = 40
"""Rows of an answer that a table shows; CSV and JSON have all."""
_PROMPTS = ("heartbeat> ", "     ...> ")
_ENDINGS = ("exit", "quit", ".exit", ".quit")


class AnswerFormat(StrEnum):
    """How answers are printed."""

    table = "table"
    csv = "csv"
    json = "json"


def print_answers(connection: DuckDBPyConnection, text: str, answer_format: AnswerFormat) -> None:
    """Print the answer to each statement of a text; raises InputError as ``database.answer``.

    Statements run in another thread, because DuckDB does not let a signal through to this one while it computes.
    """
    from heartbeat_core.results.database import statements

    for statement in statements(text):
        with ThreadPoolExecutor(1) as thread:
            answered = thread.submit(_print_answer, connection, statement, answer_format)
            try:
                answered.result()
            except KeyboardInterrupt:
                connection.interrupt()
                raise


def _print_answer(connection: DuckDBPyConnection, statement: str, answer_format: AnswerFormat) -> None:
    from heartbeat_core.results.database import answer, as_input_errors, relation

    if answer_format is AnswerFormat.csv:
        found = answer(connection, statement, as_text=True)
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(found.columns)
        writer.writerows(found.rows)
    elif answer_format is AnswerFormat.json:
        found = answer(connection, statement)
        _print_json(found.columns, found.rows)
    else:
        width = shutil.get_terminal_size((120, 24)).columns
        # The statement runs only when its rows are shown.
        with as_input_errors():
            relation(connection, statement).show(max_width=width, max_rows=MOST_ROWS)


def run_prompt(connection: DuckDBPyConnection, tables: Sequence[str], answer_format: AnswerFormat) -> None:
    """Answer statements, each of which ends with ``;``, until the input ends."""
    with suppress(ImportError):  # Some builds of Python lack it; it gives the prompt its history and editing.
        import readline  # noqa: F401

    out.print(
        f"tables: {', '.join(tables)}. End a statement with ';'. DESCRIBE predictions; lists columns. Leave: exit"
    )
    _take_signals()
    lines: list[str] = []
    while True:
        try:
            line = input(_PROMPTS[bool(lines)])
        except EOFError:
            out.print()
            return
        except KeyboardInterrupt:
            out.print()
            lines.clear()
            continue
        if not lines and line.strip().rstrip(";").lower() in _ENDINGS:
            return
        lines.append(line)
        if line.rstrip().endswith(";"):
            try:
                print_answers(connection, "\n".join(lines), answer_format)
            except (HeartbeatError, KeyboardInterrupt) as error:
                log.print(str(error) or "interrupted")
            lines.clear()


def python_lines(uri: str, s3: S3Settings, table: str) -> str:
    """Return the lines of Python that open a table of an output folder, without any secret.

    ``s3`` is how a bucket is reached, in addition to the standard AWS variables.
    """
    place = repr(display(public_uri(uri)))
    if uri.startswith("s3://") and (given := s3.model_dump(exclude_defaults=True)):
        place += f", s3={given!r}"
    return "\n".join(
        [
            "import heartbeat_core as hb",
            "",
            f"results = hb.Results({place})",
            f'results.sql("FROM {table}").df()                # pandas',
            f'results.sql("FROM {table}").pl()                # polars',
            f'results.sql("FROM {table}").to_arrow_table()    # Arrow',
        ]
    )


def run_python(names: Mapping[str, Any], banner: str) -> None:
    """Start a Python prompt that knows the names."""
    import code

    _take_signals()
    with suppress(ImportError):
        import readline
        import rlcompleter

        readline.set_completer(rlcompleter.Completer(dict(names)).complete)
        readline.parse_and_bind("tab: complete")
    code.interact(banner, local=dict(names), exitmsg="")


def _take_signals() -> None:
    """At a prompt, Ctrl-C ends what runs and nothing else, each time; SIGTERM ends the process, which holds nothing."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _print_json(columns: Sequence[str], rows: Iterator[tuple[Any, ...]]) -> None:
    """Print rows as one JSON array of objects, a row to a line."""
    names = _told_apart(columns)
    before = "["
    for row in rows:
        line = json.dumps(dict(zip(names, map(_plain, row), strict=True)), default=str)
        sys.stdout.write(f"{before}{line}")
        before = ",\n"
    sys.stdout.write("]\n" if before != "[" else "[]\n")


def _told_apart(names: Sequence[str]) -> list[str]:
    """Return the names with a number behind each that occurred before: an object has no key twice."""
    found: list[str] = []
    for name in names:
        numbered = (f"{name}_{number}" for number in range(1, len(names) + 1))
        found.append(name if name not in found else next(one for one in numbered if one not in (*found, *names)))
    return found


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: null for what is no number, ISO 8601 for times, hexadecimal digits for bytes."""
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    return value
