"""Kept columns: their names in the tables, and the type that holds all their values."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat_core.errors import InputError
from heartbeat_core.formats.kept import KeptColumn, KeptTypes, check_names, convert, find_name, kept_name
from tests.naive import kept_type


def type_of(*values: str | None) -> str:
    types = KeptTypes(["x"])
    for number, value in enumerate(values):
        types.add([value], f"{number}.wav")
    [column] = types.columns()
    return column.type


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("site", "site"),
        ("  Age ", "age"),
        ("Recorded At", "recorded_at"),
        ("recordedAt", "recorded_at"),
        ("PatientID", "patient_id"),
        ("BMI", "bmi"),
        ("Größe (cm)", "grosse_cm"),
        ("Élève n° 1", "eleve_n_1"),
        ("Højde/Łódź", "hojde_lodz"),
        ("Systolic murmur timing", "systolic_murmur_timing"),
        ("__x--y__", "x_y"),
        ("中", ""),
    ],
)
def test_a_name_becomes_lower_snake_case(name: str, column: str) -> None:
    assert kept_name(name) == column == kept_name(column)


@given(st.text())
def test_any_name_becomes_a_column_or_nothing(name: str) -> None:
    column = kept_name(name)
    assert set(column) <= set("abcdefghijklmnopqrstuvwxyz0123456789_")
    assert kept_name(column) == column


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["中"], "'中' has no letter of English and no digit: rename the column"),
        ([""], "'' has no letter of English and no digit: rename the column"),
        (["Prob murmur"], "'Prob murmur' would be the column 'prob_murmur', a name that the results have or reserve"),
        (["URI"], "'URI' would be the column 'uri', a name that the results have or reserve"),
        (["Site", "site "], "'Site' and 'site ' would both be the column 'site': rename one"),
    ],
)
def test_names_that_cannot_stand_beside_the_others_are_refused(names: list[str], told: str) -> None:
    with pytest.raises(InputError) as caught:
        check_names(names, ["uri", "recording_id"])
    assert str(caught.value).startswith(f"--keep-columns: {told}")
    check_names(["site", "age", "probe"], ["uri", "recording_id"])


def test_a_column_is_found_in_any_case_and_best_as_it_is_written() -> None:
    assert find_name(["SITE", "Site", "age"], "Site") == "Site"
    assert find_name(["SITE", "Site", "age"], "site") == "SITE"
    assert find_name(["SITE"], "sites") is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((), "text"),
        ((None, None), "text"),
        (("1", None, "-7", "0"), "int64"),
        ((str(2**63 - 1), str(-(2**63))), "int64"),
        (("007", "12"), "text"),
        (("+49", "12"), "text"),
        (("1_000",), "text"),
        (("١٢",), "text"),
        (("1", "1.5"), "float64"),
        (("1e5", "-.5", "3."), "float64"),
        (("3.0", "nan", "-inf"), "float64"),
        (("1", "nan"), "float64"),
        (("00.5",), "text"),
        (("1e999",), "text"),
        # An identifier that a float would round.
        ((str(2**63),), "float64"),
        ((str(2**63 + 1),), "text"),
        ((str(2**53 + 1), "0.5"), "text"),
        (("1" * 400,), "text"),
        (("True", "false", " TRUE "), "bool"),
        (("True", "1"), "text"),
        (("yes",), "text"),
        (("2024-02-29", None, "2024-02-29T23:59:59.123456Z"), "timestamp"),
        (("2024-02-29 10:00", "2024-02-29 10:00:00+02:00"), "timestamp"),
        (("2023-02-29",), "text"),
        (("29.02.2024",), "text"),
        (("20240229", "2024-02-29"), "text"),
        (("2024-02-29", "soon"), "text"),
        (("0001-01-01T00:00+14:00",), "text"),
        (("AV", "12", "1.5", "true"), "text"),
    ],
)
def test_the_first_type_that_holds_all_values(values: tuple[str | None, ...], expected: str) -> None:
    assert type_of(*values) == expected
    assert type_of(*reversed(values)) == expected


VALUES = (
    st.none()
    | st.integers(-(2**65), 2**65).map(str)
    | st.floats().map(str)
    | st.booleans().map(str)
    | st.text("0123456789.-+eEnaif_ ", max_size=6).filter(str.strip)
)


@given(st.lists(VALUES, max_size=4))
def test_the_type_is_that_of_trying_each_on_each(values: list[str | None]) -> None:
    assert type_of(*values) == kept_type(values)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_integers_come_back(values: list[int]) -> None:
    assert type_of(*map(str, values)) == "int64"
    assert [convert(str(value), "int64") for value in values] == values


@given(st.lists(st.floats(allow_nan=False), min_size=1))
def test_floats_come_back(values: list[float]) -> None:
    assert type_of(*map(str, values)) == "float64"
    assert [convert(str(value), "float64") for value in values] == values


@given(st.lists(st.datetimes(timezones=st.just(UTC)), min_size=1))
def test_times_come_back(values: list[datetime]) -> None:
    assert type_of(*map(str, values)) == "timestamp"
    assert [convert(value.isoformat(), "timestamp") for value in values] == values


def test_values_as_pythons_own() -> None:
    assert convert(None, "int64") is None
    assert convert(" 7 ", "int64") == 7
    assert math.isnan(convert("NaN", "float64"))
    assert convert("FALSE", "bool") is False
    assert convert("2024-03-01", "timestamp") == datetime(2024, 3, 1, tzinfo=UTC)
    assert convert("2024-03-01 01:00+02:00", "timestamp").isoformat() == "2024-02-29T23:00:00+00:00"
    assert convert(" 007 ", "text") == " 007 "
    with pytest.raises(ValueError, match="leading zeros"):
        convert("007", "int64")


def test_types_that_are_settled_refuse_what_they_cannot_hold() -> None:
    settled = (KeptColumn("Age", "int64"), KeptColumn("note", "text"))
    types = KeptTypes(["Age", "note"], settled)
    types.add(["3", "x"], "a.wav")
    types.add([None, None], "b.wav")
    assert types.columns() == settled
    with pytest.raises(InputError) as caught:
        types.add(["3.5", "x"], "/in/c.wav")
    assert str(caught.value) == (
        "/in/c.wav: the column 'Age' has '3.5', which is not int64, the type of this column in the output: correct the "
        "value, leave it empty, or name another output folder"
    )
    # Nothing is guessed from the values of an update.
    assert KeptTypes(["Age", "note"], settled).columns() == settled


def test_text_that_no_table_can_hold_is_refused() -> None:
    with pytest.raises(InputError, match=r"^a\.wav: the column 'x' has '\\udcff', which is not valid Unicode: correct"):
        KeptTypes(["x"]).add(["\udcff"], "a.wav")
