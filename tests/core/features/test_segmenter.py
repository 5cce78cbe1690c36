"""The network that segments heart sounds: the same as torch computes, and never one that saw the person."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from importlib.resources import files

import numpy as np
import pytest
import safetensors.numpy
import torch

from heartbeat_core.audio.synthesis import synthesise
from heartbeat_core.features import analysis, segmenter
from heartbeat_core.features.analysis import Analysis
from heartbeat_core.features.decoding import S1
from heartbeat_core.features.segmenter import (
    ALL,
    BANDS_HZ,
    N_FOLDS,
    WEIGHTS_NAME,
    band_envelopes,
    left_out_fold,
    log_posteriors,
    network_for,
    read_network,
    standardise,
)
from heartbeat_core.features.signal import RATE_HZ, envelope, prepare
from heartbeat_core.learning.segmenting import SegmenterNetwork, stored_weights

NAMES = (ALL, *(f"fold-{fold}" for fold in range(N_FOLDS)))


def stored() -> bytes:
    return files("heartbeat_core.features").joinpath(WEIGHTS_NAME).read_bytes()


def heart(duration_s: float = 6.0) -> np.ndarray:
    return synthesise("normal", RATE_HZ, duration_s, np.random.default_rng(3))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [1, 3, 200])
def test_posteriors_are_those_that_torch_computes(name: str, n: int) -> None:
    levels = np.random.default_rng(n).normal(size=(n, len(BANDS_HZ))).astype(np.float32)
    network = SegmenterNetwork().eval()
    tensors = safetensors.numpy.load(stored())
    own = {key.partition(".")[2]: value for key, value in tensors.items() if key.startswith(f"{name}.")}
    network.load_state_dict({key: torch.from_numpy(value.astype(np.float32)) for key, value in own.items()})
    with torch.inference_mode():
        expected = torch.log_softmax(network(torch.from_numpy(levels.T[np.newaxis]))[0], 0).numpy().T
    found = log_posteriors(levels, read_network(name))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-4)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, rtol=1e-5)
    assert all(np.array_equal(value, own[key]) for key, value in stored_weights(network).items())


def test_the_file_holds_six_small_networks() -> None:
    content = stored()
    assert len(content) <= 200_000
    counts = Counter(key.partition(".")[0] for key in safetensors.numpy.load(content))
    assert counts == dict.fromkeys(NAMES, 14)
    weights = {read_network(name).head[0].tobytes() for name in NAMES}
    assert len(weights) == len(NAMES)


def test_a_person_is_segmented_by_the_network_trained_without_that_person() -> None:
    assert network_for(None) is read_network(ALL)
    for person in ("patient:circor_14241", "recording:0", ""):
        fold = int(sha256(person.encode()).hexdigest(), 16) % 5
        assert left_out_fold(person) == fold
        assert network_for(person) is read_network(f"fold-{fold}")
    assert {left_out_fold(f"patient:{i}") for i in range(100)} == set(range(N_FOLDS))


def test_an_analysis_takes_the_network_of_its_person(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []

    def network(person: str | None) -> segmenter.Network:
        asked.append(person)
        return network_for(person)

    monkeypatch.setattr(analysis, "network_for", network)
    one = Analysis(heart(), RATE_HZ, "patient:1")
    assert one.segmentation is one.segmentation
    assert Analysis(heart(), RATE_HZ).segmentation.confidence != one.segmentation.confidence
    assert asked == ["patient:1", None]


def test_envelopes_are_means_of_pairs_in_each_band() -> None:
    signal = prepare(heart(0.994).astype(np.float32), RATE_HZ)
    found = band_envelopes(signal)
    assert found.shape == (50, len(BANDS_HZ))
    for band, (low_hz, high_hz) in enumerate(BANDS_HZ):
        fine = envelope(signal, low_hz, high_hz)
        np.testing.assert_allclose(found[:, band], [(fine[2 * i] + fine[2 * i + 1]) / 2 for i in range(50)], rtol=1e-5)


def test_levels_are_standardised_band_by_band() -> None:
    levels = standardise(np.exp(np.random.default_rng(0).normal(size=(500, 6))).astype(np.float32) * 1e-3)
    np.testing.assert_allclose(levels.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(levels.std(axis=0), 1, atol=1e-2)
    assert np.isfinite(standardise(np.zeros((5, 6), np.float32))).all()


def test_the_beats_of_a_synthetic_heart_are_found() -> None:
    t = np.arange(10 * RATE_HZ) / RATE_HZ
    sound = np.random.default_rng(0).normal(scale=1e-3, size=len(t))
    for start_s in np.arange(0.5, 9.5, 0.8):
        for at_s, hz, width_s in ((start_s, 45, 0.03), (start_s + 0.32, 60, 0.022)):
            sound += np.sin(2 * np.pi * hz * (t - at_s)) * np.exp(-0.5 * ((t - at_s) / width_s) ** 2)
    onsets = Analysis(sound.astype(np.float32), RATE_HZ).segmentation.onsets(S1)
    assert len(onsets) in (11, 12)
    assert np.median(np.diff(onsets)) == pytest.approx(0.8, abs=0.021)
    # A sound begins before its middle.
    offsets = np.abs(onsets[:, np.newaxis] - np.arange(0.5, 9.5, 0.8)).min(axis=1)
    assert np.median(offsets) < 0.1


def test_silence_has_no_beats() -> None:
    found = Analysis(np.zeros(20 * RATE_HZ, np.float32), RATE_HZ).segmentation
    assert len(found.onsets(S1)) == 0
    assert found.confidence == 0.0
