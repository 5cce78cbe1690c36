"""An output folder in DuckDB: the newest rows of its tables, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbeat_core import Results
from heartbeat_core.errors import InputError
from heartbeat_core.results import database
from heartbeat_core.results.database import Answer, answer, connect, statements
from heartbeat_core.results.tables import find_tables
from tests.core.results.test_folder import write
from tests.helpers import tree


@pytest.fixture
def updated(tmp_path: Path) -> Path:
    """A folder in which b was taken again, c failed at last, and d was mended at last."""
    out = tmp_path / "it's [1]=2"  # The name holds what SQL, a glob and a partition would take for their own.
    out.mkdir()
    write(out, "predictions", 0, recording_id=["a", "b", "c"], generation=[0, 0, 0], label=["x", "old", "gone"])
    write(out, "predictions", 1, recording_id=["b", "d"], generation=[1, 2], label=["new", "mended"])
    write(out, "features", 0, recording_id=["a", "b", "c"], generation=[0, 0, 0], hz=[1.0, 2.0, 3.0])
    write(out, "features", 1, recording_id=["b", "d"], generation=[1, 2], hz=[20.0, 40.0])
    write(out, "failures", 0, recording_id=["c", "d"], generation=[1, 0], error_type=["timeout", "empty"])
    return out


def run(out: Path, text: str, *, as_text: bool = False) -> list[tuple[object, ...]]:
    [statement] = statements(text)
    return list(answer(connect(str(out)), statement, as_text=as_text).rows)


def test_each_view_has_the_newest_rows(updated: Path) -> None:
    assert run(updated, "SELECT recording_id, label FROM predictions ORDER BY ALL") == [
        ("a", "x"),
        ("b", "new"),
        ("d", "mended"),
    ]
    assert run(updated, "SELECT hz FROM features ORDER BY hz") == [(1.0,), (20.0,), (40.0,)]
    assert run(updated, "SELECT recording_id FROM failures") == [("c",)]
    assert run(updated, "SELECT count(*) FROM parts.predictions") == [(5,)]


def test_the_rows_are_those_of_results(updated: Path) -> None:
    results = Results(updated)
    for name in ("predictions", "features", "failures"):
        table = getattr(results, name)()
        found = results.sql(f"FROM {name}").to_arrow_table().select(table.column_names)
        assert sorted(map(str, found.to_pylist())) == sorted(map(str, table.to_pylist()))


def test_one_generation_is_not_searched_for_newer_rows(updated: Path) -> None:
    (updated / "_plan").mkdir()
    (updated / "_plan" / "000000.json").write_text("{}")
    assert run(updated, "SELECT count(*) FROM predictions") == [(5,)]
    (updated / "_plan" / "000001.json").write_text("{}")
    assert run(updated, "SELECT count(*) FROM predictions") == [(3,)]


def test_whatever_tables_lie_there_are_views(updated: Path) -> None:
    write(updated, "patients", 0, patient_id=["p"], label=["murmur"])
    write(updated, "reviews", 0, recording_id=["a"], verdict=["normal"])
    (updated / "reviews" / "part-000000.parquet").rename(updated / "segments.parquet")
    (updated / "report.html").write_text("<html>")
    write(updated, "_outcomes", 0, recording_id=["a"])
    assert list(find_tables(str(updated))) == ["predictions", "features", "failures", "patients", "segments"]
    assert run(updated, "SELECT label FROM patients") == [("murmur",)]
    assert run(updated, "SELECT verdict FROM segments") == [("normal",)]


@pytest.mark.parametrize(
    "text",
    [
        "COPY predictions TO '{}/x.csv'",
        "SELECT 1; DROP VIEW predictions",
        "CREATE TABLE t AS SELECT 1",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{}/x.csv'",
        "EXPLAIN (ANALYZE) COPY (SELECT 1) TO '{}/x.csv'",
        "COPY (PIVOT (SELECT 1 a, 2 b) ON a USING sum(b)) TO '{}/x.csv'",
        "ATTACH '{}/x.db'",
        "EXPORT DATABASE '{}/x'",
        "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
    ],
)
def test_what_may_write_is_refused(updated: Path, text: str) -> None:
    before = tree(updated.parent)
    with pytest.raises(InputError, match="only SELECT and EXPLAIN are run here"):
        statements(text.format(updated.parent))
    assert tree(updated.parent) == before


@pytest.mark.parametrize("text", ["selec 1", "SELECT nothing FROM predictions", "SELECT label::INT FROM predictions"])
def test_a_wrong_query_is_one_line(updated: Path, text: str) -> None:
    with pytest.raises(InputError, match="Error: ") as caught:
        run(updated, text)
    assert "\n" not in str(caught.value)


def test_statements_of_all_kinds_that_read_are_answered(updated: Path) -> None:
    connection = connect(str(updated))
    text = "DESCRIBE predictions; SHOW TABLES; SUMMARIZE features; EXPLAIN FROM failures; FROM failures; -- the end"
    answers: list[Answer] = []
    for statement in statements(text):
        for as_text in (False, True):
            answers.append(answer(connection, statement, as_text=as_text))
            assert list(answers[-1].rows), statement
    assert [one.columns for one in answers[::2]] == [one.columns for one in answers[1::2]]


@pytest.mark.parametrize(
    "text", ["SELECT 'a; -- b' AS x", "SELECT 'a; -- b' AS x; -- c;", "SELECT 'a; -- b' x -- c; d"]
)
def test_a_semicolon_in_a_text_or_comment_ends_nothing(updated: Path, text: str) -> None:
    assert run(updated, text, as_text=True) == [("a; -- b",)]


def test_text_is_as_duckdb_writes_it_and_null_stays_null(updated: Path) -> None:
    query = "SELECT 0.3::FLOAT, NULL, [1.5::FLOAT], TIMESTAMPTZ '2026-01-01 00:00:00+02' ORDER BY 1"
    assert run(updated, query, as_text=True) == [("0.3", None, "[1.5]", "2025-12-31 22:00:00+00")]


def test_more_rows_than_are_fetched_at_once(updated: Path) -> None:
    n_rows = 2 * database._ROWS_AT_ONCE + 1
    assert len(run(updated, f"SELECT * FROM range({n_rows})")) == n_rows


def test_what_is_no_output_is_told(tmp_path: Path, updated: Path) -> None:
    with pytest.raises(InputError, match="holds no tables: name the output folder of a job"):
        connect(str(tmp_path / "nowhere"))
    (updated / "features" / "part-000000.parquet").write_bytes(b"PAR1 is not enough")
    with pytest.raises(InputError, match=r"part-000000\.parquet"):
        connect(str(updated))


def test_a_relation_is_of_one_statement(updated: Path) -> None:
    with pytest.raises(InputError, match="give one statement: these are 2"):
        Results(updated).sql("SELECT 1; SELECT 2")
