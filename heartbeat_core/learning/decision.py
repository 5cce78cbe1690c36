"""Turn outputs into labels, with one temperature for all labels and one threshold for each label.

The probability of a label is ``softmax(logits / temperature)`` over the trained labels (Guo, Pleiss, Sun, Weinberger,
On Calibration of Modern Neural Networks, ICML 2017). The predicted label has the largest ``probability / threshold``.
With equal thresholds this is the most probable label.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import scipy  # its modules are loaded when they are used first: a driver does without
from pydantic import Field

from heartbeat_core.arrays import Codes, Logits, Values
from heartbeat_core.labels import Targets
from heartbeat_core.settings import PositiveFloat, Settings

_TEMPERATURES = (0.05, 20.0)


class Decision(Settings):
    """How logits become a label.

    Attributes
    ----------
    thresholds : tuple[PositiveFloat, ...]
        One for each label, by code. Thresholds of labels that were not trained have no effect.
    """

    temperature: PositiveFloat = 1.0
    thresholds: Annotated[tuple[PositiveFloat, ...], Field(min_length=2)]

    def probabilities(self, logits: Logits, trained: Codes) -> Values:
        """Return [n, n_labels] float64: the softmax over the trained codes, and 0 for the other codes."""
        return _probabilities(logits, trained, self.temperature)

    def codes(self, probabilities: Values) -> Codes:
        """Return [n] int64: the label with the largest ``probability / threshold``; of equal ones, the first."""
        codes: Codes = np.argmax(probabilities / np.array(self.thresholds), axis=1).astype(np.int64)
        return codes


def _probabilities(logits: Logits, trained: Codes, temperature: float) -> Values:
    scaled = logits[:, trained] / temperature
    # As scipy.special.softmax, whose module takes a tenth of a second to load.
    odds = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    found = np.zeros(logits.shape)
    found[:, trained] = odds / odds.sum(axis=1, keepdims=True)
    return found


def fit_temperature(logits: Logits, targets: Targets, trained: Codes) -> float:
    """Return the temperature with the lowest log loss for held-out logits [n, n_labels] of rows with these labels.

    The loss of a row is ``-log sum_k p_k`` over the labels that it may have.
    """

    def loss(log_temperature: float) -> float:
        probabilities = _probabilities(logits, trained, float(np.exp(log_temperature)))
        return -float(np.log(np.maximum((probabilities * targets.possible).sum(axis=1), 1e-12)).mean())

    found = scipy.optimize.minimize_scalar(loss, bounds=tuple(np.log(_TEMPERATURES)), method="bounded")
    return float(np.exp(found.x))


def balanced_thresholds(targets: Targets, balance: float) -> tuple[float, ...]:
    """Return one threshold for each label: its share of the rows to the power of ``balance``.

    With a balance of 0 the most probable label is predicted, which is best for accuracy. With 1 the predicted label is
    the one with the largest probability relative to its share. This is best for balanced accuracy, but it gives many
    normal recordings a rarer label. Labels that no row is known to have get the threshold 1.
    """
    counts = targets.expected_counts
    shares = np.where(counts > 0, counts / len(targets), 1.0)
    return tuple(float(share) for share in shares**balance)
