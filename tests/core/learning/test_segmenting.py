"""The training of the segmenter: what it learns from, and that it learns."""

from __future__ import annotations

import numpy as np
import pytest

from heartbeat_core.audio.synthesis import synthesise
from heartbeat_core.errors import DatasetError
from heartbeat_core.features.segmenter import band_envelopes
from heartbeat_core.features.signal import prepare
from heartbeat_core.learning.segmenting import (
    BATCH_SIZE,
    UNKNOWN,
    Example,
    frame_states,
    make_example,
    stored_weights,
    stretch,
    train_segmenter,
)


def example(seed: int, n: int = 200) -> Example:
    """Return envelopes whose bands say the state, in noise."""
    rng = np.random.default_rng(seed)
    states = np.resize(np.repeat([0, 1, 2, 3], [6, 9, 5, 20]), n)
    loud = np.eye(4, 6)[states] + 0.3 * rng.random((2, n, 6))
    return Example(loud.astype(np.float32), states)


EXAMPLES = [example(seed) for seed in range(BATCH_SIZE + 3)]


def test_states_are_those_in_the_middle_of_frames() -> None:
    segments = np.array([[0.0, 0.05, 0], [0.05, 0.07, 1], [0.07, 0.07, 2], [0.07, 0.15, 3], [0.15, 9.0, 4]])
    assert frame_states(segments, 9).tolist() == [-1, -1, 0, 2, 2, 2, 2, 3, 3]
    assert frame_states(segments[1:2], 4).tolist() == [UNKNOWN, UNKNOWN, 0, UNKNOWN]


def test_copies_sound_different_and_keep_their_times() -> None:
    samples = synthesise("normal", 8_000, 5.0, np.random.default_rng(0)).astype(np.float32)
    segments = np.array([[1.0, 1.2, 1], [1.2, 1.6, 2]])
    one = make_example(samples, 8_000, segments, 3)
    assert one.envelopes.shape == (4, 250, 6)
    assert one.envelopes.dtype == np.float32
    np.testing.assert_allclose(one.envelopes[0], band_envelopes(prepare(samples, 8_000)), rtol=1e-3, atol=1e-3)
    assert np.flatnonzero(one.states == 0).tolist() == list(range(50, 60))
    for copy in one.envelopes[1:]:
        ours, other = (np.log(of[:, 1] + 1e-3) for of in (copy, one.envelopes[0]))
        lags = [np.corrcoef(np.roll(ours, lag), other)[0, 1] for lag in range(-10, 11)]
        assert lags[10] == max(lags)
    assert sum(not np.allclose(copy, one.envelopes[0], rtol=0.05) for copy in one.envelopes[1:]) >= 2
    again = make_example(samples, 8_000, segments, 3)
    assert np.array_equal(again.envelopes, one.envelopes)


def test_a_stretch_keeps_the_order_of_states_and_their_sounds() -> None:
    one = EXAMPLES[0]
    lengths = set()
    for seed in range(20):
        envelopes, states = stretch(one.envelopes[0], one.states, np.random.default_rng(seed))
        lengths.add(len(states))
        assert envelopes.dtype == np.float32
        assert envelopes.shape == (len(states), 6)
        runs = states[np.r_[True, np.diff(states) != 0]]
        assert runs.tolist() == (np.arange(len(runs)) % 4).tolist()
        assert np.mean(envelopes.argmax(axis=1) == states) > 0.9
    assert min(lengths) < 200 < max(lengths)


def test_the_network_learns_and_the_same_seed_gives_the_same() -> None:
    losses: list[float] = []
    network = train_segmenter(EXAMPLES, 0, 8, lambda epoch, loss: losses.append(loss))
    assert len(losses) == 8
    assert losses[-1] < 0.5 * losses[0]
    assert not network.training
    weights, again = stored_weights(network), stored_weights(train_segmenter(EXAMPLES, 0, 8))
    assert all(np.array_equal(again[name], value) for name, value in weights.items())
    assert all(value.dtype == np.float16 for value in weights.values())


def test_what_nobody_annotated_is_left_out() -> None:
    unknown = Example(EXAMPLES[0].envelopes, np.full(200, UNKNOWN))
    with pytest.raises(DatasetError, match=f"63 recordings have segments of heart sounds: {BATCH_SIZE} are needed"):
        train_segmenter([*EXAMPLES[:63], unknown], 0, 1)
