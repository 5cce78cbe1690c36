"""What models read: shapes, finite values, and the definitions in plain words."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import scipy.fft

from heartbeat_core.audio.decode import Waveform
from heartbeat_core.errors import TooShort
from heartbeat_core.features import cycle_spectrum_columns, cycles_columns, statistics_columns
from heartbeat_core.features.analysis import Analysis
from heartbeat_core.features.augmentation import altered_copies
from heartbeat_core.features.catalogue import columns_read
from heartbeat_core.features.extract import compute_features, compute_inputs, compute_lists
from heartbeat_core.features.frames import compute_frames
from heartbeat_core.features.signal import mel_filters, prepare
from heartbeat_core.recipe import AugmentationSettings, Recipe
from tests.helpers import statistics_of

MODELS = {"log-mel": "cnn"}
KINDS = ("aligned", "frequency", "statistics", "beats", "cycle-spectrum", "mfcc", "spectral-contrast", "log-mel")


def recipe(kind: str) -> Recipe:
    return Recipe.model_validate({"name": "x", "input": kind, "model": MODELS.get(kind, "fcnn")})


def made_of(samples: np.ndarray, sample_rate_hz: int) -> Waveform:
    return Waveform(samples.astype(np.float32), sample_rate_hz, 1, "WAV", "FLOAT", len(samples), False)


def waveform(duration_s: float = 2.5, sample_rate_hz: int = 44_100, seed: int = 0) -> Waveform:
    """Return bursts at 60 Hz, 1.2 a second, in noise."""
    time_s = np.arange(int(duration_s * sample_rate_hz)) / sample_rate_hz
    bursts = np.sin(2 * np.pi * 60 * time_s) * (np.sin(2 * np.pi * 1.2 * time_s) > 0.8)
    noise = 0.05 * np.random.default_rng(seed).standard_normal(len(time_s))
    return made_of(bursts + noise, sample_rate_hz)


def power(one: Waveform) -> np.ndarray:
    """Return [n_frames, 129]: power of frames of 64 ms every 20 ms, one after the other."""
    samples = prepare(one.samples, one.sample_rate_hz).samples
    window = librosa.filters.get_window("hann", 256)
    starts = range(0, len(samples) - 255, 80)
    return np.stack([np.abs(np.fft.rfft(samples[start : start + 256] * window)) ** 2 for start in starts])


@pytest.mark.parametrize("duration_s", [0.3, 2.5])
@pytest.mark.parametrize("sample_rate_hz", [4_000, 44_100])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_finite_and_of_its_shape(kind: str, sample_rate_hz: int, duration_s: float) -> None:
    found = compute_inputs(waveform(duration_s, sample_rate_hz), recipe(kind))
    n_frames = (int(duration_s * 4_000) - 256) // 80 + 1
    widths = {"statistics": 392, "beats": 19, "cycle-spectrum": 1024, "mfcc": 40, "spectral-contrast": 8}
    shape = {"log-mel": (n_frames, 40), **{name: (1, width) for name, width in widths.items()}}
    assert found.dtype == np.float32
    assert found.shape == shape.get(kind, (len(found), 2))
    assert np.isfinite(found).all()


@pytest.mark.parametrize("kind", KINDS[2:])
@pytest.mark.parametrize("samples", [np.zeros(10_000), np.ones(3), np.zeros(1)])
def test_silence_and_next_to_nothing_are_finite(kind: str, samples: np.ndarray) -> None:
    found = compute_inputs(made_of(samples, 4_000), recipe(kind))
    assert np.isfinite(found).all()
    assert len(found) >= 1


@pytest.mark.parametrize("kind", ["aligned", "frequency"])
def test_frames_are_the_originals(kind: str) -> None:
    one = waveform()
    chosen = recipe(kind)
    expected = compute_frames(one.samples, one.sample_rate_hz, chosen.frames)
    assert np.array_equal(compute_inputs(one, chosen), expected)
    with pytest.raises(TooShort):
        compute_inputs(made_of(np.ones(3), 44_100), chosen)


def test_statistics_are_the_module_s() -> None:
    one = waveform()
    expected = statistics_of(one.samples, one.sample_rate_hz)
    assert np.array_equal(compute_inputs(one, recipe("statistics"))[0], expected)


def test_log_mel_is_the_logarithm_of_the_power_in_bands() -> None:
    one = waveform()
    expected = np.log(power(one) @ mel_filters().T + 1e-10)
    np.testing.assert_allclose(compute_inputs(one, recipe("log-mel")), expected, atol=1e-3)


def test_mfcc_are_mean_and_deviation_of_the_cosine_transform() -> None:
    one = waveform()
    bands = compute_inputs(one, recipe("log-mel")).astype(np.float64)
    track = scipy.fft.dct(bands, norm="ortho")[:, :20]
    expected = np.concatenate([track.mean(axis=0), track.std(axis=0)])
    np.testing.assert_allclose(compute_inputs(one, recipe("mfcc"))[0], expected, rtol=1e-4, atol=1e-3)


def test_spectral_contrast_is_peaks_against_valleys_in_octaves() -> None:
    one = waveform()
    magnitude = np.sqrt(power(one))
    hz = np.arange(129) * 4_000 / 256
    valleys, peaks = [], []
    # librosa's bands: below 100 Hz, then octaves; each but the first takes in one bin below, each but the last
    # leaves its highest bin out.
    for number, (low, high) in enumerate([(0, 100), (100, 200), (200, 400), (400, 800)]):
        inside = np.flatnonzero((hz >= low) & (hz <= high))
        if number > 0:
            inside = np.r_[inside[0] - 1, inside]
        if number == 3:
            inside = np.r_[inside, np.arange(inside[-1] + 1, 129)]
        n = max(1, int(np.rint(0.02 * len(inside))))
        band = np.sort(magnitude[:, inside if number == 3 else inside[:-1]], axis=1)
        valleys.append(band[:, :n].mean(axis=1))
        peaks.append(band[:, -n:].mean(axis=1))
    # In dB, at most 80 below the largest of all.
    track = librosa.power_to_db(np.stack(peaks, axis=1)) - librosa.power_to_db(np.stack(valleys, axis=1))
    expected = np.concatenate([track.mean(axis=0), track.std(axis=0)])
    np.testing.assert_allclose(compute_inputs(one, recipe("spectral-contrast"))[0], expected, rtol=1e-4, atol=1e-3)


def test_a_person_is_heard_by_a_network_that_never_saw_that_person() -> None:
    one = waveform(5.0)
    chosen = recipe("cycle-spectrum").model_copy(update={"augmentation": AugmentationSettings(copies=1)})
    served, held_out = compute_inputs(one, chosen), compute_inputs(one, chosen, "patient:1")
    assert not np.array_equal(served, held_out)
    assert np.array_equal(compute_inputs(one, chosen, "patient:1"), held_out)
    [alone] = compute_features(one.samples, one.sample_rate_hz, ["cycle-spectrum"], "patient:1").values()
    assert np.array_equal(held_out[0], alone)
    # The copies are of the same person.
    [copy] = altered_copies(one.samples, one.sample_rate_hz, 1)
    assert np.array_equal(held_out[1], compute_features(copy, 4_000, ["cycle-spectrum"], "patient:1")["cycle-spectrum"])


def test_lists_are_computed_of_the_sets_that_have_any() -> None:
    one = waveform(5.0)
    analysis = Analysis(one.samples, one.sample_rate_hz)
    lists = compute_lists(analysis, ["statistics", "beats"])
    assert list(lists) == ["s1_s", "s2_s"]
    assert lists["s1_s"].dtype == np.float32
    assert len(lists["s1_s"]) > 1
    assert compute_lists(analysis, ["statistics"]) == {}


@pytest.mark.parametrize("kind", KINDS[2:])
def test_gain_does_not_matter(kind: str) -> None:
    one = waveform()
    louder = made_of(0.25 * one.samples, one.sample_rate_hz)
    np.testing.assert_allclose(
        compute_inputs(louder, recipe(kind)), compute_inputs(one, recipe(kind)), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize(("kind", "width"), [("statistics", 392), ("statistics+cycles", 652)])
def test_a_part_of_the_statistics_is_read_by_name(kind: str, width: int) -> None:
    names = np.array((*statistics_columns.NAMES, *cycles_columns.NAMES)[:width])
    assert columns_read("all", kind).all()
    assert columns_read("all", "mfcc").shape == (40,)
    timbre, rhythm = columns_read("timbre", kind), columns_read("rhythm", kind)
    assert all("mfcc" in name for name in names[timbre])
    assert timbre.sum() == 180
    assert rhythm.sum() == 186 + width - 392
    assert all("dominant" in name for name in names[~timbre & ~rhythm])
    assert not (timbre & rhythm).any()


def test_systole_is_what_lies_between_the_first_sound_and_the_second() -> None:
    names = np.array([one.name for one in cycle_spectrum_columns.COLUMNS])
    systole = columns_read("systole", "cycle-spectrum+beats+statistics")[: len(names)]
    phases = {name.split("_")[2] for name in names[systole]}
    assert phases == {f"s{i:02d}" for i in range(3, 12)}
    assert columns_read("systole", "cycle-spectrum+beats+statistics").sum() == systole.sum() == 2 * 9 * 16
    assert columns_read("s1", "cycle-spectrum").sum() == 2 * 3 * 16
    assert columns_read("diastole", "cycle-spectrum").sum() == 2 * 20 * 16
