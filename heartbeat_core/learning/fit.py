"""Labelled rows to a fitted classifier, whatever the recipe: everything that is fitted is fitted here.

What may be fitted to rows (alignment reference, scaler, network, temperature, thresholds) is fitted to the rows that
``fit`` is given and to nothing else, so that a judge who hands over training rows only gets an honest classifier.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.arrays import Inputs, Logits
from heartbeat_core.evaluation.splits import folds
from heartbeat_core.learning.aligned import fit_aligned
from heartbeat_core.learning.classical import fit_boosting, fit_vote
from heartbeat_core.learning.decision import Decision, balanced_thresholds, fit_temperature
from heartbeat_core.learning.sequences import fit_sequences
from heartbeat_core.learning.vectors import fit_bagged, fit_vectors
from heartbeat_core.recipe import LABELS, Recipe


@dataclass(frozen=True, slots=True)
class Examples:
    """Labelled recordings.

    Attributes
    ----------
    inputs : Sequence[Inputs]
        N arrays [n_i, width] float32, as ``inputs.compute_inputs`` makes them.
    codes : ndarray, [n] int64
    groups : [n] text
        The patient.
    """

    inputs: Sequence[Inputs]
    codes: NDArray[np.int64]
    groups: Sequence[str]

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, index: NDArray[np.int64]) -> Examples:
        """Return the rows at ``index``, in that order."""
        chosen = index.tolist()
        return Examples([self.inputs[i] for i in chosen], self.codes[index], [self.groups[i] for i in chosen])


class Model(Protocol):
    """A fitted model."""

    @property
    def n_bytes(self) -> int | None:
        """Return the size of what it keeps: weights, scaler, reference; None where that is not told."""

    def logits(self, inputs: Sequence[Inputs]) -> Logits:
        """Return [n, 5] float64; those of labels that were not trained are of no meaning."""


ModelFitter = Callable[[Recipe, Sequence[Inputs], NDArray[np.int64], int], Model]
"""From recipe, inputs, codes [n] and a seed."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model and how its outputs are read.

    Attributes
    ----------
    trained : ndarray of int64
        Ascending codes of the labels that occur in the training rows.
    held_out_confidence : ndarray, [n] float64
        Of the training rows' inner out-of-fold predictions, None without inner folds.
    """

    model: Model
    decision: Decision
    trained: NDArray[np.int64]
    held_out_confidence: NDArray[np.float64] | None

    def predict(self, inputs: Sequence[Inputs]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return probabilities [n, 5] float64 and predicted codes [n] int64."""
        probabilities = self.decision.probabilities(self.model.logits(inputs), self.trained)
        return probabilities, self.decision.codes(probabilities)


def fit(recipe: Recipe, rows: Examples, seed: int) -> Fitted:
    """Fit a recipe to rows; the same rows and seed give the same classifier on the same machine.

    Raises
    ------
    DatasetError
        The rows are too few.
    """
    model = _fitter(recipe)(recipe, rows.inputs, rows.codes, seed)
    decision, confidence = _fit_decision(recipe, rows, seed)
    return Fitted(model, decision, np.unique(rows.codes), confidence)


def _fitter(recipe: Recipe) -> ModelFitter:
    if recipe.model == "fcnn":
        return fit_aligned if recipe.reads_frames else fit_vectors
    return _FITTERS[recipe.model]


_FITTERS: dict[str, ModelFitter] = {
    "bagged-fcnn": fit_bagged,
    "boosting": fit_boosting,
    "vote": fit_vote,
    "cnn": fit_sequences,
    "rnn": fit_sequences,
}


def _fit_decision(recipe: Recipe, rows: Examples, seed: int) -> tuple[Decision, NDArray[np.float64] | None]:
    """Fit the thresholds to the labels and the temperature to the rows' own out-of-fold outputs, by inner folds.

    Returns
    -------
    tuple[Decision, ndarray of float64 | None]
        The decision, and [n] the confidence that each row's own out-of-fold prediction then has.
    """
    settings = recipe.decision
    if not settings.calibrated:
        return Decision(thresholds=balanced_thresholds(rows.codes, settings.balance)), None
    logits = np.zeros((len(rows), len(LABELS)))
    present = np.unique(rows.codes)
    for number, (training, held_out) in enumerate(folds(rows.codes, rows.groups, settings.inner_folds, seed)):
        inner = rows.take(training)
        model = _fitter(recipe)(recipe, inner.inputs, inner.codes, seed + 1 + number)
        logits[held_out] = model.logits([rows.inputs[i] for i in held_out.tolist()])
    temperature = fit_temperature(logits, rows.codes, present)
    # Probabilities go with the power of 1 / temperature, and so must what they are compared with: labels stay.
    thresholds = balanced_thresholds(rows.codes, settings.balance / temperature)
    decision = Decision(temperature=temperature, thresholds=thresholds)
    probabilities = decision.probabilities(logits, present)
    return decision, probabilities[np.arange(len(rows)), decision.codes(probabilities)]
