"""Five engines read each table alike: rows, cells that are not null, and sums of every column."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from math import fsum
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pytest

from heartbeat_core import Results
from jobs.drivers.classify import classify
from tests.conftest import quiet_console, without_cluster
from tests.helpers import write_broken, write_csv
from tests.jobs.drivers.test_classify import settings_for

TABLES = ("predictions", "features", "failures")
FEATURES = ["aligned", "statistics", "beats"]
Sums = dict[str, tuple[int, float]]
"""For each column, the cells that are not null, and the sum of its numbers, microseconds, lengths or list elements."""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, library: Path, bundle: Path) -> Path:
    """A run with failures and with kept columns of all types, in several parts."""
    folder = tmp_path_factory.mktemp("readers")
    write_broken(folder / "broken")
    paths = sorted([*library.rglob("*.wav"), *(folder / "broken").iterdir()])
    rows = [
        (
            str(path),
            str(n) if n % 3 else "",
            f"{n / 7}",
            "true" if n % 2 else "false",
            f"2026-01-{1 + n % 28:02d}",
            "é" * n,
        )
        for n, path in enumerate(paths)
    ]
    manifest = write_csv(folder / "list.csv", ("path", "whole", "part", "flag", "day", "word"), rows)
    with pytest.MonkeyPatch.context() as monkeypatch:
        without_cluster(monkeypatch)
        keep = ["whole", "part", "flag", "day", "word"]
        settings = settings_for(bundle, features=FEATURES, keep_columns=keep)
        classify([str(manifest)], str(folder / "out"), settings, quiet_console())
    return folder / "out"


def kind_of(field: pa.Field) -> str:
    for kind in ("string", "list", "timestamp"):
        if getattr(pa.types, f"is_{kind}")(field.type):
            return kind
    return "number"


def in_arrow(table: pa.Table) -> Sums:
    """Return the sums of a table by plain loops: the oracle."""
    sums: Sums = {}
    for field in table.schema:
        column = table.column(field.name)
        if kind_of(field) == "timestamp":
            column = column.cast(pa.int64())
        values = [value for value in column.to_pylist() if value is not None]
        if kind_of(field) == "string":
            values = [len(value) for value in values]
        n_cells = len(values)
        if kind_of(field) == "list":
            values = [value for row in values for value in row]
        sums[field.name] = n_cells, fsum(values)
    return sums


def with_duckdb(results: Path, name: str, schema: pa.Schema) -> Sums:
    sums = {
        "string": "sum(length({0}))",
        "timestamp": "sum(epoch_us({0}))",
        "list": "sum(list_sum({0}::DOUBLE[]))",
        "number": "sum({0}::DOUBLE)",
    }
    asked = [f"count({one.name}), {sums[kind_of(one)].format(one.name)}" for one in schema]
    [row] = Results(results).sql(f"SELECT {', '.join(asked)} FROM {name}").fetchall()
    return {field.name: (row[2 * i], float(row[2 * i + 1] or 0)) for i, field in enumerate(schema)}


def with_pandas(results: Path, name: str, schema: pa.Schema) -> Sums:
    frame = pd.read_parquet(results / name)
    sums: Sums = {}
    for field in schema:
        column = frame[field.name].dropna()
        if kind_of(field) == "string":
            total = column.str.len().sum()
        elif kind_of(field) == "list":
            total = column.map(lambda row: row.astype("float64").sum()).sum()
        elif kind_of(field) == "timestamp":
            total = column.astype("int64").sum()
        else:
            total = column.astype("float64").sum()
        sums[field.name] = len(column), float(total)
    return sums


def with_polars(results: Path, name: str, schema: pa.Schema) -> Sums:
    frame = pl.scan_parquet(f"{results}/{name}/*.parquet").collect()
    assert frame.height or name == "failures"
    sums: Sums = {}
    for field in schema:
        column = frame[field.name].drop_nulls()
        if kind_of(field) == "string":
            total = column.str.len_chars().sum()
        elif kind_of(field) == "list":
            total = column.explode().cast(pl.Float64).sum()
        elif kind_of(field) == "timestamp":
            total = column.dt.epoch("us").sum()
        else:
            total = column.cast(pl.Float64).sum()
        sums[field.name] = len(column), float(total)
    return sums


def with_pyarrow(results: Path, name: str, schema: pa.Schema) -> Sums:
    table = pyarrow.dataset.dataset(results / name).to_table()
    sums: Sums = {}
    for field in schema:
        column = table.column(field.name)
        n_cells = len(column) - column.null_count
        if kind_of(field) == "string":
            column = pc.utf8_length(column)
        elif kind_of(field) == "list":
            column = pc.list_flatten(column)
        elif kind_of(field) == "timestamp":
            column = column.cast(pa.int64())
        sums[field.name] = n_cells, float(pc.sum(column.cast(pa.float64(), safe=False)).as_py() or 0)
    return sums


def with_spark(results: Path, name: str, schema: pa.Schema) -> Sums:
    sql = pytest.importorskip("pyspark.sql", reason="PySpark is not installed: make peers")
    os.environ["PYSPARK_PYTHON"] = sys.executable
    config = {"spark.ui.enabled": "false", "spark.sql.session.timeZone": "UTC"}
    spark = sql.SparkSession.builder.master("local[1]").appName("readers").config(map=config).getOrCreate()
    spark.read.parquet((results / name).as_uri()).createOrReplaceTempView("t")
    sums = {
        "string": "sum(length({0}))",
        "timestamp": "sum(unix_micros({0}))",
        "list": "sum(aggregate({0}, 0D, (total, value) -> total + value))",
        "number": "sum(cast({0} AS DOUBLE))",
    }
    found: Sums = {}
    for start in range(0, len(schema), 100):  # Spark compiles a query into one method, which has a largest size.
        some = list(schema)[start : start + 100]
        asked = ", ".join(f"count({one.name}), {sums[kind_of(one)].format(one.name)}" for one in some)
        row = spark.sql(f"SELECT {asked} FROM t").collect()[0]
        found |= {field.name: (row[2 * i], float(row[2 * i + 1] or 0)) for i, field in enumerate(some)}
    return found


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("engine", [with_duckdb, with_pandas, with_polars, with_pyarrow, with_spark])
def test_counts_and_sums_are_equal(engine: Callable[[Path, str, Any], Sums], name: str, results: Path) -> None:
    table = getattr(Results(results), name)()
    assert table.num_rows > 0
    expected = in_arrow(table)
    assert any(count not in (0, table.num_rows) for count, _ in expected.values()), "no column has nulls"
    found = engine(results, name, table.schema)
    assert {column: count for column, (count, _) in found.items()} == {
        column: count for column, (count, _) in expected.items()
    }
    for column, (_, total) in expected.items():
        assert found[column][1] == pytest.approx(total, rel=1e-9, abs=1e-9), column
