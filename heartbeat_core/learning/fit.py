"""Fit a classifier to labelled rows, for any recipe: everything that is fitted is fitted here.

``fit`` fits the alignment reference, the scaler, the network, the temperature, the thresholds and the limits of what
counts as sure. It uses only the rows that it is given. An evaluation that passes only training rows therefore gets an
honest classifier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from heartbeat_core.alignment.placement import Reference
from heartbeat_core.arrays import Codes, Inputs, Values
from heartbeat_core.evaluation.splits import folds
from heartbeat_core.labels import Targets
from heartbeat_core.learning.decision import Decision, balanced_thresholds, fit_temperature
from heartbeat_core.learning.kinds import implementation_of
from heartbeat_core.learning.model import Model, OnStep
from heartbeat_core.recipe import Recipe

UNSURE_SHARE = 0.2
"""Share of the training rows whose inner out-of-fold prediction has a confidence below the limit for "sure"."""
FAR_SHARE = 0.005
"""Share of the training rows that lie beyond the largest distance that counts as near."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Labelled recordings.

    Attributes
    ----------
    inputs : Sequence[Inputs]
        n arrays [n_i, width] float32, as ``features.extract.compute_inputs`` makes them.
    targets : Targets
        The labels of the rows.
    groups : [n] text
        The patient of each row.
    """

    inputs: Sequence[Inputs]
    targets: Targets
    groups: Sequence[str]

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, index: Codes) -> Examples:
        """Return the rows at ``index``, in that order."""
        chosen = index.tolist()
        return Examples([self.inputs[i] for i in chosen], self.targets.take(index), [self.groups[i] for i in chosen])


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model, and how its outputs become labels.

    Attributes
    ----------
    trained : ndarray of int64
        Codes of the labels that a training row is known to have, ascending.
    min_confidence : float
        A prediction with a lower confidence is unsure. A fifth of the out-of-fold predictions of the training rows are
        below this limit. 0 without inner folds.
    max_distance : float | None
        A prediction with a larger distance is unsure. One in 200 training rows lies beyond this limit. None if the
        model does not measure distances.
    """

    model: Model
    decision: Decision
    trained: Codes
    min_confidence: float
    max_distance: float | None

    def predict(self, inputs: Sequence[Inputs]) -> tuple[Values, Codes]:
        """Return probabilities [n, n_labels] float64 and predicted codes [n] int64."""
        probabilities = self.decision.probabilities(self.model.logits(inputs), self.trained)
        return probabilities, self.decision.codes(probabilities)


def fit(
    recipe: Recipe,
    rows: Examples,
    seed: int,
    reference: Reference | None = None,
    on_step: OnStep = lambda: None,
) -> Fitted:
    """Fit a recipe to rows; the same rows and seed give the same classifier on the same machine.

    Parameters
    ----------
    recipe : Recipe
    rows : Examples
        Training rows only. A row that allows all labels, or none, changes nothing.
    seed : int
    reference : Reference | None
        Frames are aligned with it; None aligns them with the longest row. Inner folds always take their own reference.
    on_step : OnStep
        Called ``n_steps(recipe)`` times.

    Raises
    ------
    ConfigError
        The parts of the recipe do not fit together, or the recipe needs a package that is missing.
    DatasetError
        There are too few rows.
    """
    rows = _informative(rows)
    model = implementation_of(recipe).fit(recipe, rows.inputs, rows.targets, seed, reference, on_step)
    decision, confidence = _fit_decision(recipe, rows, seed, on_step)
    distances = model.distances(rows.inputs)
    return Fitted(
        model=model,
        decision=decision,
        trained=rows.targets.present,
        min_confidence=0.0 if confidence is None else float(np.quantile(confidence, UNSURE_SHARE)),
        max_distance=None if distances is None else float(np.quantile(distances, 1.0 - FAR_SHARE)),
    )


def n_steps(recipe: Recipe) -> int:
    """Return how often ``fit`` calls ``on_step``."""
    n_fits = 1 + (recipe.decision.inner_folds if recipe.decision.calibrated else 0)
    return n_fits * implementation_of(recipe).n_steps(recipe)


def _informative(rows: Examples) -> Examples:
    """Leave out the rows that say nothing, and the possibility of labels that no row is known to have."""
    targets = rows.targets
    if len(targets.present) < 2:
        return rows  # The implementation refuses them.
    unknown = np.setdiff1d(np.arange(len(targets.labels)), targets.present)
    kept = targets.informative()
    return replace(rows.take(kept), targets=targets.without(unknown).take(kept))


def _fit_decision(recipe: Recipe, rows: Examples, seed: int, on_step: OnStep) -> tuple[Decision, Values | None]:
    """Fit the thresholds to the labels, and the temperature to the out-of-fold outputs of the rows (inner folds).

    Returns
    -------
    tuple[Decision, ndarray of float64 | None]
        The decision, and the confidence [n] of each row's out-of-fold prediction with this decision.
    """
    settings = recipe.decision
    if not settings.calibrated:
        return Decision(thresholds=balanced_thresholds(rows.targets, settings.balance)), None
    logits = np.zeros(rows.targets.possible.shape)
    present = rows.targets.present
    implementation = implementation_of(recipe)
    for number, (training, held_out) in enumerate(folds(rows.targets.strata, rows.groups, settings.inner_folds, seed)):
        inner = _informative(rows.take(training))
        model = implementation.fit(recipe, inner.inputs, inner.targets, seed + 1 + number, None, on_step)
        logits[held_out] = model.logits([rows.inputs[i] for i in held_out.tolist()])
    temperature = fit_temperature(logits, rows.targets, present)
    # The temperature raises the ratio of two probabilities to the power of 1 / temperature. The thresholds get the same
    # power, so that the predicted labels stay the same.
    thresholds = balanced_thresholds(rows.targets, settings.balance / temperature)
    decision = Decision(temperature=temperature, thresholds=thresholds)
    probabilities = decision.probabilities(logits, present)
    return decision, probabilities[np.arange(len(rows)), decision.codes(probabilities)]
