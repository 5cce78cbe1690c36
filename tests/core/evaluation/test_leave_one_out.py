"""Splits that hold out a database or a device share no person, and judge each row once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heartbeat_core.errors import DatasetError
from heartbeat_core.evaluation.leave_one_out import leave_one_out


def test_all_rows_of_one_database_are_held_out_and_its_persons_are_not_trained_on() -> None:
    names = ["b", "a", "b", "c", "a", "c"]
    groups = ["ann", "bea", "cem", "ann", "dan", "eve"]
    held = leave_one_out(names, groups, "database")
    assert [(each.name, each.training.tolist(), each.test.tolist()) for each in held] == [
        ("a", [0, 2, 3, 5], [1, 4]),
        # Ann's recording in c is in neither side.
        ("b", [1, 4, 5], [0, 2]),
        ("c", [1, 2, 4], [3, 5]),
    ]
    assert {rows.dtype for each in held for rows in (each.training, each.test)} == {np.dtype(np.int64)}


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("123456789")), max_size=30))
def test_no_person_is_on_both_sides_and_every_row_is_tested_once(rows: list[tuple[str, str]]) -> None:
    names, groups = [name for name, _ in rows], [group for _, group in rows]
    try:
        held = leave_one_out(names, groups, "device")
    except DatasetError:
        # Refused only if a split has no training rows: one name, or one that all persons of the others have.
        assert any(
            {groups[i] for i in range(len(rows)) if names[i] != name}
            <= {groups[i] for i in range(len(rows)) if names[i] == name}
            for name in [*names, "none"]
        )
        return
    assert [each.name for each in held] == sorted(set(names))
    assert sorted(row for each in held for row in each.test.tolist()) == list(range(len(rows)))
    for each in held:
        tested = {groups[i] for i in each.test}
        assert {names[i] for i in each.test} == {each.name}
        assert each.training.tolist() == [i for i in range(len(rows)) if groups[i] not in tested]
        assert len(each.training) > 0


def test_one_database_cannot_be_held_out() -> None:
    with pytest.raises(DatasetError) as caught:
        leave_one_out(["a", "a"], ["ann", "bea"], "database")
    assert str(caught.value) == (
        "leave-one-database-out needs rows of at least two databases, and all 2 rows are of 'a': add a dataset with "
        "another database, or evaluate with the grouped folds"
    )
    with pytest.raises(DatasetError, match=r"^leave-one-device-out needs .* two devices, and there are no rows: "):
        leave_one_out([], [], "device")


def test_a_device_that_everybody_was_recorded_with_cannot_be_held_out() -> None:
    with pytest.raises(DatasetError) as caught:
        leave_one_out(["a", "a", "b"], ["ann", "bea", "ann"], "device")
    assert str(caught.value) == (
        "leave-one-device-out has no training rows for the device 'a', because each person of the others occurs in it "
        "as well: add a dataset of other persons, or evaluate with the grouped folds"
    )
