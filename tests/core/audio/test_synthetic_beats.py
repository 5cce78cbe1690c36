"""When beats come: the regression of the systole, breathing, and premature beats with their pauses."""

from __future__ import annotations

from itertools import pairwise
from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat_core.audio.synthetic_beats import ADULT_BPM, CHILD_BPM, Beat, draw_beats

SEEDS = range(60)


def draw(seed: int, duration_s: float = 20.0, *, with_premature: bool = False) -> list[Beat]:
    return draw_beats(duration_s, np.random.default_rng(seed), with_premature=with_premature)


def intervals(beats: list[Beat]) -> list[float]:
    return [beat.end_s - beat.s1_s for beat in beats]


@given(st.integers(0, 10_000), st.floats(0.01, 40), st.booleans())
def test_beats_follow_each_other_and_cover_the_recording(seed: int, duration_s: float, with_premature: bool) -> None:
    beats = draw(seed, duration_s, with_premature=with_premature)
    assert beats[0].s1_s <= 0
    assert beats[-1].s1_s < duration_s <= beats[-1].end_s
    assert all(before.end_s == after.s1_s for before, after in pairwise(beats))
    assert all(beat.s1_s < beat.s2_s < beat.end_s for beat in beats)
    assert all(0 <= beat.inspiration <= 1 for beat in beats)
    assert all(beat.s1_gain > 0 and beat.s2_gain > 0 for beat in beats)


def test_the_systole_lies_between_ejection_and_electromechanical_systole() -> None:
    """Weissler's regressions: 0.413 - 0.0017 s a beat for the ejection, 0.546 - 0.0021 s from the Q wave to S2."""
    for seed in SEEDS:
        beats = draw(seed)
        bpm = 60 / median(intervals(beats))
        systole_s = median(beat.s2_s - beat.s1_s for beat in beats)
        assert 0.413 - 0.0017 * bpm < systole_s < 0.546 - 0.0021 * bpm


def test_at_rest_the_systole_is_shorter_than_the_diastole() -> None:
    at_rest = [beats for beats in map(draw, SEEDS) if 60 / median(intervals(beats)) < 90]
    assert len(at_rest) > 20
    for beats in at_rest:
        assert all(beat.s2_s - beat.s1_s < beat.end_s - beat.s2_s for beat in beats)


def test_heart_rates_are_those_of_adults_and_children() -> None:
    rates = [60 / float(np.mean(intervals(draw(seed)))) for seed in SEEDS]
    assert min(rates) < 65
    assert any(rate > ADULT_BPM[1] for rate in rates)
    assert 0.9 * ADULT_BPM[0] < min(rates) < max(rates) < 1.1 * CHILD_BPM[1]


def test_without_premature_beats_only_breathing_moves_the_intervals() -> None:
    variations = []
    for seed in SEEDS:
        beats = draw(seed, 60.0)
        assert not any(beat.premature for beat in beats)
        lengths = np.array(intervals(beats))
        assert np.abs(lengths / np.median(lengths) - 1).max() < 0.15
        # The breath makes beats that follow each other alike: the next differs less than one half a breath on.
        variations.append(np.abs(np.diff(lengths)).mean() / lengths.std())
    assert median(variations) < 1


@pytest.mark.parametrize("duration_s", [3.0, 6.0, 10.0])
def test_a_short_recording_holds_a_premature_beat_and_the_one_before(duration_s: float) -> None:
    for seed in SEEDS:
        beats = draw(seed, duration_s, with_premature=True)
        early = [place for place, beat in enumerate(beats) if beat.premature]
        assert early
        assert beats[early[0] - 1].s1_s >= 0
        assert beats[early[0]].s1_s < duration_s


def test_premature_beats_come_early_and_their_pause_is_compensatory() -> None:
    weak: list[float] = []
    strong: list[float] = []
    for seed in SEEDS:
        beats = draw(seed, 40.0, with_premature=True)
        early = [place for place, beat in enumerate(beats) if beat.premature]
        assert all(3 <= later - earlier <= 8 for earlier, later in pairwise(early))
        lengths = intervals(beats)
        normal = median(length for place, length in enumerate(lengths) if place not in early and place + 1 not in early)
        for place in early[:-1]:
            coupling, pause = lengths[place - 1], lengths[place]
            assert 0.55 * 0.85 < coupling / normal < 0.75 * 1.15
            assert 1.7 < (coupling + pause) / normal < 2.3
            assert pause > 1.4 * coupling
        weak.extend(beats[place].s2_gain for place in early)
        strong.extend(beats[place + 1].s1_gain for place in early[:-1])
    assert np.mean(weak) < 0.4
    assert np.mean(strong) > 1.1
