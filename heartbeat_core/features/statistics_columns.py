"""The names of the summary statistics, in order, and what each value is.

``statistics`` and ``rhythm`` compute their values under these names. A name ends with the unit of its value; a value
without a unit has none in its name.
"""

from __future__ import annotations

from itertools import pairwise

from heartbeat_core.features.feature_set import FeatureSet, described, described_percentiles

VERSION = "pcg-stats-v1"

N_MFCC = 20
RHYTHM_BANDS_HZ = {"low": (25.0, 150.0), "middle": (150.0, 400.0), "high": (400.0, 800.0)}
N_PEAKS = 4
MODULATION_EDGES_HZ = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 9.0, 14.0, 20.0, 35.0)


def _number(value: float) -> str:
    return f"{value:g}".replace(".", "p")


TIMBRE = {
    "mean": "mean over time",
    "std": "standard deviation over time",
    **described_percentiles((10, 50, 90), "over time"),
    "max": "maximum over time",
    "skew": "skewness over time",
    "change_std": "standard deviation of its changes from frame to frame",
    "change_abs_mean": "mean magnitude of its changes from frame to frame",
}

TRACK = {
    "mean": "mean over time",
    "std": "standard deviation over time",
    **described_percentiles((10, 25, 50, 75, 90), "over time"),
    "min": "minimum over time",
    "max": "maximum over time",
    "skew": "skewness over time",
    "kurtosis": "excess kurtosis over time",
    "change_abs_mean": "mean magnitude of its changes from frame to frame",
    "change_std": "standard deviation of its changes from frame to frame",
}

_TRACKS = {
    "dominant_hz": "frequency of the strongest bin of a frame, Hz",
    "dominant_log_magnitude": "natural logarithm of the strongest bin's magnitude",
}

_PERIODICITY = {
    **{
        f"autocorrelation_peak_{rank}": f"height of the autocorrelation's peak no. {rank} by height, 0 if there is none"
        for rank in range(1, N_PEAKS + 1)
    },
    **{
        f"autocorrelation_peak_{rank}_lag_s": f"lag of the autocorrelation's peak no. {rank} by height, s"
        for rank in range(1, N_PEAKS + 1)
    },
    "period_s": "lag of the highest autocorrelation from 0.35 to 1.5 s: the heart's period, s",
    "autocorrelation_at_period": "autocorrelation at the heart's period",
    "autocorrelation_at_half_period": "autocorrelation at half of the heart's period",
    "autocorrelation_at_four_thirds_period": "autocorrelation at four thirds of the heart's period",
    "autocorrelation_min": "least autocorrelation up to 2 s",
    "autocorrelation_min_lag_s": "lag of the least autocorrelation, s",
}

_ENVELOPE = {
    **{
        f"log_envelope_{name}_less_p50": text
        for name, text in described_percentiles(
            (5, 10, 25, 75, 90, 95, 99), "of the log envelope, less its median"
        ).items()
    },
    "log_envelope_p50": "median of the log envelope, the envelope's mean being 1",
    "envelope_std": "standard deviation of the envelope, its mean being 1",
    "envelope_skew": "skewness of the envelope",
    "envelope_kurtosis": "excess kurtosis of the envelope",
    "log_envelope_std": "standard deviation of the log envelope",
    "log_envelope_skew": "skewness of the log envelope",
    "log_envelope_kurtosis": "excess kurtosis of the log envelope",
}

BEATS = {
    "beat_rate_hz": "beats a second, Hz",
    "interval_mean_s": "mean interval between beats, s",
    "interval_std_s": "standard deviation of the intervals between beats, s",
    "interval_std_ratio": "the same over the mean interval",
    **{
        f"interval_{name}_s": f"{text}, s"
        for name, text in described_percentiles((10, 25, 50, 75, 90), "of the intervals between beats").items()
    },
    "height_mean": "mean height of the beats, the envelope's mean being 1",
    "height_std_ratio": "standard deviation of the beats' heights over their mean",
    **{f"height_{name}": text for name, text in described_percentiles((10, 50, 90), "of the beats' heights").items()},
    "interval_alternation": "medians of every other interval and of those between, the larger over the smaller",
    "height_alternation": "medians of every other height and of those between, the larger over the smaller",
    "interval_serial_1": "correlation of an interval with the next",
    "interval_serial_2": "correlation of an interval with the next but one",
}
"""All but the rate are 0 if there are fewer than three beats."""

MODULATION = {
    **{
        f"modulation_{_number(low)}_to_{_number(high)}_hz": f"share of the envelope's power from {low:g} to {high:g} Hz"
        for low, high in pairwise(MODULATION_EDGES_HZ)
    },
    "modulation_peak_hz": "frequency of the envelope's greatest power from 0.5 to 35 Hz, Hz",
}

_STABILITY = {
    "window_period_p50_s": "median of the heart's period in windows of 3 s, s",
    "window_period_std_ratio": "standard deviation of the period in windows over their median",
    "window_period_iqr_ratio": "range between the quartiles of the period in windows over their median",
    "window_period_min_ratio": "least period in a window over their median",
    "window_period_max_ratio": "greatest period in a window over their median",
}

RHYTHM = {**_PERIODICITY, **_ENVELOPE, **BEATS, **MODULATION, **_STABILITY}
"""What is computed for each band."""

DESCRIPTIONS = {
    **{f"mfcc_{i:02d}_{summary}": f"MFCC {i}: {text}" for summary, text in TIMBRE.items() for i in range(N_MFCC)},
    **{
        f"rhythm_{band}_{name}": f"{low:g}-{high:g} Hz: {text}"
        for band, (low, high) in RHYTHM_BANDS_HZ.items()
        for name, text in RHYTHM.items()
    },
    **{f"{track}_{summary}": f"{what}: {text}" for track, what in _TRACKS.items() for summary, text in TRACK.items()},
}
"""A one-line description of each value, in order."""

_INTRODUCTION = """\
The summary statistics of a recording, in their order; `heartbeat_core/features/statistics.py` computes them.

The recording is resampled to 4 kHz, band-passed to 20-900 Hz without phase, and scaled so that the 99th percentile of
its magnitudes is 1. MFCCs (of 40 mel bands to 1 kHz) and dominant frequencies are taken of frames of 64 ms every 20 ms.
The envelope is the magnitude of a band's analytic signal, averaged over each 10 ms, and divided by its mean; the log
envelope is the natural logarithm of that plus 0.001. A beat is a peak of the smoothed envelope above its median, the
highest within 0.15 s. A value with a unit has it at the end of its name.
"""

NAMES: tuple[str, ...] = tuple(DESCRIPTIONS)
"""One column for each value, in the same order."""

STATISTICS = FeatureSet(
    name="statistics",
    version=VERSION,
    shape="vector",
    columns=described(DESCRIPTIONS, {"mfcc_": "timbre", "rhythm_": "rhythm"}),
    needs=("power", "log_mel", "rhythm_envelopes"),
    function="heartbeat_core.features.statistics:compute_statistics",
    introduction=_INTRODUCTION,
)
