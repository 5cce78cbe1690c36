"""Models without a network: the original's gradient boosting, and a vote of three kinds of classifier.

Their outputs are the logarithms of probabilities, at least ``log 1e-12``, which is also that of untrained labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC
from sklearn.utils.class_weight import compute_sample_weight

from heartbeat_core.alignment.placement import Reference
from heartbeat_core.arrays import Codes, Inputs, Logits, Values
from heartbeat_core.errors import ConfigError
from heartbeat_core.features.catalogue import shape_read
from heartbeat_core.learning.aligned import fit_aligner, flatten
from heartbeat_core.learning.model import Implementation, OnStep
from heartbeat_core.learning.training import check_labels
from heartbeat_core.learning.vectors import all_rows, fit_vector_scaler
from heartbeat_core.recipe import LABELS, Recipe

_LEAST_PROBABILITY = 1e-12
_BUDGET = 0.5
"""perpetual's own default; it decides learning rate and number of trees."""
_MEMORY_GB = 0.1
"""For histograms. Without it perpetual takes what the machine has free: 10 times slower, and other trees each time."""
_LOGISTIC_C = 0.003
_N_TREES = 400
_LEAF_ROWS = 3


@dataclass(frozen=True, slots=True)
class ProbabilityModel:
    """A classifier that tells probabilities.

    Attributes
    ----------
    read : Callable[[Sequence[Inputs]], Inputs]
        From n inputs to rows [n, width].
    probabilities : Callable[[Inputs], Values]
        From rows to [n, n_trained] float64, in the order of ``trained``.
    trained : ndarray of int64
        Ascending codes of the training rows' labels.
    n_bytes : int | None
        None: their libraries do not tell.
    """

    read: Callable[[Sequence[Inputs]], Inputs]
    probabilities: Callable[[Inputs], Values]
    trained: NDArray[np.int64]
    n_bytes: int | None = None

    def logits(self, inputs: Sequence[Inputs]) -> Logits:
        """Return [n, n_labels] float64: ``log max(probability, 1e-12)``."""
        found = np.zeros((len(inputs), len(LABELS)))
        if inputs:
            found[:, self.trained] = self.probabilities(self.read(inputs))
        return np.log(np.maximum(found, _LEAST_PROBABILITY))

    def distances(self, inputs: Sequence[Inputs]) -> None:
        """Return None: these classifiers do not measure distances."""


class Boosting(Implementation):
    """The kind ``boosting``: one booster a label against the others, with the softmax of their log odds.

    Frames are read as the FCNN reads them: aligned, scaled and flattened. No tree is drawn by chance.
    """

    def fit(
        self,
        recipe: Recipe,
        inputs: Sequence[Inputs],
        codes: Codes,
        seed: int,
        reference: Reference | None = None,
        on_step: OnStep = lambda: None,
    ) -> ProbabilityModel:
        """Fit the boosters; raises ConfigError where the package ``perpetual`` is not installed."""
        # Imported here: it is an extra of the package, which one recipe needs.
        try:
            from perpetual import PerpetualBooster
        except ImportError:
            raise ConfigError(
                f"recipe '{recipe.name}' needs a package that is missing: pip install perpetual"
            ) from None
        check_labels(codes)
        read: Callable[[Sequence[Inputs]], Inputs]
        if shape_read(recipe.input) == "frames":
            aligner, placed, offsets = fit_aligner(recipe, inputs, reference)
            rows = flatten(placed, offsets, aligner.scaler)
            read = aligner.flatten
        else:
            rows, codes = all_rows(inputs, codes)
            read = _vectors
        booster = PerpetualBooster(objective="LogLoss", budget=_BUDGET, num_threads=1, memory_limit=_MEMORY_GB)
        weights = compute_sample_weight("balanced", codes) if recipe.training.class_weights == "balanced" else None
        booster.fit(rows.astype(np.float64), codes, sample_weight=weights)
        on_step()

        def probabilities(rows: Inputs) -> Values:
            found: Values = booster.predict_proba(rows.astype(np.float64))
            return found

        return ProbabilityModel(read, probabilities, np.unique(codes))


class Vote(Implementation):
    """The kind ``vote``: the mean of what logistic regression, a support vector machine and extra trees give.

    All weigh labels evenly. A machine has no probabilities: the softmax of its one-vs-rest decision values stands in.
    """

    def fit(
        self,
        recipe: Recipe,
        inputs: Sequence[Inputs],
        codes: Codes,
        seed: int,
        reference: Reference | None = None,
        on_step: OnStep = lambda: None,
    ) -> ProbabilityModel:
        """Fit all three to all rows of all inputs: recordings and their altered copies."""
        check_labels(codes)
        vectors, repeated = all_rows(inputs, codes)
        scaler = fit_vector_scaler(vectors)
        rows = scaler.transform(vectors)
        logistic = LogisticRegression(C=_LOGISTIC_C, class_weight="balanced", max_iter=2_000)
        machine = SVC(C=1.0, class_weight="balanced")
        trees = ExtraTreesClassifier(
            _N_TREES, class_weight="balanced", min_samples_leaf=_LEAF_ROWS, random_state=seed, n_jobs=1
        )
        voters: tuple[Any, ...] = (logistic, machine, trees)
        for voter in voters:
            voter.fit(rows, repeated)
            on_step()

        def probabilities(vectors: Inputs) -> Values:
            rows = scaler.transform(vectors)
            decisions = _softmax(machine.decision_function(rows))
            mean: Values = (logistic.predict_proba(rows) + decisions + trees.predict_proba(rows)) / len(voters)
            return mean

        return ProbabilityModel(_vectors, probabilities, np.unique(codes))

    def n_steps(self, recipe: Recipe) -> int:
        """Return the number of voters."""
        return 3


def _vectors(inputs: Sequence[Inputs]) -> Inputs:
    """Return of each input the first row, the recording itself: [n, width] float32."""
    return np.stack([one[0] for one in inputs])


def _softmax(decisions: NDArray[np.float64]) -> Values:
    """Return [n, n_labels]; of two labels a machine gives one column, which stands for the second."""
    if decisions.ndim == 1:
        decisions = np.column_stack([-decisions, decisions]) / 2
    probabilities: Values = softmax(decisions, axis=1)
    return probabilities
