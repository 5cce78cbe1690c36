"""A finished model, judged: which rows count, what is marked as unsure, and what a reader is told."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat_core.errors import InputError
from heartbeat_core.evaluation.finished import ModelEvaluation, ModelPredictions, Overlap, judge_model
from heartbeat_core.evaluation.finished_report import model_report, unsure_rows, warning_of
from heartbeat_core.evaluation.splits import folds
from heartbeat_core.evaluation.unsure import marked, rightness, shares_of
from heartbeat_core.labels import Targets, as_labels

LABELS = ("normal", "murmur", "artifact")
TRAINED = np.array([0, 1])
CELLS = ["normal", "murmur", "murmur|artifact", "normal|murmur", "artifact", "normal"]
PREDICTED = np.array([0, 0, 1, 1, 0, 1])


@dataclass
class Known:
    """The facts about labelled rows."""

    targets: Targets
    groups: list[str]
    devices: list[str]
    databases: list[str]
    traits: dict[str, list[str]] = field(default_factory=dict)


def judged(overlap: Overlap = "unknown", cells: list[str] = CELLS) -> ModelEvaluation:
    n = len(cells)
    truth = Known(
        Targets.of_cells(cells, LABELS),
        [f"person-{row}" for row in range(n)],
        ["phone"] * n,
        ["x", "x", "x", "x", "y", "y"],
        {"sex": ["f", "m"] * 3},
    )
    chances = np.stack([1 - PREDICTED * 0.8, PREDICTED * 0.8, np.zeros(n)], axis=1)
    # The last but one could not be predicted.
    rows = np.array([0, 1, 2, 3, 5])
    unsure = np.array([False, True, False, True, True])
    return judge_model(
        truth,
        ModelPredictions(rows, PREDICTED[rows], chances[rows], unsure),
        TRAINED,
        model_id="m@12",
        data_fingerprint="f",
        overlap=overlap,
        error_types=["not_audio"],
    )


@given(
    st.lists(
        st.tuples(st.sets(st.sampled_from(range(3))), st.integers(0, 1), st.booleans(), st.sampled_from("xy")),
        min_size=1,
        max_size=20,
    )
)
def test_shares_of_marked_predictions_are_those_of_a_loop(rows: list[tuple[set[int], int, bool, str]]) -> None:
    possible = np.array([[code in may for code in range(3)] for may, *_ in rows])
    decides, right = rightness(Targets(LABELS, possible), np.array([code for _, code, *_ in rows]), TRAINED)
    unsure = np.array([marks for *_, marks, _ in rows])[decides]
    found = marked(right, unsure, [rows[row][3] for row in decides])
    for database in "xy":
        said: dict[bool, list[bool]] = {True: [], False: []}
        for may, code, marks, where in rows:
            if where == database and may and not {0, 1} <= may:
                said[code in may].append(marks)
        if not said[True] and not said[False]:
            assert database not in found
            continue
        shares = found[database]
        assert (shares.n_right, shares.n_wrong) == (len(said[True]), len(said[False]))
        for share, marks in ((shares.of_right, said[True]), (shares.of_wrong, said[False])):
            assert share == (pytest.approx(np.mean(marks)) if marks else None)


def test_no_rows_have_no_shares() -> None:
    nothing = shares_of(np.zeros(0, bool), np.zeros(0, bool))
    assert (nothing.n_right, nothing.of_right, nothing.n_wrong, nothing.of_wrong) == (0, None, 0, None)


def test_rows_count_where_their_labels_decide() -> None:
    found = judged()
    assert (found.n_rows, found.n_patients, found.n_failed, found.failures) == (5, 5, 1, {"not_audio": 1})
    assert found.judgement is not None
    # Three have one known label; normal is found once of twice, and the murmur not.
    assert (found.judgement.n_rows, found.judgement.accuracy.value) == (3, pytest.approx(1 / 3))
    # 'normal|murmur' allows all that the model predicts.
    assert {name: (one.n_right, one.n_wrong) for name, one in found.unsure.items()} == {"x": (2, 1), "y": (0, 1)}
    assert unsure_rows(found) == [
        ("x", "0.000 of 2", "1.000 of 1"),
        ("y", "–", "1.000 of 1"),
        ("all databases", "0.000 of 2", "1.000 of 2"),
    ]
    # 'murmur|artifact' is not normal.
    assert (found.against_rest[0].pooled.n_positive, found.against_rest[0].pooled.n_negative) == (2, 2)
    assert found.against_rest[0].groups["sex"]["Female"].n_negative == 1


def test_a_label_that_the_model_was_not_trained_on_has_no_figure() -> None:
    found = judged(cells=["normal", "murmur", "artifact", "murmur", "normal", "normal"])
    assert [ranks.label for ranks in found.against_rest] == ["normal", "murmur"]
    # It is known not to be a murmur, and what is predicted is wrong.
    assert found.against_rest[1].pooled.n_negative == 3
    assert found.unsure_pooled.n_wrong == 3


def test_without_a_known_label_there_is_no_confusion() -> None:
    found = judged(cells=["normal|artifact", "murmur|artifact"] * 3)
    assert found.judgement is None
    assert "Confusion" not in model_report(found)
    assert "## Marked as unsure" in model_report(found)


def test_the_report_holds_the_figures_and_the_diagrams() -> None:
    found = judged()
    text = model_report(found)
    assert "Judged on 5 recordings of 5 patients; 1 more could not be processed: 1 not_audio." in text
    assert "Not a medical device." in text
    assert f"**{warning_of(found)}**" in text
    assert "| normal | 1 | 1 |" in text
    assert "### murmur against the rest" in text
    assert "![Reliability of murmur](reliability-murmur.svg)" in text
    assert "| x | 0.00 to 0.07 | 2 | 0.000 | 0.500 |" in text
    assert ModelEvaluation.model_validate_json(found.model_dump_json()) == found


def many(seed: int, devices: int = 3) -> tuple[Known, ModelPredictions]:
    """Return 60 rows of 20 people, some without a known label, and predictions of most of them."""
    rng = np.random.default_rng(seed)
    cells = rng.choice(["normal", "normal", "murmur", "artifact", "normal|murmur"], 60).tolist()
    truth = Known(
        Targets.of_cells(cells, LABELS),
        [f"person-{number}" for number in rng.integers(20, size=60)],
        [f"device-{number}" for number in rng.integers(devices, size=60)],
        [("x", "y")[number] for number in rng.integers(2, size=60)],
    )
    rows = np.sort(rng.choice(60, 50, replace=False))
    chances = rng.dirichlet(np.ones(3), 50)
    return truth, ModelPredictions(rows, chances.argmax(axis=1), chances, np.zeros(50, bool))


def judge_many(truth: Known, predictions: ModelPredictions) -> ModelEvaluation:
    trained = np.array([0, 1, 2])
    return judge_model(truth, predictions, trained, model_id="m@12", data_fingerprint="f", overlap="unknown")


@pytest.mark.parametrize("seed", range(3))
def test_what_recordings_are_called_is_counted_as_in_a_loop(seed: int) -> None:
    truth, predictions = many(seed)
    found = judge_many(truth, predictions)
    cells = truth.targets.cells()
    for places, calls in ((truth.databases, found.calls), (truth.devices, found.calls_by_device)):
        counted: dict[str, dict[str, dict[str, int]]] = {}
        for row, code in zip(predictions.rows.tolist(), predictions.predicted.tolist(), strict=True):
            cell = cells[row]
            if cell in LABELS:
                said = counted.setdefault(places[row], {}).setdefault(cell, {})
                said[LABELS[code]] = said.get(LABELS[code], 0) + 1
        assert calls == counted
        for place, of_labels in counted.items():
            for label, of_calls in of_labels.items():
                n = sum(of_calls.values())
                shares = [f"{of_calls[said] / n:.3f}" if said in of_calls else "–" for said in LABELS]
                line = f"| {label} recordings of {place} | {n} | {' | '.join(shares)} |"
                assert line in model_report(found).splitlines()


def test_the_devices_have_a_table_where_there_are_several() -> None:
    assert "Recordings with one known label, by device:" in model_report(judge_many(*many(0)))
    assert "Recordings with one known label, by device:" not in model_report(judge_many(*many(0, devices=1)))


def test_the_rules_guess_from_the_labels_of_the_other_people() -> None:
    truth, predictions = many(1)
    found = judge_many(truth, predictions)
    cells = truth.targets.cells()
    known = [row for row in predictions.rows.tolist() if cells[row] in LABELS]
    codes = np.array([LABELS.index(cells[row] or "") for row in known])
    right: dict[str, dict[str, list[bool]]] = {name: {label: [] for label in LABELS} for name in found.rules}
    for training, test in folds(codes, [truth.groups[row] for row in known], 5, 0):
        counts = Counter(cells[known[place]] for place in training)
        common = max(LABELS, key=lambda label: counts[label])
        for place in test:
            shares = {
                label: sum(
                    cells[known[other]] == label and truth.devices[known[other]] == truth.devices[known[place]]
                    for other in training
                )
                / counts[label]
                for label in LABELS
            }
            label = LABELS[codes[place]]
            right["majority rule"][label].append(common == label)
            right["device rule"][label].append(max(LABELS, key=lambda name: shares[name]) == label)
    text = model_report(found)
    for name, of_labels in right.items():
        rule = found.rules[name]
        recalls = [np.mean(hits) for hits in of_labels.values()]
        assert rule.balanced_accuracy.value == pytest.approx(np.mean(recalls))
        assert rule.accuracy.value == pytest.approx(np.mean([hit for hits in of_labels.values() for hit in hits]))
        assert rule.n_rows == len(known)
        assert f"{rule.balanced_accuracy.value:.3f}" in text
    assert "| figure | model | majority rule | device rule |" in text


def test_a_model_that_guesses_is_no_better_than_a_rule() -> None:
    truth, predictions = many(2)
    found = judge_many(truth, predictions)
    assert found.no_better_than
    assert f"**No better than the {' and the '.join(found.no_better_than)}, whose" in model_report(found)
    codes = np.where(truth.targets.codes[predictions.rows] < 0, 0, truth.targets.codes[predictions.rows])
    perfect = judge_many(truth, replace(predictions, predicted=codes))
    assert perfect.no_better_than == ()
    assert "The balanced accuracy of each rule lies below the interval of the model." in model_report(perfect)


@pytest.mark.parametrize("cells", [CELLS, ["normal"] * 6])
def test_without_enough_rows_or_labels_there_are_no_rules(cells: list[str]) -> None:
    found = judged(cells=cells)
    assert (found.rules, found.no_better_than) == ({}, ())
    assert "No rules stand beside the model: they need two labels, 5 patients" in model_report(found)
    assert "| figure | model |" in model_report(found)


def test_figures_of_an_earlier_version_are_read() -> None:
    earlier = judged().model_dump(mode="json", exclude={"rules", "no_better_than", "calls", "calls_by_device"})
    assert ModelEvaluation.model_validate(earlier).judgement == judged().judgement


def test_the_reader_is_warned_of_training_data() -> None:
    assert "trained on these very recordings: its figures here are too good" in warning_of(judged("all"))
    assert len({warning_of(judged(overlap)) for overlap in get_args(Overlap)}) == 5
    named = judged("none").model_copy(update={"training_data": "Hearts 2011."})
    assert warning_of(named) == f"{warning_of(judged('none'))} Its training data: Hearts 2011."


# Labels by name.


def test_labels_are_found_by_name() -> None:
    targets = Targets.of_cells(["Murmur", "NORMAL|Murmur", None], ("Murmur", "NORMAL", "other"))
    assert as_labels(targets, LABELS).cells() == ["murmur", "normal|murmur", None]
    assert as_labels(targets, LABELS).labels == LABELS


def test_labels_that_a_model_does_not_know_are_named_with_the_way_out() -> None:
    targets = Targets.of_cells(["murmur", "AS|MR"], ("AS", "MR", "murmur"))
    with pytest.raises(InputError, match=r"does not know: AS, MR; it knows normal, murmur, .*--label-map"):
        as_labels(targets, LABELS)
