"""The names of the statistics of heart cycles, in order, and what each value is.

``cycles``, ``similarity`` and ``dynamics`` compute their values under these names. A name ends with the unit of its
value; a value without a unit has none in its name.
"""

from __future__ import annotations

from heartbeat_core.features.feature_set import FeatureSet, described, described_percentiles

VERSION = "pcg-cycles-v1"

BANDS_HZ = ((25.0, 80.0), (80.0, 160.0), (160.0, 320.0), (320.0, 800.0))
BANDS = tuple(f"{low:g}_to_{high:g}_hz" for low, high in BANDS_HZ)
BEST_SHARES, BEST_5_SHARES = (0, 5, 10, 25, 50, 75, 90), (0, 5, 10, 25, 50)
NEXT_SHARES, LAG_SHARES = (0, 10, 25, 50), (5, 25, 50, 75, 95)
APART_STEPS = range(5, 46, 2)
"""Steps between windows; the similarity is averaged for each of them."""
STEPS_HZ = 25
N_GROUPS = 13
GROUP_SIZE = 3
"""Number of mel bands in a group."""
COMPARED_GROUP = 2
LEVEL_SHARES = (5, 25, 75, 90, 98)


def apart(steps: int) -> str:
    """Return the name for the similarity of windows that are ``steps`` apart, such as ``after_0p2_s_mean``."""
    return f"after_{steps / STEPS_HZ:g}_s_mean".replace(".", "p")


_CYCLE = {
    "period_s": "lag of the highest autocorrelation of the lower three bands, weighted towards 0.8 s, s",
    "autocorrelation_at_period": "mean autocorrelation of the lower three bands at that lag",
    "rate_hz": "beats on the path a second, Hz",
    "interval_min_ratio": "least interval between beats over their median",
    "interval_max_ratio": "greatest interval between beats over their median",
    "interval_std_ratio": "standard deviation of the intervals over their median",
    "interval_deviation_p50_ratio": "median distance of an interval from their median, over that",
    "interval_log_change_rms": "root mean square of the change of an interval's natural logarithm to the next",
    "interval_log_change_max": "greatest change of an interval's natural logarithm to the next",
    "interval_log_change_min": "least change of an interval's natural logarithm to the next",
    "interval_share_20_percent_off": "share of intervals more than 20 % off their median",
    "interval_share_10_percent_off": "share of intervals more than 10 % off their median",
    "coverage": "share of the recording from the first beat to the last",
    "height_std_ratio": "standard deviation of the beats' heights over their mean",
    "height_min_ratio": "least height of a beat over their median",
    "height_max_ratio": "greatest height of a beat over their median",
    "second_sound_phase": "distance of the second sound from the nearer beat, in cycles",
    "second_sound_less_first": "level of the second sound in the template of the lower three bands, less the first's",
}

_TEMPLATE = {
    "first_sound": "level of the template at the first sound, less its mean",
    "second_sound": "level of the template at the second sound, less its mean",
    "range": "range of the template",
    **{
        f"systole_{part}": f"level of the template in third no. {part} of the systole, less its mean"
        for part in (1, 2, 3)
    },
    **{
        f"diastole_{part}": f"level of the template in quarter no. {part} of the diastole, less its mean"
        for part in (1, 2, 3, 4)
    },
    "systole_min": "least of the template in the systole, less its mean",
    "diastole_min": "least of the template in the diastole, less its mean",
    "systole_max": "greatest of the template within the systole, less its mean",
    "diastole_max": "greatest of the template within the diastole, less its mean",
    "deviation_abs_mean": "mean distance of the cycles from the template",
    "deviation_rms_max": "root mean square distance from the template, of the cycle farthest from it",
    "deviation_rms_p50": "root mean square distance from the template, median of the cycles",
    "correlation_min": "correlation with the template, least of the cycles",
    "correlation_p50": "correlation with the template, median of the cycles",
}

REPEATS = {
    **{
        f"next_{name}": text
        for name, text in described_percentiles(NEXT_SHARES, "similarity to the best next repeat").items()
    },
    **{
        f"at_period_{name}": text
        for name, text in described_percentiles(NEXT_SHARES, "similarity to what is about a period later").items()
    },
    **{
        f"lag_{name}_ratio": text
        for name, text in described_percentiles(
            LAG_SHARES, "lag of the best next repeat over the heart's period"
        ).items()
    },
    "lag_std_ratio": "standard deviation of the lag of the best next repeat over the heart's period",
    "gain_mean": "similarity to the best next repeat less that about a period later, mean",
    "gain_max": "similarity to the best next repeat less that about a period later, greatest",
    "lag_share_15_percent_off": "share of best next repeats more than 15 % off the heart's period",
}
"""All are 0 if the recording is too short for a next repeat."""

_SIMILARITY = {
    **{
        f"best_{name}": text
        for name, text in described_percentiles(BEST_SHARES, "similarity to the best other window").items()
    },
    **{
        f"best_5_{name}": text
        for name, text in described_percentiles(BEST_5_SHARES, "mean similarity to the best five other windows").items()
    },
    **REPEATS,
    **{apart(steps): f"mean similarity of windows {steps / STEPS_HZ:g} s apart" for steps in APART_STEPS},
}


def _describe_group(group: int) -> dict[str, str]:
    levels = {
        f"{name}_less_p50": f"{text}, less its median"
        for name, text in described_percentiles(LEVEL_SHARES, "of its level over time").items()
    }
    correlations = {
        "correlation_with_lower": "correlation of its level over time with the next lower group's",
        "correlation_with_02": "correlation of its level over time with that of group 2",
    }
    return {
        **levels,
        **(correlations if group else {}),
        "loud_less_quiet": "mean level in the loudest fifth of the frames, less that in the quietest",
        "middle_less_quiet": "mean level in the middle fifth of the frames, less that in the quietest",
    }


DESCRIPTIONS = {
    **{f"cycle_{name}": text for name, text in _CYCLE.items()},
    **{
        f"cycle_{band}_{name}": f"{low:g}-{high:g} Hz: {text}"
        for band, (low, high) in zip(BANDS, BANDS_HZ, strict=True)
        for name, text in _TEMPLATE.items()
    },
    "cycle_template_n_peaks": "number of peaks in the smoothed template of the lower three bands",
    **{f"similarity_{name}": text for name, text in _SIMILARITY.items()},
    **{
        f"dynamics_{group:02d}_{name}": f"mel group {group}: {text}"
        for group in range(N_GROUPS)
        for name, text in _describe_group(group).items()
    },
}
"""A one-line description of each value, in order."""

_INTRODUCTION = """\
The statistics of a recording's heart cycles, in their order; `heartbeat_core/features/cycles.py` computes them.

The recording is resampled, band-passed and scaled as for `pcg-stats-v1`. The envelopes of four bands are the magnitudes
of their analytic signals, averaged over each 10 ms, and divided by their means; levels of a cycle are the natural
logarithms of that plus 0.02. The beats are a path over the peaks of the lower three bands, one a heart cycle; the
template is the median of the cycles between them, in 32 phases from the first sound. The second sound is the template's
highest phase in the middle of a cycle, and systole is the shorter of the two pauses. Where no two beats are found, the
template is flat.

Similarity is the correlation of the four bands' levels in windows of 0.6 s, every 0.04 s, in the first 16.56 s; another
window is at least 0.32 s away, and the next repeat is looked for from a half to 1.7 of the heart's period.

Dynamics are of the levels (natural logarithms of power, in frames of 64 ms every 20 ms) of 13 groups of three mel
bands, the lowest first; frames are ordered by the mean level of groups 1 to 3. A value with a unit has it at the end of
its name.
"""

NAMES: tuple[str, ...] = tuple(DESCRIPTIONS)
"""One column for each value, in the same order."""

CYCLES = FeatureSet(
    name="cycles",
    version=VERSION,
    shape="vector",
    columns=described(DESCRIPTIONS, {"cycle_": "rhythm", "similarity_": "rhythm", "dynamics_": "rhythm"}),
    needs=("signal", "log_mel"),
    function="heartbeat_core.features.cycles:compute_cycles",
    introduction=_INTRODUCTION,
)
