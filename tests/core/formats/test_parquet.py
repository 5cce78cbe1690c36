"""Parquet parts and their footers, and the tables that users bring."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heartbeat_core.errors import InputError
from heartbeat_core.formats.parquet import (
    FOOTER_TAIL_BYTES,
    PartWriter,
    footer_length,
    footer_rows,
    from_parquet,
    iter_parquet_rows,
    to_parquet,
)
from heartbeat_core.formats.records import read_records


def small_table(n_rows: int = 3) -> pa.Table:
    return pa.table({"text": pa.array(["ä"] * n_rows, pa.string()), "number": pa.array(range(n_rows), pa.int64())})


def wide_table() -> pa.Table:
    """A table with a footer that is longer than the tail which is read first."""
    return pa.table({f"a column with a long name, number {i:06d}": [1] for i in range(2_000)})


def test_parquet_round_trip() -> None:
    table = small_table()
    assert from_parquet(to_parquet(table)).equals(table)
    assert from_parquet(to_parquet(table), ["number"]).column_names == ["number"]
    assert from_parquet(to_parquet(small_table(0))).schema == table.schema


def test_the_same_table_gives_the_same_bytes() -> None:
    assert to_parquet(small_table()) == to_parquet(small_table())


def test_rows_that_come_in_pieces_make_row_groups_of_a_size() -> None:
    """Engines read row groups side by side, and small ones slowly."""
    table = pa.table({"number": pa.array(range(10_000), pa.int64())})
    writer = PartWriter(row_group_bytes=16_000)
    for start in range(0, 10_000, 300):
        writer.add(table.slice(start, 300))
    file = pq.ParquetFile(io.BytesIO(writer.finish()))
    assert file.read().equals(table)
    groups = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    assert all(1_000 <= n <= 2_000 for n in groups[:-1])
    # One large table is divided, and a small one is not.
    whole = PartWriter(row_group_bytes=16_000)
    whole.add(table)
    file = pq.ParquetFile(io.BytesIO(whole.finish()))
    assert [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)] == [2_000] * 5
    assert pq.ParquetFile(io.BytesIO(to_parquet(table))).num_row_groups == 1


def test_all_but_single_floats_are_compressed() -> None:
    floats = [pa.float32(), pa.float64(), pa.list_(pa.field("element", pa.float32(), nullable=False))]
    schema = pa.schema([("one", floats[0]), ("wide", floats[1]), ("many", floats[2]), ("text", pa.string())])
    table = pa.table({"one": [1.0] * 9, "wide": [1.0] * 9, "many": [[1.0] * 9] * 9, "text": ["a"] * 9}, schema)
    group = pq.ParquetFile(io.BytesIO(to_parquet(table))).metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    assert {one.path_in_schema: one.compression for one in columns} == {
        "one": "UNCOMPRESSED",
        "wide": "ZSTD",
        "many.list.element": "ZSTD",
        "text": "ZSTD",
    }


def test_a_writer_without_a_table_knows_no_schema() -> None:
    with pytest.raises(ValueError, match="no table was added"):
        PartWriter().finish()


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match=r"^no column colour, shape$"):
        from_parquet(to_parquet(small_table()), ["text", "shape", "colour"])


@pytest.mark.parametrize("n_rows", [0, 1, 3, 10_000])
def test_footer_rows_of_a_whole_file_and_of_its_tail(n_rows: int) -> None:
    data = to_parquet(small_table(n_rows))
    length = footer_length(data[-8:])
    assert footer_rows(data) == n_rows
    assert footer_rows(data[-length:]) == n_rows
    assert footer_rows(data[-length - 1 :]) == n_rows
    assert length == len(data) - data.rindex(footer_start(data))


def footer_start(data: bytes) -> bytes:
    """Return the serialised footer, taken by the format's definition."""
    n_bytes = int.from_bytes(data[-8:-4], "little")
    return data[-8 - n_bytes :]


def test_a_footer_that_is_longer_than_the_tail() -> None:
    data = to_parquet(wide_table())
    tail = data[-FOOTER_TAIL_BYTES:]
    length = footer_length(tail)
    assert length > len(tail)
    with pytest.raises(InputError, match=f"its footer takes {length} bytes, and only {FOOTER_TAIL_BYTES} were read"):
        footer_rows(tail)
    assert footer_rows(data[-length:]) == 1


@pytest.mark.parametrize("missing", [1, 4, 8, 100])
def test_a_file_that_broke_off_has_no_footer(missing: int) -> None:
    with pytest.raises(InputError, match="not a Parquet file: "):
        footer_rows(to_parquet(small_table())[:-missing])


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1PAR1", b"\0" * 20, b"\0\0\0\0PAR1", b"PAR1" + b"\x05\0\0\0PAR1"])
def test_what_is_no_parquet(data: bytes) -> None:
    for read in (from_parquet, footer_rows):
        with pytest.raises(InputError, match=r"^not a Parquet file: ") as caught:
            read(data)
        assert "\n" not in str(caught.value)


def test_any_damaged_byte_is_a_named_error_or_harmless() -> None:
    data = to_parquet(small_table(50))
    refusals = []
    for at in range(len(data)):
        damaged = data[:at] + bytes([data[at] ^ 0x90]) + data[at + 1 :]
        readers: tuple[Callable[[bytes], object], ...] = (
            from_parquet,
            footer_rows,
            lambda bytes_: read_records(bytes_, ".parquet", "m"),
            lambda bytes_: list(iter_parquet_rows(bytes_, ["text", "number"])),
        )
        for read in readers:
            try:
                read(damaged)
            except InputError as error:
                refusals.append(str(error))
    assert len(refusals) > len(data)
    assert not any("\n" in text for text in refusals)


@pytest.mark.parametrize("batch_rows", [1, 3, 10, 1000])
@pytest.mark.parametrize("row_group_size", [4, 10])
def test_rows_one_after_the_other(batch_rows: int, row_group_size: int) -> None:
    sink = io.BytesIO()
    pq.write_table(small_table(10), sink, row_group_size=row_group_size)
    data = sink.getvalue()
    expected = [("ä", i) for i in range(10)]
    assert list(iter_parquet_rows(data, ["text", "number"], batch_rows)) == expected
    assert list(iter_parquet_rows(data, ("number",), batch_rows)) == [(i,) for i in range(10)]


def test_rows_have_the_order_of_the_columns_that_were_asked_for() -> None:
    assert list(iter_parquet_rows(to_parquet(small_table(2)), ["number", "text"])) == [(0, "ä"), (1, "ä")]


def test_rows_with_nulls_and_no_rows() -> None:
    table = pa.table({"a": pa.array([None, 1]), "b": pa.array(["x", None])})
    assert list(iter_parquet_rows(to_parquet(table), ["a", "b"])) == [(None, "x"), (1, None)]
    assert list(iter_parquet_rows(to_parquet(small_table(0)), ["text"])) == []


def test_rows_of_columns_that_are_not_there_or_there_twice() -> None:
    with pytest.raises(InputError, match=r"^no column colour, shape$"):
        next(iter_parquet_rows(to_parquet(small_table()), ["text", "shape", "colour"]))
    twice = pa.table([pa.array([1]), pa.array([2]), pa.array([3])], names=["a", "b", "a"])
    assert list(iter_parquet_rows(to_parquet(twice), ["b"])) == [(2,)]
    with pytest.raises(InputError, match=r"^two columns are called 'a'$"):
        next(iter_parquet_rows(to_parquet(twice), ["b", "a"]))


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1PAR1", b"\0\0\0\0PAR1"])
def test_rows_of_what_is_no_parquet(data: bytes) -> None:
    with pytest.raises(InputError, match=r"^not a Parquet file: ") as caught:
        next(iter_parquet_rows(data, ["a"]))
    assert "\n" not in str(caught.value)


def test_a_date_that_python_cannot_hold_is_damage() -> None:
    data = to_parquet(pa.table({"when": pa.array([0, 2**62], pa.timestamp("us"))}))
    with pytest.raises(InputError, match=r"^not a Parquet file: "):
        list(iter_parquet_rows(data, ["when"]))


def test_rows_before_the_damage_are_read() -> None:
    sink = io.BytesIO()
    pq.write_table(small_table(10), sink, row_group_size=5, use_dictionary=False, compression="none")
    data = bytearray(sink.getvalue())
    start = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(1).column(0).data_page_offset
    data[start : start + 10] = bytes(10)
    rows = iter_parquet_rows(bytes(data), ["text", "number"], batch_rows=5)
    assert [next(rows) for _ in range(5)] == [("ä", i) for i in range(5)]
    with pytest.raises(InputError, match=r"^not a Parquet file: "):
        next(rows)


CSV = b"path,label,patient\na.wav,normal,007\nb.wav,,\n"


def test_csv() -> None:
    assert read_records(CSV, ".csv", "m.csv") == {
        "path": ["a.wav", "b.wav"],
        "label": ["normal", None],
        "patient": ["007", None],
    }


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\xef\xbb\xbfpath,b\nx,y\n", {"path": ["x"], "b": ["y"]}),
        (b"path,b\r\nx,y\r\n", {"path": ["x"], "b": ["y"]}),
        (b"path,b\rx,y\r", {"path": ["x"], "b": ["y"]}),
        (b"path,b\nx,y", {"path": ["x"], "b": ["y"]}),
        (b'path,b\n"line\nbreak.wav","a ""word"", two"\n', {"path": ["line\nbreak.wav"], "b": ['a "word", two']}),
        (b'path,b\r\n"line\r\nbreak",y\r\n', {"path": ["line\r\nbreak"], "b": ["y"]}),
        (b'"the\npath",b\nx,y\n', {"the\npath": ["x"], "b": ["y"]}),
        (b'path,b\n"",\n', {"path": [None], "b": [None]}),
        (b"path\n007\n1e5\n1.0\n-0\n", {"path": ["007", "1e5", "1.0", "-0"]}),
        (b"path\nNA\nnull\nNaN\nNone\ntrue\n", {"path": ["NA", "null", "NaN", "None", "true"]}),
        (b"path\n2024-01-01\n2024-01-01T00:00:00Z\n", {"path": ["2024-01-01", "2024-01-01T00:00:00Z"]}),
        (b"path\nx\n\n\ny\n", {"path": ["x", "y"]}),
        (b"path\n x \n", {"path": [" x "]}),
        (b"path,b\n", {"path": [], "b": []}),
        (b"path,b", {"path": [], "b": []}),
        ("päth\nü.wav\n".encode(), {"päth": ["ü.wav"]}),
        (b"path,,\nx,,\n", {"path": ["x"], "": [None]}),
    ],
)
def test_csv_cells_stay_as_they_are(data: bytes, expected: dict[str, list[str | None]]) -> None:
    assert read_records(data, ".csv", "m.csv") == expected


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "the first line, which names the columns, is empty"),
        (b"\n\n", "the first line, which names the columns, is empty"),
        (b"\xef\xbb\xbf", "the first line, which names the columns, is empty"),
        (b",,\n1,2,3\n", "the first line, which names the columns, is empty"),
        (b"a,b\n1\n", "line 2 has 1 cells, and the first line 2"),
        (b'a,b\n1,2\n"x\ny",2,3\n', "line 4 has 3 cells, and the first line 2"),
        (b"a,b,a\n1,2,3\n", "two columns are called 'a'"),
        (b'a,b\n"1,2\n', "unexpected end of data"),
    ],
)
def test_csv_that_cannot_be_read(data: bytes, told: str) -> None:
    assert_refused(data, ".csv", told)


def assert_refused(data: bytes, suffix: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        read_records(data, suffix, "the source")
    text = str(caught.value)
    assert text.startswith(f"the source: cannot be read as a {suffix} table: ")
    assert told in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"path": "a", "patient": "007"}\n{"path": "b"}\n', {"path": ["a", "b"], "patient": ["007", None]}),
        (b'{"path": "a"}\n{"b": "", "path": null}', {"path": ["a", None], "b": [None, None]}),
        (b'\xef\xbb\xbf{"path": "a"}\r\n\r\n{"path": "b"}\r\n', {"path": ["a", "b"]}),
        (b'{"path": 7}\n{"path": "x"}\n{"path": 1.5}\n', {"path": ["7", "x", "1.5"]}),
        (b'{"path": "2024-01-01"}\n', {"path": ["2024-01-01"]}),
        (b'{"path": 12345678901234567890}\n', {"path": ["12345678901234567890"]}),
        ('{"päth": "\u2028\\n"}\n'.encode(), {"päth": ["\u2028\n"]}),
    ],
)
def test_jsonl_values_stay_as_they_are(data: bytes, expected: dict[str, list[str | None]]) -> None:
    assert read_records(data, ".jsonl", "m.jsonl") == expected


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "it holds no records"),
        (b"\n \n", "it holds no records"),
        (b"{}\n", "it holds no records"),
        (b'{"a": 1}\n{"a": \n', "line 2: Expecting value"),
        (b'{"a": 1} {"a": 2}\n', "line 1: Extra data"),
        (b'{"a": {"b": 1}}\n', "line 1 is not a flat JSON object"),
        (b'{"a": 1}\n\n{"a": [1]}\n', "line 3 is not a flat JSON object"),
        (b"[1, 2]\n", "line 1 is not a flat JSON object"),
        (b'"a"\n', "line 1 is not a flat JSON object"),
        (b'[\n{"a": 1}\n]\n', "line 1: Expecting value"),
        (b'{"a": "\xff"}\n', "line 1: "),
    ],
)
def test_jsonl_that_cannot_be_read(data: bytes, told: str) -> None:
    assert_refused(data, ".jsonl", told)


def test_parquet_records() -> None:
    table = pa.table(
        {
            "path": ["a", "", None],
            "patient": pa.array([7, None, 9], pa.int32()),
            "kind": pa.array(["x", "y", "x"]).dictionary_encode(),
        }
    )
    assert read_records(to_parquet(table), ".parquet", "m.parquet") == {
        "path": ["a", None, None],
        "patient": ["7", None, "9"],
        "kind": ["x", "y", "x"],
    }


def test_parquet_records_of_several_row_groups() -> None:
    sink = io.BytesIO()
    pq.write_table(small_table(10), sink, row_group_size=3)
    assert read_records(sink.getvalue(), ".parquet", "m")["number"] == [str(i) for i in range(10)]


def test_parquet_without_rows_keeps_its_columns() -> None:
    assert read_records(to_parquet(small_table(0)), ".parquet", "m") == {"text": [], "number": []}


def test_parquet_that_cannot_be_read() -> None:
    assert_refused(b"", ".parquet", "Parquet")
    assert_refused(to_parquet(small_table())[:-3], ".parquet", "Parquet")
    twice = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    assert_refused(to_parquet(twice), ".parquet", "two columns are called 'a'")


def test_a_flipped_bit_in_a_page_is_noticed() -> None:
    values = np.random.default_rng(0).normal(size=4096).astype(np.float32)
    data = bytearray(to_parquet(pa.table({"amplitude": values})))
    data[len(data) // 2] ^= 1
    with pytest.raises(InputError, match="not a Parquet file"):
        from_parquet(bytes(data))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted in Linux's /proc")
def test_reading_starts_no_threads() -> None:
    code = """
import os, pyarrow
from heartbeat_core.formats.parquet import from_parquet, iter_parquet_rows, to_parquet
from heartbeat_core.formats.records import read_records
data = to_parquet(pyarrow.table({"path": ["a", "b"], "n": [1, 2]}))
before = len(os.listdir("/proc/self/task"))
from_parquet(data)
list(iter_parquet_rows(data, ["path", "n"]))
read_records(data, ".parquet", "table")
print(len(os.listdir("/proc/self/task")) - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"
