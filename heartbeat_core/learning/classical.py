"""Models without a network: the gradient boosting of the original project, and a vote of three kinds of classifier.

They learn from the rows whose label is known, and leave out rows with several possible labels. Their outputs are
logarithms of probabilities. The lowest output is ``log 1e-12``, also for untrained labels.
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
from heartbeat_core.arrays import Inputs, Logits, Values
from heartbeat_core.errors import ConfigError
from heartbeat_core.features.catalogue import shape_read
from heartbeat_core.labels import Targets
from heartbeat_core.learning.aligned import fit_aligner, flatten
from heartbeat_core.learning.model import Implementation, OnStep
from heartbeat_core.learning.training import check_labels
from heartbeat_core.learning.vectors import all_rows, fit_vector_scaler
from heartbeat_core.recipe import Recipe

_LEAST_PROBABILITY = 1e-12
_BUDGET = 0.5
"""The default of perpetual; it decides the learning rate and the number of trees."""
_MEMORY_GB = 0.1
"""Memory for histograms. Without this limit perpetual uses all free memory of the machine: training is then 10 times
slower and gives different trees each time."""
_LOGISTIC_C = 0.003
_N_TREES = 400
_LEAF_ROWS = 3


@dataclass(frozen=True, slots=True)
class ProbabilityModel:
    """A classifier that gives probabilities.

    Attributes
    ----------
    read : Callable[[Sequence[Inputs]], Inputs]
        Turns n inputs into rows [n, width].
    probabilities : Callable[[Inputs], Values]
        Turns rows into [n, n_trained] float64, in the order of ``trained``.
    trained : ndarray of int64
        Codes of the labels in the training rows, ascending.
    n_labels : int
        Of the dataset, with those that no training row has.
    n_bytes : int | None
        Always None: the libraries do not give the size.
    """

    read: Callable[[Sequence[Inputs]], Inputs]
    probabilities: Callable[[Inputs], Values]
    trained: NDArray[np.int64]
    n_labels: int
    n_bytes: int | None = None

    def logits(self, inputs: Sequence[Inputs]) -> Logits:
        """Return [n, n_labels] float64: ``log max(probability, 1e-12)``."""
        found = np.zeros((len(inputs), self.n_labels))
        if inputs:
            found[:, self.trained] = self.probabilities(self.read(inputs))
        return np.log(np.maximum(found, _LEAST_PROBABILITY))

    def distances(self, inputs: Sequence[Inputs]) -> None:
        """Return None: these classifiers do not measure distances."""


class Boosting(Implementation):
    """The kind ``boosting``: one booster for each label against the others, and the softmax of their log odds.

    Frames are aligned, scaled and flattened as for the FCNN. Nothing in the trees is random.
    """

    def fit(
        self,
        recipe: Recipe,
        inputs: Sequence[Inputs],
        targets: Targets,
        seed: int,
        reference: Reference | None = None,
        on_step: OnStep = lambda: None,
    ) -> ProbabilityModel:
        """Fit the boosters to frames, or to all rows of all vectors: recordings and their altered copies.

        All else is as ``Implementation.fit`` says.

        Raises
        ------
        ConfigError
            The package ``perpetual`` is not installed.
        DatasetError
            There are fewer than two rows with a known label, or they all have the same.
        """
        # Imported here because it is an optional package that only one recipe needs.
        try:
            from perpetual import PerpetualBooster
        except ImportError:
            raise ConfigError(
                f"recipe '{recipe.name}' needs a package that is missing: pip install perpetual"
            ) from None
        inputs, targets = _known(inputs, targets)
        read: Callable[[Sequence[Inputs]], Inputs]
        if shape_read(recipe.input) == "frames":
            aligner, placed, offsets = fit_aligner(recipe, inputs, reference)
            rows, codes = flatten(placed, offsets, aligner.scaler), targets.codes
            read = aligner.flatten
        else:
            rows, repeated = all_rows(inputs, targets)
            codes = repeated.codes
            read = _vectors
        booster = PerpetualBooster(objective="LogLoss", budget=_BUDGET, num_threads=1, memory_limit=_MEMORY_GB)
        weights = compute_sample_weight("balanced", codes) if recipe.training.class_weights == "balanced" else None
        booster.fit(rows.astype(np.float64), codes, sample_weight=weights)
        on_step()

        def probabilities(rows: Inputs) -> Values:
            found: Values = booster.predict_proba(rows.astype(np.float64))
            return found

        return ProbabilityModel(read, probabilities, targets.present, len(targets.labels))


class Vote(Implementation):
    """The kind ``vote``: the mean of what logistic regression, a support vector machine and extra trees predict.

    All three give each label the same weight. A support vector machine gives no probabilities, so the softmax of its
    one-vs-rest decision values is used instead.
    """

    def fit(
        self,
        recipe: Recipe,
        inputs: Sequence[Inputs],
        targets: Targets,
        seed: int,
        reference: Reference | None = None,
        on_step: OnStep = lambda: None,
    ) -> ProbabilityModel:
        """Fit all three classifiers to all rows of all inputs: recordings and their altered copies.

        All else is as ``Implementation.fit`` says.

        Raises
        ------
        DatasetError
            There are fewer than two rows with a known label, or they all have the same.
        """
        inputs, targets = _known(inputs, targets)
        vectors, repeated = all_rows(inputs, targets)
        scaler = fit_vector_scaler(vectors)
        rows = scaler.transform(vectors)
        logistic = LogisticRegression(C=_LOGISTIC_C, class_weight="balanced", max_iter=2_000)
        machine = SVC(C=1.0, class_weight="balanced")
        trees = ExtraTreesClassifier(
            _N_TREES, class_weight="balanced", min_samples_leaf=_LEAF_ROWS, random_state=seed, n_jobs=1
        )
        voters: tuple[Any, ...] = (logistic, machine, trees)
        for voter in voters:
            voter.fit(rows, repeated.codes)
            on_step()

        def probabilities(vectors: Inputs) -> Values:
            rows = scaler.transform(vectors)
            decisions = _softmax(machine.decision_function(rows))
            mean: Values = (logistic.predict_proba(rows) + decisions + trees.predict_proba(rows)) / len(voters)
            return mean

        return ProbabilityModel(_vectors, probabilities, targets.present, len(targets.labels))

    def n_steps(self, recipe: Recipe) -> int:
        """Return the number of voters."""
        return 3


def _known(inputs: Sequence[Inputs], targets: Targets) -> tuple[list[Inputs], Targets]:
    """Return the rows whose label is known; raises DatasetError as ``check_labels``."""
    check_labels(targets)
    known = targets.definite
    return [inputs[i] for i in known.tolist()], targets.take(known)


def _vectors(inputs: Sequence[Inputs]) -> Inputs:
    """Return the first row of each input, which is the recording itself: [n, width] float32."""
    return np.stack([one[0] for one in inputs])


def _softmax(decisions: NDArray[np.float64]) -> Values:
    """Return [n, n_labels]. For two labels, a support vector machine gives one column, for the second label."""
    if decisions.ndim == 1:
        decisions = np.column_stack([-decisions, decisions]) / 2
    probabilities: Values = softmax(decisions, axis=1)
    return probabilities
