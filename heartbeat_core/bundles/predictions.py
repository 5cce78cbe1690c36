"""The predictions of a model: logits, probabilities, labels, and whether the model is sure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from heartbeat_core.arrays import Codes, Values
from heartbeat_core.bundles.reasons import (
    LOW_CONFIDENCE,
    NO_HEART_FOUND,
    OUT_OF_DISTRIBUTION,
    POOR_QUALITY,
    UNLIKE_TRAINING_DATA,
)
from heartbeat_core.features.beats_columns import BEATS, SEGMENTATION_CONFIDENCE
from heartbeat_core.learning.limits import MinConfidence, least_confidences
from heartbeat_core.settings import Settings

if TYPE_CHECKING:  # Commands that only look at a model would load the libraries of audio.
    from heartbeat_core.recordings.process import RecordingResult

_PLACE = BEATS.names.index(SEGMENTATION_CONFIDENCE)


@dataclass(frozen=True, slots=True)
class Predictions:
    """The predictions of a bundle for n recordings.

    Attributes
    ----------
    logits : ndarray, [n, n_labels] float32
        The outputs of the network.
    probabilities : ndarray, [n, n_labels] float32
        Probabilities of the trained labels; 0 for the others.
    codes : ndarray, [n] int64
        Codes of the predicted labels.
    unsure : Sequence[str | None]
        n texts with the reasons why the model is not sure, separated by commas; None if it is sure.
    """

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    codes: NDArray[np.int64]
    unsure: Sequence[str | None] = ()


class Sureness(Settings):
    """Limits that decide when a prediction is marked as unsure; a limit of None or 0 marks no prediction.

    Attributes
    ----------
    min_confidence : float | tuple[float, ...]
        The lowest probability of the predicted label that counts as sure: one for all labels, or one for each, by code.
    max_distance : float | None
        The largest distance of the recording from the training rows, as the model measures it, by those rows.
    max_unlike : float | None
        The same distance, by databases that were left out of the training.
    min_segmentation : float | None
        The lowest ``segmentation_confidence`` of the feature set ``beats`` with which a heart is found.
    no_heart_code : int
        The code of the label for which it is no reason that no heart was found; -1 if there is none.
    max_clipped_fraction, max_silent_fraction : float
        The largest values of these figures in ``quality.Quality``.
    min_duration_s : float
        A shorter recording contains hardly one heart cycle.
    """

    min_confidence: MinConfidence = 0.0
    max_distance: float | None = None
    max_unlike: Annotated[float | None, Field(exclude_if=lambda limit: limit is None)] = None
    min_segmentation: Annotated[float | None, Field(exclude_if=lambda limit: limit is None)] = None
    no_heart_code: Annotated[int, Field(exclude_if=lambda code: code < 0)] = -1
    max_clipped_fraction: float = 0.1
    max_silent_fraction: float = 0.5
    min_duration_s: float = 1.0

    def are_unconfident(self, codes: Codes, confidence: Values) -> NDArray[np.bool_]:
        """Tell which predictions have too low a confidence, [n] bool.

        Parameters
        ----------
        codes : ndarray, [n] int64
            The predicted labels.
        confidence : ndarray, [n] float64
            Their probabilities.
        """
        return confidence < least_confidences(self.min_confidence, codes)

    def reasons(self, result: RecordingResult, code: int, confidence: float, distance: float | None) -> str | None:
        """Return why a prediction is unreliable.

        Parameters
        ----------
        result : RecordingResult
            With the feature set ``beats`` if there is a ``min_segmentation``.
        code : int
            The predicted label.
        confidence : float
            Its probability.
        distance : float | None
            The distance of the recording from the training rows; None if the model does not measure it.

        Returns
        -------
        str | None
            Names of ``bundles.reasons``, separated by commas; None if there is no reason.
        """
        found = []
        if self.are_unconfident(np.array([code]), np.array([confidence]))[0]:
            found.append(LOW_CONFIDENCE)
        if (
            result.truncated
            or result.duration_s < self.min_duration_s
            or result.quality.clipped_fraction > self.max_clipped_fraction
            or result.quality.silent_fraction > self.max_silent_fraction
        ):
            found.append(POOR_QUALITY)
        if self.max_distance is not None and distance is not None and distance > self.max_distance:
            found.append(OUT_OF_DISTRIBUTION)
        if self.max_unlike is not None and distance is not None and distance > self.max_unlike:
            found.append(UNLIKE_TRAINING_DATA)
        looks_for_heart = self.min_segmentation is not None and code != self.no_heart_code
        if looks_for_heart and result.features[BEATS.name][_PLACE] < self.min_segmentation:
            found.append(NO_HEART_FOUND)
        return ",".join(found) or None
