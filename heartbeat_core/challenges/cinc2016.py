"""The PhysioNet/Computing in Cardiology Challenge 2016: normal or abnormal, by recording.

G. D. Clifford et al., Classification of normal/abnormal heart sound recordings: the PhysioNet/Computing in Cardiology
Challenge 2016, CinC 2016; C. Liu et al., An open access database for the evaluation of heart sound algorithms,
Physiological Measurement 37 (2016) 2181-2213. The challenge has two official scores. The one by which it ranked knows
the quality of each signal. The other, ``score2016Challenge.m`` of ``sample2016b.zip``, does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.arrays import Values
from heartbeat_core.challenges.answers import Answers, Column, Predicted, Question, Scores, Truth
from heartbeat_core.wording import counted

ANSWERS = {"Normal": -1, "Unsure": 0, "Abnormal": 1}
"""What ``answers.txt`` says for each class."""
_CLASSES = ("Normal", "Abnormal")
_QUALITIES = ("clean", "noisy")
_RIGHT = {"Normal": 0, "Abnormal": 2}
"""The place of the right answer among ``ANSWERS``."""
_SHARES = {"Normal": "Sp", "Abnormal": "Se"}


class Accuracy(NamedTuple):
    """Sensitivity, specificity and their mean; NaN where there is no recording of a class."""

    se: float
    sp: float
    macc: float


def modified_accuracy(counts: NDArray[np.int64], weights: Values | None = None) -> Accuracy:
    """Return the score by which the challenge ranked.

    Parameters
    ----------
    counts : ndarray, [2, 2, 3] int64
        Recordings by truth (normal, abnormal), quality (clean, noisy) and answer (-1, 0, 1).
    weights : ndarray, [2, 2] float64 | None
        Of the clean and the noisy recordings, for each truth. None takes their shares among the recordings that are
        counted. The challenge took the shares of the whole test set, while the counts could be of a part of it.

    Returns
    -------
    Accuracy
        With A for truly abnormal and N for truly normal recordings, the answers a, q, n for 1, 0, -1, and 1 and 2 for
        clean and noisy::

            Se   = wa1 Aa1 / (Aa1 + Aq1 + An1) + wa2 (Aa2 + Aq2) / (Aa2 + Aq2 + An2)
            Sp   = wn1 Nn1 / (Na1 + Nq1 + Nn1) + wn2 (Nn2 + Nq2) / (Na2 + Nq2 + Nn2)
            MAcc = (Se + Sp) / 2

        A stratum without recordings is undefined there. It is left out with its weight, and the weight of the other
        stratum becomes 1.

    Examples
    --------
    >>> normal, abnormal = [[270, 10, 20], [20, 15, 15]], [[15, 5, 80], [4, 6, 10]]
    >>> score = modified_accuracy(np.array([normal, abnormal]))
    >>> [round(value, 7) for value in score]
    [0.8, 0.8714286, 0.8357143]
    """
    sizes = counts.sum(axis=2)
    weights = np.where(sizes > 0, sizes if weights is None else weights, 0.0)
    shares = []
    for truth, right in enumerate(_RIGHT.values()):
        # An unsure answer is wrong for a clean recording, and right for a noisy one.
        n_right = np.array([counts[truth, 0, right], counts[truth, 1, right] + counts[truth, 1, 1]])
        total = weights[truth].sum()
        shares.append(
            float((weights[truth] * n_right / np.maximum(sizes[truth], 1)).sum() / total) if total else float("nan")
        )
    return _accuracy(*shares)


def modified_accuracy_2016b(counts: NDArray[np.int64]) -> Accuracy:
    """Return the second official score, of ``sample2016b.zip``: quality does not count, and unsure is one half.

    Parameters
    ----------
    counts : ndarray, [2, 2, 3] int64
        As in ``modified_accuracy``.

    Returns
    -------
    Accuracy
        With the answers a, q, n for 1, 0, -1: ``Se = (Aa + Aq / 2) / A`` and ``Sp = (Nn + Nq / 2) / N``.

    Examples
    --------
    >>> normal, abnormal = [[270, 10, 20], [20, 15, 15]], [[15, 5, 80], [4, 6, 10]]
    >>> round(modified_accuracy_2016b(np.array([normal, abnormal])).macc, 7)
    0.8300595
    """
    shares = []
    for truth, right in enumerate(_RIGHT.values()):
        answers = counts[truth].sum(axis=0)
        n = answers.sum()
        shares.append(float((answers[right] + answers[1] / 2) / n) if n else float("nan"))
    return _accuracy(*shares)


def _accuracy(sp: float, se: float) -> Accuracy:
    return Accuracy(se, sp, (se + sp) / 2)


class Cinc2016:
    """The challenge: one question, by recording; see ``challenge.Challenge`` for the attributes."""

    name = "cinc2016"
    unit = "recording"
    database = "cinc2016"
    record_columns: tuple[str, ...] = ()
    questions = (
        Question(
            name="class",
            classes=tuple(ANSWERS),
            by_label={
                "normal": "Normal",
                **dict.fromkeys(("abnormal", "murmur", "extrahls", "extrastole"), "Abnormal"),
                **dict.fromkeys(("artifact", "noisy"), "Unsure"),
            },
            truth=Column(
                "class",
                ("class", "source_label", "label", "outcome"),
                {"normal": "Normal", "-1": "Normal", "abnormal": "Abnormal", "1": "Abnormal"},
            ),
            ranked_by="MAcc",
        ),
    )
    facts = (Column("quality", ("quality",), {"1": "clean", "0": "noisy"}),)
    rules = (
        "a recording's class is that of its label; it is 0 (unsure) for an artifact, for poor quality and for a "
        "failure; in both scores, a recording of the truth without an answer counts as 0"
    )

    def record_of(self, name: str) -> str:
        """Return the record of a recording: its name."""
        return name

    def answer(self, question: Question, predicted: Predicted, records: Sequence[str]) -> Answers:
        """Return the class of each recording; unsure where it failed or its quality is poor."""
        unsure = question.classes.index("Unsure")
        classes = question.class_codes(predicted.labels)[predicted.codes]
        codes = np.where((predicted.codes < 0) | predicted.poor_quality, unsure, classes)
        order = sorted(range(len(records)), key=lambda row: records[row])
        probabilities = question.class_probabilities(predicted.labels, predicted.probabilities)
        return Answers(tuple(records[row] for row in order), codes[order], probabilities[order])

    def score(self, question: Question, answers: Answers, truth: Truth) -> Scores:
        """Return both official scores."""
        judged = [row for row, one in enumerate(truth.columns["class"]) if one is not None]
        ids = [truth.ids[row] for row in judged]
        found = answers.at(ids)
        codes = np.where(found.codes < 0, question.classes.index("Unsure"), found.codes)
        qualities = truth.columns.get("quality", (None,) * len(truth.ids))
        counts = np.zeros((len(_CLASSES), len(_QUALITIES), len(ANSWERS)), np.int64)
        for row, code in zip(judged, codes.tolist(), strict=True):
            true, quality = truth.columns["class"][row], qualities[row] or "clean"
            counts[_CLASSES.index(str(true)), _QUALITIES.index(quality), code] += 1
        ranked, second = modified_accuracy(counts), modified_accuracy_2016b(counts)
        return Scores(
            n=len(judged),
            measures={
                **dict(zip(("Se", "Sp", "MAcc"), ranked, strict=True)),
                **dict(zip(("Se_sample2016b", "Sp_sample2016b", "MAcc_sample2016b"), second, strict=True)),
            },
            counts={
                f"{true}, {quality}": dict(zip(question.classes, counts[i, j].tolist(), strict=True))
                for i, true in enumerate(_CLASSES)
                for j, quality in enumerate(_QUALITIES)
            },
            notes=tuple(self._notes(truth, answers, judged, counts)),
        )

    def _notes(self, truth: Truth, answers: Answers, judged: list[int], counts: NDArray[np.int64]) -> list[str]:
        """Say what is not as usual."""
        notes = []
        if n := len(truth.ids) - len(judged):
            notes.append(f"left out, since the truth names no class: {counted(n, 'recording')}")
        if n := len({truth.ids[row] for row in judged} - set(answers.ids)):
            notes.append(f"counted as 0 (unsure), since there is no answer: {counted(n, 'recording')} of the truth")
        if "quality" not in truth.columns:
            notes.append("the truth names no signal quality (1 or 0): all recordings count as clean")
        elif n := sum(truth.columns["quality"][row] is None for row in judged):
            notes.append(f"counted as clean, since the truth names no signal quality: {counted(n, 'recording')}")
        for true, sizes in zip(_CLASSES, counts.sum(axis=2).tolist(), strict=True):
            empty = [quality for quality, size in zip(_QUALITIES, sizes, strict=True) if not size]
            if len(empty) == 1 and "quality" in truth.columns:
                notes.append(f"left out with its weight, since there are none: {empty[0]} {true.lower()} recordings")
            elif len(empty) == len(_QUALITIES):
                notes.append(f"not defined, since there are no {true.lower()} recordings: {_SHARES[true]} and MAcc")
        return notes

    def files(self, answers: Mapping[str, Answers]) -> dict[str, str]:
        """Return ``answers.txt``: a recording and -1, 0 or 1 a line, without a header, in ascending order."""
        found = answers["class"]
        values = [tuple(ANSWERS.values())[code] for code in found.codes.tolist()]
        lines = [f"{one},{value}\n" for one, value in zip(found.ids, values, strict=True)]
        return {"answers.txt": "".join(lines)}


CINC2016 = Cinc2016()
