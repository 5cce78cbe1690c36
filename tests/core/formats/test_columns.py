"""Columns made of buffers against ``pyarrow.array``."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat_core.formats.columns import FLOATS, TIME, column, list_column, list_values, numbers, times

VALUES: dict[pa.DataType, st.SearchStrategy[object]] = {
    pa.string(): st.text(),
    pa.bool_(): st.booleans(),
    pa.int8(): st.integers(-(2**7), 2**7 - 1),
    pa.int16(): st.integers(-(2**15), 2**15 - 1),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float32(): st.floats(width=32, allow_nan=False),
    pa.float64(): st.floats(allow_nan=False),
    pa.timestamp("us", tz="UTC"): st.datetimes(datetime(1700, 1, 1), timezones=st.just(UTC)),
}


@given(st.data())
def test_equal_to_pyarrow(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(list(VALUES)))
    values = data.draw(st.lists(st.none() | VALUES[kind], max_size=40))
    made = column(values, kind)
    made.validate(full=True)
    assert made.equals(pa.array(values, type=kind))
    assert made.null_count == values.count(None)


@given(st.lists(st.floats(width=32, allow_nan=False), max_size=20), st.sampled_from([pa.float32(), pa.float64()]))
def test_arrays_of_floats_of_any_layout(values: list[float], kind: pa.DataType) -> None:
    pairs = np.array([(value, -1.0) for value in values], np.float64).reshape(-1, 2)
    made = column(pairs[:, 0], kind)
    del pairs
    made.validate(full=True)
    assert made.equals(pa.array(values, type=kind))


def test_numpy_values() -> None:
    assert column(np.array([1, 2, 3]), pa.int8()).equals(pa.array([1, 2, 3], pa.int8()))
    assert column(np.float32([0.5, np.nan]), pa.float32()).to_pylist()[0] == 0.5


@given(st.lists(st.lists(st.none() | st.integers(-(2**31), 2**31 - 1), max_size=20), max_size=4), st.integers(0, 3))
def test_numbers_with_nulls(chunks: list[list[int | None]], skipped: int) -> None:
    sliced = pa.chunked_array([pa.array(one, pa.int32()) for one in chunks], pa.int32()).slice(skipped)
    expected = [one for chunk in chunks for one in chunk][skipped:]
    assert numbers(sliced, missing=-7).tolist() == [-7 if one is None else one for one in expected]
    assert numbers(sliced, missing=-7).dtype == np.int32
    if None in expected:
        with pytest.raises(ValueError, match="numbers are null"):
            numbers(sliced)


def test_what_a_type_does_not_hold() -> None:
    with pytest.raises(OverflowError):
        column([200], pa.int8())
    with pytest.raises(UnicodeEncodeError):
        column(["\udcff"], pa.string())


@given(st.lists(st.lists(st.floats(width=32, allow_nan=False), max_size=20), max_size=20))
def test_lists(rows: list[list[float]]) -> None:
    arrays = [np.array(row, np.float32) for row in rows]
    made = list_column(arrays)
    made.validate(full=True)
    assert made.type == FLOATS
    assert made.to_pylist() == [array.tolist() for array in arrays]
    back = list_values(pa.chunked_array([made]))
    assert [row.tolist() for row in back] == [array.tolist() for array in arrays]


@pytest.mark.parametrize("kind", [pa.int8(), pa.int32(), pa.int64(), pa.float32(), pa.float64()])
def test_numbers(kind: pa.DataType) -> None:
    chunked = pa.chunked_array([pa.array([1, 2, 3], kind).slice(1), pa.array([], kind), pa.array([4], kind)])
    assert numbers(chunked).tolist() == [2, 3, 4]
    assert numbers(chunked.slice(0, 0)).dtype == kind.to_pandas_dtype()


@given(st.lists(st.none() | VALUES[pa.timestamp("us", tz="UTC")]), st.integers(0, 3))
def test_times_are_those_of_pyarrow(values: list[datetime | None], first: int) -> None:
    whole = column(values, TIME)
    chunked = pa.chunked_array([whole.slice(first), whole], TIME)
    assert times(chunked) == chunked.to_pylist()
    assert all(one is None or one.tzinfo is UTC for one in times(chunked))


def test_pandas_is_not_loaded() -> None:
    code = (
        "import sys, io, numpy as np, pyarrow as pa; from heartbeat_core.formats import columns, parquet as tables\n"
        "text = columns.column(['a', None], pa.string())\n"
        "made = [text, columns.list_column([np.ones(2, 'f4')] * 2), columns.column([1, 2], pa.int8())]\n"
        "table = pa.Table.from_arrays(made, names=['a', 'b', 'c'])\n"
        "back = tables.from_parquet(tables.to_parquet(table))\n"
        "moments = columns.column([columns._EPOCH, None], columns.TIME)\n"
        "columns.times(pa.chunked_array([moments]))\n"
        "columns.list_values(back.column('b')), back.column('a').to_pylist(), columns.numbers(table.column('c'))\n"
        "sys.exit('pandas' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
