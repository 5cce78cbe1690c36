"""Summarise the beats of a recording (``pcg-beats-v1``): heart rate, lengths and regularity of the heart cycles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.arrays import Named, Values
from heartbeat_core.features.beats_columns import NAMES, STATES
from heartbeat_core.features.decoding import S1, S2, STATE_HZ, Segmentation
from heartbeat_core.features.series import median

EARLY_RATIO, MISSING_RATIO = 0.8, 1.6
"""An interval below the first is an early beat, if a longer one follows; one above the second lacks a beat."""
CONFIDENCE_POWER = 6
"""Intervals count for the heart rate by their confidence to this power: noisy stretches have false beats."""
NEAR_MEDIAN = 0.25
"""Intervals that are farther from their median than this share of it do not count for the heart rate."""
_NEUTRAL = {"interval_min_ratio": 1.0, "interval_max_ratio": 1.0}
_TO_DEVIATION = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation (MAD)."""


def compute_beats(segmentation: Segmentation) -> NDArray[np.float32]:
    """Summarise the beats.

    Parameters
    ----------
    segmentation : Segmentation
        Of the whole recording.

    Returns
    -------
    ndarray, [19] float32
        Finite values in the order of ``beats_columns.NAMES``.
    """
    states = segmentation.states
    shares = np.bincount(states, minlength=len(STATES)) / len(states)
    found = {
        **dict.fromkeys(NAMES, 0.0),
        **_NEUTRAL,
        **_summarise_cycles(segmentation),
        "segmentation_confidence": segmentation.confidence,
        **{f"{state}_share": share for state, share in zip(STATES, shares, strict=True)},
    }
    return np.array([float(found[name]) for name in NAMES], np.float32)


def list_onsets(segmentation: Segmentation) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the times in seconds at which S1 and S2 begin, [n_s1] and [n_s2] float32."""
    first, second = (segmentation.onsets(state).astype(np.float32) for state in (S1, S2))
    return first, second


def _summarise_cycles(segmentation: Segmentation) -> Named:
    cycles = segmentation.cycles
    if not len(cycles):
        return {}
    systoles, diastoles = np.diff(cycles, axis=1).T
    intervals = systoles + diastoles
    middle = median(intervals)
    changes = np.diff(np.log(intervals))
    is_early = (intervals[:-1] < EARLY_RATIO * middle) & (intervals[1:] > intervals[:-1])
    return {
        "heart_rate_bpm": 60.0 / _usual_interval(intervals, _confidences(segmentation, cycles)),
        "heart_rate_confidence": segmentation.confidence * min(max(segmentation.regularity, 0.0), 1.0),
        "systole_s": median(systoles),
        "systole_deviation_s": _robust_deviation(systoles),
        "diastole_s": median(diastoles),
        "diastole_deviation_s": _robust_deviation(diastoles),
        "interval_p50_s": middle,
        "interval_min_ratio": intervals.min() / middle,
        "interval_max_ratio": intervals.max() / middle,
        "interval_cv": intervals.std() / intervals.mean(),
        "interval_log_change_max": np.abs(changes).max() if len(changes) else 0.0,
        "early_beat_share": np.count_nonzero(is_early) / len(intervals),
        "missing_beat_share": np.count_nonzero(intervals > MISSING_RATIO * middle) / len(intervals),
        "cycles_share": intervals.sum() * STATE_HZ / len(segmentation.states),
    }


def _confidences(segmentation: Segmentation, cycles: Values) -> Values:
    """Return [k]: the mean posterior of the states in each cycle."""
    totals = np.concatenate([[0.0], np.cumsum(segmentation.posteriors)])
    starts, stops = np.rint(cycles[:, [0, 2]].T * STATE_HZ).astype(np.intp)
    means: Values = (totals[stops] - totals[starts]) / (stops - starts)
    return means


def _usual_interval(intervals: Values, confidences: Values) -> float:
    """Return the weighted mean of the intervals near their weighted median."""
    weights = confidences**CONFIDENCE_POWER
    order = np.argsort(intervals)
    middle = intervals[order[np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)]]
    is_near = np.abs(intervals - middle) <= NEAR_MEDIAN * middle
    return float(intervals[is_near] @ weights[is_near]) / float(weights[is_near].sum())


def _robust_deviation(values: Values) -> float:
    return _TO_DEVIATION * median(np.abs(values - median(values)))
