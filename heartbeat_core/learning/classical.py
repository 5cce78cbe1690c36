"""Models without a network: the original's gradient boosting, and a vote of three kinds of classifier.

Their outputs are the logarithms of probabilities, at least ``log 1e-12``, which is also that of untrained labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC
from sklearn.utils.class_weight import compute_sample_weight

from heartbeat_core.arrays import Inputs, Logits
from heartbeat_core.errors import ConfigError
from heartbeat_core.learning.aligned import fit_aligner
from heartbeat_core.learning.training import check_labels
from heartbeat_core.learning.vectors import all_rows, fit_vector_scaler
from heartbeat_core.recipe import LABELS, Recipe

Probabilities = NDArray[np.float64]

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
    probabilities : Callable[[Inputs], Probabilities]
        From rows to [n, n_trained] float64, in the order of ``trained``.
    trained : ndarray of int64
        Ascending codes of the training rows' labels.
    n_bytes : int | None
        None: their libraries do not tell.
    """

    read: Callable[[Sequence[Inputs]], Inputs]
    probabilities: Callable[[Inputs], Probabilities]
    trained: NDArray[np.int64]
    n_bytes: int | None = None

    def logits(self, inputs: Sequence[Inputs]) -> Logits:
        """Return [n, 5] float64: ``log max(probability, 1e-12)``."""
        found = np.zeros((len(inputs), len(LABELS)))
        if inputs:
            found[:, self.trained] = self.probabilities(self.read(inputs))
        return np.log(np.maximum(found, _LEAST_PROBABILITY))


def fit_boosting(recipe: Recipe, inputs: Sequence[Inputs], codes: NDArray[np.int64], seed: int) -> ProbabilityModel:
    """Fit gradient boosting: one booster a label against the others, with the softmax of their log odds.

    Frames are read as the FCNN reads them: aligned with the longest training row, scaled and flattened.

    Parameters
    ----------
    recipe : Recipe
        Its class weights are those of the rows.
    inputs : Sequence[Inputs]
        N arrays [n_i, width] float32.
    codes : ndarray, [n] int64
    seed : int
        Unused: no tree is drawn by chance.

    Raises
    ------
    ConfigError
        The package ``perpetual`` is not installed.
    DatasetError
        Fewer than two rows, or fewer than two labels.
    """
    # Imported here: it is an extra of the package, which one recipe needs.
    try:
        from perpetual import PerpetualBooster
    except ImportError:
        raise ConfigError(f"recipe '{recipe.name}' needs a package that is missing: pip install perpetual") from None
    check_labels(codes)
    read: Callable[[Sequence[Inputs]], Inputs]
    if recipe.reads_frames:
        aligner, rows = fit_aligner(recipe, inputs)
        read = aligner.flatten
    else:
        rows, codes = all_rows(inputs, codes)
        read = _vectors
    booster = PerpetualBooster(objective="LogLoss", budget=_BUDGET, num_threads=1, memory_limit=_MEMORY_GB)
    weights = compute_sample_weight("balanced", codes) if recipe.training.class_weights == "balanced" else None
    booster.fit(rows.astype(np.float64), codes, sample_weight=weights)

    def probabilities(rows: Inputs) -> Probabilities:
        found: Probabilities = booster.predict_proba(rows.astype(np.float64))
        return found

    return ProbabilityModel(read, probabilities, np.unique(codes))


def fit_vote(recipe: Recipe, inputs: Sequence[Inputs], codes: NDArray[np.int64], seed: int) -> ProbabilityModel:
    """Fit logistic regression, a support vector machine and extra trees, and take the mean of their probabilities.

    All weigh labels evenly. A machine has no probabilities: the softmax of its one-vs-rest decision values stands in.

    Parameters
    ----------
    recipe : Recipe
        Nothing of it is read but the inputs that it has made.
    inputs : Sequence[Inputs]
        N arrays [n_i, width] float32: recordings and their altered copies.
    codes : ndarray, [n] int64
    seed : int
        Of the trees.

    Raises
    ------
    DatasetError
        Fewer than two rows, or fewer than two labels.
    """
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

    def probabilities(vectors: Inputs) -> Probabilities:
        rows = scaler.transform(vectors)
        decisions = _softmax(machine.decision_function(rows))
        mean: Probabilities = (logistic.predict_proba(rows) + decisions + trees.predict_proba(rows)) / len(voters)
        return mean

    return ProbabilityModel(_vectors, probabilities, np.unique(codes))


def _vectors(inputs: Sequence[Inputs]) -> Inputs:
    """Return of each input the first row, the recording itself: [n, width] float32."""
    return np.stack([one[0] for one in inputs])


def _softmax(decisions: NDArray[np.float64]) -> Probabilities:
    """Return [n, n_labels]; of two labels a machine gives one column, which stands for the second."""
    if decisions.ndim == 1:
        decisions = np.column_stack([-decisions, decisions]) / 2
    exponentials = np.exp(decisions - decisions.max(axis=1, keepdims=True))
    softmax: Probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    return softmax
