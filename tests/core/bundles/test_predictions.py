"""When a prediction is marked as unsure, to the last digit of each limit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from heartbeat_core.audio.quality import Quality
from heartbeat_core.bundles.predictions import Sureness
from heartbeat_core.bundles.reasons import (
    LOW_CONFIDENCE,
    NO_HEART_FOUND,
    OUT_OF_DISTRIBUTION,
    POOR_QUALITY,
    UNLIKE_TRAINING_DATA,
)
from heartbeat_core.errors import ConfigError
from heartbeat_core.features.beats_columns import BEATS
from heartbeat_core.recordings.process import RecordingResult
from heartbeat_core.settings import parse_settings
from tests.core.conftest import make_result

STRICT = Sureness(min_confidence=0.6, max_distance=2.0)


def recording(clipped: float = 0.0, silent: float = 0.0, **changes: Any) -> RecordingResult:
    quality = Quality(0.5, 0.1, 0.0, clipped, silent)
    return make_result(np.ones((3, 2), np.float32), quality=quality, **changes)


@pytest.mark.parametrize(
    ("result", "confidence", "distance", "reasons"),
    [
        (recording(), 0.9, 1.0, None),
        # Each limit itself is still sure.
        (recording(), 0.6, 2.0, None),
        (recording(clipped=0.1, silent=0.5, duration_s=1.0), 0.6, 2.0, None),
        (recording(), 0.5999, 1.0, LOW_CONFIDENCE),
        (recording(), 0.9, 2.001, OUT_OF_DISTRIBUTION),
        (recording(clipped=0.1001), 0.9, 1.0, POOR_QUALITY),
        (recording(silent=0.5001), 0.9, 1.0, POOR_QUALITY),
        (recording(duration_s=0.999), 0.9, 1.0, POOR_QUALITY),
        (recording(truncated=True), 0.9, 1.0, POOR_QUALITY),
        # Several ways of being poor are one reason; several reasons have one order.
        (recording(clipped=1.0, silent=1.0, truncated=True), 0.9, 1.0, "poor_quality"),
        (recording(truncated=True), 0.1, 9.0, "low_confidence,poor_quality,out_of_distribution"),
        (recording(), 0.1, 9.0, "low_confidence,out_of_distribution"),
        # A model without a measure of distance never says so.
        (recording(), 0.9, None, None),
    ],
)
def test_reasons(result: RecordingResult, confidence: float, distance: float | None, reasons: str | None) -> None:
    assert STRICT.reasons(result, 2, confidence, distance) == reasons


def test_each_label_may_have_its_own_least_confidence() -> None:
    limits = Sureness(min_confidence=(0.5, 0.6, 0.9))
    assert [limits.reasons(recording(), code, 0.6, None) for code in range(3)] == [None, None, LOW_CONFIDENCE]
    assert limits.are_unconfident(np.array([2, 1, 0]), np.array([0.9, 0.59, 0.4])).tolist() == [False, True, True]


def test_reasons_by_databases_left_out_and_by_the_segmenter() -> None:
    limits = Sureness(max_unlike=2.0, min_segmentation=0.6)
    place = BEATS.names.index("segmentation_confidence")

    def heard(confidence: float) -> RecordingResult:
        beats = np.zeros(len(BEATS.names), np.float32)
        beats[place] = confidence
        return recording(features={"beats": beats})

    assert limits.reasons(heard(0.7), 0, 0.9, 2.0) is None
    assert limits.reasons(heard(0.7), 0, 0.9, 2.001) == UNLIKE_TRAINING_DATA
    assert limits.reasons(heard(0.59), 0, 0.9, 1.0) == NO_HEART_FOUND
    assert limits.reasons(heard(0.59), 0, 0.9, 3.0) == "unlike_training_data,no_heart_found"
    # That no heart was found is no reason to doubt that there is none.
    but_artifact = limits.model_copy(update={"no_heart_code": 3})
    assert [but_artifact.reasons(heard(0.59), code, 0.9, 1.0) for code in (0, 3)] == [NO_HEART_FOUND, None]
    # What is not set is not stored: bundles of before keep their bytes.
    assert not {"max_unlike", "min_segmentation", "no_heart_code"} & set(Sureness().model_dump(mode="json"))


def test_by_default_only_the_quality_counts() -> None:
    assert Sureness().reasons(recording(), 0, 0.0, 1e9) is None
    assert Sureness().reasons(recording(truncated=True), 0, 1.0, 0.0) == POOR_QUALITY


@pytest.mark.parametrize(
    ("setting", "value", "result"),
    [
        ("max_clipped_fraction", 0.3, recording(clipped=0.2)),
        ("max_silent_fraction", 0.9, recording(silent=0.8)),
        ("min_duration_s", 0.5, recording(duration_s=0.7)),
    ],
)
def test_each_limit_can_be_moved(setting: str, value: float, result: RecordingResult) -> None:
    assert STRICT.reasons(result, 0, 0.9, 1.0) == POOR_QUALITY
    assert STRICT.model_copy(update={setting: value}).reasons(result, 0, 0.9, 1.0) is None
    assert Sureness(**{setting: value}).reasons(replace(result, truncated=True), 0, 0.9, 1.0) == POOR_QUALITY


@pytest.mark.parametrize("content", [{"min_confidence": float("nan")}, {"max_distance": float("inf")}, {"colour": 1}])
def test_nonsense_is_refused(content: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        parse_settings(Sureness, content, "bundle.json")
