"""Read a results folder of ``classify``: one table at a time, each recording once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from heartbeat_core import storage
from heartbeat_core.errors import InputError
from heartbeat_core.formats.columns import numbers
from heartbeat_core.formats.parquet import join_tables
from heartbeat_core.results.files import read_file, read_schema
from heartbeat_core.settings import S3Settings, parse_settings
from heartbeat_core.storage import retry
from heartbeat_core.storage.uris import FAILURES, TABLES

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

_IDENTITY = ["recording_id", "generation"]


class Results:
    """The tables that ``classify`` wrote.

    Each recording has one row in ``predictions`` and one in ``features``, or one in ``failures``. If an update
    or a retry processed a recording again, the row of its newest generation counts, in whichever table it is.

    Parameters
    ----------
    uri : str | os.PathLike
        The output folder: a path or any fsspec URL. An unfinished folder gives the rows that it has so far.
    s3 : Mapping[str, Any] | None
        How to reach a bucket, with the keys of ``S3Settings``, such as ``endpoint_url``. None leaves that to the
        standard AWS variables, which also hold the credentials.

    Raises
    ------
    InputError
        It holds none of the tables.
    ConfigError
        A key of ``s3`` is not known, or its value is wrong.
    StorageError
        The store refuses a request or does not answer.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from heartbeat_core.formats.parquet import to_parquet
    >>> rows = pa.table({"recording_id": ["a1"], "generation": [0], "predicted_label": ["murmur"]})
    >>> with TemporaryDirectory() as folder:
    ...     Path(folder, "predictions").mkdir()
    ...     _ = Path(folder, "predictions", "part-000000.parquet").write_bytes(to_parquet(rows))
    ...     Results(folder).predictions(["predicted_label"]).to_pylist()
    [{'predicted_label': 'murmur'}]
    """

    def __init__(self, uri: str | os.PathLike[str], *, s3: Mapping[str, Any] | None = None) -> None:
        self.uri = storage.to_uri(uri)
        self._access = None if s3 is None else storage.Access(parse_settings(S3Settings, dict(s3), "s3"))
        with self._reaching():
            self._parts = {table: storage.part_uris(storage.join(self.uri, table)) for table in TABLES}
        if not any(self._parts.values()):
            raise InputError(f"{storage.display(self.uri)} holds no results: 'heartbeat classify' writes them")

    def predictions(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the newest prediction of each classified recording.

        Parameters
        ----------
        columns : Sequence[str] | None
            Which columns, in this order; None takes all. ``heartbeat describe`` explains them.

        Returns
        -------
        pa.Table
            One row for each recording, in the order of the parts.

        Raises
        ------
        InputError
            The table does not exist yet, has no such column, or a part of it is damaged.
        FileNotFoundError, StorageError
            As ``storage.read``.
        """
        return self._newest("predictions", columns)

    def features(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the newest features of each classified recording; parameters and errors as of ``predictions``."""
        return self._newest("features", columns)

    def failures(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return why each recording failed that could not be processed; parameters and errors as of ``predictions``."""
        return self._newest(FAILURES, columns)

    def schema(self, table: str = "predictions") -> pa.Schema:
        """Return the columns of a table's first part, with what it says of the run as metadata.

        Parameters
        ----------
        table : str
            ``predictions``, ``features`` or ``failures``.

        Raises
        ------
        InputError
            There is no such table, it has no part yet, or the first one is damaged.
        FileNotFoundError, StorageError
            As ``storage.read``.
        """
        if not self.part_uris(table):
            raise self._missing(table)
        with self._reaching():
            return read_schema(self._parts[table][0])

    def part_uris(self, table: str) -> list[str]:
        """Return the URIs of the Parquet files of a table, for an engine that reads them itself.

        Parameters
        ----------
        table : str
            ``predictions``, ``features`` or ``failures``.

        Returns
        -------
        list[str]
            In order; empty if the table does not exist yet. They hold the rows of all generations.

        Raises
        ------
        InputError
            There is no such table.
        """
        if table not in self._parts:
            raise InputError(f"there is no table '{table}': there are {', '.join(self._parts)}; 'sql' reads all")
        return list(self._parts[table])

    def sql(self, query: str) -> DuckDBPyRelation:
        """Return the answer to a query of one statement over the tables.

        Parameters
        ----------
        query : str
            DuckDB's SQL. Each table of the folder is a view of its newest rows.

        Returns
        -------
        DuckDBPyRelation
            Nothing is read until it is asked for a result: ``df()`` for pandas, ``pl()`` for polars,
            ``to_arrow_table()`` for Arrow, ``fetchall()`` for Python values.

        Raises
        ------
        InputError
            The query cannot be run, or may write.
        """
        from heartbeat_core.results.database import relation

        return relation(self._connection, query)

    @cached_property
    def _connection(self) -> DuckDBPyConnection:
        # Imported here, as above: DuckDB is loaded only where it is used.
        from heartbeat_core.results.database import connect

        with self._reaching():
            return connect(self.uri)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Reach the store as ``s3`` says, or else as the caller does."""
        if self._access is None:
            yield
        else:
            with storage.using(self._access, retry.patience_s()):
                yield

    def _newest(self, table: str, columns: Sequence[str] | None) -> pa.Table:
        with self._reaching():
            return self._read_newest(table, columns)

    def _read_newest(self, table: str, columns: Sequence[str] | None) -> pa.Table:
        wanted = None if columns is None else list(dict.fromkeys([*columns, *_IDENTITY]))
        rows = self._read(table, wanted)
        if rows is None:
            raise self._missing(table)
        generations = [found for one in ("predictions", FAILURES) if (found := self._read(one, _IDENTITY)) is not None]
        newest = join_tables(generations).group_by("recording_id").aggregate([("generation", "max")])
        if numbers(newest.column("generation_max")).any():
            latest = dict(zip(*(column.to_pylist() for column in newest.columns), strict=True))
            keys = zip(*(rows.column(name).to_pylist() for name in _IDENTITY), strict=True)
            rows = rows.filter(pa.array([latest[one] == generation for one, generation in keys], pa.bool_()))
        return rows if columns is None else rows.select(list(columns))

    def _read(self, table: str, columns: list[str] | None) -> pa.Table | None:
        parts = [read_file(uri, columns) for uri in self._parts[table]]
        return join_tables(parts).replace_schema_metadata(None) if parts else None

    def _missing(self, table: str) -> InputError:
        return InputError(f"{storage.display(self.uri)}: the table '{table}' does not exist yet")
