"""How the rows of a task are split under each protocol, and what a report says of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heartbeat_core.datasets.labelled import Labelled
from heartbeat_core.errors import DatasetError
from heartbeat_core.evaluation.protocols import PROTOCOLS, Protocol, make_splits, protocol_of, protocol_text
from heartbeat_core.evaluation.splits import Task, folds, folds_protocol
from heartbeat_core.labels import Labels, Targets

VALVES: Labels = ("AS", "MR", "MS")
ALL = Task("3 classes")


def labelled(rows: Sequence[tuple[str, str, str, str]], labels: Labels = VALVES) -> Labelled:
    """Return rows of these cells, persons, databases and devices."""
    names = [str(number) for number in range(len(rows))]
    cells, groups, databases, devices = ([row[place] for row in rows] for place in range(4))
    return Labelled(names, names, names, Targets.of_cells(cells, labels), groups, devices, databases)


CELLS = st.sampled_from(["AS", "AS", "MR", "MR", "MS", "AS|MR", "MR|MS", "AS|MR|MS"])
ROWS = st.tuples(CELLS, st.integers(0, 14).map(str), st.sampled_from("xyz"), st.sampled_from(["phone", "other"]))


@settings(max_examples=150)
@given(
    st.sampled_from(PROTOCOLS),
    st.lists(ROWS, max_size=40),
    st.sampled_from([ALL, Task("2 classes", ("MS",))]),
    st.integers(2, 4),
    st.integers(0, 3),
)
def test_linked_persons_are_on_one_side_and_each_row_is_tested_once(
    protocol: Protocol, rows: list[tuple[str, str, str, str]], task: Task, n_folds: int, seed: int
) -> None:
    truth = labelled(rows)
    try:
        splits = make_splits(protocol, truth, task, n_folds, seed)
    except DatasetError:
        return
    kept = task.rows(truth.targets).tolist()
    assert sorted(row for split in splits for row in split.test.tolist()) == list(range(len(kept)))
    persons = [truth.groups[row] for row in kept]
    for split in splits:
        trained, tested = ({persons[row] for row in side.tolist()} for side in (split.training, split.test))
        assert not trained & tested
        assert len(split.training) > 0
        if protocol == "grouped-folds":
            assert len(split.training) + len(split.test) == len(kept)
        else:
            places = truth.databases if protocol == "leave-one-database-out" else truth.devices
            assert {places[kept[row]] for row in split.test.tolist()} == {split.name}
            assert split.name not in {places[kept[row]] for row in split.training.tolist()}


def test_the_examples_above_are_not_all_refused() -> None:
    rows = [(VALVES[i % 3], str(i), "xyz"[i % 2], ("phone", "other")[i // 2 % 2]) for i in range(24)]
    for protocol, n_splits in zip(PROTOCOLS, (4, 2, 2), strict=True):
        assert len(make_splits(protocol, labelled(rows), ALL, 4, 0)) == n_splits


def test_grouped_folds_are_stratified_by_what_rows_say_and_numbered() -> None:
    rows = [(("AS", "MR", "MS", "AS|MR")[i % 4], f"person {i // 2}", "x", "phone") for i in range(48)]
    truth = labelled(rows)
    splits = make_splits("grouped-folds", truth, ALL, 3, 5)
    expected = folds(truth.targets.strata, truth.groups, 3, 5)
    assert [split.name for split in splits] == ["0", "1", "2"]
    for split, (training, test) in zip(splits, expected, strict=True):
        assert np.array_equal(split.training, training)
        assert np.array_equal(split.test, test)
        # Rows of several labels are spread over the folds as well.
        assert (truth.targets.codes[test] == -1).sum() == 4


def test_the_rows_are_those_of_the_task() -> None:
    rows = [(("AS", "MR", "MS", "AS|MR")[i % 4], str(i), "xy"[i % 8 // 4], "phone") for i in range(32)]
    splits = make_splits("leave-one-database-out", labelled(rows), Task("2 classes", ("MS",)), 5, 0)
    # Without MS, "AS or MR" says nothing: 16 of 32 rows are left.
    assert sorted(row for split in splits for row in split.test.tolist()) == list(range(16))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_database_is_left_out_in_the_same_way_for_every_seed(seed: int) -> None:
    rows = [(VALVES[i % 3], str(i), "xyz"[i % 5 % 3], "phone") for i in range(30)]
    splits = make_splits("leave-one-database-out", labelled(rows), ALL, 5, seed)
    assert [split.name for split in splits] == ["x", "y", "z"]
    for split in splits:
        here = [i for i, row in enumerate(rows) if row[2] == split.name]
        assert split.test.tolist() == here
        assert split.training.tolist() == [i for i in range(30) if i not in here]


def test_a_split_whose_training_rows_have_one_label_is_refused() -> None:
    rows = [("AS", "a", "x", "p"), ("AS", "b", "x", "q"), ("AS", "c", "y", "p"), ("MR", "d", "y", "q")]
    with pytest.raises(DatasetError) as caught:
        make_splits("leave-one-database-out", labelled(rows), ALL, 5, 0)
    assert str(caught.value) == (
        "without the database 'y', the training rows have fewer than two labels: add a dataset with more labels, or "
        "evaluate with the grouped folds"
    )


# What a report says of it


def test_the_grouped_folds_keep_their_text() -> None:
    assert protocol_text("grouped-folds", 5, 3) == folds_protocol(5, 3)


def test_what_is_left_out_is_named() -> None:
    assert protocol_text("leave-one-device-out", 5, 3) == (
        "Protocol: leave one device out: each device is predicted by a model that was trained on all other devices, "
        "without any recording of its patients; seeds 0 to 2, each with the same splits; "
        "reference, scaler, weights, thresholds and temperature fitted in the training rows only (the last by inner "
        "folds of these); predictions of all devices pooled."
    )
    of_one_seed = protocol_text("leave-one-database-out", 5, 1)
    assert "each database is predicted by a model that was trained" in of_one_seed
    assert "; seed 0; reference" in of_one_seed
    assert "own group; seed 0; reference" in protocol_text("grouped-folds", 5, 1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("n_seeds", [1, 3])
def test_a_protocol_is_known_by_its_text(protocol: Protocol, n_seeds: int) -> None:
    assert protocol_of(protocol_text(protocol, 5, n_seeds)) == protocol
