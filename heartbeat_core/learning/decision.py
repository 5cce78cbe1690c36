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
    temperature : PositiveFloat
        More than 1 makes all probabilities less extreme.
    thresholds : tuple[PositiveFloat, ...]
        One for each label, by code. Thresholds of labels that were not trained have no effect.

    Examples
    --------
    >>> decision = Decision(thresholds=(0.8, 0.2))
    >>> probabilities = decision.probabilities(np.log([[3.0, 1.0]]), np.array([0, 1]))
    >>> probabilities.round(2).tolist()
    [[0.75, 0.25]]
    >>> decision.codes(probabilities)
    array([1])
    """

    temperature: PositiveFloat = 1.0
    thresholds: Annotated[tuple[PositiveFloat, ...], Field(min_length=2)]

    def probabilities(self, logits: Logits, trained: Codes) -> Values:
        """Return the probability of each label.

        Parameters
        ----------
        logits : ndarray, [n, n_labels] float64
        trained : ndarray, [n_trained] int64
            Codes of the labels that the model was trained on, at least one.

        Returns
        -------
        ndarray, [n, n_labels] float64
            The softmax of ``logits / temperature`` over the trained codes, and 0 for the other codes.
        """
        return _probabilities(logits, trained, self.temperature)

    def codes(self, probabilities: Values) -> Codes:
        """Return the predicted labels.

        Parameters
        ----------
        probabilities : ndarray, [n, n_labels] float64

        Returns
        -------
        ndarray, [n] int64
            The code of the label with the largest ``probability / threshold``; of equal ones, the first.
        """
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
    """Return the temperature with the lowest log loss for held-out logits, between 0.05 and 20.

    The loss of a row is ``-log sum_k p_k`` over the labels that it may have.

    Parameters
    ----------
    logits : ndarray, [n, n_labels] float64
        Of rows that the model was not trained on, at least one.
    targets : Targets
        The labels of these rows.
    trained : ndarray, [n_trained] int64
        Codes of the labels that the model was trained on.
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
    normal recordings a rarer label.

    Parameters
    ----------
    targets : Targets
        The labels of the training rows.
    balance : float
        0 or more: that of the recipe, divided by the temperature.

    Returns
    -------
    tuple[float, ...]
        By code; 1 for labels that no row is known to have.
    """
    counts = targets.expected_counts
    shares = np.where(counts > 0, counts / len(targets), 1.0)
    return tuple(float(share) for share in shares**balance)
