"""A sample of a table: all rows where there are few, rows at even distances where there are many."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from heartbeat_core.errors import InputError
from heartbeat_core.formats.columns import FLOATS, TEXT, TIME
from heartbeat_core.formats.parquet import from_parquet, to_parquet
from heartbeat_core.results import sample as module
from heartbeat_core.results.sample import numbers_table, read_sample

Stored = Callable[..., list[str]]


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    """Return a function that stores parts of some rows each, numbered through."""

    def store(*sizes: int) -> list[str]:
        uris, first = [], 0
        for part, size in enumerate(sizes):
            numbers = range(first, first + size)
            table = pa.table(
                {
                    "recording_id": [f"r{k}" for k in numbers],
                    "generation": pa.array([0] * size, pa.int32()),
                    "number": pa.array(numbers, pa.int64()),
                    "half": pa.array([None if k % 2 else k / 2 for k in numbers], pa.float32()),
                    "even": pa.array([k % 2 == 0 for k in numbers], pa.bool_()),
                    "name": pa.array([None if k % 3 == 0 else f"name {k}" for k in numbers], TEXT),
                    "at": pa.array([k * 1_000_000 for k in numbers], TIME),
                    "frames": pa.array([[float(k)] for k in numbers], FLOATS),
                }
            ).replace_schema_metadata({"heartbeat.recipe": "tiny", "other": "x"})
            (tmp_path / f"part-{part}.parquet").write_bytes(to_parquet(table))
            uris.append((tmp_path / f"part-{part}.parquet").as_uri())
            first += size
        return uris

    return store


def test_a_small_table_is_taken_whole(stored: Stored) -> None:
    names = ("number", "half", "even", "name", "at", "frames", "missing")
    found = read_sample(stored(3, 0, 2), names, 5)
    assert found.is_complete
    assert (found.n_rows, found.n_parts, found.of_parts) == (5, 3, 3)
    assert found.columns["number"].tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(found.columns["half"], [0.0, np.nan, 1.0, np.nan, 2.0])
    assert found.columns["even"].tolist() == [1, 0, 1, 0, 1]
    assert found.columns["name"].tolist() == [None, "name 1", "name 2", None, "name 4"]
    assert found.columns["at"].tolist() == [0, 1, 2, 3, 4]
    assert set(found.columns) == {"number", "half", "even", "name", "at"}
    assert found.metadata == {"recipe": "tiny"}


def test_many_parts_are_taken_at_even_distances(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PARTS", 3)
    found = read_sample(stored(*[2] * 7), ["number"], 14)
    assert not found.is_complete
    assert found.columns["number"].tolist() == [0, 1, 6, 7, 12, 13]


def test_large_parts_are_not_all_read(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    uris = stored(*[2] * 8)
    monkeypatch.setattr(module, "MOST_BYTES", 2 * Path(uris[0].removeprefix("file://")).stat().st_size)
    assert read_sample(uris, ["number"], 16).columns["number"].tolist() == [0, 1, 8, 9]


def test_many_rows_are_taken_at_even_distances(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 4)
    found = read_sample(stored(10, 10), ["number"], 20)
    assert found.columns["number"].tolist() == [0, 5, 10, 15]
    assert found.row_step == 5


def test_only_the_newest_rows_are_taken(stored: Stored) -> None:
    found = read_sample(stored(4), ["number"], 4, lambda part: part.filter(pa.array([True, False, True, True])))
    assert found.columns["number"].tolist() == [0, 2, 3]


def test_a_table_without_parts() -> None:
    found = read_sample([], ["number"], 0)
    assert (found.n_rows, found.columns, found.is_complete) == (0, {}, True)


def test_a_damaged_part_is_an_error(stored: Stored) -> None:
    uris = stored(2, 2)
    Path(uris[1].removeprefix("file://")).write_bytes(b"PAR1")
    with pytest.raises(InputError, match="not a Parquet file"):
        read_sample(uris, ["number"], 4)


def test_numbers_keep_their_types() -> None:
    table = from_parquet(numbers_table({"name": ["a", None], "count": [1, 2], "share": [0.5, None], "mixed": [1, 0.5]}))
    assert table.to_pydict() == {"name": ["a", None], "count": [1, 2], "share": [0.5, None], "mixed": [1.0, 0.5]}
    assert [str(kind) for kind in table.schema.types] == ["string", "int64", "double", "double"]
