"""What a model says of recordings: logits, probabilities, labels, and whether it is sure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.recordings.process import RecordingResult
from heartbeat_core.settings import Settings

LOW_CONFIDENCE = "low_confidence"
POOR_QUALITY = "poor_quality"
OUT_OF_DISTRIBUTION = "out_of_distribution"


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a bundle predicts for n recordings.

    Attributes
    ----------
    logits : ndarray, [n, 5] float32
        As the network gives them.
    probabilities : ndarray, [n, 5] float32
        Over the trained labels, 0 for the others.
    codes : ndarray, [n] int64
        The predicted label.
    unsure : Sequence[str | None]
        N texts: why the model is not sure, reasons parted by commas; None where it is.
    """

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    codes: NDArray[np.int64]
    unsure: Sequence[str | None] = ()


class Sureness(Settings):
    """When a prediction is marked as unsure; None and 0 mark none.

    Attributes
    ----------
    min_confidence : float
        Least probability of the predicted label.
    max_distance : float | None
        Of the recording from the training rows, as the model measures it.
    max_clipped_fraction, max_silent_fraction : float
        Of ``quality.Quality``.
    min_duration_s : float
        A shorter recording holds hardly a heart cycle.
    """

    min_confidence: float = 0.0
    max_distance: float | None = None
    max_clipped_fraction: float = 0.1
    max_silent_fraction: float = 0.5
    min_duration_s: float = 1.0

    def reasons(self, result: RecordingResult, confidence: float, distance: float | None) -> str | None:
        """Return why a prediction is not to be relied on, None where nothing speaks against it."""
        found = []
        if confidence < self.min_confidence:
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
        return ",".join(found) or None
