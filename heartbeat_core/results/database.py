"""An output folder as a database: DuckDB over the files of its tables, which are only read.

Each table is a view of its newest rows, and ``features`` has the column ``duplicate_of`` of the table ``duplicates``.
``parts.TABLE`` has the rows of all generations.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import duckdb
from duckdb import DuckDBPyConnection, DuckDBPyRelation, StatementType

from heartbeat_core import storage
from heartbeat_core.errors import InputError
from heartbeat_core.results.tables import find_tables, has_one_generation
from heartbeat_core.storage.uris import FAILURES, display

_IDENTITY = {"recording_id", "generation"}
_ROWS_AT_ONCE = 1024
_SHOWN = 80
"""Letters of a statement that an error shows."""
_NO_TABLE = re.compile(r"Table with name (.+?) does not exist")


@dataclass(frozen=True, slots=True)
class Answer:
    """The columns of an answer, and its rows, which are fetched as they are taken."""

    columns: list[str]
    rows: Iterator[tuple[Any, ...]]


def connect(out: str) -> DuckDBPyConnection:
    """Open the tables of an output folder.

    The files are listed once, now: rows of a later update are not seen. Buckets are read through fsspec, with the
    settings of ``storage.using``, so that DuckDB needs no extension.

    Parameters
    ----------
    out : str
        A path or any fsspec URL.

    Returns
    -------
    DuckDBPyConnection
        A database in memory. Times are shown in UTC.

    Raises
    ------
    InputError
        The folder holds no table, or a file of one is damaged.
    StorageError
        The store does not answer.
    """
    connection = open_empty()
    add_tables(connection, out)
    return connection


def open_empty() -> DuckDBPyConnection:
    """Open a database in memory, without tables."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def add_tables(
    connection: DuckDBPyConnection,
    out: str,
    schema: str = "main",
    parts: str = "parts",
    last_generation: int | None = None,
) -> list[str]:
    """Add the tables of an output folder as views, and return their names; raises as ``connect``.

    Parameters
    ----------
    connection : DuckDBPyConnection
    out : str
        A path or any fsspec URL.
    schema, parts : str
        Where the views of the newest rows are, and those of the rows of all generations.
    last_generation : int | None
        The views are those of the folder as it was after this generation; None for all.

    Returns
    -------
    list[str]
        Names of the tables, the main ones first.
    """
    tables = find_tables(out)
    uri = storage.to_uri(out)
    filesystem = storage.filesystem_of(uri)
    if filesystem is not None and not connection.filesystem_is_registered(uri.partition("://")[0]):
        connection.register_filesystem(filesystem)
    with as_input_errors():
        for name in (schema, parts):
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {name}")
        for name, uris in tables.items():
            files = ", ".join(_text(_escaped(display(uri))) for uri in uris)
            connection.execute(
                f"CREATE VIEW {parts}.{quoted(name)} AS "
                f"SELECT * FROM read_parquet([{files}], hive_partitioning = false)"
            )
        has_one = last_generation is None and has_one_generation(out)
        updated = [] if has_one else [name for name in tables if columns(connection, name, parts) >= _IDENTITY]
        if updated:
            named = [name for name in ("predictions", FAILURES) if name in updated] or updated
            _create_newest(connection, named, parts, last_generation)
        for name in tables:
            newest = f"SEMI JOIN {parts}.newest USING (recording_id, generation)" if name in updated else ""
            rows = f"SELECT * FROM {parts}.{quoted(name)} {newest}"
            if name == "features":
                rows = _with_duplicates(rows, f"{parts}.duplicates" if "duplicates" in tables else None)
            connection.execute(f"CREATE VIEW {schema}.{quoted(name)} AS {rows}")
    return list(tables)


def columns(connection: DuckDBPyConnection, table: str, schema: str = "main") -> set[str]:
    """Return the names of the columns of a table."""
    return set(connection.sql(f"FROM {schema}.{quoted(table)}").columns)


def statements(text: str) -> list[str]:
    """Return the statements of a text, all of which only read.

    Parameters
    ----------
    text : str
        SQL of DuckDB: any number of statements, divided by ``;``.

    Returns
    -------
    list[str]
        The statements in order, without the ``;`` behind them.

    Raises
    ------
    InputError
        The text is not SQL, or a statement may write.

    Examples
    --------
    >>> statements("SELECT 1; SELECT 2;")
    ['SELECT 1', 'SELECT 2']
    >>> statements("DROP TABLE predictions")
    Traceback (most recent call last):
    heartbeat_core.errors.InputError: only SELECT and EXPLAIN are run here, and this may write: DROP TABLE predictions
    """
    with as_input_errors():
        found = duckdb.extract_statements(text)
    for one in found:
        if not _only_reads(one.type, one.query):
            told = " ".join(one.query.split())
            raise InputError(f"only SELECT and EXPLAIN are run here, and this may write: {told[:_SHOWN]}")
    return [_without_end(one.query) for one in found]


def answer(connection: DuckDBPyConnection, statement: str, *, as_text: bool = False) -> Answer:
    """Run one of ``statements``.

    Parameters
    ----------
    connection : DuckDBPyConnection
    statement : str
    as_text : bool
        Return each value as DuckDB writes it, in place of a Python value; None is null in both.

    Returns
    -------
    Answer
        Its rows are fetched as they are taken. Take them before the next statement of this connection.

    Raises
    ------
    InputError
        The statement cannot be run; where that shows only while it runs, ``rows`` raises it.
    """
    with as_input_errors(), _naming_tables(connection):
        if as_text and duckdb.extract_statements(statement)[0].type == StatementType.SELECT:
            statement = connection.sql(statement).project("CAST(COLUMNS(*) AS VARCHAR)").sql_query()
        connection.execute(statement)
    return Answer([one[0] for one in connection.description or ()], _rows(connection))


def relation(connection: DuckDBPyConnection, query: str) -> DuckDBPyRelation:
    """Return the answer to one statement as a relation, which gives tables of pandas, polars and Arrow.

    Parameters
    ----------
    connection : DuckDBPyConnection
    query : str
        SQL of DuckDB.

    Returns
    -------
    DuckDBPyRelation
        Nothing is read until it is asked for a result.

    Raises
    ------
    InputError
        It is not one statement, or cannot be run, or may write.
    """
    found = statements(query)
    if len(found) != 1:
        raise InputError(f"give one statement: these are {len(found)}")
    with as_input_errors(), _naming_tables(connection):
        return connection.sql(found[0])


@contextmanager
def as_input_errors() -> Iterator[None]:
    """Turn an error of DuckDB in the block into an InputError of one line."""
    try:
        yield
    except duckdb.Error as error:
        told = str(error).partition("\n\nLINE ")[0]
        raise InputError(" ".join(told.split())) from None


@contextmanager
def _naming_tables(connection: DuckDBPyConnection) -> Iterator[None]:
    """Name the tables that there are where the block asks for another; DuckDB guesses one."""
    try:
        yield
    except duckdb.CatalogException as error:
        if (wanted := _NO_TABLE.search(str(error))) is None:
            raise
        views = "SELECT view_name FROM duckdb_views() WHERE NOT internal AND schema_name = 'main' ORDER BY view_oid"
        names = ", ".join(name for (name,) in connection.execute(views).fetchall())
        raise InputError(f"there is no table '{wanted[1]}': there are {names}") from None


def quoted(name: str) -> str:
    """Return a name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def _create_newest(connection: DuckDBPyConnection, names: Iterable[str], parts: str, last: int | None) -> None:
    rows = " UNION ALL ".join(f"SELECT recording_id, generation FROM {parts}.{quoted(name)}" for name in names)
    until = "" if last is None else f"WHERE generation <= {last}"
    connection.execute(
        f"CREATE VIEW {parts}.newest AS "
        f"SELECT recording_id, max(generation) AS generation FROM ({rows}) {until} GROUP BY recording_id"
    )


def _with_duplicates(rows: str, duplicates: str | None) -> str:
    """Return a query with the column ``duplicate_of``, which is null as long as nobody has looked for duplicates."""
    if duplicates is None:
        return f"SELECT *, NULL::VARCHAR AS duplicate_of FROM ({rows})"
    return f"FROM ({rows}) LEFT JOIN {duplicates} USING (recording_id)"


def _without_end(statement: str) -> str:
    """Return a statement without its ``;`` and the comment behind it."""
    try:
        while ";" in statement:
            head, _, rest = statement.rpartition(";")
            if len(duckdb.extract_statements(head)) != 1 or duckdb.extract_statements(rest):
                break
            statement = head
    except duckdb.Error:  # The last ';' is part of a text or a comment.
        pass
    return statement


def _only_reads(kind: StatementType, text: str) -> bool:
    # EXPLAIN ANALYZE runs what it explains, and that may write.
    explains = kind == StatementType.EXPLAIN and "analyze" not in text.lower()
    return kind == StatementType.SELECT or explains


def _rows(connection: DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    while True:
        with as_input_errors():
            rows = connection.fetchmany(_ROWS_AT_ONCE)
        if not rows:
            return
        yield from rows


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _escaped(path: str) -> str:
    """Return a path in which ``*``, ``?`` and ``[`` stand for themselves."""
    return re.sub(r"([*?[])", r"[\1]", path)
