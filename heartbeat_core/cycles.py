"""Heart cycles: a path of beats, how regular they are, and what one cycle looks like in four bands.

Beats are found without a model: a path over the peaks of the lower three bands' envelopes that takes high peaks at
intervals near the period of the autocorrelation. A beat is S1 or S2, whichever is louder; the template of a cycle is
turned so that the shorter pause follows its first sound. Neither was checked against labelled sounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.cycles_names import BANDS, BANDS_HZ, NAMES
from heartbeat_core.dynamics import summarise_dynamics
from heartbeat_core.rhythm import ENVELOPE_HZ, autocorrelation, distant_maxima
from heartbeat_core.similarity import summarise_similarity
from heartbeat_core.statistics import Signal, Values, envelope
from heartbeat_core.summaries import percentile_values

N_PHASES = 32
_PERIOD_LAGS = range(35, 151)
"""In units of 10 ms: 0.35 to 1.5 s."""
_USUAL_PERIOD_S, _PERIOD_OCTAVES = 0.8, 0.8
"""Where the weight of a period is highest, and the deviation of its Gaussian."""
_STRICTNESS = 4.0
"""What an interval costs that is not the period, in mean heights a squared natural logarithm."""
_LOWER_BANDS = slice(0, 3)
_LOUDEST = 12.0
"""An envelope counts no more than so many times its mean: a knock is not a beat."""
_FLOOR = 0.02


def summarise_cycles(signal: Signal, power: Values) -> NDArray[np.float32]:
    """Summarise a recording's heart cycles.

    Args:
        signal: from ``statistics.prepare``.
        power: of the same, from ``statistics.power_spectra``.

    Returns:
        [260] float32, finite, in the order of ``cycles_names.NAMES``.
    """
    envelopes = np.stack([envelope(signal, *band_hz) for band_hz in BANDS_HZ])
    relative = envelopes / (envelopes.mean(axis=1, keepdims=True) + 1e-10)
    levels = np.log(relative + _FLOOR)
    loudness = np.sqrt(np.minimum(relative[_LOWER_BANDS], _LOUDEST)).mean(axis=0)
    loudness = np.convolve(loudness, np.array([1, 4, 6, 4, 1]) / 16, mode="same")
    loudness -= percentile_values(loudness, (20,))[0]
    period, correlation = find_period(np.sqrt(relative[_LOWER_BANDS]))
    beats = find_beats(loudness, period)
    found = {
        "cycle_period_s": period / ENVELOPE_HZ,
        "cycle_autocorrelation_at_period": correlation,
        **_summarise_intervals(beats, period, envelopes.shape[1]),
        **_summarise_heights(loudness[beats] if len(beats) > 1 else np.ones(2)),
        **_summarise_template(levels, beats),
        **summarise_similarity(levels, period),
        **summarise_dynamics(power),
    }
    return np.nan_to_num(np.array([float(found[name]) for name in NAMES], np.float32))


def find_period(loudness: Values) -> tuple[int, float]:
    """Return the heart's period in units of 10 ms, and the mean autocorrelation of [n_bands, n] there."""
    correlation = autocorrelation(loudness).mean(axis=0)
    lags = np.array(_PERIOD_LAGS)
    usual = np.exp(-0.5 * np.square(np.log2(lags / ENVELOPE_HZ / _USUAL_PERIOD_S) / _PERIOD_OCTAVES))
    period = int(lags[((correlation[lags] + 0.2) * usual).argmax()])
    return period, float(correlation[period])


def find_beats(loudness: Values, period: int) -> NDArray[np.intp]:
    """Return, ascending, one peak of ``loudness`` [n] a cycle: the path of most height less what intervals cost.

    Dynamic programming over peaks at least 0.1 s apart; intervals of 0.55 to 1.7 periods (Ellis, Beat Tracking by
    Dynamic Programming, J. New Music Research 36, 2007).
    """
    peaks = distant_maxima(loudness, 10)
    if len(peaks) < 3:
        return peaks
    heights = loudness[peaks] / (loudness[peaks].mean() + 1e-9)
    scores = heights.copy()
    before = np.full(len(peaks), -1)
    for number in range(1, len(peaks)):
        intervals = peaks[number] - peaks[:number]
        near = np.flatnonzero((intervals > 0.55 * period) & (intervals < 1.7 * period))
        if len(near):
            worth = scores[near] - _STRICTNESS * np.square(np.log(intervals[near] / period))
            best = int(worth.argmax())
            if worth[best] > 0:
                scores[number] = heights[number] + worth[best]
                before[number] = near[best]
    # The last of equals.
    number = len(peaks) - 1 - int(scores[::-1].argmax())
    path = []
    while number >= 0:
        path.append(int(peaks[number]))
        number = int(before[number])
    return np.array(path[::-1], np.intp)


def _summarise_intervals(beats: NDArray[np.intp], period: int, n_values: int) -> dict[str, float]:
    intervals = np.diff(beats)
    relative = intervals / np.median(intervals) if len(intervals) >= 2 else np.ones(2)
    changes = np.diff(np.log(relative))
    return {
        "cycle_rate_hz": len(beats) * ENVELOPE_HZ / n_values,
        "cycle_interval_min_ratio": relative.min(),
        "cycle_interval_max_ratio": relative.max(),
        "cycle_interval_std_ratio": relative.std(),
        "cycle_interval_deviation_p50_ratio": float(np.median(np.abs(relative - 1))),
        "cycle_interval_log_change_rms": float(np.sqrt(np.square(changes).mean())),
        "cycle_interval_log_change_max": changes.max(),
        "cycle_interval_log_change_min": changes.min(),
        "cycle_interval_share_20_percent_off": float(np.mean(np.abs(relative - 1) > 0.2)),
        "cycle_interval_share_10_percent_off": float(np.mean(np.abs(relative - 1) > 0.1)),
        "cycle_coverage": (beats[-1] - beats[0]) / n_values if len(beats) > 1 else 0.0,
    }


def _summarise_heights(heights: Values) -> dict[str, float]:
    median = float(np.median(heights)) + 1e-9
    return {
        "cycle_height_std_ratio": heights.std() / (heights.mean() + 1e-9),
        "cycle_height_min_ratio": heights.min() / median,
        "cycle_height_max_ratio": heights.max() / median,
    }


def _summarise_template(levels: Values, beats: NDArray[np.intp]) -> dict[str, float]:
    """Summarise the median of the cycles in each band, from the first sound on."""
    cycles = fold(levels, beats)
    template = np.median(cycles, axis=1)
    low = template[_LOWER_BANDS].mean(axis=0)
    # Within 0.22 to 0.79 of the cycle.
    second = 7 + int(low[7:26].argmax())
    turn = second if second > N_PHASES // 2 else 0
    template, cycles, low = (np.roll(values, -turn, axis=-1) for values in (template, cycles, low))
    phase = N_PHASES - second if turn else second
    found = {
        "cycle_second_sound_phase": min(second, N_PHASES - second) / N_PHASES,
        "cycle_second_sound_less_first": low[phase] - low[0],
    }
    for band, one, of_cycles in zip(BANDS, template, cycles, strict=True):
        found |= {f"cycle_{band}_{name}": value for name, value in _summarise_band(one, of_cycles, phase).items()}
    smooth = np.convolve(low, (0.25, 0.5, 0.25), mode="same")
    is_peak = (smooth[1:-1] > smooth[:-2]) & (smooth[1:-1] >= smooth[2:])
    return {**found, "cycle_template_n_peaks": float(is_peak.sum())}


def fold(levels: Values, beats: NDArray[np.intp]) -> Values:
    """Return [n_bands, n_cycles, 32]: the levels [n_bands, n] between each two beats, linear between samples.

    One flat cycle where there are no two beats.
    """
    if len(beats) < 2:
        return np.repeat(levels.mean(axis=1)[:, np.newaxis, np.newaxis], N_PHASES, axis=2)
    times = beats[:-1, np.newaxis] + np.diff(beats)[:, np.newaxis] * (np.arange(N_PHASES) / N_PHASES)
    index = times.astype(np.intp)
    share = times - index
    after = np.minimum(index + 1, levels.shape[1] - 1)
    cycles: Values = levels[:, index] * (1 - share) + levels[:, after] * share
    return cycles


def _summarise_band(template: Values, cycles: Values, phase: int) -> dict[str, float]:
    """Summarise one band's template [32] and its cycles [n_cycles, 32]; the second sound is at ``phase``."""
    about = template - template.mean()
    systole = _part_edges(2, phase - 4, 3, phase - 1)
    diastole = _part_edges(phase + 2, 28 - phase, 4, None)
    deviation = cycles - template
    of_each = np.sqrt(np.square(deviation).mean(axis=1))
    centred = cycles - cycles.mean(axis=1, keepdims=True)
    norms = np.sqrt(np.square(centred).sum(axis=1) * float(about @ about)) + 1e-9
    correlations = (centred @ about) / norms
    return {
        "first_sound": about[[31, 0, 1]].max(),
        "second_sound": about[phase - 1 : phase + 2].max(),
        "range": about.max() - about.min(),
        **{f"systole_{number}": about[part].mean() for number, part in enumerate(systole, 1)},
        **{f"diastole_{number}": about[part].mean() for number, part in enumerate(diastole, 1)},
        "systole_min": about[2 : phase - 1].min(),
        "diastole_min": about[phase + 2 : 31].min(),
        "systole_max": about[3 : max(phase - 2, 4)].max(),
        "diastole_max": about[phase + 3 : 30].max(),
        "deviation_abs_mean": np.abs(deviation).mean(),
        "deviation_rms_max": of_each.max(),
        "deviation_rms_p50": float(np.median(of_each)),
        "correlation_min": correlations.min(),
        "correlation_p50": float(np.median(correlations)),
    }


def _part_edges(first: int, length: float, n_parts: int, last: int | None) -> Sequence[slice]:
    """Cut a pause into parts of at least one phase each; ``last`` ends the last one where it is given."""
    edges = [first + length * number / n_parts for number in range(n_parts + 1)]
    if last is not None:
        edges[-1] = last
    rounded = [round(edge) for edge in edges]
    return [slice(low, max(high, low + 1)) for low, high in pairwise(rounded)]
