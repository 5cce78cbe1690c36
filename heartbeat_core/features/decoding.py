"""Decode log posteriors of heart-sound states into a segmentation, with a duration-dependent Viterbi algorithm.

The model is a hidden semi-Markov model: the four states follow one another in a circle, and the length of each has its
own distribution, which depends on the heart's period (Schmidt et al., Physiol. Meas. 31, 2010; Springer et al., IEEE
TBME 63, 2016). As in these papers, the period comes from an autocorrelation, but of the posteriors of S1 and S2. Unlike
in them, the ends of the recording may cut the first and the last state: such a state may have any length that is not
below that of the part in the recording.

Each state has a least length, so a whole cycle is never shorter than ``CYCLE_MIN`` frames. Therefore a block of so many
frames is computed at once, state after state, which is exact and needs no compiled loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import scipy
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from heartbeat_core.arrays import Values

STATE_HZ = 50
S1, SYSTOLE, S2, DIASTOLE = range(4)
SHORTEST = (3, 4, 3, 4)
LONGEST = (13, 30, 12, 100)
"""Least and greatest lengths of the states, in frames."""
CYCLE_MIN = sum(SHORTEST)
PRIOR = np.log(np.array([0.17, 0.23, 0.13, 0.47]))
"""Shares of time of the states, by which posteriors are divided."""
EMISSION_WEIGHT = 0.5
"""Neighbouring frames are not independent, so their evidence counts half."""
DEGREES_OF_FREEDOM = 4.0
"""Of Student's t distribution of the lengths: one odd beat must not shift its neighbours."""
PERIOD_RANGE_S = (0.28, 1.9)
USUAL_PERIOD_S, PERIOD_OCTAVES = 0.7, 1.2
"""Centre and deviation of the weight that periods get."""
_LONGEST_LAG = 110


@dataclass(frozen=True)
class Segmentation:
    """The states of a recording.

    Attributes
    ----------
    states : ndarray, [n] int8
        At 50 Hz: 0 S1, 1 systole, 2 S2, 3 diastole.
    posteriors : ndarray, [n] float64
        Of these states.
    regularity : float
        Autocorrelation of the posteriors of S1 and S2 at the heart's period; 0 if there is no period.
    """

    states: NDArray[np.int8]
    posteriors: Values
    regularity: float

    @classmethod
    def of_silence(cls, n: int) -> Segmentation:
        """Return the segmentation of n frames without any sound: one long diastole of posterior 0."""
        return cls(np.full(n, DIASTOLE, np.int8), np.zeros(n), 0.0)

    def onsets(self, state: int) -> Values:
        """Return [k] float64: the times in seconds at which a state begins, except at the recording's start."""
        onsets: Values = self._changes[self.states[self._changes] == state] / STATE_HZ
        return onsets

    @cached_property
    def _changes(self) -> NDArray[np.intp]:
        """The frames at which a state begins, except at the recording's start."""
        return np.flatnonzero(self.states[1:] != self.states[:-1]) + 1

    @property
    def confidence(self) -> float:
        """Return the mean posterior of the states: near 1 for clean heart sounds."""
        return float(self.posteriors.mean())

    @property
    def systoles(self) -> Values:
        """Return [k, 2] float64: onsets in seconds of S1 and of the next S2."""
        return _spans(self.onsets(S1), self.onsets(S2))

    @property
    def diastoles(self) -> Values:
        """Return [k, 2] float64: onsets in seconds of S2 and of the next S1."""
        return _spans(self.onsets(S2), self.onsets(S1))

    @cached_property
    def cycles(self) -> Values:
        """Return [k, 3] float64: onsets in seconds of S1, of S2, and of the next S1, for each whole cycle."""
        first, second = self.onsets(S1), self.onsets(S2)
        if len(first) < 2:
            return np.zeros((0, 3))
        # The states follow one another in a circle: just one S2 lies between two S1.
        return np.stack([first[:-1], second[np.searchsorted(second, first[:-1])], first[1:]], axis=1)


def _spans(starts: Values, ends: Values) -> Values:
    """Return [k, 2]: each start with the next end, where one follows; the two alternate."""
    following = np.searchsorted(ends, starts)
    n = np.count_nonzero(following < len(ends))
    return np.stack([starts[:n], ends[following[:n]]], axis=1)


def segment(log_posteriors: NDArray[np.floating]) -> Segmentation:
    """Return the most likely segmentation.

    The autocorrelation of a fast heart can be higher at two periods than at one, so half of the period is tried too.

    Parameters
    ----------
    log_posteriors : ndarray, [n, 4] float
        At 50 Hz, n at least 1: natural logarithms of the probabilities of S1, systole, S2 and diastole, as
        ``segmenter.log_posteriors`` returns them.
    """
    period_s, regularity = heart_period(log_posteriors)
    tried = [period_s, *(half for half in (period_s / 2,) if half >= PERIOD_RANGE_S[0])]
    lengths = [np.stack(of_state) for of_state in zip(*map(length_scores, tried), strict=True)]
    states, _ = viterbi((log_posteriors - PRIOR) * EMISSION_WEIGHT, lengths)
    posteriors = np.exp(log_posteriors[np.arange(len(states)), states].astype(np.float64))
    return Segmentation(states, posteriors, regularity)


def heart_period(log_posteriors: NDArray[np.floating]) -> tuple[float, float]:
    """Return the heart's period in seconds, and the autocorrelation of the S1 and S2 posteriors there.

    Parameters
    ----------
    log_posteriors : ndarray, [n, 4] float
        As for ``segment``.

    Returns
    -------
    tuple[float, float]
        The period, 0.28 to 1.9 s, and the autocorrelation. Of a recording that is too short for any period, 0.8 s and
        0.
    """
    low, high = int(PERIOD_RANGE_S[0] * STATE_HZ), int(PERIOD_RANGE_S[1] * STATE_HZ)
    n = len(log_posteriors)
    high = min(high, n - 2)
    if high <= low:
        return 0.8, 0.0
    sounds = np.exp(log_posteriors[:, [S1, S2]].T.astype(np.float64))
    sounds -= sounds.mean(axis=1, keepdims=True)
    length = scipy.fft.next_fast_len(n + _LONGEST_LAG, real=True)
    spectrum = scipy.fft.rfft(sounds, length)
    raw = scipy.fft.irfft(np.square(spectrum.real) + np.square(spectrum.imag), length)[:, :high]
    # Each lag is averaged over as many frames as it has, but over a quarter of the recording at least.
    overlap = np.maximum(n - np.arange(high), n / 4) / n
    correlation = (raw / (raw[:, :1] + 1e-9)).mean(axis=0) / overlap
    lags = np.arange(low, high)
    weight = np.exp(-0.5 * np.square(np.log2(lags / STATE_HZ / USUAL_PERIOD_S) / PERIOD_OCTAVES))
    period = low + int((correlation[low:] * weight).argmax())
    return period / STATE_HZ, float(correlation[period])


@lru_cache(maxsize=256)
def length_scores(period_s: float) -> list[Values]:
    """Return the log probabilities of the lengths of each state.

    They are kept, because recordings share their few periods: read them only.

    Parameters
    ----------
    period_s : float
        Period of the heart.

    Returns
    -------
    list[ndarray]
        For each of the four states [LONGEST + 1] float64, by length in frames; -inf below ``SHORTEST``.
    """
    s1_s, s2_s = 0.10 + 0.03 * period_s, 0.09 + 0.02 * period_s
    systole_s = max(0.06, 0.23 + 0.16 * min(period_s, 1.1) - s1_s)
    means_s = (s1_s, systole_s, s2_s, max(0.08, period_s - s1_s - systole_s - s2_s))
    deviations_s = (0.03, 0.045, 0.03, max(0.05, 0.12 * period_s))
    scores = []
    for mean_s, deviation_s, shortest, longest in zip(means_s, deviations_s, SHORTEST, LONGEST, strict=True):
        distance = (np.arange(longest + 1) / STATE_HZ - mean_s) / deviation_s
        score = -0.5 * (DEGREES_OF_FREEDOM + 1) * np.log1p(np.square(distance) / DEGREES_OF_FREEDOM)
        score -= np.log(np.exp(score[shortest:]).sum())
        score[:shortest] = -np.inf
        scores.append(score)
    return scores


def viterbi(emissions: Values, lengths: list[Values]) -> tuple[NDArray[np.int8], float]:
    """Return the states of the path with the greatest score, and that score.

    Parameters
    ----------
    emissions : ndarray, [n, 4] float
        Score of each frame in each state, n at least 1.
    lengths : list[ndarray]
        For each state [n_rhythms, LONGEST + 1] float64: score of each length in frames, -inf below ``SHORTEST``. A path
        keeps to one of the rhythms.

    Returns
    -------
    tuple[ndarray of int8, float]
        The states [n], 0 to 3, and the score.

    Notes
    -----
    ``begun[r, s, b]`` is the best score of all before frame b if state s begins there, less the emissions of s before
    b. The best path that ends state s at frame e then scores ``max over d of begun[r, s, e - d] + lengths[s][r, d]``,
    plus the emissions of s before e. A state that is cut at the start began at any frame before it, at no cost.
    """
    n, n_rhythms, pad = len(emissions), len(lengths[0]), max(LONGEST)
    totals = np.zeros((4, n + 1))
    np.cumsum(emissions.T, axis=1, out=totals[:, 1:])
    begun = np.zeros((n_rhythms, 4, pad + n + 1))
    # Where a state ends and the next begins, the score gains the emissions of the first before that frame, and
    # ``begun`` is less those of the next.
    turns = list(totals - np.roll(totals, -1, axis=0))
    backwards = [score[:, np.newaxis, : shortest - 1 : -1] for score, shortest in zip(lengths, SHORTEST, strict=True)]
    windows = [
        sliding_window_view(begun[:, state], score.shape[-1], axis=1)[:, pad - longest :]
        for state, (score, longest) in enumerate(zip(backwards, LONGEST, strict=True))
    ]
    following = [begun[:, (state + 1) % 4, pad:] for state in range(4)]
    sums = [np.empty((n_rhythms, CYCLE_MIN, score.shape[-1])) for score in backwards]
    done = [0, 0, 0, 0]
    # A block takes each state as far as the least lengths up to it allow, so the first states are behind the last. The
    # block after the last frame brings all of them to the end.
    for start in range(0, n + CYCLE_MIN, CYCLE_MIN):
        known = start
        for state, shortest in enumerate(SHORTEST):
            known = min(known + shortest, n)
            low, high = done[state] + 1, known + 1
            if low < high:
                paths = np.add(windows[state][:, low:high], backwards[state], out=sums[state][:, : high - low])
                ends = np.maximum.reduce(paths, axis=2, out=following[state][:, low:high])
                ends += turns[state][low:high]
            done[state] = known
    return _trace(begun, totals, lengths)


def _trace(begun: Values, totals: Values, lengths: list[Values]) -> tuple[NDArray[np.int8], float]:
    """Walk back from the best last state, which may be cut: it scores as its likeliest length that is long enough."""
    n, pad = totals.shape[1] - 1, max(LONGEST)
    best = -np.inf
    for state, scores in enumerate(lengths):
        enough = np.maximum.accumulate(scores[:, ::-1], axis=1)[:, ::-1][:, 1:]
        found = begun[:, state, pad + n - enough.shape[1] : pad + n][:, ::-1] + enough + totals[state, n]
        rhythm, seen = divmod(int(found.argmax()), found.shape[1])
        if found[rhythm, seen] > best:
            best, last, start, kept = float(found[rhythm, seen]), state, n - 1 - seen, rhythm
    # Backwards in time, a window of as many frames as a state has lengths holds its possible beginnings.
    backwards = np.ascontiguousarray(begun[kept, :, ::-1])
    scores_of = [scores[kept] for scores in lengths]
    path, stops = [last], [n]
    while start > 0:
        stops.append(start)
        last = (last - 1) % 4
        path.append(last)
        scores = scores_of[last]
        start -= int((backwards[last, n - start : n - start + len(scores)] + scores).argmax())
    states = np.repeat(np.array(path[::-1], np.int8), np.diff([0, *stops[::-1]]))
    return states, best
