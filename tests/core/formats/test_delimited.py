"""Tables as databases and spreadsheets write them: every form is read back equal, or refused with what was seen."""

from __future__ import annotations

import csv
import io
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from heartbeat_core.errors import InputError
from heartbeat_core.formats.records import read_records
from tests.naive import with_decimal_point

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-be-bom", "utf-16-le", "utf-16-be", "cp1252")
LETTERS = "abXYZ019 -.,;\t\"'\n\r|+eEäß"
NUMBERS = ("3,5", "-0,25", " 1,5 ", "1,5e-3", "+2,0E5", "1,2,3", ",5", "5,", "1.234,5", "1,5 m", "12", "3.5")


def encode(text: str, encoding: str) -> bytes:
    return b"\xfe\xff" + text.encode("utf-16-be") if encoding == "utf-16-be-bom" else text.encode(encoding)


@st.composite
def tables(draw: st.DrawFn) -> tuple[bytes, str, list[str], list[list[str]]]:
    """Return the bytes of a table, its delimiter, the names of its columns, and its rows."""
    encoding, delimiter = draw(st.sampled_from(ENCODINGS)), draw(st.sampled_from(";\t,"))
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    # What is not quoted in a name would look like the delimiter.
    plain = st.text("abXYZ019 -.|äß", max_size=6) if quoting == csv.QUOTE_MINIMAL else st.text(LETTERS, max_size=6)
    names = draw(st.lists(plain, min_size=1, max_size=5, unique_by=str.strip))
    assume(any(name.strip() for name in names))
    beyond = "" if encoding in ("cp1252", "utf-16-le", "utf-16-be") else "中Ж😀\u2028"
    cell = st.text(LETTERS + beyond, max_size=8) | st.sampled_from(NUMBERS)
    rows = draw(st.lists(st.lists(cell, min_size=len(names), max_size=len(names)), max_size=6))
    if len(names) == 1:
        delimiter = ","  # Nothing in the first line tells another one.
    sink = io.StringIO()
    csv.writer(sink, delimiter=delimiter, quoting=quoting).writerows([names, *rows])
    return encode(sink.getvalue(), encoding), delimiter, names, rows


@given(tables())
def test_whatever_a_writer_writes_is_read_back(table: tuple[bytes, str, list[str], list[list[str]]]) -> None:
    data, delimiter, names, rows = table
    if delimiter == ";":
        rows = [[with_decimal_point(cell) for cell in row] for row in rows]
    found = read_records(data, ".csv", "t.csv")
    assert list(found) == [name.strip() for name in names]
    assert [list(row) for row in zip(*found.values(), strict=True)] == [[cell or None for cell in row] for row in rows]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("delimiter", [";", "\t", ","])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_each_form(encoding: str, delimiter: str, end: str) -> None:
    lines = ["Datei; Größe (cm) ;Datum", "a b.wav;1;29.02.2024", 'ü.wav;;"x"']
    text = "".join(line.replace(";", delimiter) + end for line in lines)
    assert read_records(encode(text, encoding), ".csv", "t.csv") == {
        "Datei": ["a b.wav", "ü.wav"],
        "Größe (cm)": ["1", None],
        "Datum": ["29.02.2024", "x"],
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("path;a\nx,1;3,5\n", {"path": ["x,1"], "a": ["3.5"]}),
        ("path,a\nx;1,3.5\n", {"path": ["x;1"], "a": ["3.5"]}),
        ('path,a\nx,"3,5"\n', {"path": ["x"], "a": ["3,5"]}),
        ("path\ta\nx\t3,5\n", {"path": ["x"], "a": ["3,5"]}),
        # Quotes do not count, and the most frequent delimiter wins; of equals, the semicolon.
        ('"a,b,c";d\n1;2\n', {"a,b,c": ["1"], "d": ["2"]}),
        ('"a;b;c",d\n1,2\n', {"a;b;c": ["1"], "d": ["2"]}),
        ('"a ""x;y"" b",d\n1,2\n', {'a "x;y" b': ["1"], "d": ["2"]}),
        ("path,label,notes (a;b)\n1,2,3\n", {"path": ["1"], "label": ["2"], "notes (a;b)": ["3"]}),
        ("path;Age, years\n1;2\n", {"path": ["1"], "Age, years": ["2"]}),
        ('size 5" tall;a,\n1;2\n', {'size 5" tall': ["1"], "a,": ["2"]}),
        ("path\nx;y\n", {"path": ["x;y"]}),
    ],
)
def test_the_first_line_says_what_divides_the_cells(text: str, expected: dict[str, list[str]]) -> None:
    assert read_records(text.encode(), ".csv", "t.csv") == expected


@pytest.mark.parametrize("cell", [*NUMBERS, "a,5", "5,a", "", "1,5e", "--1,5", "١,٥", "1,5\n"])
def test_a_comma_in_a_number_becomes_a_point(cell: str) -> None:
    expected = with_decimal_point(cell) or None
    assert read_records(f'a;b\n"{cell}";x\n'.encode(), ".csv", "t.csv")["a"] == [expected]


def zipped() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as file:
        file.writestr("xl/workbook.xml", "<workbook/>")
    return sink.getvalue()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (zipped(), "it is an Excel (.xlsx) or another ZIP file: save it as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), "it is an Excel (.xls) file: save it as CSV"),
        (b"PAR1\x15\x04", "it is a Parquet file: let its name end in .parquet"),
        (b"\x1f\x8b\x08\x00", "it is a gzip file: unpack it"),
        (b"RIFF\x24\x00\x00\x00WAVE" + bytes(99), "it is a binary file, not text: save it as CSV"),
        (b"path,label\na.wav,\0\n", "it is a binary file, not text: save it as CSV"),
        (b"path\n\x81\xff\n", "it was taken for Windows-1252 and is not, from byte 5 on: save it as CSV in UTF-8"),
        (b"\xef\xbb\xbfpath\n\xfc\n", "it was taken for UTF-8 and is not, from byte 5 on: save it as CSV in UTF-8"),
        (b"\xff\xfep\x00a", "it was taken for UTF-16 and is not, from byte 4 on: save it as CSV in UTF-8"),
        (
            "Datei;Größe\na;3;x\n".encode("cp1252"),
            "line 2 has 3 cells, and the first line 2 (read as Windows-1252, with ';' between cells): 'a', '3', 'x'",
        ),
        (
            "a\tb\nx\n".encode("utf-16"),
            "line 2 has 1 cells, and the first line 2 (read as UTF-16, with a tab between cells): 'x'",
        ),
        (b'a,b\nx,"y\n', "line 2: unexpected end of data (read as UTF-8, with ',' between cells)"),
        (b" ; \n1;2\n", "the first line, which names the columns, is empty"),
        (b"a, a \n1,2\n", "two columns are called 'a'"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_was_seen(data: bytes, told: str) -> None:
    with pytest.raises(InputError) as caught:
        read_records(data, ".csv", "t.csv")
    assert str(caught.value) == f"t.csv: cannot be read as a .csv table: {told}"


def test_a_message_is_short_and_shows_no_address() -> None:
    data = b"path,b\nx,https://u:hunter2@h/a.wav?sig=hunter2,hunter2\n"
    with pytest.raises(InputError, match=r": 'x', 'https://…$") as caught:
        read_records(data, ".csv", "t.csv")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(InputError) as caught:
        read_records(b"a,b\n" + b"x," * 5_000, ".csv", "t.csv")
    assert len(str(caught.value)) < 300


def test_a_number_that_is_none_is_an_empty_cell() -> None:
    table = pa.table({"patient": [33151.0, None, 7.5, float("nan")]})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    assert read_records(sink.getvalue(), ".parquet", "t.parquet")["patient"] == ["33151.0", None, "7.5", None]
    lines = b'{"patient": 33151.0}\n{"patient": NaN}\n{"patient": "nan"}\n'
    assert read_records(lines, ".jsonl", "t.jsonl")["patient"] == ["33151.0", None, "nan"]
