"""When the beats of a synthetic heart come: heart rate, systole, breathing and premature beats.

Sources of the figures:

* A. M. Weissler, W. S. Harris, C. D. Schoenfeld, "Systolic time intervals in heart failure in man", Circulation 37
  (1968), 149-159: the left ventricular ejection time is 0.413 s less 0.0017 s for each beat a minute. S1 leads it by
  the isovolumic contraction, here 0.03 s. The sum is near the positions of S1 and S2 in PASCAL's ``set_a_timing.csv``
  and near CirCor's segmentation (0.397 s less 0.0013 s a beat, mostly of children).
* "Heart rate variability: standards of measurement", Circulation 93 (1996), 1043-1065: breathing of 0.15 to 0.4 Hz
  modulates the intervals; at rest it has 0.2 to 0.3 Hz.
* A premature ventricular beat comes after 0.55 to 0.75 of an interval. Its pause is compensatory: both intervals are
  together as long as two normal ones. The ventricle is hardly filled, so its S2 is weak; the next beat is strong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

ADULT_BPM, CHILD_BPM = (55.0, 110.0), (80.0, 140.0)
_CHILDREN = 0.25

_SYSTOLE_S, _SYSTOLE_S_PER_BPM = 0.443, 0.0017
_SYSTOLE_SPREAD_S = 0.015

COUPLING = (0.55, 0.75)
"""The interval before a premature beat as a share of a normal one."""


@dataclass(frozen=True, slots=True)
class Beat:
    """One heart beat.

    Attributes
    ----------
    s1_s, s2_s, end_s : float
        When S1 and S2 begin, and when the next S1 does, from the start of the recording.
    s1_gain, s2_gain : float
        How loud they are; 1 on average, but for premature beats.
    inspiration : float
        From 0, all air is out, to 1.
    premature : bool
        Whether the beat came early.
    """

    s1_s: float
    s2_s: float
    end_s: float
    s1_gain: float
    s2_gain: float
    inspiration: float
    premature: bool


def draw_beats(duration_s: float, rng: np.random.Generator, *, with_premature: bool) -> list[Beat]:
    """Return all beats of a recording; the first begins before it.

    Parameters
    ----------
    duration_s : float
        A positive duration.
    rng : numpy.random.Generator
        The source of randomness.
    with_premature : bool
        Whether one of three to eight beats is premature. The first one is among the beats 2 to 4 (from 0), earlier
        where the recording is short.

    Examples
    --------
    >>> beats = draw_beats(5.0, np.random.default_rng(0), with_premature=False)
    >>> beats[0].s1_s <= 0 < beats[1].s1_s
    True
    """
    is_child = rng.random() < _CHILDREN
    bpm = rng.uniform(*(CHILD_BPM if is_child else ADULT_BPM))
    systole_s = _SYSTOLE_S - _SYSTOLE_S_PER_BPM * bpm + rng.uniform(-1, 1) * _SYSTOLE_SPREAD_S
    interval_s = 60 / bpm
    breath_hz, breath_start = rng.uniform(0.2, 0.3), rng.uniform(0, 2 * np.pi)
    arrhythmia, depth = rng.uniform(0.01, 0.07), rng.uniform(0.05, 0.25)
    latest = max(2, min(4, int(duration_s / interval_s) - 1))
    next_premature = int(rng.integers(2, latest + 1)) if with_premature else -1
    beats: list[Beat] = []
    s1_s, coupling = -rng.uniform(0, interval_s), 1.0
    while s1_s < duration_s:
        phase = 2 * np.pi * breath_hz * s1_s + breath_start
        is_premature, follows_premature = coupling < 1, coupling > 1
        if is_premature:
            next_premature = len(beats) + int(rng.integers(3, 9))
            coupling = 2 - coupling
        else:
            coupling = rng.uniform(*COUPLING) if len(beats) + 1 == next_premature else 1.0
        wander = 1 - arrhythmia * math.sin(phase) + 0.01 * rng.standard_normal()
        end_s = s1_s + interval_s * coupling * wander
        gain = (1 + depth * math.sin(phase)) * rng.uniform(0.85, 1.15)
        filling = rng.uniform(0.2, 0.5) if is_premature else rng.uniform(1.1, 1.3) if follows_premature else 1.0
        beats.append(
            Beat(
                s1_s=s1_s,
                s2_s=s1_s + systole_s * (0.9 if is_premature else 1.0) * rng.uniform(0.985, 1.015),
                end_s=end_s,
                s1_gain=gain * (rng.uniform(0.7, 1.2) if is_premature else filling),
                s2_gain=gain * filling,
                inspiration=(1 + math.sin(phase)) / 2,
                premature=is_premature,
            )
        )
        s1_s = end_s
    return beats
