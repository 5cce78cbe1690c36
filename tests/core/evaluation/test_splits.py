"""Held-out rows without a shared patient, and figures against ones worked out by hand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from heartbeat_core.errors import DatasetError
from heartbeat_core.evaluation.figures import Figures
from heartbeat_core.evaluation.judging import report_holdout
from heartbeat_core.evaluation.metrics import compute_figures
from heartbeat_core.evaluation.splits import holdout_split
from heartbeat_core.labels import ORIGINAL_LABELS, Targets


def codes(*names: str) -> np.ndarray:
    return np.array([ORIGINAL_LABELS.index(name) for name in names], np.int64)


def made_up(n_rows: int, n_groups: int, seed: int) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    labels = rng.choice(5, n_rows, p=[0.6, 0.1, 0.2, 0.05, 0.05])
    return labels.astype(np.int64), [f"patient:{i}" for i in rng.integers(0, n_groups, n_rows)]


@pytest.mark.parametrize("seed", range(20))
def test_no_patient_is_on_both_sides_and_every_row_on_one(seed: int) -> None:
    labels, groups = made_up(120, 30, seed)
    kept = groups[seed]
    training, holdout = holdout_split(labels, groups, 5, seed, kept)
    assert sorted([*training.tolist(), *holdout.tolist()]) == list(range(120))
    assert not {groups[i] for i in training} & {groups[i] for i in holdout}
    assert kept in {groups[i] for i in training}
    for rows in (training, holdout):
        assert rows.dtype == np.int64
        assert np.all(np.diff(rows) > 0)
    assert 0.1 <= len(holdout) / 120 <= 0.3


def test_whichever_patient_the_reference_is_of_stays_in_training() -> None:
    labels, groups = made_up(60, 12, 3)
    held_out_first = set()
    for kept in sorted(set(groups)):
        _, holdout = holdout_split(labels, groups, 5, 42, kept)
        assert kept not in {groups[i] for i in holdout}
        held_out_first.add(tuple(holdout.tolist()))
    # The first fold is taken, and the second for the patients of the first.
    assert len(held_out_first) == 2
    assert tuple(holdout_split(labels, groups, 5, 42, None)[1].tolist()) in held_out_first


def test_the_split_is_deterministic_and_the_seed_changes_it() -> None:
    labels, groups = made_up(100, 40, 0)
    first = holdout_split(labels, groups, 5, 42, None)
    np.random.default_rng(9).random(5)
    again = holdout_split(labels, list(groups), 5, 42, None)
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[1], holdout_split(labels, groups, 5, 43, None)[1])


def test_a_rare_label_is_no_obstacle() -> None:
    labels = codes(*["normal"] * 20, "murmur", "extrastole")
    training, holdout = holdout_split(labels, [str(i) for i in range(22)], 5, 0, None)
    assert len(training) + len(holdout) == 22
    assert len(holdout) >= 4


@pytest.mark.parametrize(
    ("n_rows", "n_groups", "told"),
    [
        (0, 1, "0 patients are too few to hold out one of 5 folds"),
        (30, 4, "4 patients are too few to hold out one of 5 folds"),
        (1, 1, "1 patient is too few to hold out one of 5 folds"),
    ],
)
def test_too_few_patients(n_rows: int, n_groups: int, told: str) -> None:
    groups = [str(i % n_groups) for i in range(n_rows)]
    with pytest.raises(DatasetError, match=f"^{told}$"):
        holdout_split(np.zeros(n_rows, np.int64), groups, 5, 0, None)


def test_too_few_rows_of_each_label() -> None:
    labels = np.arange(10, dtype=np.int64) % 5
    with pytest.raises(DatasetError, match=r"^no label has the 5 rows that 5 folds need; the most is 2$"):
        holdout_split(labels, [str(i) for i in range(10)], 5, 0, None)


@settings(max_examples=150)
@given(st.data())
def test_any_dataset_is_split_properly_or_refused(data: st.DataObject) -> None:
    labels = np.array(data.draw(st.lists(st.integers(0, 4), max_size=25)), np.int64)
    groups = data.draw(st.lists(st.sampled_from("abcdefgh"), min_size=len(labels), max_size=len(labels)))
    kept = data.draw(st.sampled_from([None, *groups]))
    try:
        training, holdout = holdout_split(labels, groups, data.draw(st.integers(2, 5)), 0, kept)
    except DatasetError:
        return
    assert len(training) > 0
    assert len(holdout) > 0
    assert not {groups[i] for i in training} & {groups[i] for i in holdout}
    assert kept is None or kept not in {groups[i] for i in holdout}


def test_figures_by_hand() -> None:
    true = codes("normal", "normal", "normal", "normal", "murmur", "murmur", "extrastole")
    predicted = codes("normal", "normal", "normal", "murmur", "murmur", "normal", "extrahls")
    figures = compute_figures(true, predicted, ORIGINAL_LABELS)
    assert figures.accuracy == pytest.approx(4 / 7)
    assert figures.balanced_accuracy == pytest.approx(float((Fraction(3, 4) + Fraction(1, 2) + 0) / 3))
    assert figures.macro_f1 == pytest.approx(float((Fraction(6, 8) + Fraction(1, 2) + 0) / 3))
    assert figures.labels == ("normal", "extrahls", "murmur", "extrastole")
    assert figures.confusion_matrix == ((3, 0, 1, 0), (0, 0, 0, 0), (1, 0, 1, 0), (0, 1, 0, 0))


def test_figures_of_perfect_predictions() -> None:
    true = codes("murmur", "normal", "murmur")
    assert compute_figures(true, true, ORIGINAL_LABELS) == Figures(
        accuracy=1, balanced_accuracy=1, macro_f1=1, labels=("normal", "murmur"), confusion_matrix=((1, 0), (0, 2))
    )


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30))
def test_figures_are_scikit_learns_over_the_labels_that_occur(pairs: list[tuple[int, int]]) -> None:
    true, predicted = (np.array(side, np.int64) for side in zip(*pairs, strict=True))
    figures = compute_figures(true, predicted, ORIGINAL_LABELS)
    assert figures.accuracy == pytest.approx(sum(a == b for a, b in pairs) / len(pairs))
    recalls = [np.mean([b == code for a, b in pairs if a == code]) for code in set(true.tolist())]
    assert figures.balanced_accuracy == pytest.approx(np.mean(recalls))
    each = f1_score(true, predicted, labels=range(5), average=None, zero_division=0)
    assert figures.macro_f1 == pytest.approx(np.mean([each[code] for code in set(true.tolist())]))
    assert sum(map(sum, figures.confusion_matrix)) == len(pairs)
    for i, actual in enumerate(figures.labels):
        for j, said in enumerate(figures.labels):
            assert figures.confusion_matrix[i][j] == pairs.count(
                (ORIGINAL_LABELS.index(actual), ORIGINAL_LABELS.index(said))
            )


def test_the_report_puts_the_commonest_training_label_beside_the_model() -> None:
    report = report_holdout(
        Targets.of_codes(codes("murmur", "murmur", "normal")),
        Targets.of_codes(codes("normal", "normal", "murmur", "extrahls")),
        codes("normal", "normal", "normal", "extrahls"),
        ["a", "b", "c", "a"],
        "by hand",
    )
    assert (report.n_training_rows, report.n_holdout_rows, report.n_holdout_patients) == (3, 4, 3)
    assert report.protocol == "by hand"
    assert report.model.accuracy == 0.75
    assert report.majority_label == "murmur"
    assert report.majority_rule.accuracy == 0.25
    assert report.majority_rule.balanced_accuracy == pytest.approx(1 / 3)
    assert report.majority_rule.macro_f1 == pytest.approx((2 * 0.25 * 1 / 1.25) / 3)


def test_of_equally_common_labels_the_first_is_the_majority() -> None:
    report = report_holdout(
        Targets.of_codes(codes("murmur", "normal")), Targets.of_codes(codes("normal")), codes("normal"), ["a"], "p"
    )
    assert report.majority_label == "normal"
