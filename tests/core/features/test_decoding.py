"""The decoder against a plain loop, and on posteriors whose states are known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from heartbeat_core.features.decoding import (
    CYCLE_MIN,
    DIASTOLE,
    LONGEST,
    PERIOD_RANGE_S,
    S1,
    S2,
    SHORTEST,
    STATE_HZ,
    SYSTOLE,
    Segmentation,
    heart_period,
    length_scores,
    segment,
    viterbi,
)
from tests import naive

BEAT = ((S1, 6), (SYSTOLE, 10), (S2, 5), (DIASTOLE, 21))


def states_of(beat: tuple[tuple[int, int], ...], n_beats: int, first: int = 0) -> NDArray[np.int8]:
    states = np.repeat([state for state, _ in beat], [length for _, length in beat])
    return np.tile(states, n_beats)[first:].astype(np.int8)


def posteriors_of(states: NDArray[np.int8], sure: float = 0.9) -> NDArray[np.float64]:
    found = np.full((len(states), 4), (1 - sure) / 3)
    found[np.arange(len(states)), states] = sure
    return np.log(found)


@given(st.integers(1, 60), st.floats(0.3, 1.8), st.floats(0.0, 8.0), st.integers(0, 2**32 - 1), st.sampled_from([1, 2]))
@settings(deadline=None, max_examples=60)
def test_the_path_is_the_plain_loop_s(n: int, period_s: float, sharpness: float, seed: int, n_rhythms: int) -> None:
    emissions = np.random.default_rng(seed).normal(scale=sharpness, size=(n, 4))
    rhythms = [length_scores(period_s * factor) for factor in (1.0, 0.6)[:n_rhythms]]
    states, score = viterbi(emissions, [np.stack(of_state) for of_state in zip(*rhythms, strict=True)])
    plain = [[of_state.tolist() for of_state in rhythm] for rhythm in rhythms]
    expected = max(naive.most_likely_states(emissions.tolist(), rhythm)[1] for rhythm in plain)
    assert score == pytest.approx(expected, abs=1e-6)
    own = max(naive.segment_score(states.tolist(), emissions.tolist(), rhythm) for rhythm in plain)
    assert own == pytest.approx(expected, abs=1e-6)


def test_a_longer_recording_than_any_state_is_the_plain_loop_s() -> None:
    emissions = np.random.default_rng(5).normal(scale=2, size=(150, 4))
    lengths = length_scores(0.9)
    states, score = viterbi(emissions, [of_state[np.newaxis] for of_state in lengths])
    expected, best = naive.most_likely_states(emissions.tolist(), [of_state.tolist() for of_state in lengths])
    assert states.tolist() == expected
    assert score == pytest.approx(best)


def test_lengths_are_probabilities_near_the_period() -> None:
    for period_s in (0.3, 0.8, 1.8):
        lengths = length_scores(period_s)
        for scores, shortest, longest in zip(lengths, SHORTEST, LONGEST, strict=True):
            assert len(scores) == longest + 1
            assert np.isneginf(scores[:shortest]).all()
            assert np.exp(scores).sum() == pytest.approx(1)
    likeliest = sum(int(scores.argmax()) for scores in length_scores(0.8)) / STATE_HZ
    assert likeliest == pytest.approx(0.8, abs=0.04)
    assert CYCLE_MIN == sum(SHORTEST) <= round(PERIOD_RANGE_S[0] * STATE_HZ)


@pytest.mark.parametrize("first", [0, 3, 10, 20, 30])
def test_clear_states_are_found_wherever_the_recording_begins(first: int) -> None:
    states = states_of(BEAT, 12, first)[:-7]
    found = segment(posteriors_of(states))
    assert found.states.tolist() == states.tolist()
    assert found.confidence == pytest.approx(0.9)
    assert found.regularity > 0.8


def test_states_in_noise_are_found_to_a_frame() -> None:
    rng, states = np.random.default_rng(0), states_of(BEAT, 20)
    wrong = np.where(rng.random(len(states)) < 0.15, rng.integers(0, 4, len(states)), states)
    found = segment(posteriors_of(wrong.astype(np.int8), 0.7))
    assert np.mean(found.states == states) > 0.95
    assert len(found.onsets(S1)) in (19, 20)


def test_a_fast_heart_is_not_halved() -> None:
    # The sounds alternate in strength, so that the autocorrelation is highest at two beats.
    beat = ((S1, 4), (SYSTOLE, 6), (S2, 4), (DIASTOLE, 5))
    states = states_of(beat, 40)
    posteriors = posteriors_of(states, 0.8)
    weak = (np.arange(len(states)) // 19 % 2 == 1) & (states % 2 == 0)
    posteriors[weak] = np.log([0.3, 0.2, 0.2, 0.3])
    posteriors[weak & (states == S2)] = np.log([0.2, 0.2, 0.3, 0.3])
    period_s, _ = heart_period(posteriors)
    assert period_s == pytest.approx(2 * 19 / STATE_HZ)
    assert np.diff(segment(posteriors).cycles[:, [0, 2]]).mean() == pytest.approx(19 / STATE_HZ, abs=0.02)


def test_an_early_beat_and_its_pause_are_found() -> None:
    early = ((S1, 6), (SYSTOLE, 10), (S2, 5), (DIASTOLE, 6))
    pause = ((S1, 6), (SYSTOLE, 10), (S2, 5), (DIASTOLE, 38))
    states = np.concatenate([states_of(BEAT, 5), states_of(early, 1), states_of(pause, 1), states_of(BEAT, 5)])
    assert segment(posteriors_of(states)).states.tolist() == states.tolist()


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(0, 3))
def test_each_systole_and_diastole_between_two_onsets_counts(lengths: list[int], first: int) -> None:
    states = np.repeat((first + np.arange(len(lengths))) % 4, lengths).astype(np.int8)
    begins = [(i / STATE_HZ, states[i]) for i in range(1, len(states)) if states[i] != states[i - 1]]
    sounds = [(at_s, state) for at_s, state in begins if state in (S1, S2)]
    expected: dict[int, list[list[float]]] = {S1: [], S2: []}
    for (start_s, state), (end_s, _) in pairwise(sounds):
        expected[state].append([start_s, end_s])
    found = Segmentation(states, np.ones(len(states)), 1.0)
    assert found.systoles.tolist() == expected[S1]
    assert found.diastoles.tolist() == expected[S2]


@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 40])
def test_next_to_nothing_has_a_path(n: int) -> None:
    found = segment(np.log(np.random.default_rng(n).dirichlet(np.ones(4), n)))
    assert len(found.states) == n
    assert np.isfinite(found.confidence)
    assert np.isfinite(found.regularity)


def test_onsets_and_cycles_are_whole_ones() -> None:
    found = Segmentation(states_of(BEAT, 3, 40), np.ones(3 * 42 - 40), 1.0)
    assert found.onsets(S1) * STATE_HZ == pytest.approx([2, 44])
    assert found.onsets(S2) * STATE_HZ == pytest.approx([18, 60])
    assert found.cycles * STATE_HZ == pytest.approx(np.array([[2, 18, 44]]))
    assert found.systoles * STATE_HZ == pytest.approx(np.array([[2, 18], [44, 60]]))
    assert found.diastoles * STATE_HZ == pytest.approx(np.array([[18, 44]]))
    # The recording's first state began before it.
    assert Segmentation(states_of(BEAT, 1), np.ones(42), 1.0).onsets(S1).tolist() == []
    assert Segmentation.of_silence(9).cycles.shape == (0, 3)
    assert Segmentation.of_silence(9).systoles.shape == Segmentation.of_silence(9).diastoles.shape == (0, 2)
    assert Segmentation.of_silence(9).confidence == 0.0
