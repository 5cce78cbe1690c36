"""Labels: cells, names, ordered sets, and what they say of rows, against plain loops."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat_core.errors import InputError
from heartbeat_core.labels import (
    MAX_LABELS,
    ORIGINAL_LABELS,
    Labels,
    Targets,
    check_name,
    common_labels,
    find_label,
    join_cell,
    joined,
    ordered_counts,
    parse_cell,
    settle_labels,
)
from tests import naive

VALVES: Labels = ("AS", "MR", "MS", "N")
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_]{0,8}", fullmatch=True)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    return text


@st.composite
def targets(draw: st.DrawFn, labels: Labels = VALVES) -> Targets:
    """Draw a few rows: with one label, several, all or none."""
    rows = draw(st.lists(st.lists(st.booleans(), min_size=len(labels), max_size=len(labels)), max_size=12))
    return Targets(labels, np.array(rows, bool).reshape(-1, len(labels)))


# Cells


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, ()),
        ("", ()),
        (" \t", ()),
        ("murmur", ("murmur",)),
        (" Murmur ", ("Murmur",)),
        ("normal|extrahls|extrastole", ("normal", "extrahls", "extrastole")),
        (" b | a ", ("b", "a")),
        ("a|b|a", ("a", "b")),
        ("0|1", ("0", "1")),
    ],
)
def test_a_cell_holds_one_label_several_or_none(text: str | None, found: tuple[str, ...]) -> None:
    assert parse_cell(text, "here") == found


@pytest.mark.parametrize("text", ["|", "a|", "|a", "a||b", "a| |b", "a|b c", "a/b"])
def test_a_cell_with_a_gap_or_with_a_name_that_cannot_be_is_refused(text: str) -> None:
    assert refusal(lambda: parse_cell(text, "labels.csv, row 7")).startswith("labels.csv, row 7: '")


def test_the_message_of_a_gap_shows_the_cell() -> None:
    told = "labels.csv, row 7: 'AS|' has nothing on one side of a '|': name a label on each"
    assert refusal(lambda: parse_cell(" AS| ", "labels.csv, row 7")) == told


@given(st.lists(NAMES, max_size=6), st.sampled_from(["|", " |", "| ", "  |  "]))
def test_any_names_are_parsed_as_they_were_joined(names: list[str], separator: str) -> None:
    assert parse_cell(separator.join(names), "here") == tuple(dict.fromkeys(names))


@pytest.mark.parametrize("name", ["", "two words", "é", "a-b", "_a", "a.b", "a\n", "x" * 64, "prob=1", "Ä", "١"])
def test_a_name_that_cannot_be_a_part_of_a_column_is_refused_with_the_way_out(name: str) -> None:
    with pytest.raises(InputError) as caught:
        check_name(name, "labels.csv, row 3")
    text = str(caught.value)
    assert text.startswith(f"labels.csv, row 3: '{name}' cannot be a label")
    assert "--label-map" in text


@pytest.mark.parametrize("name", ["a", "9", "Absent", "AS_or_MR", "x" * 63])
def test_a_name_that_can_is_kept_as_it_is(name: str) -> None:
    assert check_name(name, "here") == name


@given(st.sets(st.sampled_from(VALVES)), st.randoms(use_true_random=False))
def test_a_joined_cell_has_the_order_and_the_spelling_of_the_labels(names: set[str], random: Random) -> None:
    spelled = [name.lower() for name in names]
    random.shuffle(spelled)
    cell = join_cell(spelled, VALVES)
    assert cell == ("|".join(name for name in VALVES if name in names) or None)
    assert set(parse_cell(cell, "here")) == names


# Sets


@pytest.mark.parametrize("found", [[], ["murmur"], ["Murmur", "NORMAL", "normal"], ["extraHLS"], list(ORIGINAL_LABELS)])
def test_labels_that_are_all_among_the_originals_keep_its_five(found: list[str]) -> None:
    assert settle_labels(found) == ORIGINAL_LABELS


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (["MS", "AS", "MR"], ("AS", "MR", "MS")),
        (["Present", "absent", "Unknown", "absent"], ("absent", "Present", "Unknown")),
        (["normal", "abnormal"], ("abnormal", "normal")),
        (["normal", "murmur", "other"], ("murmur", "normal", "other")),
        (["2", "10", "1"], ("1", "10", "2")),
    ],
)
def test_any_other_labels_are_taken_as_found_in_alphabetical_order(found: list[str], expected: Labels) -> None:
    assert settle_labels(found) == expected
    assert settle_labels(reversed(found)) == expected


def test_declared_labels_have_the_order_of_the_user_and_may_be_more_than_occur() -> None:
    assert settle_labels(["b", "A"], ["c", "b", "a"]) == ("c", "b", "a")
    assert settle_labels(["normal"], ["normal", "abnormal"]) == ("normal", "abnormal")
    assert settle_labels([], ["normal", "murmur"]) == ("normal", "murmur")


def test_a_label_that_was_not_declared_is_refused_with_the_way_out() -> None:
    text = refusal(lambda: settle_labels(["a", "z", "y"], ["b", "a"], "labels.csv"))
    assert text == (
        "labels.csv: the label 'y' is not one of those of --labels-are (b, a): add it there, or turn it into one of "
        "them with --label-map"
    )


@pytest.mark.parametrize(
    ("found", "declared"),
    [(["a", "A"], None), (["b"], ["b", "B"]), ([], ["b", "b"]), (["x", "Normal", "normal"], None)],
)
def test_labels_that_differ_only_in_capitals_are_refused(found: list[str], declared: list[str] | None) -> None:
    assert "would be one column: make them one with --label-map" in refusal(lambda: settle_labels(found, declared))


def test_a_declared_label_that_cannot_be_a_part_of_a_column_is_refused() -> None:
    text = refusal(lambda: settle_labels(["a"], ["a", "two words"], "labels.csv"))
    assert text.startswith("labels.csv: --labels-are: 'two words' cannot be a label")


def test_too_many_labels_are_hardly_labels() -> None:
    names = [f"patient{number:03d}" for number in range(MAX_LABELS + 1)]
    text = refusal(lambda: settle_labels(names, None, "labels.csv"))
    assert text.startswith(
        "labels.csv: 65 different labels, such as 'patient000' and 'patient001', are more than the 64"
    )
    assert "--label-column" in text
    assert len(settle_labels(names[1:])) == MAX_LABELS


@given(st.sets(NAMES.map(str.lower), max_size=8))
def test_settled_labels_hold_all_that_were_found(found: set[str]) -> None:
    labels = settle_labels(found)
    assert found <= set(labels)
    assert labels == (ORIGINAL_LABELS if found <= set(ORIGINAL_LABELS) else tuple(sorted(found)))


def test_a_label_is_found_in_any_case() -> None:
    assert find_label(" mr ", VALVES, "--drop-label") == "MR"
    assert (
        refusal(lambda: find_label("TR", VALVES, "--without"))
        == "--without: 'TR' is not a label; the labels are AS, MR, MS, N"
    )


def test_datasets_have_the_labels_of_the_one_that_has_all() -> None:
    assert common_labels([("a", "b"), ("c", "b", "a"), ()], ["x", "y", "z"]) == ("c", "b", "a")
    assert common_labels([("a", "b")], ["x"]) == ("a", "b")
    # Of equally many labels, the first dataset decides the order.
    assert common_labels([("b", "a"), ("a", "b")], ["x", "y"]) == ("b", "a")
    text = refusal(lambda: common_labels([("a", "b"), ("b", "c", "d")], ["x/", "y/"]))
    assert text == (
        "the datasets have different labels: b, c, d in y/, a, b in x/: build them with a --label-map that gives both "
        "the same labels"
    )


def test_counts_of_cells_have_the_order_of_the_labels() -> None:
    counts = {"MR|MS": 2, "N": 1, "AS|MR": 3, "AS": 4, "MS": 0}
    assert list(ordered_counts(counts, VALVES).items()) == [("AS", 4), ("N", 1), ("AS|MR", 3), ("MR|MS", 2)]


# Targets


@given(st.lists(st.integers(-1, 3), max_size=12))
def test_codes_come_back_as_they_were(codes: list[int]) -> None:
    rows = Targets.of_codes(np.array(codes, np.int64), VALVES)
    assert rows.labels == VALVES
    assert len(rows) == len(codes)
    assert rows.codes.tolist() == codes
    assert rows.codes.dtype == np.int64
    assert rows.cells() == [None if code < 0 else VALVES[code] for code in codes]


def test_codes_are_those_of_the_originals_labels_unless_others_are_named() -> None:
    assert Targets.of_codes(np.array([4])).labels == ORIGINAL_LABELS


@given(targets())
def test_cells_say_the_same_as_the_rows(rows: Targets) -> None:
    again = Targets.of_cells(rows.cells(), VALVES)
    assert np.array_equal(again.possible, rows.possible)
    assert again.possible.dtype == np.bool_


def test_a_cell_with_a_label_that_is_not_known_is_an_error() -> None:
    with pytest.raises(ValueError):
        Targets.of_cells(["TR"], VALVES)


@given(targets())
def test_what_rows_say_is_the_plain_loops(rows: Targets) -> None:
    possible = rows.possible.tolist()
    codes = [row.index(True) if sum(row) == 1 else -1 for row in possible]
    definite = [number for number, code in enumerate(codes) if code >= 0]
    present = sorted({codes[number] for number in definite})
    assert rows.codes.tolist() == codes
    assert rows.definite.tolist() == definite
    assert rows.present.tolist() == present
    assert rows.counts.tolist() == [codes.count(code) for code in range(4)]
    assert rows.labelled().tolist() == [number for number, row in enumerate(possible) if 0 < sum(row) < 4]
    allowed = [sum(row[code] for code in present) for row in possible]
    assert rows.informative().tolist() == [n for n, count in enumerate(allowed) if 0 < count < len(present)]
    np.testing.assert_allclose(rows.expected_counts, naive.expected_counts(possible, 4), rtol=1e-12)


@given(targets())
def test_strata_tell_rows_apart_by_what_they_say(rows: Targets) -> None:
    strata, possible = rows.strata.tolist(), rows.possible.tolist()
    for first, one in zip(strata, possible, strict=True):
        for second, other in zip(strata, possible, strict=True):
            assert (first == second) == (one == other)
    assert all(stratum == code for stratum, code in zip(strata, rows.codes.tolist(), strict=True) if code >= 0)
    assert all(stratum >= 0 for stratum in strata)


def test_a_row_of_several_labels_counts_for_each_by_its_share_of_the_known_rows() -> None:
    rows = Targets.of_cells(["AS", "AS", "AS", "MR", "AS|MR", "AS|MR|MS|N", "MS", "MS|N", "N|MR", None], VALVES)
    # Known: 3, 1, 1, 0. The rows of several: 3/4 + 1/4; 3/5 + 1/5 + 1/5; all of MS; all of MR.
    assert rows.expected_counts == pytest.approx([3 + 0.75 + 0.6, 1 + 0.25 + 0.2 + 1, 1 + 0.2 + 1, 0])


def test_a_row_of_labels_that_no_row_is_known_to_have_counts_for_none() -> None:
    assert Targets.of_cells(["AS", "MS|N"], VALVES).expected_counts.tolist() == [1, 0, 0, 0]


@given(targets(), st.sets(st.integers(0, 3)))
def test_without_some_labels_the_rows_are_the_same_but_for_these(rows: Targets, dropped: set[int]) -> None:
    before = rows.possible.copy()
    fewer = rows.without(iter(dropped))
    assert fewer.labels == VALVES
    assert fewer.possible.tolist() == [
        [value and code not in dropped for code, value in enumerate(row)] for row in before.tolist()
    ]
    assert np.array_equal(rows.possible, before)


@given(targets(), st.data())
def test_rows_are_taken_in_the_order_asked(rows: Targets, data: st.DataObject) -> None:
    index = data.draw(st.lists(st.integers(0, max(len(rows) - 1, 0)), max_size=5 if len(rows) else 0))
    taken = rows.take(np.array(index, np.int64))
    assert taken.labels == VALVES
    assert taken.possible.tolist() == [rows.possible.tolist()[number] for number in index]


@given(targets(("AS", "N")), targets(("MS", "AS")), targets(VALVES))
def test_joined_parts_keep_their_cells_under_the_common_labels(first: Targets, second: Targets, third: Targets) -> None:
    whole = joined([first, second, third], VALVES)
    assert whole.labels == VALVES
    cells = [part.cells() for part in (first, second, third)]
    assert [set((cell or "").split("|")) for cell in whole.cells()] == [
        set((cell or "").split("|")) for part in cells for cell in part
    ]


def test_no_parts_are_no_rows() -> None:
    assert joined([], VALVES).possible.shape == (0, 4)


def test_the_only_label_of_a_dataset_is_a_label() -> None:
    rows = Targets.of_cells(["N", None, "N"], ("N",))
    assert rows.labelled().tolist() == [0, 2]
