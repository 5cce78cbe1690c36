"""Headers of WFDB records."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat_core.databases.wfdb import Header, Signal, parse_header
from heartbeat_core.errors import InputError

TWO = """# before
a0001 2 2000 71332

a0001.wav 16+44 1 16 0 0 0 0 PCG
a0001.dat 16 1000 16 0 0 367 0 a long ECG
# Abnormal
"""


def test_signals_and_comments_are_told_apart() -> None:
    signals = (Signal("a0001.wav", "PCG"), Signal("a0001.dat", "a long ECG"))
    assert parse_header(TWO, "a.hea") == Header("a0001", 2000.0, 71332, signals, ("before", "Abnormal"))


def test_what_the_format_allows_beside() -> None:
    found = parse_header("100/2 1 360.5/720(10) 650000 12:00:00 01/01/2000\r\n100.dat 212\r\n", "a.hea")
    assert found == Header("100", 360.5, 650000, (Signal("100.dat", None),), ())


@pytest.mark.parametrize(
    ("first", "found"),
    [
        ("", "nothing"),
        ("# Normal", "nothing"),
        ("a0001", "'a0001'"),
        ("a0001 1 2000", "'a0001 1 2000'"),
        ("a0001 one 2000 9", "'a0001 one 2000 9'"),
        ("a0001 1 fast 9", "'a0001 1 fast 9'"),
        ("a0001 1 nan 9", "'a0001 1 nan 9'"),
        ("a0001 1 inf 9", "'a0001 1 inf 9'"),
        ("a0001 1 0 9", "'a0001 1 0 9'"),
        ("a0001 0 2000 9", "'a0001 0 2000 9'"),
        ("a0001 1 2000 0", "'a0001 1 2000 0'"),
        ("x" * 100, f"'{'x' * 60}…'"),
    ],
)
def test_a_first_line_that_is_none_is_shown(first: str, found: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_header(first, "a.hea")
    expected = "a.hea: expected a first line 'record signals rate samples', such as 'a0001 1 2000 71332', found "
    assert str(caught.value) == expected + found


@pytest.mark.parametrize("n_lines", [0, 1, 3])
def test_as_many_signals_as_the_first_line_says(n_lines: int) -> None:
    with pytest.raises(InputError, match=rf"^a.hea: expected 2 signals, as its first line says, found {n_lines}$"):
        parse_header("a 2 2000 9\n" + "a.dat 16\n" * n_lines, "a.hea")


@given(st.text())
def test_any_text_is_a_header_or_is_refused_in_one_line(text: str) -> None:
    try:
        told = parse_header(text, "a.hea").record
    except InputError as error:
        told = str(error)
    assert len(told.splitlines()) == 1
