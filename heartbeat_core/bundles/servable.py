"""The labelled rows of a dataset as ``train`` takes them, for either kind of model that makes a bundle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.arrays import Codes, Inputs
from heartbeat_core.bundles.bundle import Classifier, FrameClassifier, StatisticsClassifier
from heartbeat_core.bundles.predictions import Sureness
from heartbeat_core.datasets.dataset import Dataset, Labelled, Rows
from heartbeat_core.learning.decision import Decision
from heartbeat_core.learning.fit import Examples, fit
from heartbeat_core.learning.training import AlignedFrames, fit_scaler, train_network
from heartbeat_core.learning.vectors import VectorModel
from heartbeat_core.recipe import Recipe

UNSURE_SHARE = 0.2
"""Of the training rows' inner out-of-fold predictions, so many have a lower confidence than what counts as sure."""
FAR_SHARE = 0.005
"""Of the training rows, so many lie farther out than what counts as near."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A classifier, and what its bundle says of how it decides.

    Attributes
    ----------
    codes : Codes
        Ascending codes of the labels that it was trained on.
    predict : Callable[[Codes], tuple[ndarray of float32, Codes]]
        Gives logits [n, 5] and predicted codes [n] of the dataset's rows at an index.
    """

    classifier: Classifier
    codes: Codes
    decision: Decision
    sureness: Sureness
    predict: Callable[[Codes], tuple[NDArray[np.float32], Codes]]


class Trainable(Protocol):
    """Labelled rows, of which some train and others are held out.

    Attributes
    ----------
    codes : ndarray, [n] int64
    groups, audio_sha256 : [n] text
    n_steps : int
        How often ``train`` calls ``on_step``.
    """

    codes: Codes
    groups: list[str]
    audio_sha256: list[str]
    n_steps: int

    def train(self, index: Codes, on_step: Callable[[], None]) -> Trained:
        """Train on the rows at ``index``."""


class FrameRows:
    """Rows of aligned frames; the dataset's reference stays what it is."""

    def __init__(self, dataset: Dataset, recipe: Recipe, kept: Codes, rows: Rows) -> None:
        self._length = len(dataset.reference)
        self._recipe = recipe
        self.n_steps = recipe.training.epochs
        self._rows = rows.take(kept)
        self.codes, self.groups, self.audio_sha256 = self._rows.codes, self._rows.groups, self._rows.audio_sha256

    def train(self, index: Codes, on_step: Callable[[], None]) -> Trained:
        """Fit scaler and network to the rows at ``index``."""
        rows = self._rows.take(index)
        scaler = fit_scaler(rows.frames, rows.offsets, self._length)
        inputs = AlignedFrames(rows.frames, rows.offsets, rows.codes, scaler)
        network = train_network(inputs, self._recipe, lambda epoch, loss: on_step())
        codes = np.unique(rows.codes)
        classifier = FrameClassifier(scaler, network, codes)

        def predict(index: Codes) -> tuple[NDArray[np.float32], Codes]:
            others = self._rows.take(index)
            scores = classifier.scorer.score(others.frames, others.offsets.tolist())
            return scores.logits, scores.codes

        return Trained(classifier, codes, Decision(), Sureness(), predict)


class StatisticsRows:
    """Rows of summary statistics, with those of their altered copies."""

    def __init__(self, recipe: Recipe, kept: Codes, labelled: Labelled, inputs: Sequence[Inputs]) -> None:
        self._recipe = recipe
        self.n_steps = 1
        self._rows = Examples(inputs, labelled.codes, labelled.groups).take(kept)
        self.codes, self.groups = self._rows.codes, list(self._rows.groups)
        self.audio_sha256 = [labelled.audio_sha256[i] for i in kept.tolist()]

    def train(self, index: Codes, on_step: Callable[[], None]) -> Trained:
        """Fit scaler, network, temperature and thresholds to the rows at ``index``, and what counts as sure."""
        rows = self._rows.take(index)
        fitted = fit(self._recipe, rows, self._recipe.training.seed)
        on_step()
        if not isinstance(fitted.model, VectorModel):
            raise TypeError(f"recipe '{self._recipe.name}' fits no network on vectors")
        distances = fitted.model.distances(np.stack([one[0] for one in rows.inputs]))
        held_out = fitted.held_out_confidence
        sureness = Sureness(
            min_confidence=0.0 if held_out is None else float(np.quantile(held_out, UNSURE_SHARE)),
            max_distance=float(np.quantile(distances, 1.0 - FAR_SHARE)),
        )
        model = fitted.model

        def predict(index: Codes) -> tuple[NDArray[np.float32], Codes]:
            inputs = self._rows.take(index).inputs
            return model.logits(inputs).astype(np.float32), fitted.predict(inputs)[1]

        return Trained(StatisticsClassifier(model), fitted.trained, fitted.decision, sureness, predict)
