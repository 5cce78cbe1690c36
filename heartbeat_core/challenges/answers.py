"""What all challenges share: their questions, what a model predicted, the answers, the truth, and the scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.arrays import Codes, Values
from heartbeat_core.labels import Labels

NO_ANSWER = -1
"""The code of an answer that does not exist, because nothing could be processed."""


@dataclass(frozen=True)
class Column:
    """A column of the truth.

    Attributes
    ----------
    name : str
        What it says.
    candidates : tuple[str, ...]
        Names by which it is found, in small letters, the best first.
    words : Mapping[str, str]
        The cells that it may hold, in small letters, and what each means.
    """

    name: str
    candidates: tuple[str, ...]
    words: Mapping[str, str]


@dataclass(frozen=True)
class Question:
    """One question of a challenge.

    Attributes
    ----------
    name : str
    classes : tuple[str, ...]
        The possible answers; the code of an answer is its place here.
    by_label : Mapping[str, str | None]
        The class of each label that a model may predict, by the label in small letters. A label of None says nothing:
        it is left out, and the probabilities of the others are scaled to a sum of 1.
    truth : Column
        Where the right answer stands.
    ranked_by : str
        The measure by which the challenge ranked.

    Examples
    --------
    >>> heard = Question("murmur", ("Present", "Absent"), {"murmur": "Present", "normal": "Absent", "noise": None},
    ...                  Column("murmur", ("murmur",), {"present": "Present", "absent": "Absent"}), "accuracy")
    >>> heard.is_answered_by(("Normal", "Murmur"))
    True
    >>> heard.class_codes(("Normal", "Murmur", "Noise"))
    array([ 1,  0, -1])
    """

    name: str
    classes: tuple[str, ...]
    by_label: Mapping[str, str | None]
    truth: Column
    ranked_by: str

    def is_answered_by(self, labels: Labels) -> bool:
        """Tell whether a model with these labels answers the question: whether each of them is in ``by_label``."""
        return {label.lower() for label in labels} <= self.by_label.keys()

    def class_codes(self, labels: Labels) -> Codes:
        """Return the code of the class of each label.

        Parameters
        ----------
        labels : Labels
            Each is in ``by_label``, in any mix of small and capital letters.

        Returns
        -------
        ndarray, [n_labels] int64
            -1 for a label that says nothing.
        """
        named = (self.by_label[label.lower()] for label in labels)
        return np.array([-1 if one is None else self.classes.index(one) for one in named], np.int64)

    def class_probabilities(self, labels: Labels, probabilities: Values) -> Values:
        """Return the probability of each class: the sum over its labels.

        Parameters
        ----------
        labels : Labels
            As in ``class_codes``.
        probabilities : ndarray, [n, n_labels] float64

        Returns
        -------
        ndarray, [n, n_classes] float64
            A row sums to less than 1 where a label that says nothing has a probability.
        """
        belongs = self.class_codes(labels)[:, np.newaxis] == np.arange(len(self.classes))
        found: Values = probabilities @ belongs.astype(np.float64)
        return found


@dataclass(frozen=True)
class Predicted:
    """What a model said of n recordings.

    Attributes
    ----------
    labels : Labels
        The labels of the model, in order.
    thresholds : ndarray, [n_labels] float64
        The predicted label has the largest ``probability / threshold``.
    names : tuple[str, ...]
        n names, no two equal: the files' names without the ending of audio files.
    codes : ndarray, [n] int64
        Codes of the predicted labels, and -1 where the recording failed.
    probabilities : ndarray, [n, n_labels] float64
        Zeros where the recording failed.
    poor_quality : ndarray, [n] bool
        Whether the prediction is unsure because of the quality of the signal.
    """

    labels: Labels
    thresholds: Values
    names: tuple[str, ...]
    codes: Codes
    probabilities: Values
    poor_quality: NDArray[np.bool_]


@dataclass(frozen=True)
class Answers:
    """The answers to one question.

    Attributes
    ----------
    ids : tuple[str, ...]
        n recordings or patients, in ascending order.
    codes : ndarray, [n] int64
        Codes of the classes, and ``NO_ANSWER``.
    probabilities : ndarray, [n, n_classes] float64
        Zeros where there is no answer.
    """

    ids: tuple[str, ...]
    codes: Codes
    probabilities: Values

    def at(self, ids: Sequence[str]) -> Answers:
        """Return the answers of some recordings or patients.

        Parameters
        ----------
        ids : Sequence[str]
            m names, in any order.

        Returns
        -------
        Answers
            m answers, in the order of ``ids``; where there is none, ``NO_ANSWER`` and zeros.

        Examples
        --------
        >>> found = Answers(("a", "b"), np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]]))
        >>> found.at(["b", "c"]).codes
        array([ 1, -1])
        """
        place = {one: number for number, one in enumerate(self.ids)}
        rows = np.array([place.get(one, len(self.ids)) for one in ids], np.int64)
        return Answers(
            tuple(ids),
            np.append(self.codes, NO_ANSWER)[rows],
            np.vstack([self.probabilities, np.zeros(self.probabilities.shape[1])])[rows],
        )


@dataclass(frozen=True)
class Truth:
    """The right answers.

    Attributes
    ----------
    ids : tuple[str, ...]
        n recordings or patients.
    columns : Mapping[str, tuple[str | None, ...]]
        By the name of a ``Column``, the n meanings of its cells; None for an empty cell. A column that the truth
        does not have is missing.
    """

    ids: tuple[str, ...]
    columns: Mapping[str, tuple[str | None, ...]]


@dataclass(frozen=True)
class Scores:
    """The official measures of the answers to one question.

    Attributes
    ----------
    n : int
        How many recordings or patients were judged.
    measures : dict[str, float]
        By name, in the order of the challenge; NaN where a measure is not defined.
    counts : dict[str, dict[str, int]]
        How often each answer was given, by the truth and the answer.
    by_class : dict[str, dict[str, float]]
        Those measures that exist for each class, by measure and class.
    notes : tuple[str, ...]
        What is not as usual, one sentence each.
    """

    n: int
    measures: dict[str, float]
    counts: dict[str, dict[str, int]]
    by_class: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
