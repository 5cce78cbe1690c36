"""The challenge of 2016: its worked numbers, both scores against plain loops, and how predictions become answers."""

from __future__ import annotations

import numpy as np
import pytest

from heartbeat_core.challenges.answers import Answers, Predicted, Truth
from heartbeat_core.challenges.cinc2016 import ANSWERS, CINC2016, modified_accuracy, modified_accuracy_2016b
from heartbeat_core.labels import ORIGINAL_LABELS, Labels
from tests import naive

QUESTION = CINC2016.questions[0]
WORKED = np.array([[[270, 10, 20], [20, 15, 15]], [[15, 5, 80], [4, 6, 10]]])
"""By truth (normal, abnormal), quality (clean, noisy) and answer (-1, 0, 1)."""


def rows_of(counts: np.ndarray) -> list[tuple[int, int, int]]:
    return [
        ((-1, 1)[i], (1, 0)[j], (-1, 0, 1)[k])
        for i, j, k in np.ndindex(counts.shape)
        for _ in range(int(counts[i, j, k]))
    ]


def answers_and_truth(rows: list[tuple[int, int, int]]) -> tuple[Answers, Truth]:
    ids = tuple(f"a{number:05d}" for number in range(len(rows)))
    codes = np.array([answer + 1 for _, _, answer in rows], np.int64)
    truth = {
        "class": tuple("Abnormal" if true == 1 else "Normal" for true, _, _ in rows),
        "quality": tuple("clean" if quality else "noisy" for _, quality, _ in rows),
    }
    return Answers(ids, codes, np.zeros((len(rows), 3))), Truth(ids, truth)


def predicted(labels: Labels, probabilities: list[list[float]], poor: list[bool] | None = None) -> Predicted:
    """Return predictions of the most probable label; rows of zeros failed."""
    chances = np.array(probabilities, float)
    return Predicted(
        labels,
        np.ones(len(labels)),
        tuple(f"a{number:04d}" for number in range(len(chances))),
        np.where(chances.any(axis=1), chances.argmax(axis=1), -1),
        chances,
        np.array(poor or [False] * len(chances)),
    )


def test_the_worked_numbers() -> None:
    found = CINC2016.score(QUESTION, *answers_and_truth(rows_of(WORKED)))
    assert found.n == 470
    assert {name: round(value, 7) for name, value in found.measures.items()} == {
        "Se": 0.8,
        "Sp": 0.8714286,
        "MAcc": 0.8357143,
        "Se_sample2016b": 0.7958333,
        "Sp_sample2016b": 0.8642857,
        "MAcc_sample2016b": 0.8300595,
    }
    assert found.counts["Normal, clean"] == {"Normal": 270, "Unsure": 10, "Abnormal": 20}
    assert found.counts["Abnormal, noisy"] == {"Normal": 4, "Unsure": 6, "Abnormal": 10}
    assert found.notes == ()


def test_random_sets_of_recordings_score_as_the_plain_formulas() -> None:
    rng = np.random.default_rng(16)
    for _ in range(1_000):
        counts = rng.integers(0, rng.integers(1, 12), (2, 2, 3)) * rng.integers(0, 2, (2, 2, 1))
        found = CINC2016.score(QUESTION, *answers_and_truth(rows_of(counts))).measures
        assert found == pytest.approx(naive.cinc2016_scores(rows_of(counts)), abs=1e-12, rel=0, nan_ok=True)


def test_weights_of_the_whole_set_may_be_given() -> None:
    found = modified_accuracy(WORKED, np.array([[0.9252, 0.0748], [0.8602, 0.1398]]))
    assert found.se == pytest.approx(0.8602 * 0.8 + 0.1398 * 0.8)
    assert found.sp == pytest.approx(0.9252 * 0.9 + 0.0748 * 0.7)


def test_an_empty_stratum_is_left_out_with_its_weight_and_told() -> None:
    counts = WORKED.copy()
    counts[1, 1] = 0
    assert modified_accuracy(counts, np.array([[0.5, 0.5], [0.5, 0.5]])).se == pytest.approx(0.8)
    notes = CINC2016.score(QUESTION, *answers_and_truth(rows_of(counts))).notes
    assert notes == ("left out with its weight, since there are none: noisy abnormal recordings",)
    counts[1] = 0
    found = CINC2016.score(QUESTION, *answers_and_truth(rows_of(counts)))
    assert np.isnan([found.measures[name] for name in ("Se", "MAcc", "Se_sample2016b", "MAcc_sample2016b")]).all()
    assert found.measures["Sp"] == pytest.approx(0.8714286, abs=1e-7)
    assert found.notes == ("not defined, since there are no abnormal recordings: Se and MAcc",)


def test_a_missing_answer_counts_as_unsure_and_an_unknown_truth_not_at_all() -> None:
    answers = Answers(("a", "b", "z"), np.array([2, 0, 2]), np.zeros((3, 3)))
    truth = Truth(
        ("a", "b", "c", "d"),
        {"class": ("Abnormal", "Normal", "Abnormal", None), "quality": ("clean", None, "clean", "clean")},
    )
    found = CINC2016.score(QUESTION, answers, truth)
    assert found.n == 3
    assert found.measures["Se"] == 0.5
    assert found.measures["Se_sample2016b"] == 0.75
    assert found.notes[:3] == (
        "left out, since the truth names no class: 1 recording",
        "counted as 0 (unsure), since there is no answer: 1 recording of the truth",
        "counted as clean, since the truth names no signal quality: 1 recording",
    )
    without = Truth(truth.ids, {"class": truth.columns["class"]})
    assert CINC2016.score(QUESTION, answers, without).notes[2:] == (
        "the truth names no signal quality (1 or 0): all recordings count as clean",
    )


def test_a_label_gives_the_class_and_what_is_not_heard_is_unsure() -> None:
    rows = [[0.0] * 5 for _ in range(7)]
    for row, label in enumerate(ORIGINAL_LABELS):
        rows[row][ORIGINAL_LABELS.index(label)] = 1.0
    rows[6] = [0.1, 0.2, 0.6, 0.1, 0.0]
    found = CINC2016.answer(QUESTION, predicted(ORIGINAL_LABELS, rows, [False] * 6 + [True]), [*"gfedcba"])
    assert found.ids == tuple("abcdefg")
    assert CINC2016.files({"class": found}) == {"answers.txt": "a,0\nb,0\nc,1\nd,0\ne,1\nf,1\ng,-1\n"}
    assert found.probabilities[0] == pytest.approx([0.1, 0.1, 0.8])
    assert found.probabilities[1].tolist() == [0, 0, 0], "it failed"
    assert tuple(ANSWERS) == QUESTION.classes


def test_only_known_labels_answer() -> None:
    assert QUESTION.is_answered_by(("Normal", "Abnormal"))
    assert QUESTION.is_answered_by(("normal", "abnormal", "noisy"))
    assert not QUESTION.is_answered_by(("absent", "present"))
    assert modified_accuracy_2016b(WORKED).macc == pytest.approx(0.8300595, abs=1e-7)
