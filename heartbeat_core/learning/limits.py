"""When a prediction counts as sure: limits of confidence, distance and segmentation, fitted to training rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.arrays import Codes, Logits, Values
from heartbeat_core.labels import Targets
from heartbeat_core.learning.decision import Decision

UNSURE_SHARE = 0.2
"""Share of the training rows whose inner out-of-fold prediction has a confidence below the limit for "sure"."""
FAR_SHARE = 0.005
"""Share of the training rows that lie beyond the largest distance that counts as near."""
UNSURE_RIGHT_SHARE = 0.195
"""Share of the right predictions for databases left out that are unsure, by all limits together."""
UNLIKE_RIGHT_SHARE = 0.01
"""Share of the right predictions for databases left out that lie beyond the distance of what the model has met."""
NO_HEART_SHARE = 0.01
"""Share of the recordings of hearts in which the segmenter is less sure than where a heart is found."""
NO_HEART_LABEL = "artifact"
"""The label of recordings without a heart."""

MinConfidence = float | tuple[float, ...]
"""The lowest probability of the predicted label that counts as sure: one for all labels, or one for each, by code."""


def least_confidences(limit: MinConfidence, codes: Codes) -> Values:
    """Return the lowest confidence that counts as sure for each predicted label, [n] float64.

    Parameters
    ----------
    limit : float | tuple[float, ...]
        One for all labels, or one for each, by code.
    codes : ndarray, [n] int64
        The predicted labels.

    Examples
    --------
    >>> least_confidences((0.6, 0.9), np.array([1, 0, 1])).tolist()
    [0.9, 0.6, 0.9]
    """
    limits = np.asarray(limit, np.float64)
    return limits[codes] if limits.ndim else np.full(len(codes), limits)


@dataclass(frozen=True, slots=True)
class Limits:
    """When a prediction counts as sure; a limit of None or 0 marks no prediction.

    Attributes
    ----------
    min_confidence : float | tuple[float, ...]
        A prediction with a lower confidence is unsure: one limit for all labels, or one for each, by code.
    max_distance : float | None
        A prediction with a larger distance is unsure: it lies farther than 199 of 200 training rows.
    max_unlike : float | None
        The same, by the rows of databases that a model was not trained on.
    min_segmentation : float | None
        No heart is found if the segmenter is less sure.
    no_heart_code : int
        The code of the label for which it is no reason that no heart was found; -1 if there is none.
    """

    min_confidence: MinConfidence = 0.0
    max_distance: float | None = None
    max_unlike: float | None = None
    min_segmentation: float | None = None
    no_heart_code: int = -1

    def marks(
        self, codes: Codes, confidence: Values, distances: Values | None, segmentation: Values | None
    ) -> NDArray[np.bool_]:
        """Tell which predictions are unsure, [n] bool.

        The quality of the recording, which marks predictions of a bundle as well, is no part of this.

        Parameters
        ----------
        codes : ndarray, [n] int64
            The predicted labels.
        confidence : ndarray, [n] float64
            Their probabilities.
        distances : ndarray, [n] float64 | None
            None if the model measures none: then no prediction is marked by it.
        segmentation : ndarray, [n] float64 | None
            How sure the segmenter is of each recording; None as for ``distances``.

        Examples
        --------
        >>> limits = Limits(min_confidence=0.5, max_distance=2.0)
        >>> limits.marks(np.array([0, 0, 1]), np.array([0.4, 0.5, 0.9]), np.array([1.0, 2.0, 3.0]), None)
        array([ True, False,  True])
        """
        marked = confidence < least_confidences(self.min_confidence, codes)
        for limit in (self.max_distance, self.max_unlike):
            if limit is not None and distances is not None:
                marked = marked | (distances > limit)
        if self.min_segmentation is not None and segmentation is not None:
            marked = marked | ((segmentation < self.min_segmentation) & (codes != self.no_heart_code))
        return marked


@dataclass(frozen=True)
class Inner:
    """What models say of rows that they were not trained on.

    Attributes
    ----------
    logits : ndarray, [n, n_labels] float64
        NaN for rows that no model predicted.
    distances : ndarray, [n] float64
        NaN where no distance was measured.
    """

    logits: Logits
    distances: Values

    @cached_property
    def rows(self) -> Codes:
        """[n_predicted] int64: the numbers of the rows that were predicted, ascending."""
        return np.flatnonzero(~np.isnan(self.logits[:, 0]))


def limits_within(confidence: Values | None, distances: Values | None) -> Limits:
    """Return the limits by the out-of-fold predictions and the distances of training rows.

    Parameters
    ----------
    confidence : ndarray, [n] float64 | None
        The probabilities of predictions for rows that the model was not trained on; None sets no limit.
    distances : ndarray, [n] float64 | None
        Of the training rows themselves; None sets no limit.
    """
    return Limits(
        min_confidence=0.0 if confidence is None else float(np.quantile(confidence, UNSURE_SHARE)),
        max_distance=None if distances is None else float(np.quantile(distances, 1.0 - FAR_SHARE)),
    )


def limits_across(
    targets: Targets, databases: Sequence[str], inner: Inner, decision: Decision, segmentation: Values | None
) -> Limits:
    """Return the limits by predictions for databases that the model was not trained on.

    The least confidence of each label is the one at which predictions are equally likely to be right, by a logistic
    regression on label and confidence, over the rows whose labels say whether the prediction is right. A label that
    only one database has cannot be judged so: it gets the mean limit of the others, on the scale of logits.

    Parameters
    ----------
    targets : Targets
        The labels of n training rows.
    databases : [n] text
        The database of each row.
    inner : Inner
        Predictions for them, by models that were trained without their database.
    decision : Decision
    segmentation : ndarray, [n] float64 | None
        How sure the segmenter is of each recording.
    """
    found = with_heart_limit(Limits(), targets, segmentation)
    if not len(inner.rows):
        return found
    probabilities = decision.probabilities(inner.logits[inner.rows], targets.present)
    codes = decision.codes(probabilities)
    confidence = probabilities[np.arange(len(codes)), codes]
    is_right = targets.possible[inner.rows, codes]
    if not is_right.any():
        return found
    distances = inner.distances[inner.rows]
    if not np.isnan(distances).any():
        found = replace(found, max_unlike=float(np.quantile(distances[is_right], 1.0 - UNLIKE_RIGHT_SHARE)))
    is_marked = found.marks(codes, confidence, distances, None if segmentation is None else segmentation[inner.rows])
    of_rows = [databases[row] for row in inner.rows.tolist()]
    # Whether a call is right that a row with several possible labels allows, nobody knows.
    is_decided = ~is_right | (targets.possible[inner.rows].sum(axis=1) == 1)
    certainty = _fit_certainty(codes, confidence, is_right, is_decided, of_rows, _elsewhere(targets, databases))
    # What the other limits mark is unsure at any confidence.
    of_right = np.where(is_marked, -np.inf, certainty.of(codes, confidence))[is_right]
    least = float(np.quantile(of_right, UNSURE_RIGHT_SHARE, method="higher"))
    return replace(found, min_confidence=certainty.confidences(least))


@dataclass(frozen=True, slots=True)
class _Certainty:
    """How likely a prediction is right: ``slope * logit(confidence) + bias`` of its label, ``biases`` [n_labels]."""

    slope: float
    biases: Values

    def of(self, codes: Codes, confidence: Values) -> Values:
        return self.slope * _logits(confidence) + self.biases[codes]

    def confidences(self, certainty: float) -> tuple[float, ...]:
        """Return for each label the confidence that has this certainty."""
        return tuple(np.exp(-np.logaddexp(0.0, (self.biases - certainty) / self.slope)).tolist())


def _fit_certainty(
    codes: Codes,
    confidence: Values,
    is_right: NDArray[np.bool_],
    is_decided: NDArray[np.bool_],
    databases: Sequence[str],
    is_elsewhere: NDArray[np.bool_],
) -> _Certainty:
    """Fit a logistic regression to the decided rows, in which all databases count the same.

    Calls of one label are wrong more often on databases left out than calls of another with the same confidence. Of a
    label that only one database has, no call can be right there: such calls tell nothing. This label, like one that is
    never called, gets the mean bias of the others.
    """
    n_labels = len(is_elsewhere)
    plain = _Certainty(1.0, np.zeros(n_labels))
    is_told = is_decided & is_elsewhere[codes]
    if len(np.unique(is_right[is_told])) < 2:
        return plain
    # Imported here because it is slow to load and serving does not need it.
    from sklearn.linear_model import LogisticRegression

    _, places, counts = np.unique(np.asarray(databases)[is_told], return_inverse=True, return_counts=True)
    weights = is_told.sum() / len(counts) / counts[places]
    read = np.column_stack([_logits(confidence), np.eye(n_labels)[codes]])
    fitted = LogisticRegression().fit(read[is_told], is_right[is_told], sample_weight=weights)
    slope, *of_labels = fitted.coef_[0]
    biases = np.array(of_labels)
    is_fitted = np.isin(np.arange(n_labels), codes[is_told])
    biases[~is_fitted] = biases[is_fitted].mean()
    return _Certainty(float(slope), biases) if slope > 0 else plain


def _elsewhere(targets: Targets, databases: Sequence[str]) -> NDArray[np.bool_]:
    """Tell which labels are the only possible one of rows of more than one database, [n_labels] bool."""
    pairs = {(code, database) for code, database in zip(targets.codes.tolist(), databases, strict=True) if code >= 0}
    codes = np.array([code for code, _ in pairs], np.int64)
    return np.bincount(codes, minlength=len(targets.labels)) > 1


def _logits(confidence: Values) -> Values:
    clipped = np.clip(confidence, 1e-6, 1 - 1e-6)
    logits: Values = np.log(clipped / (1 - clipped))
    return logits


def with_heart_limit(limits: Limits, targets: Targets, segmentation: Values | None) -> Limits:
    """Return limits with that of the segmenter's confidence, below which no heart is found.

    Parameters
    ----------
    limits : Limits
    targets : Targets
        The labels of n training rows.
    segmentation : ndarray, [n] float64 | None
        How sure the segmenter is of each recording; None if the model does not read the segmentation.

    Returns
    -------
    Limits
        The given ones where ``segmentation`` is None, or no row is known to have a heart.
    """
    code = targets.labels.index(NO_HEART_LABEL) if NO_HEART_LABEL in targets.labels else -1
    has_heart = np.ones(len(targets), np.bool_) if code < 0 else ~targets.possible[:, code]
    if segmentation is None or not has_heart.any():
        return limits
    least = float(np.quantile(segmentation[has_heart], NO_HEART_SHARE))
    return replace(limits, min_segmentation=least, no_heart_code=code)
