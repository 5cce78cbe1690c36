"""The blockwise frames against the definition over the whole spectrogram."""

from __future__ import annotations

import tracemalloc
from typing import get_args

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from heartbeat_core.errors import SampleRateTooLowForFrames, SpectrumOverflow, TooShort
from heartbeat_core.features import frames as frames_module
from heartbeat_core.features.frames import BLOCK_VALUES, compute_frames, count_frames, stft_parameters
from heartbeat_core.recipe import FrameMethod, FramesSettings
from tests import naive

METHODS: tuple[FrameMethod, ...] = get_args(FrameMethod)
LEVELS_S = {"mini": 0.1, "small": 0.01, "main": 0.001}
SAMPLE_RATES_HZ = (1_000, 2_000, 4_000, 8_000, 11_025, 22_050, 44_100, 48_000, 96_000)


def sound(n_samples: int, seed: int = 0) -> NDArray[np.float32]:
    """Two tones in noise that swells over three orders of magnitude."""
    rng = np.random.default_rng(seed)
    t = np.arange(n_samples)
    tones = np.sin(0.05 * t) + 0.3 * np.sin(0.9 * t)
    return (0.3 * np.geomspace(1e-3, 1, n_samples) * (tones + rng.standard_normal(n_samples))).astype(np.float32)


def assert_is_the_definition(
    samples: NDArray[np.float32], sample_rate_hz: int, delta_time_s: float, method: FrameMethod
) -> None:
    found = compute_frames(samples, sample_rate_hz, FramesSettings(delta_time_s=delta_time_s, method=method))
    expected = naive.frames(samples, sample_rate_hz, delta_time_s, method)
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    assert count_frames(samples.size, sample_rate_hz, delta_time_s) == len(expected)
    if method == "average":
        # Sums in float64 and one rounding to float32: at most the neighbour of the correctly rounded value.
        assert np.all(np.abs(found - expected) <= np.spacing(np.abs(expected).astype(np.float32)))
    else:
        # One bin and its magnitude. The transforms of a block and of the whole round alike on one machine; where
        # they should not, the last bit of a magnitude may differ and nothing more.
        np.testing.assert_allclose(found[:, 1], expected[:, 1], rtol=2e-6)
        differs = found[:, 0] != expected[:, 0].astype(np.float32)
        assert not differs.any()


@pytest.mark.parametrize("sample_rate_hz", SAMPLE_RATES_HZ)
@pytest.mark.parametrize("level", LEVELS_S)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_level_and_rate(method: FrameMethod, level: str, sample_rate_hz: int) -> None:
    n_fft, hop_length = naive.stft_parameters(sample_rate_hz, LEVELS_S[level])
    for n_samples in {n_fft, n_fft + 1, n_fft + hop_length, 3 * n_fft - 1, 500}:
        if n_samples >= n_fft:
            assert_is_the_definition(sound(n_samples), sample_rate_hz, LEVELS_S[level], method)


@pytest.mark.parametrize("sample_rate_hz", SAMPLE_RATES_HZ)
@pytest.mark.parametrize("level", LEVELS_S)
def test_stft_parameters_are_the_originals(level: str, sample_rate_hz: int) -> None:
    assert stft_parameters(sample_rate_hz, LEVELS_S[level]) == naive.stft_parameters(sample_rate_hz, LEVELS_S[level])


@given(st.integers(1, 400_000), st.floats(1e-4, 2))
def test_stft_parameters_are_the_originals_everywhere(sample_rate_hz: int, delta_time_s: float) -> None:
    if int(delta_time_s * sample_rate_hz) < 1:
        with pytest.raises(SampleRateTooLowForFrames, match="shorter than one sample"):
            stft_parameters(sample_rate_hz, delta_time_s)
    else:
        assert stft_parameters(sample_rate_hz, delta_time_s) == naive.stft_parameters(sample_rate_hz, delta_time_s)


def test_stft_parameters_by_hand() -> None:
    assert stft_parameters(44_100, 0.1) == (4096, 1024)
    assert stft_parameters(44_100, 0.01) == (256, 64)
    assert stft_parameters(44_100, 0.001) == (32, 8)
    assert stft_parameters(4_000, 0.001) == (4, 1)
    assert stft_parameters(2_000, 0.001) == (2, 1)
    assert stft_parameters(1_000, 0.001) == (1, 1)


@pytest.mark.parametrize(("sample_rate_hz", "delta_time_s"), [(44_100, 0.1), (4_000, 0.01), (4_000, 0.001)])
@pytest.mark.parametrize("extra_frames", [-1, 0, 1, "a block"])
def test_lengths_around_the_end_of_a_block(sample_rate_hz: int, delta_time_s: float, extra_frames: int | str) -> None:
    n_fft, hop_length = stft_parameters(sample_rate_hz, delta_time_s)
    block = BLOCK_VALUES // n_fft
    n_frames = 2 * block if extra_frames == "a block" else block + int(extra_frames)
    samples = sound((n_frames - 1) * hop_length + hop_length // 2)
    found = compute_frames(samples, sample_rate_hz, FramesSettings(delta_time_s=delta_time_s))
    whole = np.abs(librosa.stft(samples, n_fft=n_fft, hop_length=hop_length)).T
    peak = whole.argmax(axis=1)
    assert found.shape == (n_frames, 2)
    assert np.array_equal(found[:, 0], (peak * (sample_rate_hz / n_fft)).astype(np.float32))
    assert np.array_equal(found[:, 1], whole.max(axis=1))


@settings(max_examples=100)
@given(n_fft=st.sampled_from([2**k for k in range(1, 13)]), n=st.integers(1, 20_000), seed=st.integers(0, 2**32 - 1))
def test_the_spectra_are_librosas_to_the_last_bit(n_fft: int, n: int, seed: int) -> None:
    samples = sound(max(n, n_fft), seed)
    hop_length = max(1, n_fft // 4)
    ours = np.concatenate([block for _, block in frames_module._magnitude_blocks(samples, n_fft, hop_length)])
    assert np.array_equal(ours, np.abs(librosa.stft(samples, n_fft=n_fft, hop_length=hop_length)).T)


def test_frames_of_one_sample_are_the_samples() -> None:
    samples = sound(50)
    found = compute_frames(samples, 1_000, FramesSettings(delta_time_s=0.001))
    assert np.array_equal(found, np.stack((np.zeros(50, np.float32), np.abs(samples)), axis=1))


@pytest.mark.parametrize("block_values", [1, 100, 129, 1_000])
@pytest.mark.parametrize("method", METHODS)
def test_the_size_of_a_block_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, method: FrameMethod, block_values: int
) -> None:
    samples, recipe = sound(3_001), FramesSettings(delta_time_s=0.01, method=method)
    whole = compute_frames(samples, 22_050, recipe)
    monkeypatch.setattr(frames_module, "BLOCK_VALUES", block_values)
    parts = compute_frames(samples, 22_050, recipe)
    assert np.array_equal(parts[:, 0], whole[:, 0]) or method == "average"
    np.testing.assert_allclose(parts, whole, rtol=2e-6)


@pytest.mark.parametrize("level", LEVELS_S)
@pytest.mark.parametrize("method", METHODS)
def test_silence(method: FrameMethod, level: str) -> None:
    samples = np.zeros(5_000, np.float32)
    found = compute_frames(samples, 4_000, FramesSettings(delta_time_s=LEVELS_S[level], method=method))
    expected_hz = 0.0
    if method == "median":
        # All magnitudes are equal, so the stable order is that of the bins.
        n_fft, _ = stft_parameters(4_000, LEVELS_S[level])
        expected_hz = (1 + n_fft // 2) // 2 * (4_000 / n_fft)
    assert np.array_equal(found, np.tile(np.float32([expected_hz, 0]), (len(found), 1)))
    assert len(found) == count_frames(5_000, 4_000, LEVELS_S[level])


def test_silence_around_a_sound() -> None:
    samples = np.zeros(4_000, np.float32)
    samples[1_500:2_000] = sound(500)
    for method in METHODS:
        assert_is_the_definition(samples, 4_000, 0.01, method)


def test_the_first_of_equal_magnitudes_is_dominant() -> None:
    # One sample on a frame's centre: that frame's spectrum is flat.
    samples = np.zeros(640, np.float32)
    samples[320] = 0.5
    n_fft, hop_length = stft_parameters(8_000, 0.01)
    whole = np.abs(librosa.stft(samples, n_fft=n_fft, hop_length=hop_length))
    assert np.ptp(whole[:, 320 // hop_length]) == 0
    assert_is_the_definition(samples, 8_000, 0.01, "dominant")
    found = compute_frames(samples, 8_000, FramesSettings(delta_time_s=0.01, method="dominant"))
    assert found[320 // hop_length].tolist() == [0.0, 0.5]
    median = compute_frames(samples, 8_000, FramesSettings(delta_time_s=0.01, method="median"))
    assert median[320 // hop_length].tolist() == [16 * 8_000 / 64, 0.5]


@pytest.mark.parametrize("n_bins", [1, 2, 3, 17, 129])
@pytest.mark.parametrize("method", METHODS)
def test_magnitudes_with_many_ties(method: FrameMethod, n_bins: int) -> None:
    rng = np.random.default_rng(n_bins)
    magnitudes = rng.integers(0, 4, (300, n_bins)).astype(np.float32)
    magnitudes[:5] = 0
    frequencies_hz = np.arange(n_bins) * 15.625
    found = np.empty((300, 2), np.float32)
    frames_module._REDUCERS[method](magnitudes, frequencies_hz, found)
    expected = naive.reduce_frames(magnitudes, frequencies_hz.tolist(), method)
    assert np.array_equal(found, expected.astype(np.float32))


def test_a_tone_is_found_in_its_bin() -> None:
    samples = (0.5 * np.sin(2 * np.pi * 1_000 * np.arange(8_000) / 4_000)).astype(np.float32)
    found = compute_frames(samples, 4_000, FramesSettings(delta_time_s=0.01))
    assert set(found[8:-8, 0].tolist()) == {1_000.0}
    # Half the amplitude times the sum of the window, 32 / 2.
    np.testing.assert_allclose(found[8:-8, 1], 0.5 / 2 * 16, rtol=1e-5)


@settings(max_examples=60)
@given(st.integers(1, 700), st.sampled_from([1_000, 3_000, 8_000, 44_100]), st.sampled_from([0.1, 0.01, 0.001]))
def test_count_frames_agrees(n_samples: int, sample_rate_hz: int, delta_time_s: float) -> None:
    counted = count_frames(n_samples, sample_rate_hz, delta_time_s)
    settings_ = FramesSettings(delta_time_s=delta_time_s)
    if counted == 0:
        with pytest.raises(TooShort):
            compute_frames(np.zeros(n_samples, np.float32), sample_rate_hz, settings_)
    else:
        assert len(compute_frames(np.zeros(n_samples, np.float32), sample_rate_hz, settings_)) == counted


def test_one_sample_less_than_a_frame_is_too_short() -> None:
    recipe = FramesSettings(delta_time_s=0.01)
    with pytest.raises(TooShort, match=r"^31 samples at 4000 Hz are fewer than one frame of 32 samples$"):
        compute_frames(np.zeros(31, np.float32), 4_000, recipe)
    assert len(compute_frames(np.zeros(32, np.float32), 4_000, recipe)) == 5


def test_a_time_step_below_one_sample_is_refused() -> None:
    with pytest.raises(SampleRateTooLowForFrames, match=r"^0\.001 s is shorter than one sample at 999 Hz") as caught:
        compute_frames(np.zeros(5_000, np.float32), 999, FramesSettings(delta_time_s=0.001))
    assert (caught.value.stage, caught.value.error_type) == ("frames", "unsupported_sample_rate")


@pytest.mark.parametrize("method", METHODS)
def test_a_spectrum_that_overflows_is_a_named_error(method: FrameMethod) -> None:
    samples = np.full(2_000, 3e38, np.float32) * np.sign(sound(2_000))
    with pytest.raises(SpectrumOverflow, match=r"^the spectrum overflows: samples reach 3e\+38$") as caught:
        compute_frames(samples, 4_000, FramesSettings(delta_time_s=0.1, method=method))
    assert (caught.value.stage, caught.value.error_type) == ("frames", "non_finite")


def test_samples_are_left_as_they_were() -> None:
    samples = sound(1_000)
    before = samples.copy()
    compute_frames(samples, 4_000, FramesSettings())
    assert np.array_equal(samples, before)


def test_memory_grows_with_the_waveform_and_not_with_its_spectrogram() -> None:
    samples = sound(1_000_000)
    recipe = FramesSettings(delta_time_s=0.001)
    compute_frames(samples[:1_000], 44_100, recipe)
    tracemalloc.start()
    try:
        compute_frames(samples, 44_100, recipe)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The spectrogram alone takes 17 MB; the waveform takes 4 MB, the frames 1 MB, a block of spectra 1 MiB.
    assert most < 12e6
