"""The challenge of 2022: its worked numbers, all measures against plain loops, and how recordings become patients."""

from __future__ import annotations

import numpy as np
import pytest

from heartbeat_core.challenges.answers import Answers, Predicted, Truth
from heartbeat_core.challenges.moody2022 import (
    MOODY2022,
    MURMURS,
    OUTCOMES,
    auprc,
    auroc,
    cost,
    count,
    one_answer,
    weighted_accuracy,
)
from heartbeat_core.labels import ORIGINAL_LABELS, Labels
from tests import naive

MURMUR, OUTCOME = MOODY2022.questions


def predicted(labels: Labels, probabilities: list[list[float]], thresholds: list[float] | None = None) -> Predicted:
    """Return predictions; rows of zeros failed."""
    chances = np.array(probabilities, float)
    wanted = np.ones(len(labels)) if thresholds is None else np.array(thresholds)
    codes = np.where(chances.any(axis=1), (chances / wanted).argmax(axis=1), -1)
    return Predicted(labels, wanted, ("",) * len(chances), codes, chances, np.zeros(len(chances), bool))


def test_the_worked_numbers() -> None:
    columns = {"Present": (8, 1, 1), "Unknown": (1, 3, 1), "Absent": (2, 2, 20)}
    pairs = [(label, output) for label, counts in columns.items() for output, n in enumerate(counts) for _ in range(n)]
    ids = tuple(f"{number:03d}" for number in range(len(pairs)))
    answers = Answers(ids, np.array([output for _, output in pairs]), np.zeros((len(pairs), 3)))
    truth = Truth(ids, {"murmur": tuple(label for label, _ in pairs), "outcome": ("Normal",) * len(pairs)})
    found = MOODY2022.score(MURMUR, answers, truth)
    assert round(found.measures["weighted_accuracy"], 7) == 0.7752809
    assert found.counts["Absent"] == {"Present": 2, "Unknown": 2, "Absent": 20}

    outcomes = (["Abnormal"] * 20, ["Normal"] * 20)
    codes = [0] * 15 + [1] * 5 + [0] * 8 + [1] * 12
    ids = tuple(f"{number:03d}" for number in range(40))
    answers = Answers(ids, np.array(codes), np.zeros((40, 2)))
    found = MOODY2022.score(OUTCOME, answers, Truth(ids, {"outcome": tuple(outcomes[0] + outcomes[1])}))
    assert round(found.measures["cost"], 7) == 10930.0596625
    assert found.measures["weighted_accuracy"] == (5 * 15 + 12) / (5 * 20 + 20)


@pytest.mark.parametrize("question", MOODY2022.questions, ids=lambda one: one.name)
def test_random_sets_of_patients_score_as_the_plain_formulas(question: object) -> None:
    rng = np.random.default_rng(22)
    classes = MURMURS if question is MURMUR else OUTCOMES
    for _ in range(1_000):
        n = int(rng.integers(1, 40))
        labels = rng.choice(classes[: rng.integers(1, len(classes) + 1)], n).tolist()
        outcomes = labels if question is OUTCOME else rng.choice(OUTCOMES, n).tolist()
        outputs = rng.integers(0, 2, (n, len(classes)))
        # Few values, so that many are equal.
        chances = rng.integers(0, rng.integers(2, 30), (n, len(classes))) / 30
        expected, by_class = naive.moody2022_scores(labels, outputs.tolist(), chances.tolist(), outcomes, classes)

        codes = one_answer(outputs.astype(bool)).argmax(axis=1)
        ids = tuple(f"{number:03d}" for number in range(n))
        truth = Truth(ids, {"murmur": tuple(labels), "outcome": tuple(outcomes)})
        found = MOODY2022.score(MURMUR if question is MURMUR else OUTCOME, Answers(ids, codes, chances), truth)
        assert found.n == n
        assert found.measures == pytest.approx(expected, abs=1e-12, rel=1e-12, nan_ok=True)
        for name, values in by_class.items():
            assert list(found.by_class[name].values()) == pytest.approx(values, abs=1e-12, nan_ok=True)


def test_rows_without_one_answer_count_as_present_or_abnormal() -> None:
    nothing = Answers(("1", "2"), np.array([-1, 2]), np.array([[0, 0, 0], [0.1, 0.2, 0.7]]))
    truth = Truth(("1", "2"), {"murmur": ("Present", "Absent"), "outcome": ("Abnormal", "Normal")})
    assert MOODY2022.score(MURMUR, nothing, truth).measures["weighted_accuracy"] == 1.0
    nothing = Answers(("1", "2"), np.array([-1, 1]), np.array([[0, 0], [0.2, 0.8]]))
    assert MOODY2022.score(OUTCOME, nothing, truth).measures["weighted_accuracy"] == 1.0
    several = np.array([[1, 1, 0], [0, 0, 0], [0, 0, 1]], bool)
    assert one_answer(several).tolist() == [[True, False, False], [True, False, False], [False, False, True]]


def test_undefined_values_are_left_out_of_the_means() -> None:
    labels = np.array([[1, 0, 0], [1, 0, 0]], bool)
    chances = np.array([[0.9, 0.1, 0.0], [0.8, 0.1, 0.1]])
    assert np.isnan(auroc(labels, chances)).all()
    assert auprc(labels, chances) == pytest.approx([1.0, np.nan, np.nan], nan_ok=True)
    empty = np.zeros((3, 3), np.int64)
    assert np.isnan(weighted_accuracy(empty, MURMURS))
    assert np.isnan(cost(empty[:, :2], MURMURS))
    assert count(labels, labels).tolist() == [[2, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_who_is_left_out_is_told() -> None:
    answers = Answers(("1", "2", "3"), np.array([0, 0, 0]), np.zeros((3, 3)))
    truth = Truth(
        ("1", "2", "3", "4"),
        {"murmur": ("Present", "Absent", None, "Absent"), "outcome": ("Abnormal", None, "Normal", "Normal")},
    )
    found = MOODY2022.score(MURMUR, answers, truth)
    assert found.n == 2
    assert found.notes == (
        "left out, since the truth names no class: 1 patient",
        "left out, since there is no answer: 1 patient of the truth",
        "left out of the cost, since the truth names no outcome: 1 patient",
    )
    assert found.measures["cost"] == 10 + 25 + 397 - 1718 + 11296 + 10_000
    without = MOODY2022.score(MURMUR, answers, Truth(truth.ids, {"murmur": truth.columns["murmur"]}))
    assert np.isnan(without.measures["cost"])


def test_a_patient_is_the_mean_of_its_recordings() -> None:
    labels = ("Absent", "Present", "Unknown")
    rows = [[0.6, 0.4, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.2, 0.1, 0.7]]
    found = MOODY2022.answer(MURMUR, predicted(labels, rows), ["7", "7", "7", "8", "10"])
    assert found.ids == ("10", "7", "8")
    assert found.codes.tolist() == [1, 2, -1]
    assert found.probabilities == pytest.approx(np.array([[0.1, 0.7, 0.2], [0.45, 0.0, 0.55], [0, 0, 0]]))
    weighed = MOODY2022.answer(MURMUR, predicted(labels, rows, [1.0, 0.5, 1.0]), ["7", "7", "7", "8", "10"])
    assert weighed.codes.tolist() == [1, 0, -1], "the threshold makes 0.45 more than 0.55"


def test_a_murmur_in_one_recording_is_enough_but_outcomes_are_means() -> None:
    rows = [[0.9, 0.1], [0.2, 0.8], [0.9, 0.1], [0.6, 0.4], [0.9, 0.1], [0.0, 0.0]]
    patients = ["b", "b", "b", "a", "a", "a"]
    murmur = MOODY2022.answer(MURMUR, predicted(("Absent", "Present"), rows), patients)
    assert [MURMURS[code] for code in murmur.codes] == ["Absent", "Present"]
    assert murmur.probabilities == pytest.approx(np.array([[0.25, 0.0, 0.75], [1 / 3, 0.0, 2 / 3]]))
    outcome = MOODY2022.answer(OUTCOME, predicted(("Normal", "Abnormal"), rows), patients)
    assert [OUTCOMES[code] for code in outcome.codes] == ["Normal", "Normal"]


def test_labels_of_the_original_answer_both_and_artifacts_say_nothing_of_the_outcome() -> None:
    rows = [[0.1, 0.1, 0.2, 0.5, 0.1], [0.0, 0.0, 0.0, 1.0, 0.0]]
    made = predicted(ORIGINAL_LABELS, rows)
    murmur = MOODY2022.answer(MURMUR, made, ["1", "2"])
    assert murmur.codes.tolist() == [1, 1]
    assert murmur.probabilities[0] == pytest.approx([0.2, 0.5, 0.3])
    outcome = MOODY2022.answer(OUTCOME, made, ["1", "2"])
    assert outcome.codes.tolist() == [0, -1], "of the second nothing is left"
    assert outcome.probabilities == pytest.approx(np.array([[0.8, 0.2], [0.0, 0.0]]))
    assert MURMUR.is_answered_by(("murmur", "no_murmur"))
    assert not OUTCOME.is_answered_by(("murmur", "no_murmur"))
    assert not MURMUR.is_answered_by(("Abnormal", "Normal"))


def test_the_answer_files_are_the_official_ones() -> None:
    murmur = Answers(("1", "2"), np.array([2, -1]), np.array([[0.25, 0.125, 0.625], [0, 0, 0]]))
    outcome = Answers(("1",), np.array([0]), np.array([[0.75, 0.25]]))
    found = MOODY2022.files({"murmur": murmur, "outcome": outcome})
    assert found == {
        "1.csv": "#1\nPresent,Unknown,Absent,Abnormal,Normal\n0,0,1,1,0\n0.25,0.125,0.625,0.75,0.25\n",
        "2.csv": "#2\nPresent,Unknown,Absent,Abnormal,Normal\n0,0,0,0,0\n0.0,0.0,0.0,0.0,0.0\n",
    }
    alone = MOODY2022.files({"outcome": outcome})["1.csv"].splitlines()
    assert alone[2:] == ["0,0,0,1,0", "0.0,0.0,0.0,0.75,0.25"]
    assert MOODY2022.record_of("33151_AV_2") == "33151"
