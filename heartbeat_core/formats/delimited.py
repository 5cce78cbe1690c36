"""CSV tables as databases and spreadsheets write them: bytes to the names of the columns and rows of text.

Cells are divided by ``;``, a tab or ``,``: whichever the first line has most of, outside quotes. The text is UTF-8,
UTF-16 or Windows-1252. Where ``;`` divides the cells, a comma in a number is a decimal comma and becomes a point.
"""

from __future__ import annotations

import codecs
import csv
import io
import re

_REFUSED = {
    b"PK\x03\x04": "it is an Excel (.xlsx) or another ZIP file: save it as CSV",
    b"\xd0\xcf\x11\xe0": "it is an Excel (.xls) file: save it as CSV",
    b"PAR1": "it is a Parquet file: let its name end in .parquet",
    b"\x1f\x8b": "it is a gzip file: unpack it",
}
"""What a file is that begins with these bytes, and what to do."""
_ENCODINGS = {
    "utf-8": "UTF-8",
    "utf-8-sig": "UTF-8",
    "utf-16": "UTF-16",
    "utf-16-le": "UTF-16",
    "utf-16-be": "UTF-16",
    "cp1252": "Windows-1252",
}
_DELIMITERS = {";": "';'", "\t": "a tab", ",": "','"}
"""Delimiters, and their names for messages. If a line has as many of two, the earlier one counts."""
_QUOTED = r'(?:^|(?<=[;\t,]))"(?:[^"]|"")*"'
_FIRST_LINE = re.compile(rf"(?:{_QUOTED}|[^\r\n])*")
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+(?:[eE][+-]?[0-9]+)?")
_SHOWN_CHARACTERS = 100


def read_delimited(data: bytes) -> tuple[list[str], list[list[str]]]:
    r"""Return the names of the columns and the rows, each as long as the names; empty lines are left out.

    Parameters
    ----------
    data : bytes
        The whole file.

    Returns
    -------
    tuple[list[str], list[list[str]]]
        The names as they are spelled, and the rows.

    Raises
    ------
    ValueError
        The bytes are no such table. The message says how they were read and what was found.
    csv.Error
        A quote is not closed, or a cell is too long for the ``csv`` module.

    Examples
    --------
    >>> read_delimited("Datei;Größe\na.wav;3,5\n".encode("cp1252"))
    (['Datei', 'Größe'], [['a.wav', '3.5']])
    """
    text, encoding = _decode(data)
    delimiter = _find_delimiter(text)
    how = f"read as {encoding}, with {_DELIMITERS[delimiter]} between cells"
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        names = next(lines, [])
        if not any(name.strip() for name in names):
            raise ValueError("the first line, which names the columns, is empty")
        rows = []
        for row in lines:
            if row and len(row) != len(names):
                raise ValueError(
                    f"line {lines.line_num} has {len(row)} cells, and the first line {len(names)} ({how}): {_show(row)}"
                )
            if row:
                rows.append([_with_point(cell) for cell in row] if delimiter == ";" else row)
    except csv.Error as error:
        raise csv.Error(f"line {lines.line_num}: {error} ({how})") from None
    return names, rows


def _decode(data: bytes) -> tuple[str, str]:
    """Return the text, and the name of its encoding."""
    for beginning, told in _REFUSED.items():
        if data.startswith(beginning):
            raise ValueError(told)
    encoding = _find_encoding(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"it was taken for {_ENCODINGS[encoding]} and is not, from byte {error.start} on: save it as CSV in UTF-8"
        ) from None
    if "\0" in text:
        raise ValueError("it is a binary file, not text: save it as CSV")
    return text, _ENCODINGS[encoding]


def _find_encoding(data: bytes) -> str:
    if data.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    # In UTF-16, one of the two bytes of a Latin letter is zero, always the same one.
    even, odd = data[::2].count(0), data[1::2].count(0)
    if max(even, odd) > len(data) / 8 and even != odd:
        return "utf-16-be" if even > odd else "utf-16-le"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _find_delimiter(text: str) -> str:
    found = _FIRST_LINE.match(text)
    line = re.sub(_QUOTED, "", found.group() if found else "")
    if not any(delimiter in line for delimiter in _DELIMITERS):
        return ","
    return max(_DELIMITERS, key=line.count)


def _with_point(cell: str) -> str:
    return cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell.strip()) else cell


def _show(cells: list[str]) -> str:
    """Return cells for a message, up to the first web address, which may hold a secret."""
    text, separator, _ = ", ".join(map(repr, cells)).partition("://")
    if len(text) > _SHOWN_CHARACTERS:
        return f"{text[:_SHOWN_CHARACTERS]}…"
    return f"{text}{separator}…" if separator else text
