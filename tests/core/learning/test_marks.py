"""Which predictions a model marks as unsure, by a plain loop."""

from __future__ import annotations

import numpy as np
import pytest

from heartbeat_core.learning.limits import Limits

CODES = np.array([0, 1, 0, 1, 0, 1])
CONFIDENCE = np.array([0.4, 0.5, 0.6, 0.9, 0.9, 0.9])
DISTANCES = np.array([1.0, 1.0, 2.0, 2.5, 3.0, 1.0])
SEGMENTATION = np.array([0.9, 0.9, 0.9, 0.9, 0.9, 0.1])


@pytest.mark.parametrize("max_distance", [None, 2.0])
@pytest.mark.parametrize("max_unlike", [None, 2.5])
@pytest.mark.parametrize("min_segmentation", [None, 0.1, 0.2])
@pytest.mark.parametrize("min_confidence", [0.0, 0.5, (0.5, 0.95)])
def test_marks_by_a_plain_loop(
    min_confidence: float | tuple[float, ...],
    max_distance: float | None,
    max_unlike: float | None,
    min_segmentation: float | None,
) -> None:
    limits = Limits(min_confidence, max_distance, max_unlike, min_segmentation)
    expected = [
        confidence < (min_confidence if isinstance(min_confidence, float) else min_confidence[code])
        or (max_distance is not None and distance > max_distance)
        or (max_unlike is not None and distance > max_unlike)
        or (min_segmentation is not None and sure < min_segmentation)
        for code, confidence, distance, sure in zip(CODES, CONFIDENCE, DISTANCES, SEGMENTATION, strict=True)
    ]
    assert limits.marks(CODES, CONFIDENCE, DISTANCES, SEGMENTATION).tolist() == expected


def test_what_is_not_measured_marks_nothing() -> None:
    assert not Limits(0.0, 0.0, 0.0, 1.0).marks(CODES, CONFIDENCE, None, None).any()
