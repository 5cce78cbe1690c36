"""The George B. Moody PhysioNet Challenge 2022: murmur and outcome, by patient.

M. A. Reyna et al., Heart murmur detection from phonocardiogram recordings: The George B. Moody PhysioNet Challenge
2022, PLOS Digital Health 2 (2023) e0000324. The measures are those of ``evaluate_model.py`` in
https://github.com/physionetchallenges/evaluation-2022, undefined values and their means included. They differ in one
thing: a patient whose truth names no class is left out here, and counts as Present or Abnormal there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from heartbeat_core.arrays import Codes, Values
from heartbeat_core.challenges.answers import NO_ANSWER, Answers, Column, Predicted, Question, Scores, Truth
from heartbeat_core.wording import counted

Counts = NDArray[np.int64]

MURMURS = ("Present", "Unknown", "Absent")
OUTCOMES = ("Abnormal", "Normal")
POSITIVE = ("Present", "Unknown", "Abnormal")
"""Answers that send a patient to an expert."""
WEIGHTS = {"Present": 5, "Unknown": 3, "Absent": 1, "Abnormal": 5, "Normal": 1}
"""What a patient counts in the weighted accuracies, by the truth."""


def one_answer(outputs: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return 0/1 outputs, or labels, with exactly one 1 in each row.

    Parameters
    ----------
    outputs : ndarray, [n, n_classes] bool
        With the class that counts in doubt, Present or Abnormal, first.

    Returns
    -------
    ndarray, [n, n_classes] bool
        A row whose sum is not 1 has its 1 at the first class.

    Examples
    --------
    >>> one_answer(np.array([[0, 1, 0], [0, 0, 0], [0, 1, 1]], bool)).argmax(axis=1)
    array([1, 0, 0])
    """
    found = outputs.copy()
    found[outputs.sum(axis=1) != 1] = np.arange(outputs.shape[1]) == 0
    return found


def count(outputs: NDArray[np.bool_], labels: NDArray[np.bool_]) -> Counts:
    """Return the confusion matrix.

    Parameters
    ----------
    outputs : ndarray, [n, n_output_classes] bool
        As ``one_answer`` returns them.
    labels : ndarray, [n, n_label_classes] bool
        With one class in each row.

    Returns
    -------
    ndarray, [n_output_classes, n_label_classes] int64
        Rows of each output, by label.
    """
    return outputs.astype(np.int64).T @ labels.astype(np.int64)


def weighted_accuracy(counts: Counts, classes: Sequence[str]) -> float:
    """Return the weighted accuracy, by which the challenge ranked the answers to the murmur.

    Parameters
    ----------
    counts : ndarray, [n_classes, n_classes] int64
        As ``count`` returns it.
    classes : Sequence[str]
        ``MURMURS`` or ``OUTCOMES``.

    Returns
    -------
    float
        ``(5 PP + 3 UU + 1 AA) / (5 sum P + 3 sum U + 1 sum A)`` for the murmur, where the first letter is the output,
        the second is the label, and the sums are of the label's column. ``(5 TP + TN) / (5 (TP + FN) + FP + TN)`` for
        the outcome.

    Examples
    --------
    >>> murmur = np.array([[8, 1, 2], [1, 3, 2], [1, 1, 20]])
    >>> round(weighted_accuracy(murmur, MURMURS), 7)
    0.7752809
    """
    weights = np.array([WEIGHTS[one] for one in classes])
    return _ratio((weights * np.diagonal(counts)).sum(), (weights * counts.sum(axis=0)).sum())


def cost(counts: Counts, output_classes: Sequence[str]) -> float:
    """Return the mean cost of a patient, by which the challenge ranked the answers to the outcome.

    Parameters
    ----------
    counts : ndarray, [n_output_classes, 2] int64
        Outputs by labels. The labels are those of the outcome, Abnormal and Normal, for the murmur's outputs, too.
    output_classes : Sequence[str]
        ``MURMURS`` or ``OUTCOMES``; those of ``POSITIVE`` are positive.

    Returns
    -------
    float
        ``10 + (25 + 397 r - 1718 r^2 + 11296 r^4) + 10000 TP / n + 50000 FN / n`` with ``r = (TP + FP) / n``: the
        prescreening, the experts, the treatments, and the treatments that come too late.

    Examples
    --------
    >>> round(cost(np.array([[15, 8], [5, 12]]), OUTCOMES), 7)
    10930.0596625
    """
    positive = np.isin(output_classes, POSITIVE)
    n = int(counts.sum())
    if not n:
        return float("nan")
    true_positive, false_negative = int(counts[positive, 0].sum()), int(counts[~positive, 0].sum())
    r = int(counts[positive].sum()) / n
    experts = 25 + 397 * r - 1718 * r**2 + 11296 * r**4
    return 10 + experts + 10_000 * true_positive / n + 50_000 * false_negative / n


def auroc(labels: NDArray[np.bool_], probabilities: Values) -> Values:
    """Return the area under each class's ROC curve, by trapezoids.

    Parameters
    ----------
    labels : ndarray, [n, n_classes] bool
    probabilities : ndarray, [n, n_classes] float64

    Returns
    -------
    ndarray, [n_classes] float64
        NaN for a class that no row has, or that all rows have. The challenge's figure is the mean of the others.
    """
    pairs = zip(labels.T, probabilities.T, strict=True)
    return np.array(
        [roc_auc_score(true, chance) if true.any() and not true.all() else np.nan for true, chance in pairs]
    )


def auprc(labels: NDArray[np.bool_], probabilities: Values) -> Values:
    """Return the area under each class's curve of precision over recall, by steps.

    Parameters
    ----------
    labels : ndarray, [n, n_classes] bool
    probabilities : ndarray, [n, n_classes] float64

    Returns
    -------
    ndarray, [n_classes] float64
        NaN for a class that no row has, and 1 for a class that all rows have. The challenge's figure is the mean of
        those that are not NaN.
    """
    pairs = zip(labels.T, probabilities.T, strict=True)
    return np.array([average_precision_score(true, chance) if true.any() else np.nan for true, chance in pairs])


def f_measures(counts: Counts) -> Values:
    """Return the F-measure of each class.

    Parameters
    ----------
    counts : ndarray, [n_classes, n_classes] int64
        As ``count`` returns it, with the same classes on both sides.

    Returns
    -------
    ndarray, [n_classes] float64
        ``2 TP / (2 TP + FP + FN)``; NaN for a class of neither an output nor a label.
    """
    return _ratios(2 * np.diagonal(counts), counts.sum(axis=0) + counts.sum(axis=1))


def accuracies(counts: Counts) -> Values:
    """Return the share of each label's rows with the right output.

    Parameters
    ----------
    counts : ndarray, [n_classes, n_classes] int64
        As in ``f_measures``.

    Returns
    -------
    ndarray, [n_classes] float64
        NaN for a label without rows.
    """
    return _ratios(np.diagonal(counts), counts.sum(axis=0))


def _ratio(part: np.int64, whole: np.int64) -> float:
    return float(part / whole) if whole else float("nan")


def _ratios(parts: Counts, wholes: Counts) -> Values:
    found = np.full(len(parts), np.nan)
    np.divide(parts, wholes, out=found, where=wholes > 0)
    return found


def _mean(values: Values) -> float:
    """Return the mean of the values that are defined."""
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else float("nan")


class Moody2022:
    """The challenge: two questions, by patient; see ``challenge.Challenge`` for the attributes."""

    name = "moody2022"
    unit = "patient"
    database = "circor"
    record_columns = ("record_id", "patient_id", "patient", "patient id")
    questions = (
        Question(
            name="murmur",
            classes=MURMURS,
            by_label={
                **dict.fromkeys(("present", "murmur"), "Present"),
                **dict.fromkeys(("unknown", "artifact"), "Unknown"),
                **dict.fromkeys(("absent", "normal", "extrahls", "extrastole", "no_murmur"), "Absent"),
            },
            truth=Column("murmur", ("murmur", "source_label", "label"), {one.lower(): one for one in MURMURS}),
            ranked_by="weighted_accuracy",
        ),
        Question(
            name="outcome",
            classes=OUTCOMES,
            by_label={
                "normal": "Normal",
                **dict.fromkeys(("abnormal", "murmur", "extrahls", "extrastole"), "Abnormal"),
                "artifact": None,
            },
            truth=Column("outcome", ("outcome",), {one.lower(): one for one in OUTCOMES}),
            ranked_by="cost",
        ),
    )
    facts: tuple[Column, ...] = ()
    rules = (
        "a patient's probabilities are the means over its recordings; its outcome is that of the label with the "
        "largest probability / threshold, and so is its murmur, but in the one recording where Present is most "
        "probable; a patient all of whose recordings failed counts as Present and Abnormal"
    )

    def record_of(self, name: str) -> str:
        """Return the patient number of a recording: ``33151`` of ``33151_AV``."""
        return name.partition("_")[0]

    def answer(self, question: Question, predicted: Predicted, records: Sequence[str]) -> Answers:
        """Return the class of each patient; no answer where all of its recordings failed."""
        ids = sorted(set(records))
        place = {one: number for number, one in enumerate(ids)}
        worked = predicted.codes >= 0
        patients = np.array([place[one] for one in records], np.int64)[worked]
        sums = np.zeros((len(ids), len(predicted.labels)))
        np.add.at(sums, patients, predicted.probabilities[worked])
        means = sums / np.maximum(np.bincount(patients, minlength=len(ids)), 1)[:, np.newaxis]
        classes = question.class_codes(predicted.labels)
        if (classes < 0).any():
            means[:, classes < 0] = 0.0
            means /= np.maximum(means.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        deciding = means
        if question.name == "murmur":  # It is present, by the challenge's truth, if it is heard at one location.
            chances = predicted.probabilities[worked]
            present = question.class_probabilities(predicted.labels, chances)[:, MURMURS.index("Present")]
            strongest_first = np.lexsort((-present, patients))
            there, first = np.unique(patients[strongest_first], return_index=True)
            deciding = np.zeros_like(means)
            deciding[there] = chances[strongest_first[first]]
        codes = np.where(means.any(axis=1), classes[np.argmax(deciding / predicted.thresholds, axis=1)], NO_ANSWER)
        return Answers(tuple(ids), codes, question.class_probabilities(predicted.labels, means))

    def score(self, question: Question, answers: Answers, truth: Truth) -> Scores:
        """Return the official measures over the patients that have both an answer and a truth."""
        true = truth.columns[question.truth.name]
        answered = set(answers.ids)
        rows = [row for row, one in enumerate(truth.ids) if one in answered and true[row] is not None]
        found = answers.at([truth.ids[row] for row in rows])
        labels = _one_hot([true[row] for row in rows], question.classes)
        outputs = one_answer(found.codes[:, np.newaxis] == np.arange(len(question.classes)))
        counts = count(outputs, labels)
        by_class = {
            "AUROC": auroc(labels, found.probabilities),
            "AUPRC": auprc(labels, found.probabilities),
            "F_measure": f_measures(counts),
            "accuracy": accuracies(counts),
        }
        notes = []
        if n := sum(one is None for one in true):
            notes.append(f"left out, since the truth names no class: {counted(n, 'patient')}")
        if n := sum(one not in answered for one in truth.ids):
            notes.append(f"left out, since there is no answer: {counted(n, 'patient')} of the truth")
        outcomes = truth.columns.get("outcome", (None,) * len(truth.ids))
        known = [number for number, row in enumerate(rows) if outcomes[row] is not None]
        if n := len(rows) - len(known):
            notes.append(f"left out of the cost, since the truth names no outcome: {counted(n, 'patient')}")
        referred = count(outputs[known], _one_hot([outcomes[rows[number]] for number in known], OUTCOMES))
        return Scores(
            n=len(rows),
            measures={
                "weighted_accuracy": weighted_accuracy(counts, question.classes),
                "cost": cost(referred, question.classes),
                **{name: _mean(values) for name, values in by_class.items() if name != "accuracy"},
                "accuracy": _ratio(np.trace(counts), counts.sum()),
            },
            counts={
                label: dict(zip(question.classes, counts[:, column].tolist(), strict=True))
                for column, label in enumerate(question.classes)
            },
            by_class={
                name: dict(zip(question.classes, values.tolist(), strict=True)) for name, values in by_class.items()
            },
            notes=tuple(notes),
        )

    def files(self, answers: Mapping[str, Answers]) -> dict[str, str]:
        """Return ``ID.csv`` of each patient: ``#ID``, the classes, 0 or 1 for each, and their probabilities.

        A question without answers has zeros.
        """
        ids = sorted({one for found in answers.values() for one in found.ids})
        classes = [one for question in self.questions for one in question.classes]
        chosen, chances = [], []
        for question in self.questions:
            nothing = Answers((), np.zeros(0, np.int64), np.zeros((0, len(question.classes))))
            found = answers.get(question.name, nothing).at(ids)
            chosen.append(_chosen(found.codes, len(question.classes)))
            chances.append(found.probabilities)
        rows = zip(ids, np.hstack(chosen).tolist(), np.hstack(chances).tolist(), strict=True)
        return {
            f"{one}.csv": "".join(f"{line}\n" for line in (f"#{one}", *(",".join(map(str, part)) for part in parts)))
            for one, *parts in ((one, classes, zeros_and_ones, chance) for one, zeros_and_ones, chance in rows)
        }


def _one_hot(true: Sequence[str | None], classes: Sequence[str]) -> NDArray[np.bool_]:
    return np.array([[one == name for name in classes] for one in true], bool).reshape(len(true), len(classes))


def _chosen(codes: Codes, n_classes: int) -> Counts:
    """Return [n, n_classes] int64: 1 at each code, and zeros where there is no answer."""
    chosen: Counts = (codes[:, np.newaxis] == np.arange(n_classes)).astype(np.int64)
    return chosen


MOODY2022 = Moody2022()
