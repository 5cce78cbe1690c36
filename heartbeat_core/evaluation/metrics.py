"""Figures of predictions: of labels (accuracy, recall, F1) and of probabilities (calibration, Brier score, risk)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

from heartbeat_core.arrays import Codes, Values
from heartbeat_core.evaluation.figures import Figures
from heartbeat_core.labels import Labels

N_BINS = 15
COVERAGES_PERCENT = tuple(range(10, 101, 10))


def calibration_error(confidence: Values, correct: NDArray[np.bool_]) -> float:
    """Return the expected calibration error over 15 bins of equal width (Guo et al., 2017, arXiv:1706.04599).

    Parameters
    ----------
    confidence : ndarray, [n] float64
        The probability of each row's predicted label, from 0 to 1; n is at least 1.
    correct : ndarray, [n] bool
        Whether the prediction is right.

    Returns
    -------
    float
        ``sum over bins of |rows right - sum of their confidences| / n``, from 0 to 1. Each bin includes its upper edge;
        the first bin also includes its lower edge.
    """
    return float(np.abs(np.bincount(bins_of(confidence), correct - confidence)).sum() / len(confidence))


def bins_of(probabilities: Values) -> Codes:
    """Return the bin of each probability, from 0 to 14.

    Parameters
    ----------
    probabilities : ndarray, [n] float64
        From 0 to 1.

    Returns
    -------
    ndarray, [n] int64
        ``k`` for ``k / 15 < probability <= (k + 1) / 15``; the first bin also includes 0.
    """
    return np.digitize(probabilities, np.arange(1, N_BINS) / N_BINS, right=True).astype(np.int64)


def brier_score(true: Codes, probabilities: Values) -> float:
    """Return the mean squared distance between probabilities and the truth, from 0 to 2 (Brier, 1950).

    The function of scikit-learn supports several labels only from version 1.7.

    Parameters
    ----------
    true : ndarray, [n] int64
        Codes; n is at least 1, and no label is unknown (-1).
    probabilities : ndarray, [n, n_labels] float64
        One column for each label, by code.
    """
    return float(((probabilities - np.eye(probabilities.shape[1])[true]) ** 2).sum(axis=1).mean())


def risk_coverage(confidence: Values, correct: NDArray[np.bool_]) -> tuple[tuple[float, ...], float]:
    """Return the error rate among the most confident rows, and the area under its curve.

    Equally confident rows have no natural order, so each counts as their mean: the expectation over all orders.

    Parameters
    ----------
    confidence : ndarray, [n] float64
        The probability of each row's predicted label; n is at least 1.
    correct : ndarray, [n] bool
        Whether the prediction is right.

    Returns
    -------
    tuple[tuple[float, ...], float]
        The error rate among the first ``ceil(coverage * n)`` rows at each of ``COVERAGES_PERCENT``, and its mean over
        every coverage ``1/n ... 1``: the area (AURC; Geifman, Uziel and El-Yaniv, 2019, arXiv:1805.08206).
    """
    _, place, size = np.unique(-confidence, return_inverse=True, return_counts=True)
    errors = np.bincount(place, ~correct) / size
    n = len(confidence)
    risk = np.repeat(errors, size).cumsum() / np.arange(1, n + 1)
    # Rounded up, so that at least one row is kept at every coverage.
    covered = [-(-n * percent // 100) for percent in COVERAGES_PERCENT]
    return tuple(float(risk[count - 1]) for count in covered), float(risk.mean())


def compute_figures(true: Codes, predicted: Codes, labels: Labels) -> Figures:
    """Compare predictions with the true labels.

    Parameters
    ----------
    true, predicted : ndarray, [n] int64
        Codes of ``labels``; no label is unknown (-1).
    labels : Labels
        All labels, in order.

    Returns
    -------
    Figures
        Its labels are those that occur or are predicted. The means are over the labels that occur.

    Raises
    ------
    ValueError
        There are no rows.

    Examples
    --------
    >>> figures = compute_figures(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), ("normal", "murmur"))
    >>> figures.accuracy, figures.balanced_accuracy, figures.confusion_matrix
    (0.75, 0.75, ((1, 1), (0, 2)))
    """
    present = sorted(set(true.tolist()))
    shown = sorted(set(true.tolist()) | set(predicted.tolist()))
    table = confusion_matrix(true, predicted, labels=range(len(labels)))[np.ix_(shown, shown)]
    return Figures(
        accuracy=float(accuracy_score(true, predicted)),
        balanced_accuracy=float(recall_score(true, predicted, labels=present, average="macro")),
        macro_f1=float(f1_score(true, predicted, labels=present, average="macro", zero_division=0)),
        labels=tuple(labels[code] for code in shown),
        confusion_matrix=tuple(tuple(int(cell) for cell in row) for row in table),
    )
