"""Compute 260 named statistics of the heart cycles in a recording (``pcg-cycles-v1``): beats, cycles, repeats.

The beats are one peak per cycle. Dynamic programming finds them, as in beat tracking of music (Ellis, "Beat tracking by
dynamic programming", J. New Music Research 36, 2007), but it uses only the peaks of the envelope. The cycles between
the beats are folded into a template, in which the sounds, the systole and the diastole have their phases.
``similarity`` and ``dynamics`` need no beats, so they also describe recordings in which no beats can be found.
Each value is computed under its name. Only ``cycles_columns.NAMES`` decides the order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.arrays import Named, Values
from heartbeat_core.features.cycles_columns import BANDS, BANDS_HZ, NAMES
from heartbeat_core.features.dynamics import summarise_dynamics
from heartbeat_core.features.series import (
    ENVELOPE_HZ,
    FLOOR,
    PERIOD_S,
    autocorrelation,
    distant_maxima,
    median,
    percentile,
    percentile_values,
    prefixed,
    smoothed,
)
from heartbeat_core.features.signal import Signal, envelope
from heartbeat_core.features.similarity import summarise_similarity

N_LOWER_BANDS = 3
"""The bands in which beats are searched."""
LOUDEST = 12.0
"""Limit of an envelope relative to its mean: a knock must not outweigh all beats."""
LEVEL_FLOOR = 0.02
USUAL_PERIOD_S, PERIOD_OCTAVES = 0.8, 0.8
"""Centre and width of the weight that periods get."""
PEAK_DISTANCE_S = 0.1
INTERVAL_RANGE = (0.55, 1.7)
"""Allowed interval from one beat to the next, in periods."""
INTERVAL_COST = 4.0
"""Cost of the squared logarithm of interval / period, in heights of an average peak."""
N_PHASES = 32
SECOND_SOUND_PHASES = (7, 26)


@dataclass(frozen=True, slots=True)
class Template:
    """The median heart cycle, which starts at its first sound.

    Attributes
    ----------
    levels : ndarray, [4, 32] float64
        By band and phase; the first sound is at phase 0.
    cycles : ndarray, [n_cycles, 4, 32] float64
        The cycles whose median it is.
    second : int
        Phase of the second sound, 7 to 16: the systole is the shorter pause.
    """

    levels: Values
    cycles: Values
    second: int


def compute_cycles(signal: Signal, log_mel: Values) -> NDArray[np.float32]:
    """Summarise the heart cycles of a recording.

    Parameters
    ----------
    signal : Signal
        The recording, as ``signal.prepare`` returns it.
    log_mel : ndarray, [n_frames, 40] float64
        Its ``signal.log_mel``.

    Returns
    -------
    ndarray, [260] float32
        Finite values in the order of ``cycles_columns.NAMES``.
    """
    relative = relative_envelopes(signal)
    levels = np.log(relative + LEVEL_FLOOR)
    strength = beat_strength(relative)
    correlation, period = heart_period(relative)
    beats = track_beats(strength, period)
    cycles = {
        "period_s": period / ENVELOPE_HZ,
        "autocorrelation_at_period": correlation[period],
        **summarise_beats(beats, strength),
        **summarise_template(fold(levels, beats)),
    }
    found = {
        **prefixed("cycle", cycles),
        **prefixed("similarity", summarise_similarity(levels, period / ENVELOPE_HZ)),
        **prefixed("dynamics", summarise_dynamics(log_mel)),
    }
    return np.array([float(found[name]) for name in NAMES], np.float32)


def relative_envelopes(signal: Signal) -> Values:
    """Return [4, n] float64 at 100 Hz: the envelope of each of ``BANDS_HZ`` over its mean; 0 for a silent band."""
    envelopes = np.stack([envelope(signal, *band_hz) for band_hz in BANDS_HZ])
    means = envelopes.mean(axis=1, keepdims=True)
    sounds = means > FLOOR
    relative: Values = np.where(sounds, envelopes / np.where(sounds, means, 1.0), 0.0)
    return relative


def beat_strength(relative: Values) -> Values:
    """Return [n] float64: the smoothed mean root of the lower three envelopes, minus its 20th percentile.

    Parameters
    ----------
    relative : ndarray, [4, n] float64
        As ``relative_envelopes`` returns them.
    """
    mean = np.sqrt(np.minimum(relative[:N_LOWER_BANDS], LOUDEST)).mean(axis=0)
    smooth = smoothed(mean)
    strength: Values = smooth - percentile(smooth, 20)
    return strength


def heart_period(relative: Values) -> tuple[Values, int]:
    """Find the period of the heart in envelopes.

    Parameters
    ----------
    relative : ndarray, [4, n] float64
        As ``relative_envelopes`` returns them.

    Returns
    -------
    tuple[ndarray of float64, int]
        The mean autocorrelation [201] of the roots of the lower three bands, and the period in steps of 10 ms: the lag
        from 0.35 to 1.5 s with the greatest
        ``(autocorrelation + 0.2) · exp(-(log2(lag / 0.8 s) / 0.8)² / 2)``. It is 0.8 s if there is no rhythm.
    """
    correlation: Values = autocorrelation(np.sqrt(relative[:N_LOWER_BANDS])).mean(axis=0)
    first, last = (round(seconds * ENVELOPE_HZ) for seconds in PERIOD_S)
    octaves = np.log2(np.arange(first, last + 1) / ENVELOPE_HZ / USUAL_PERIOD_S)
    weight = np.exp(-0.5 * np.square(octaves / PERIOD_OCTAVES))
    return correlation, first + int(((correlation[first : last + 1] + 0.2) * weight).argmax())


def track_beats(strength: Values, period: int) -> NDArray[np.intp]:
    """Find one peak per heart cycle.

    Parameters
    ----------
    strength : ndarray, [n] float64
        At 100 Hz, as ``beat_strength`` returns it.
    period : int
        Period of the heart, in samples.

    Returns
    -------
    ndarray, [n_beats] intp
        Positions, ascending. They are the best path over the peaks above the median, with steps of 0.55 to 1.7 periods:
        the path with the greatest ``Σ height / mean height - 4 · Σ log(step / period)²``, and the last one if several
        are equal. A path is only continued if its value after the cost of the step is above 0.
    """
    peaks = distant_maxima(strength, round(PEAK_DISTANCE_S * ENVELOPE_HZ))
    mean_height = float(strength[peaks].mean()) if len(peaks) else 0.0
    if mean_height <= FLOOR:
        return np.zeros(0, np.intp)
    steps = np.arange(int(INTERVAL_RANGE[1] * period) + 1)
    steps = steps[(steps > INTERVAL_RANGE[0] * period) & (steps < INTERVAL_RANGE[1] * period)]
    shortest, longest = int(steps[0]), int(steps[-1])
    costs = (INTERVAL_COST * np.log(steps / period) ** 2).tolist()
    # Each peak has only about a dozen others within reach: plain numbers are faster here than arrays.
    places, heights = peaks.tolist(), (strength[peaks] / mean_height).tolist()
    scores: list[float] = []
    before: list[int] = []
    nearest = 0
    for number, (place, height) in enumerate(zip(places, heights, strict=True)):
        while place - places[nearest] > longest:
            nearest += 1
        best, best_before = 0.0, -1
        for other in range(nearest, number):
            step = place - places[other]
            if step < shortest:
                break
            score = scores[other] - costs[step - shortest]
            if score > best:
                best, best_before = score, other
        scores.append(height + best)
        before.append(best_before)
    # The first maximum of the reversed list is the last of equal ones.
    last = len(scores) - 1 - int(np.argmax(scores[::-1]))
    path = []
    while last >= 0:
        path.append(places[last])
        last = before[last]
    return np.array(path[::-1], np.intp)


def summarise_beats(beats: NDArray[np.intp], strength: Values) -> Named:
    """Summarise the rate, intervals and heights of beats; too few count as even.

    Parameters
    ----------
    beats : ndarray, [n_beats] intp
        As ``track_beats`` returns them.
    strength : ndarray, [n] float64
        At 100 Hz, in which they were found.

    Returns
    -------
    Named
        14 values, under names that follow ``cycle`` in ``cycles_columns.NAMES``.
    """
    intervals = np.diff(beats)
    if len(intervals) < 2:
        intervals = np.ones(2, np.intp)
    middle = median(intervals.astype(np.float64))
    distances = np.abs(intervals - middle)
    steps = np.diff(np.log(intervals))
    heights = strength[beats] if len(beats) > 1 else np.ones(2)
    middle_height = max(median(heights), FLOOR)
    return {
        "rate_hz": len(beats) * ENVELOPE_HZ / len(strength),
        "interval_min_ratio": intervals.min() / middle,
        "interval_max_ratio": intervals.max() / middle,
        "interval_std_ratio": intervals.std() / middle,
        "interval_deviation_p50_ratio": median(distances) / middle,
        "interval_log_change_rms": np.sqrt(np.square(steps).mean()),
        "interval_log_change_max": steps.max(),
        "interval_log_change_min": steps.min(),
        # Computed in whole numbers and halves, so that 1.1 is exactly as far from 1 as 0.9.
        "interval_share_20_percent_off": np.mean(5 * distances > middle),
        "interval_share_10_percent_off": np.mean(10 * distances > middle),
        "coverage": (beats[-1] - beats[0]) / len(strength) if len(beats) else 0.0,
        "height_std_ratio": heights.std() / max(float(heights.mean()), FLOOR),
        "height_min_ratio": heights.min() / middle_height,
        "height_max_ratio": heights.max() / middle_height,
    }


def fold(levels: Values, beats: NDArray[np.intp]) -> Template:
    """Fold the cycles between beats into a template.

    Parameters
    ----------
    levels : ndarray, [4, n] float64
        Values at 100 Hz.
    beats : ndarray, [n_beats] intp
        Positions, ascending; none is the last sample.

    Returns
    -------
    Template
        The template of the cycles. Each cycle is interpolated linearly at 32 even phases; without a cycle the template
        is flat. Its second sound is the highest of phases 7 to 25 in the mean of the lower three bands. If it lies
        after the middle, it is really the first sound, and all phases are rotated so that it is at phase 0.
    """
    if len(beats) > 1:
        places = beats[:-1, np.newaxis] + np.diff(beats)[:, np.newaxis] * (np.arange(N_PHASES) / N_PHASES)
        left = places.astype(np.intp)
        share = places - left
        folded = levels[:, left] * (1 - share) + levels[:, left + 1] * share
        cycles = np.ascontiguousarray(folded.transpose(1, 0, 2))
    else:
        cycles = np.repeat(levels.mean(axis=1)[np.newaxis, :, np.newaxis], N_PHASES, axis=2)
    template = percentile_values(cycles, (50,))[0]
    first, last = SECOND_SOUND_PHASES
    second = first + int(template[:N_LOWER_BANDS].mean(axis=0)[first:last].argmax())
    if second <= N_PHASES // 2:
        return Template(template, cycles, second)
    return Template(np.roll(template, -second, axis=1), np.roll(cycles, -second, axis=2), N_PHASES - second)


def summarise_template(template: Template) -> Named:
    """Summarise a template: the second sound, the levels of sounds and pauses by band, and how the cycles deviate.

    Parameters
    ----------
    template : Template

    Returns
    -------
    Named
        79 values, under names that follow ``cycle`` in ``cycles_columns.NAMES``.
    """
    lower = template.levels[:N_LOWER_BANDS].mean(axis=0)
    # The end of a cycle is the start of the next.
    smooth = 0.25 * np.roll(lower, 1) + 0.5 * lower + 0.25 * np.roll(lower, -1)
    by_band = {**_phases(template), **_deviations(template)}
    return {
        "second_sound_phase": template.second / N_PHASES,
        "second_sound_less_first": lower[template.second] - lower[0],
        **{f"{band}_{name}": values[number] for name, values in by_band.items() for number, band in enumerate(BANDS)},
        "template_n_peaks": np.sum((smooth > np.roll(smooth, 1)) & (smooth >= np.roll(smooth, -1))),
    }


def _phases(template: Template) -> dict[str, Values]:
    """Return [4] values, by band, of the levels minus their mean."""
    second = template.second
    levels = template.levels - template.levels.mean(axis=1, keepdims=True)
    # The sounds are two to three phases wide.
    thirds = [*(round(2 + part * (second - 4) / 3) for part in range(3)), second - 1]
    quarters = [round(second + 2 + part * (N_PHASES - 4 - second) / 4) for part in range(5)]
    systole = np.add.reduceat(levels[:, : thirds[-1]], thirds[:-1], axis=1) / np.diff(thirds)
    diastole = np.add.reduceat(levels[:, : quarters[-1]], quarters[:-1], axis=1) / np.diff(quarters)
    return {
        "first_sound": levels[:, [-1, 0, 1]].max(axis=1),
        "second_sound": levels[:, second - 1 : second + 2].max(axis=1),
        "range": np.ptp(levels, axis=1),
        **{f"systole_{part}": values for part, values in enumerate(systole.T, 1)},
        **{f"diastole_{part}": values for part, values in enumerate(diastole.T, 1)},
        "systole_min": levels[:, 2 : second - 1].min(axis=1),
        "diastole_min": levels[:, second + 2 : -1].min(axis=1),
        "systole_max": levels[:, 3 : second - 2].max(axis=1),
        "diastole_max": levels[:, second + 3 : -2].max(axis=1),
    }


def _deviations(template: Template) -> dict[str, Values]:
    """Return [4] values, by band, of how the cycles deviate from the template and correlate with it."""
    deviations = template.cycles - template.levels
    rms = np.sqrt(np.square(deviations).mean(axis=2))
    levels = template.levels - template.levels.mean(axis=1, keepdims=True)
    cycles = template.cycles - template.cycles.mean(axis=2, keepdims=True)
    norms = np.sqrt(np.square(cycles).sum(axis=2) * np.square(levels).sum(axis=1))
    varies = norms > FLOOR
    correlations = np.where(varies, (cycles * levels).sum(axis=2) / np.where(varies, norms, 1.0), 0.0)
    return {
        "deviation_abs_mean": np.abs(deviations).mean(axis=(0, 2)),
        "deviation_rms_max": rms.max(axis=0),
        "deviation_rms_p50": percentile_values(rms, (50,))[0],
        "correlation_min": correlations.min(axis=0),
        "correlation_p50": percentile_values(correlations, (50,))[0],
    }
