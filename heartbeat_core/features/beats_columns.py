"""The columns of the beats of a recording (``pcg-beats-v1``), in order, and what each value is."""

from __future__ import annotations

from heartbeat_core.features.feature_set import Column, FeatureSet, described

VERSION = "pcg-beats-v1"
STATES = ("s1", "systole", "s2", "diastole")
SEGMENTATION_CONFIDENCE = "segmentation_confidence"

DESCRIPTIONS = {
    "heart_rate_bpm": "heart rate: 60 over the mean of the confident intervals near their median, bpm",
    "heart_rate_confidence": f"{SEGMENTATION_CONFIDENCE} times the autocorrelation of S1 and S2 at the period, 0 to 1",
    SEGMENTATION_CONFIDENCE: "mean probability of the states that were found; low where there are no heart sounds",
    "systole_s": "median time from S1 to S2, s",
    "systole_deviation_s": "robust deviation of the time from S1 to S2, s",
    "diastole_s": "median time from S2 to the next S1, s",
    "diastole_deviation_s": "robust deviation of the time from S2 to the next S1, s",
    "interval_p50_s": "median interval from S1 to the next S1, s",
    "interval_min_ratio": "least interval over their median",
    "interval_max_ratio": "greatest interval over their median",
    "interval_cv": "standard deviation of the intervals over their mean",
    "interval_log_change_max": "greatest change of an interval's natural logarithm to the next, in magnitude",
    "early_beat_share": "share of intervals below 0.8 of their median that a longer one follows",
    "missing_beat_share": "share of intervals above 1.6 of their median",
    "cycles_share": "share of the recording that whole heart cycles cover",
    **{f"{state}_share": f"share of the recording in state {state}" for state in STATES},
}
"""A one-line description of each value, in order."""

NAMES: tuple[str, ...] = tuple(DESCRIPTIONS)

_INTRODUCTION = """\
The beats of a recording: heart rate, length and regularity of the heart cycles, and the times of S1 and S2;
`heartbeat_core/features/beats.py` computes them.

The recording is resampled, band-passed and scaled as for `pcg-stats-v1`. Every 20 ms a small convolutional network
estimates from the envelopes of six bands whether the heart is in S1, systole, S2 or diastole
(`heartbeat_core/features/segmenter.py`); a duration-dependent Viterbi algorithm finds the most likely sequence
(`heartbeat_core/features/decoding.py`). A sound that begins before the recording is not counted. A heart cycle reaches
from one S1 to the next, and takes 0.28 to 1.9 s: no heart faster than 214 bpm or slower than 32 bpm is found. The heart
rate is 60 over the mean of the intervals within 25 % of their median; both are weighted by the sixth power of the
mean probability of the states in an interval. A robust deviation is 1.4826 times the median absolute deviation (MAD).

No value grows with the length of the recording, as the number of beats would: databases cut their recordings to lengths
that can depend on the label. The number of beats is the length of the list `s1_s`.

Where there are not two S1, all that comes from intervals is neutral: the ratios are 1, and the heart rate, its
confidence, the times, their deviations, the changes and the shares of beats and cycles are 0. Silence has no beats.
"""

BEATS = FeatureSet(
    name="beats",
    version=VERSION,
    shape="vector",
    columns=described(DESCRIPTIONS, {"": "rhythm"}),
    lists=(
        Column("s1_s", "list of the times at which S1 begins", "s", "floats"),
        Column("s2_s", "list of the times at which S2 begins", "s", "floats"),
    ),
    needs=("segmentation",),
    function="heartbeat_core.features.beats:compute_beats",
    lists_function="heartbeat_core.features.beats:list_onsets",
    introduction=_INTRODUCTION,
)
