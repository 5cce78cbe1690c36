"""Fit a classifier to labelled rows, for any recipe: everything that is fitted is fitted here.

``fit`` fits the alignment reference, the scaler, the network, the temperature, the thresholds and the limits of what
counts as sure. It uses only the rows that it is given. An evaluation that passes only training rows therefore gets an
honest classifier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

from heartbeat_core.alignment.placement import Reference
from heartbeat_core.arrays import Codes, Inputs, Values
from heartbeat_core.errors import DatasetError, TrainingDiverged
from heartbeat_core.evaluation.splits import folds
from heartbeat_core.features.beats_columns import SEGMENTATION_CONFIDENCE
from heartbeat_core.features.catalogue import column_place
from heartbeat_core.labels import Targets
from heartbeat_core.learning.decision import Decision, balanced_thresholds, fit_temperature
from heartbeat_core.learning.kinds import implementation_of
from heartbeat_core.learning.limits import Inner, Limits, limits_across, limits_within, with_heart_limit
from heartbeat_core.learning.model import Model, OnStep
from heartbeat_core.learning.weighting import weights_within
from heartbeat_core.recipe import Recipe


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
    databases : [n] text
        The database of each row; empty stands for one database.
    """

    inputs: Sequence[Inputs]
    targets: Targets
    groups: Sequence[str]
    databases: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, index: Codes) -> Examples:
        """Return the rows at ``index``, [m] int64, in that order."""
        chosen = index.tolist()
        return Examples(
            [self.inputs[i] for i in chosen],
            self.targets.take(index),
            [self.groups[i] for i in chosen],
            [self.databases[i] for i in chosen] if self.databases else (),
        )


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model, and how its outputs become labels.

    Attributes
    ----------
    model : Model
    decision : Decision
        Its temperature and its thresholds.
    trained : ndarray, [n_trained] int64
        Codes of the labels that a training row is known to have, ascending.
    limits : Limits
        When a prediction counts as sure.
    """

    model: Model
    decision: Decision
    trained: Codes
    limits: Limits

    def predict(self, inputs: Sequence[Inputs]) -> tuple[Values, Codes]:
        """Predict the labels of recordings.

        Parameters
        ----------
        inputs : Sequence[Inputs]
            n arrays [n_i, width] float32, as ``features.extract.compute_inputs`` makes them.

        Returns
        -------
        tuple[ndarray of float64, ndarray of int64]
            Probabilities [n, n_labels] and predicted codes [n].
        """
        probabilities = self.decision.probabilities(self.model.logits(inputs), self.trained)
        return probabilities, self.decision.codes(probabilities)

    def unsure(
        self, recipe: Recipe, inputs: Sequence[Inputs], probabilities: Values, predicted: Codes
    ) -> NDArray[np.bool_]:
        """Tell which predictions are unsure, [n] bool: by confidence, distance and segmentation (``Limits.marks``).

        Parameters
        ----------
        recipe : Recipe
            The recipe of the model.
        inputs : Sequence[Inputs]
            n arrays, as ``predict`` takes them.
        probabilities : ndarray, [n, n_labels] float64
        predicted : ndarray, [n] int64
            As ``predict`` returns them.
        """
        confidence = probabilities[np.arange(len(predicted)), predicted]
        segmentation = _segmentation_confidences(recipe, inputs)
        return self.limits.marks(predicted, confidence, self.model.distances(inputs), segmentation)


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
        Called at most ``n_steps(recipe)`` times.

    Returns
    -------
    Fitted

    Raises
    ------
    ConfigError
        The parts of the recipe do not fit together, or the recipe needs a package that is missing.
    DatasetError
        There are too few rows.
    TrainingDiverged
        The learning rate is too high for these rows.

    Examples
    --------
    >>> inputs = [np.array([[value, 0.0]], np.float32) for value in (0.0, 1.0, 8.0, 9.0)]
    >>> targets = Targets.of_cells(["normal", "normal", "murmur", "murmur"], ("normal", "murmur"))
    >>> recipe = Recipe(name="mine", input="statistics", model="vote")
    >>> fitted = fit(recipe, Examples(inputs, targets, groups=["a", "b", "c", "d"]), seed=0)
    >>> probabilities, codes = fitted.predict(inputs)
    >>> probabilities.shape, codes.tolist()
    ((4, 2), [0, 0, 1, 1])
    """
    rows = _informative(rows)
    model = _fit_model(recipe, rows, seed, reference, on_step)
    distances = model.distances(rows.inputs)
    if not recipe.decision.calibrated:
        decision = Decision(thresholds=_thresholds(recipe, rows.targets))
        return Fitted(model, decision, rows.targets.present, limits_within(None, distances))
    inner = _predict_inner(recipe, rows, seed, on_step)
    decision, confidence = _fit_decision(recipe, rows, inner)
    if recipe.decision.inner == "persons":
        limits = limits_within(confidence, distances)
    else:
        segmentation = _segmentation_confidences(recipe, rows.inputs)
        if len(set(rows.databases)) > 1:
            limits = limits_across(rows.targets, rows.databases, inner, decision, segmentation)
        else:  # No database was left out, so nothing is known of others.
            limits = with_heart_limit(limits_within(confidence, distances), rows.targets, segmentation)
    return Fitted(model, decision, rows.targets.present, limits)


def n_steps(recipe: Recipe) -> int:
    """Return how often ``fit`` calls ``on_step`` at most: there may be fewer databases than inner folds.

    Raises
    ------
    ConfigError
        As ``kinds.check_recipe``.
    """
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


def _fit_model(recipe: Recipe, rows: Examples, seed: int, reference: Reference | None, on_step: OnStep) -> Model:
    """Fit the recipe's model; raises TrainingDiverged if its outputs are infinite or NaN."""
    weighted = _weighted(recipe, rows)
    model = implementation_of(recipe).fit(recipe, weighted.inputs, weighted.targets, seed, reference, on_step)
    if not np.isfinite(model.logits(rows.inputs[:1])).all():
        raise TrainingDiverged(
            f"recipe '{recipe.name}': the training diverged, and the model's outputs are no numbers: lower "
            f"training.learning_rate ({recipe.training.learning_rate:g})"
        )
    return model


def _weighted(recipe: Recipe, rows: Examples) -> Examples:
    """Give the rows weights and databases, if the recipe balances the labels within each database."""
    if not recipe.training.within_databases:
        return rows
    databases = rows.databases or [""] * len(rows)
    weights = weights_within(rows.targets, databases, recipe.bagging.balance)
    numbers = np.unique(databases, return_inverse=True)[1]
    return replace(rows, targets=replace(rows.targets, weights=weights, databases=numbers))


def _predict_inner(recipe: Recipe, rows: Examples, seed: int, on_step: OnStep) -> Inner:
    """Predict each row by a model that was trained without its inner fold."""
    logits = np.full(rows.targets.possible.shape, np.nan)
    distances = np.full(len(rows), np.nan)
    for number, (training, held_out) in enumerate(_inner_folds(recipe, rows, seed)):
        inner = _informative(rows.take(training))
        if len(inner.targets.present) < 2:
            continue  # One label alone cannot be learned, so the rows of this fold are not predicted.
        model = _fit_model(recipe, inner, seed + 1 + number, None, on_step)
        inputs = [rows.inputs[i] for i in held_out.tolist()]
        logits[held_out] = model.logits(inputs)
        found = model.distances(inputs)
        if found is not None:
            distances[held_out] = found
    return Inner(logits, distances)


def _inner_folds(recipe: Recipe, rows: Examples, seed: int) -> list[tuple[Codes, Codes]]:
    """Return training and held-out rows. Folds of databases need two of them: otherwise, persons are held out."""
    settings = recipe.decision
    n_databases = len(set(rows.databases))
    if settings.inner == "persons" or n_databases < 2:
        try:
            return list(folds(rows.targets.strata, rows.groups, settings.inner_folds, seed))
        except DatasetError as error:
            raise DatasetError(
                f"recipe '{recipe.name}' calibrates by {settings.inner_folds} inner folds: {error}: lower "
                "decision.inner_folds, or set decision.calibrated to false"
            ) from None
    splitter = GroupKFold(min(settings.inner_folds, n_databases))
    return list(splitter.split(rows.targets.codes, groups=np.asarray(rows.databases)))


def _fit_decision(recipe: Recipe, rows: Examples, inner: Inner) -> tuple[Decision, Values]:
    """Fit the thresholds to the labels, and the temperature to the inner out-of-fold outputs of the rows.

    Returns
    -------
    tuple[Decision, ndarray of float64]
        The decision, and the confidence [n] of each row's out-of-fold prediction with this decision.
    """
    present, known = rows.targets.present, inner.rows
    temperature = fit_temperature(inner.logits[known], rows.targets.take(known), present) if len(known) else 1.0
    # The temperature raises the ratio of two probabilities to the power of 1 / temperature. The thresholds get the same
    # power, so that the predicted labels stay the same.
    decision = Decision(temperature=temperature, thresholds=_thresholds(recipe, rows.targets, temperature))
    probabilities = decision.probabilities(inner.logits[known], present)
    return decision, probabilities[np.arange(len(known)), decision.codes(probabilities)]


def _thresholds(recipe: Recipe, targets: Targets, temperature: float = 1.0) -> tuple[float, ...]:
    """Return one threshold for each label. Odds are of calibrated probabilities, so no temperature changes them."""
    balanced = balanced_thresholds(targets, recipe.decision.balance / temperature)
    odds = recipe.decision.odds
    if odds is None:
        return balanced
    pairs = zip(targets.labels, balanced, strict=True)
    return tuple(one / odds.times if label in odds.labels else one for label, one in pairs)


def _segmentation_confidences(recipe: Recipe, inputs: Sequence[Inputs]) -> Values | None:
    """Return [n]: how sure the segmenter is of each recording; None if the model does not read it."""
    place = column_place(SEGMENTATION_CONFIDENCE, recipe.input)
    return None if place is None else np.array([one[0, place] for one in inputs], np.float64)
