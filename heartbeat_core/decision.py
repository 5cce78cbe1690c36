"""Outputs to labels: one temperature for all, one threshold a label, both fitted to rows that were held out.

The probability of a label is ``softmax(logits / temperature)`` over the trained labels (Guo, Pleiss, Sun, Weinberger,
On Calibration of Modern Neural Networks, ICML 2017). The predicted label is that of the largest ``probability /
threshold``: with equal thresholds the most probable one.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import scipy  # scipy.optimize is loaded when it is used first: a driver does without
from numpy.typing import NDArray
from pydantic import Field

from heartbeat_core.config import LABELS, PositiveFloat, Settings

Logits = NDArray[np.float64]
Codes = NDArray[np.int64]

_TEMPERATURES = (0.05, 20.0)
_STEPS = np.exp(np.linspace(np.log(0.25), np.log(4.0), 13))
_ROUNDS = 3


class Decision(Settings):
    """How logits become a label.

    Attributes:
        thresholds: one a label, by code; those of labels that were not trained do not matter.
    """

    temperature: PositiveFloat = 1.0
    thresholds: Annotated[tuple[PositiveFloat, ...], Field(min_length=len(LABELS), max_length=len(LABELS))] = (
        1.0,
    ) * len(LABELS)

    def probabilities(self, logits: Logits, trained: Codes) -> NDArray[np.float64]:
        """Return [n, 5] float64 for logits [n, 5]: softmax over the trained codes, 0 for the others."""
        scaled = logits[:, trained] / self.temperature
        exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True, initial=-np.inf))
        found = np.zeros((len(logits), len(LABELS)))
        found[:, trained] = exponentials / exponentials.sum(axis=1, keepdims=True)
        return found

    def codes(self, probabilities: NDArray[np.float64]) -> Codes:
        """Return [n] int64: the label of the largest ``probability / threshold``, the first of equals."""
        codes: Codes = np.argmax(probabilities / np.array(self.thresholds), axis=1).astype(np.int64)
        return codes


def fit_temperature(logits: Logits, codes: Codes, trained: Codes) -> float:
    """Return the temperature of least log loss for held-out logits [n, 5] of rows with ``codes`` [n]."""

    def loss(log_temperature: float) -> float:
        probabilities = Decision(temperature=float(np.exp(log_temperature))).probabilities(logits, trained)
        return -float(np.log(np.maximum(probabilities[np.arange(len(codes)), codes], 1e-12)).mean())

    found = scipy.optimize.minimize_scalar(loss, bounds=tuple(np.log(_TEMPERATURES)), method="bounded")
    return float(np.exp(found.x))


def fit_thresholds(probabilities: NDArray[np.float64], codes: Codes) -> tuple[float, ...]:
    """Return thresholds that maximise the mean of balanced accuracy and macro-F1 on held-out rows.

    Coordinate ascent over a grid of factors; a threshold moves only where that gains.

    Args:
        probabilities: [n, 5] float64, calibrated.
        codes: [n] int64.
    """
    present = np.unique(codes)
    actual = np.bincount(codes, minlength=len(LABELS))[present]
    thresholds = np.ones(len(LABELS))

    def worth(tried: NDArray[np.float64]) -> float:
        predicted = np.argmax(probabilities / tried, axis=1)
        hits, said = (np.bincount(of, minlength=len(LABELS))[present] for of in (codes[predicted == codes], predicted))
        return float((hits / actual + 2 * hits / (actual + said)).mean()) / 2

    best = worth(thresholds)
    for _ in range(_ROUNDS):
        before = best
        for code in present.tolist():
            for factor in _STEPS.tolist():
                tried = thresholds.copy()
                tried[code] *= factor
                if (found := worth(tried)) > best + 1e-9:
                    best, kept = found, tried
                    thresholds = kept
        if best == before:
            break
    return tuple(float(value) for value in thresholds)
