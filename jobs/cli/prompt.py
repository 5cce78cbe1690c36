"""The answers of ``heartbeat sql`` as text, and its prompt."""

from __future__ import annotations

import csv
import json
import math
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, time
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from heartbeat_core.errors import HeartbeatError
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
    """Print the answer to each statement of a text; raises InputError as ``database.answer``."""
    from heartbeat_core.results.database import answer, relation, statements

    for statement in statements(text):
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
            relation(connection, statement).show(max_width=width, max_rows=MOST_ROWS)


def run_prompt(connection: DuckDBPyConnection, tables: Sequence[str], answer_format: AnswerFormat) -> None:
    """Answer statements, each of which ends with ``;``, until the input ends."""
    with suppress(ImportError):  # Some builds of Python lack it; it gives the prompt its history and editing.
        import readline  # noqa: F401

    out.print(
        f"tables: {', '.join(tables)}. End a statement with ';'. DESCRIBE predictions; lists columns. Leave: exit"
    )
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


def python_lines(uri: str) -> str:
    """Return the lines of Python that open the results of a job."""
    return "\n".join(
        [
            "import heartbeat_core as hb",
            "",
            f"results = hb.Results({uri!r})",
            'results.sql("FROM predictions").df()                # pandas',
            'results.sql("FROM predictions").pl()                # polars',
            'results.sql("FROM predictions").to_arrow_table()    # Arrow',
        ]
    )


def run_python(names: Mapping[str, Any], banner: str) -> None:
    """Start a Python prompt that knows the names."""
    import code

    with suppress(ImportError):
        import readline
        import rlcompleter

        readline.set_completer(rlcompleter.Completer(dict(names)).complete)
        readline.parse_and_bind("tab: complete")
    code.interact(banner, local=dict(names), exitmsg="")


def _print_json(columns: Sequence[str], rows: Iterator[tuple[Any, ...]]) -> None:
    """Print rows as one JSON array of objects, a row to a line."""
    before = "["
    for row in rows:
        line = json.dumps(dict(zip(columns, map(_plain, row), strict=True)), ensure_ascii=False, default=str)
        sys.stdout.write(f"{before}{line}")
        before = ",\n"
    sys.stdout.write("]\n" if before != "[" else "[]\n")


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: null for what is no number, ISO 8601 for times."""
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    return value
