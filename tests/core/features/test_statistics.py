"""The summary statistics against plain definitions, sounds whose answers are known, and sounds at every extreme."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import librosa
import numpy as np
import pytest
import scipy.signal
import scipy.stats
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from heartbeat_core.audio.synthesis import synthesise
from heartbeat_core.errors import SignalOverflow
from heartbeat_core.features import rhythm, series, statistics
from heartbeat_core.features.signal import RATE_HZ, envelope, log_mel, mel_filters, mfcc, power_spectra, prepare
from heartbeat_core.features.statistics_columns import (
    BEATS,
    DESCRIPTIONS,
    MODULATION,
    MODULATION_EDGES_HZ,
    NAMES,
    RHYTHM,
    RHYTHM_BANDS_HZ,
    TIMBRE,
    TRACK,
    VERSION,
)
from tests.helpers import EXTREME_SOUNDS, extreme_sound, statistics_of

Values = NDArray[np.float64]
CARRIERS_HZ = {"low": 80.0, "middle": 260.0, "high": 600.0}


def named(samples: NDArray[np.floating], sample_rate_hz: int = RATE_HZ) -> dict[str, float]:
    values = statistics_of(samples.astype(np.float32), sample_rate_hz)
    return dict(zip(NAMES, values.tolist(), strict=True))


def heart(label: str = "murmur", sample_rate_hz: int = RATE_HZ, duration_s: float = 6.0) -> NDArray[np.float32]:
    return synthesise(label, sample_rate_hz, duration_s, np.random.default_rng(3)).astype(np.float32)


def clicks(times_s: Values, heights: Values, duration_s: float, carrier_hz: float = 80.0) -> Values:
    """Return short bursts of a tone at 4 kHz."""
    t = np.arange(int(duration_s * RATE_HZ)) / RATE_HZ
    bursts = np.zeros_like(t)
    for time_s, height in zip(times_s, heights, strict=True):
        bursts += height * np.exp(-0.5 * ((t - time_s) / 0.02) ** 2)
    return bursts * np.sin(2 * np.pi * carrier_hz * t)


# Names.


def test_there_are_392_names_with_a_line_each() -> None:
    assert VERSION == "pcg-stats-v1"
    assert len(NAMES) == len(set(NAMES)) == len(set(DESCRIPTIONS.values())) == 392
    for name in NAMES:
        assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name)
        assert "\n" not in DESCRIPTIONS[name]
        assert 10 < len(DESCRIPTIONS[name]) <= 120
        for unit in ("s", "Hz"):
            assert DESCRIPTIONS[name].endswith(f", {unit}") <= name.endswith(f"_{unit.lower()}"), name


def test_the_order_is_timbre_rhythm_dominant() -> None:
    families = [re.sub(r"_.*", "", name) for name in NAMES]
    assert families == ["mfcc"] * 180 + ["rhythm"] * 186 + ["dominant"] * 26
    assert NAMES[:21] == (*(f"mfcc_{i:02d}_mean" for i in range(20)), "mfcc_00_std")
    assert [name.split("_")[1] for name in NAMES[180:366]] == ["low"] * 62 + ["middle"] * 62 + ["high"] * 62


def test_what_is_computed_is_what_is_named() -> None:
    signal = prepare(heart(), RATE_HZ)
    assert (
        set(statistics.summarise_tracks(statistics.dominant(power_spectra(signal.samples)))) == set(TRACK) > set(TIMBRE)
    )
    envelopes = np.stack([envelope(signal, *edges_hz) for edges_hz in RHYTHM_BANDS_HZ.values()])
    for values in (envelopes, np.zeros((3, 50))):
        found = rhythm.summarise_rhythm(values)
        assert set(found) == set(RHYTHM)
        assert len(found) == 62
        assert all(np.shape(one) == (3,) for one in found.values())


# Definitions.


def gain_by_hand(frequency_hz: float, low_hz: float, high_hz: float) -> float:
    """Return a quarter of a sine from 0.8 to 1.2 of the lower edge, 1, and the same down at the upper edge."""
    rise = min(1.0, max(0.0, (frequency_hz / low_hz - 0.8) / 0.4))
    fall = min(1.0, max(0.0, (1.2 - frequency_hz / high_hz) / 0.4))
    return float(np.sin(np.pi / 2 * min(rise, fall)))


def band_passed_by_hand(samples: Values, low_hz: float, high_hz: float, length: int) -> Values:
    spectrum = np.fft.fft(samples - samples.mean(), length)
    frequencies_hz = np.abs(np.fft.fftfreq(length, 1 / RATE_HZ))
    return np.fft.ifft(spectrum * [gain_by_hand(f, low_hz, high_hz) for f in frequencies_hz]).real


@pytest.mark.parametrize("n_samples", [4_000, 6_001, 300])
def test_a_signal_is_band_passed_and_scaled(n_samples: int) -> None:
    samples = np.random.default_rng(n_samples).normal(size=n_samples).astype(np.float32)
    signal = prepare(samples, RATE_HZ)
    length = 2 * (len(signal.spectrum) - 1)
    assert n_samples <= length < n_samples + 400
    assert length % 40 == 0
    expected = band_passed_by_hand(samples.astype(np.float64), 20, 900, length)[:n_samples]
    np.testing.assert_allclose(signal.samples, expected / np.percentile(np.abs(expected), 99), atol=1e-12)


@pytest.mark.parametrize("frequency_hz", [40, 200, 700])
@pytest.mark.parametrize("sample_rate_hz", [2_000, 4_000, 11_025, 44_100])
def test_a_tone_stays_where_it_is(frequency_hz: int, sample_rate_hz: int) -> None:
    tone = np.sin(2 * np.pi * frequency_hz * np.arange(3 * sample_rate_hz) / sample_rate_hz)
    samples = prepare(tone.astype(np.float32), sample_rate_hz).samples
    expected = np.sin(2 * np.pi * frequency_hz * np.arange(len(samples)) / RATE_HZ)
    np.testing.assert_allclose(samples[800:-800], expected[800:-800], atol=0.01)


@pytest.mark.parametrize("frequency_hz", [5, 12, 1_200, 1_900])
def test_what_is_outside_the_band_is_gone(frequency_hz: int) -> None:
    t = np.arange(4 * RATE_HZ) / RATE_HZ
    inside = 0.1 * np.sin(2 * np.pi * 100 * t)
    samples = prepare((inside + np.sin(2 * np.pi * frequency_hz * t)).astype(np.float32), RATE_HZ).samples
    np.testing.assert_allclose(samples[800:-800], 10 * inside[800:-800], atol=0.06)


def test_power_spectra_are_librosas() -> None:
    samples = prepare(heart(), RATE_HZ).samples
    expected = np.abs(librosa.stft(samples, n_fft=256, hop_length=80, window="hann", center=False)) ** 2
    np.testing.assert_allclose(power_spectra(samples), expected.T, rtol=1e-9, atol=1e-12)


def test_mel_filters_are_triangles_of_unit_area() -> None:
    filters = mel_filters()
    assert filters.shape == (40, 129)
    edges_hz = librosa.mel_frequencies(42, fmin=0, fmax=1_000, htk=True)
    for i in range(40):
        low, centre, high = edges_hz[i : i + 3]
        for k in range(129):
            points = [(k + (j - 31.5) / 64) * 15.625 for j in range(64)]
            heights = [max(0.0, min((f - low) / (centre - low), (high - f) / (high - centre))) for f in points]
            assert filters[i, k] == pytest.approx(sum(heights) / 64 * 2 / (high - low), rel=1e-9, abs=1e-12)
    np.testing.assert_allclose(filters[1:].sum(axis=1) * 15.625, 1, atol=2e-3)
    # Where a triangle is wide, averaging within a bin is next to nothing.
    librosas = librosa.filters.mel(sr=RATE_HZ, n_fft=256, n_mels=40, fmin=0, fmax=1_000, htk=True, norm="slaney")
    np.testing.assert_allclose(filters[-5:], librosas[-5:], atol=0.2 * librosas[-5:].max())


def test_mfccs_are_the_cosine_transform_of_the_log_bands() -> None:
    power = power_spectra(prepare(heart(), RATE_HZ).samples)
    bands = log_mel(power)
    assert bands.shape == (len(power), 40)
    np.testing.assert_allclose(bands[7], [np.log(1e-10 + sum(row * power[7])) for row in mel_filters()])
    found = mfcc(bands)
    for k in range(20):
        cosines = [np.cos(np.pi * k * (2 * band + 1) / 80) for band in range(40)]
        scale = np.sqrt((1 if k == 0 else 2) / 40)
        np.testing.assert_allclose(found[:, k], scale * bands @ cosines, atol=1e-9)
    np.testing.assert_allclose(found, librosa.feature.mfcc(S=bands.T, n_mfcc=20).T, atol=1e-9)


@pytest.mark.parametrize(("band", "n_points"), [("low", 2), ("middle", 4), ("high", 7)])
@pytest.mark.parametrize("n_samples", [400, 24_000, 24_013])
def test_an_envelope_is_the_mean_magnitude_of_the_analytic_signal(band: str, n_points: int, n_samples: int) -> None:
    signal = prepare(np.random.default_rng(5).normal(size=n_samples).astype(np.float32), RATE_HZ)
    length = 2 * (len(signal.spectrum) - 1)
    whole = np.fft.irfft(signal.spectrum, length)
    analytic = scipy.signal.hilbert(band_passed_by_hand(whole, *RHYTHM_BANDS_HZ[band], length))
    found = envelope(signal, *RHYTHM_BANDS_HZ[band])
    assert len(found) == -(-n_samples // 40)
    # So many points of each 10 ms hold the band, and 7 of them lie between the samples.
    bins = np.flatnonzero(signal.spectrum)
    coefficients = np.fft.fft(analytic)[bins] / length
    for place in (0, 1, len(found) // 2, len(found) - 1):
        times = (place + np.arange(n_points) / n_points) * 40
        points = np.exp(2j * np.pi * np.outer(times, bins) / length) @ coefficients
        assert found[place] == pytest.approx(np.abs(points).mean(), abs=1e-10)
        if n_points == 4:
            np.testing.assert_allclose(points, analytic[40 * place : 40 * place + 40 : 10], atol=1e-10)


@pytest.mark.parametrize("band", CARRIERS_HZ)
def test_an_envelope_follows_the_height_of_a_tone(band: str) -> None:
    t = np.arange(6 * RATE_HZ) / RATE_HZ
    height = 1 + 0.8 * np.sin(2 * np.pi * 2 * t)
    signal = prepare((height * np.sin(2 * np.pi * CARRIERS_HZ[band] * t)).astype(np.float32), RATE_HZ)
    found = envelope(signal, *RHYTHM_BANDS_HZ[band])
    expected = height.reshape(-1, 40).mean(axis=1)
    np.testing.assert_allclose(found[20:-20] / found.mean(), expected[20:-20] / expected.mean(), atol=0.05)


def autocorrelation_by_hand(values: Values) -> Values:
    centred = values - values.mean()
    energy = float(centred @ centred)
    if energy <= 1e-10 * len(values):
        return np.zeros(201)
    products = [sum(a * b for a, b in zip(centred[lag:], centred, strict=False)) for lag in range(201)]
    return np.array(products) / energy


@pytest.mark.parametrize("n_values", [1, 7, 150, 201, 300, 613])
def test_autocorrelation_by_its_definition(n_values: int) -> None:
    values = np.random.default_rng(n_values).exponential(size=(2, n_values))
    found = series.autocorrelation(values)
    assert found.shape == (2, 201)
    for one, row in zip(values, found, strict=True):
        np.testing.assert_allclose(row, autocorrelation_by_hand(one), atol=1e-12)
        np.testing.assert_allclose(series.autocorrelation(one), row, atol=1e-12)
    assert not series.autocorrelation(np.full(n_values, 3.7)).any()
    assert not found[:, n_values:].any()


finite = st.floats(-1e6, 1e6)


@given(st.lists(finite, min_size=1, max_size=40), st.lists(st.integers(0, 100), min_size=1, max_size=5))
def test_percentiles_and_median_are_numpys(values: list[float], shares: list[int]) -> None:
    array = np.array(values)
    tolerance = {"rtol": 1e-12, "atol": 1e-9}
    np.testing.assert_allclose(series.percentile_values(array, shares), np.percentile(array, shares), **tolerance)
    assert series.median(array) == np.median(array)
    both = np.stack([array, array[::-1] ** 2], axis=1)
    found = series.percentiles(both, shares)
    assert list(found) == list(dict.fromkeys(f"p{share:02d}" for share in shares))
    for share in shares:
        np.testing.assert_allclose(found[f"p{share:02d}"], np.percentile(both, share, axis=0), **tolerance)


@pytest.mark.parametrize("shape", [(2,), (500,), (90, 3)])
def test_moments_are_scipys(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).exponential(size=shape) - 5
    found = series.moments(values)
    expected = (values.mean(axis=0), values.std(axis=0), scipy.stats.skew(values), scipy.stats.kurtosis(values))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_moments_and_changes_of_what_does_not_vary() -> None:
    mean, deviation, skew, kurtosis = series.moments(np.array([[1.0, 0.1]] * 3))
    assert mean.tolist() == [1.0, pytest.approx(0.1)]
    assert np.max(deviation) < 1e-15
    assert not np.any([skew, kurtosis])
    assert series.changes(np.array([2.0])).tolist() == [0]
    assert series.changes(np.array([2.0, 5.0, 4.0])).tolist() == [3, -1]


def track_by_hand(values: Values) -> dict[str, float]:
    steps = values[1:] - values[:-1]
    return {
        "mean": values.mean(),
        "std": values.std(),
        **{f"p{share}": np.percentile(values, share) for share in (10, 25, 50, 75, 90)},
        "min": values.min(),
        "max": values.max(),
        "skew": scipy.stats.skew(values),
        "kurtosis": scipy.stats.kurtosis(values),
        "change_abs_mean": np.abs(steps).mean(),
        "change_std": steps.std(),
    }


def rhythm_by_hand(values: Values) -> dict[str, float]:
    """Return the 62 of an envelope without silence, by NumPy, SciPy and plain loops."""
    relative = values / values.mean()
    correlation = autocorrelation_by_hand(relative)
    peaks = sorted(scipy.signal.find_peaks(correlation)[0], key=lambda lag: -correlation[lag])
    peaks = [lag for lag in peaks if lag >= 15][:4]
    period = max(range(35, 151), key=lambda lag: correlation[lag])
    logs = np.log(relative + 0.001)
    smooth = scipy.signal.convolve(relative, np.array([1, 4, 6, 4, 1]) / 16, mode="same")
    beats = scipy.signal.find_peaks(smooth, height=np.nextafter(np.median(smooth), np.inf), distance=15)[0]
    intervals, heights = np.diff(beats) / 100, smooth[beats]
    n_points = max(1024, scipy.fft.next_fast_len(len(relative), real=True))
    power = np.abs(np.fft.rfft((relative - relative.mean()) * np.hanning(len(relative)), n_points)) ** 2
    edges = [round(edge * n_points / 100) for edge in MODULATION_EDGES_HZ]
    total = power[edges[0] : edges[-1]].sum()
    periods = []
    for start in range(0, max(1, len(relative) - 299), 50):
        of_window = autocorrelation_by_hand(relative[start : start + 300])
        periods.append(max(range(35, 151), key=lambda lag: of_window[lag]) / 100)
    middle = float(np.median(periods))

    def alternation(of: Values) -> float:
        a, b = np.median(of[0::2]), np.median(of[1::2])
        return max(a / b, b / a)

    def serial(lag: int) -> float:
        centred = intervals - intervals.mean()
        return sum(centred[i] * centred[i + lag] for i in range(len(centred) - lag)) / sum(centred**2)

    bands = [f"modulation_{low:g}_to_{high:g}_hz" for low, high in pairwise(MODULATION_EDGES_HZ)]
    return {
        **{f"autocorrelation_peak_{i + 1}": correlation[lag] for i, lag in enumerate(peaks)},
        **{f"autocorrelation_peak_{i + 1}_lag_s": lag / 100 for i, lag in enumerate(peaks)},
        "period_s": period / 100,
        "autocorrelation_at_period": correlation[period],
        "autocorrelation_at_half_period": correlation[round(period / 2)],
        "autocorrelation_at_four_thirds_period": correlation[round(period * 4 / 3)],
        "autocorrelation_min": min(correlation),
        "autocorrelation_min_lag_s": np.argmin(correlation) / 100,
        **{
            f"log_envelope_p{share:02d}_less_p50": np.percentile(logs, share) - np.median(logs)
            for share in (5, 10, 25, 75, 90, 95, 99)
        },
        "log_envelope_p50": np.median(logs),
        "envelope_std": relative.std(),
        "envelope_skew": scipy.stats.skew(relative),
        "envelope_kurtosis": scipy.stats.kurtosis(relative),
        "log_envelope_std": logs.std(),
        "log_envelope_skew": scipy.stats.skew(logs),
        "log_envelope_kurtosis": scipy.stats.kurtosis(logs),
        "beat_rate_hz": len(beats) / (len(relative) / 100),
        "interval_mean_s": intervals.mean(),
        "interval_std_s": intervals.std(),
        "interval_std_ratio": scipy.stats.variation(intervals),
        **{f"interval_p{share}_s": np.percentile(intervals, share) for share in (10, 25, 50, 75, 90)},
        "height_mean": heights.mean(),
        "height_std_ratio": scipy.stats.variation(heights),
        **{f"height_p{share}": np.percentile(heights, share) for share in (10, 50, 90)},
        "interval_alternation": alternation(intervals),
        "height_alternation": alternation(heights),
        "interval_serial_1": serial(1),
        "interval_serial_2": serial(2),
        **{
            name.replace(".", "p"): power[low:high].sum() / total
            for name, low, high in zip(bands, edges, edges[1:], strict=False)
        },
        "modulation_peak_hz": (edges[0] + np.argmax(power[edges[0] : edges[-1]])) * 100 / n_points,
        "window_period_p50_s": middle,
        "window_period_std_ratio": np.std(periods) / middle,
        "window_period_iqr_ratio": scipy.stats.iqr(periods) / middle,
        "window_period_min_ratio": min(periods) / middle,
        "window_period_max_ratio": max(periods) / middle,
    }


@pytest.mark.parametrize("label", ["normal", "murmur", "extrastole", "artifact"])
@pytest.mark.parametrize("duration_s", [2.0, 7.3])
def test_every_value_by_its_definition(label: str, duration_s: float) -> None:
    samples = heart(label, 8_000, duration_s)
    signal = prepare(samples, 8_000)
    power = power_spectra(signal.samples)
    expected = {}
    for i, track in enumerate(mfcc(log_mel(power)).T):
        expected |= {f"mfcc_{i:02d}_{name}": value for name, value in track_by_hand(track).items()}
    strongest = [max(range(129), key=lambda k: row[k]) for row in power]
    magnitudes = np.array([np.sqrt(row[k]) for row, k in zip(power, strongest, strict=True)])
    tracks = {"dominant_hz": np.array(strongest) * 15.625, "dominant_log_magnitude": np.log(magnitudes)}
    for track_name, track in tracks.items():
        expected |= {f"{track_name}_{name}": value for name, value in track_by_hand(track).items()}
    for band, edges_hz in RHYTHM_BANDS_HZ.items():
        of_band = rhythm_by_hand(envelope(signal, *edges_hz))
        assert len(of_band) == 62
        expected |= {f"rhythm_{band}_{name}": value for name, value in of_band.items()}
    for name, value in named(samples, 8_000).items():
        assert value == pytest.approx(expected[name], rel=1e-5, abs=1e-5), name


@given(st.integers(0, 2**32 - 1), st.integers(3, 300), st.integers(2, 30))
def test_peaks_that_are_far_enough_apart_are_scipys(seed: int, n_values: int, distance: int) -> None:
    values = np.random.default_rng(seed).random(n_values)
    above = np.nextafter(np.median(values), np.inf)
    expected = scipy.signal.find_peaks(values, height=above, distance=distance)[0]
    assert series.distant_maxima(values, distance).tolist() == expected.tolist()


@given(st.lists(finite, min_size=1, max_size=60), st.floats(0, 100))
def test_one_percentile_is_numpys(values: list[float], share: float) -> None:
    found = series.percentile(np.array(values), share)
    assert found == pytest.approx(np.percentile(values, share), rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("shape", [(9,), (3, 9), (3, 10), (2, 4)])
def test_windows_are_numpys(shape: tuple[int, ...]) -> None:
    values = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    expected = np.lib.stride_tricks.sliding_window_view(values, 4, axis=-1)[..., ::3, :]
    np.testing.assert_array_equal(series.windows(values, 4, 3), expected)


@pytest.mark.parametrize("n_rows", [1, 2, 7, 8])
def test_the_median_of_rows_is_numpys(n_rows: int) -> None:
    values = np.random.default_rng(n_rows).normal(size=(n_rows, 3, 5)).astype(np.float32)
    found = series.median_row(values)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.median(values, axis=0))


@pytest.mark.parametrize("n_values", [5, 6, 90])
def test_smoothing_is_a_convolution(n_values: int) -> None:
    values = np.random.default_rng(n_values).random((2, n_values))
    for row, found in zip(values, series.smoothed(values), strict=True):
        np.testing.assert_allclose(found, np.convolve(row, np.array([1, 4, 6, 4, 1]) / 16, "same"), atol=1e-15)


def test_bands_are_summarised_together_as_each_alone() -> None:
    """A band without beats, or with fewer beats than another, changes nothing in the others."""
    t = np.arange(700) / 100
    rng = np.random.default_rng(0)
    envelopes = np.stack(
        [
            np.square(np.sin(np.pi * 1.3 * t)) + 0.1 * rng.random(700),
            np.zeros(700),
            np.exp(-0.5 * np.square((t - 2) / 0.1)) + np.exp(-0.5 * np.square((t - 4) / 0.1)),
            0.2 + rng.exponential(size=700),
        ]
    )
    together = rhythm.summarise_rhythm(envelopes)
    for band, one in enumerate(envelopes):
        alone = rhythm.summarise_rhythm(one[np.newaxis])
        for name in RHYTHM:
            assert together[name][band] == pytest.approx(alone[name][0], rel=1e-9, abs=1e-9), name
    for band in (0, 3):
        for name, expected in rhythm_by_hand(envelopes[band]).items():
            assert together[name][band] == pytest.approx(expected, rel=1e-9, abs=1e-9), name
    assert all(together[name][band] == 0 for name in BEATS for band in (1, 2) if name != "beat_rate_hz")


# Sounds whose answers are known.


@pytest.mark.parametrize("band", CARRIERS_HZ)
def test_a_click_train_has_its_period(band: str) -> None:
    times_s = np.arange(0.3, 9.8, 1 / 1.2)
    found = named(clicks(times_s, np.ones(len(times_s)), 10.0, CARRIERS_HZ[band]))
    of = {name.removeprefix(f"rhythm_{band}_"): value for name, value in found.items() if f"_{band}_" in name}
    assert of["period_s"] == of["autocorrelation_peak_1_lag_s"] == pytest.approx(1 / 1.2, abs=0.006)
    assert of["autocorrelation_peak_2_lag_s"] == pytest.approx(2 / 1.2, abs=0.011)
    assert of["autocorrelation_at_period"] == of["autocorrelation_peak_1"] > 0.85
    assert of["autocorrelation_at_half_period"] < 0
    assert of["window_period_p50_s"] == pytest.approx(1 / 1.2, abs=0.011)
    assert of["window_period_std_ratio"] < 0.02
    assert of["beat_rate_hz"] == pytest.approx(1.2, abs=0.1)
    for name in ("interval_mean_s", "interval_p10_s", "interval_p50_s", "interval_p90_s"):
        assert of[name] == pytest.approx(1 / 1.2, abs=0.011)
    assert of["interval_alternation"] == pytest.approx(1, abs=0.03)
    assert of["height_alternation"] == pytest.approx(1, abs=0.05)
    assert of["modulation_peak_hz"] == pytest.approx(1.2, abs=0.1)


def test_intervals_that_alternate() -> None:
    times_s = 0.3 + np.cumsum([0.3, 0.5] * 11)
    found = named(clicks(times_s, np.ones(len(times_s)), 9.6))
    assert found["rhythm_low_interval_alternation"] == pytest.approx(5 / 3, abs=0.1)
    assert found["rhythm_low_interval_p10_s"] == pytest.approx(0.3, abs=0.011)
    assert found["rhythm_low_interval_p90_s"] == pytest.approx(0.5, abs=0.011)
    assert found["rhythm_low_interval_serial_1"] < -0.9
    assert found["rhythm_low_interval_serial_2"] > 0.85
    assert found["rhythm_low_period_s"] == pytest.approx(0.8, abs=0.011)
    assert found["rhythm_low_height_alternation"] == pytest.approx(1, abs=0.05)


def test_heights_that_alternate() -> None:
    times_s = np.arange(0.4, 9.5, 0.4)
    heights = np.where(np.arange(len(times_s)) % 2, 0.5, 1.0)
    found = named(clicks(times_s, heights, 9.6))
    assert found["rhythm_low_height_alternation"] == pytest.approx(2, abs=0.1)
    assert found["rhythm_low_height_p10"] / found["rhythm_low_height_p90"] == pytest.approx(0.5, abs=0.03)
    assert found["rhythm_low_interval_alternation"] == pytest.approx(1, abs=0.03)
    assert found["rhythm_low_period_s"] == pytest.approx(0.8, abs=0.011)


def test_an_irregular_heart_is_less_steady() -> None:
    rng = np.random.default_rng(1)
    steady = np.arange(0.4, 19, 0.8)
    shaken = steady + rng.uniform(-0.25, 0.25, len(steady))
    of_steady, of_shaken = (named(clicks(times_s, np.ones(len(times_s)), 20.0)) for times_s in (steady, shaken))
    for name in ("interval_std_ratio", "window_period_std_ratio"):
        assert of_shaken[f"rhythm_low_{name}"] > 5 * of_steady[f"rhythm_low_{name}"]
    assert of_shaken["rhythm_low_autocorrelation_at_period"] < 0.7 * of_steady["rhythm_low_autocorrelation_at_period"]


@pytest.mark.parametrize("band", CARRIERS_HZ)
@pytest.mark.parametrize(("low_hz", "high_hz"), [*pairwise(MODULATION_EDGES_HZ)])
def test_modulation_is_found_where_it_belongs(band: str, low_hz: float, high_hz: float) -> None:
    modulation_hz = 0.5 * (low_hz + high_hz)
    t = np.arange(12 * RATE_HZ) / RATE_HZ
    sound = (1 + 0.5 * np.sin(2 * np.pi * modulation_hz * t)) * np.sin(2 * np.pi * CARRIERS_HZ[band] * t)
    found = named(sound)
    name = f"rhythm_{band}_modulation_{low_hz:g}_to_{high_hz:g}_hz".replace(".", "p")
    assert found[name] > 0.9
    assert found[f"rhythm_{band}_modulation_peak_hz"] == pytest.approx(modulation_hz, abs=0.1)
    shares = [found[f"rhythm_{band}_{other}"] for other in MODULATION if other != "modulation_peak_hz"]
    assert sum(shares) == pytest.approx(1)


def test_the_dominant_frequency_of_a_tone() -> None:
    found = named(np.sin(2 * np.pi * 437.5 * np.arange(8_000) / RATE_HZ))
    for name in ("mean", "p10", "p50", "p90", "min", "max"):
        assert found[f"dominant_hz_{name}"] == pytest.approx(437.5)
    for name in ("std", "skew", "kurtosis", "change_std", "change_abs_mean"):
        assert found[f"dominant_hz_{name}"] == pytest.approx(0, abs=1e-6)
    # Of a sine of height 1 within a Hann window.
    assert found["dominant_log_magnitude_p50"] == pytest.approx(np.log(256 / 4), abs=0.02)
    # A steady tone has an envelope that does not move.
    assert found["rhythm_high_envelope_std"] < 0.2
    assert found["rhythm_high_log_envelope_p50"] == pytest.approx(0, abs=0.02)


def test_a_change_of_tone_and_of_level() -> None:
    t = np.arange(4 * RATE_HZ) / RATE_HZ
    first = t < 2
    found = named(np.where(first, np.sin(2 * np.pi * 125 * t), 0.1 * np.sin(2 * np.pi * 500 * t)))
    assert found["dominant_hz_p10"] == found["dominant_hz_min"] == 125
    assert found["dominant_hz_p90"] == found["dominant_hz_max"] == 500
    assert found["dominant_hz_change_abs_mean"] == pytest.approx(375 / 196, rel=0.02)
    apart = found["dominant_log_magnitude_p90"] - found["dominant_log_magnitude_p10"]
    assert apart == pytest.approx(np.log(10), abs=0.02)


def test_timbre_tells_low_from_high() -> None:
    t = np.arange(4 * RATE_HZ) / RATE_HZ
    low, high = (named(np.sin(2 * np.pi * hz * t)) for hz in (60, 700))
    # The first cosine falls from the lowest band to the highest.
    assert low["mfcc_01_mean"] > 10
    assert high["mfcc_01_mean"] < -10


# What must not matter.


def assert_close(found: dict[str, float], expected: dict[str, float], tolerance: float) -> None:
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=tolerance, abs=tolerance), name


@pytest.mark.parametrize("label", ["normal", "murmur", "artifact"])
def test_gain_and_polarity_do_not_matter(label: str) -> None:
    samples = heart(label)
    expected = named(samples)
    assert_close(named(-samples), expected, 1e-5)
    # Powers of two lose nothing to rounding.
    assert_close(named(samples / 128), expected, 1e-5)
    assert_close(named(samples * 0.01), expected, 2e-3)


def test_a_constant_offset_does_not_matter() -> None:
    samples = heart()
    assert_close(named(samples + 0.3), named(samples), 1e-3)


@pytest.mark.parametrize("sample_rate_hz", [4_000, 8_000])
@pytest.mark.parametrize("label", ["normal", "murmur"])
def test_the_sample_rate_does_not_matter(label: str, sample_rate_hz: int) -> None:
    samples = heart(label, 44_100).astype(np.float64)
    resampled = soxr.resample(samples, 44_100, sample_rate_hz, quality="VHQ")
    assert_close(named(resampled, sample_rate_hz), named(samples, 44_100), 0.01)


def test_the_samples_are_left_alone() -> None:
    samples = heart()
    before = samples.copy()
    values = statistics_of(samples, RATE_HZ)
    assert np.array_equal(samples, before)
    assert values.dtype == np.float32
    assert np.array_equal(values, statistics_of(samples, RATE_HZ))


# Extremes.


@pytest.mark.parametrize("sample_rate_hz", [1_000, 4_000, 44_100, 384_000])
@pytest.mark.parametrize("n_samples", [1, 10, 100, 9_000])
def test_silence_has_no_rhythm(n_samples: int, sample_rate_hz: int) -> None:
    for level in (0.0, 1e-30):
        found = named(np.full(n_samples, level), sample_rate_hz)
        assert np.isfinite(list(found.values())).all()
        # What is left are the floors of logarithms, and the range's first period, where all of them are equal.
        told = {"rhythm_low_period_s": 0.35, "rhythm_high_window_period_p50_s": 0.35}
        told |= {"dominant_log_magnitude_mean": 0.5 * np.log(1e-10), "rhythm_low_log_envelope_p50": np.log(0.001)}
        told |= {"mfcc_00_mean": np.sqrt(40) * np.log(1e-10), "mfcc_07_std": 0.0, "rhythm_low_beat_rate_hz": 0.0}
        for name, value in told.items():
            assert found[name] == pytest.approx(value, abs=1e-5), name


@settings(max_examples=300)
@given(
    st.sampled_from(EXTREME_SOUNDS),
    st.integers(0, 5_000),
    st.one_of(st.sampled_from([1_000, 4_000, 44_100, 384_000]), st.integers(1_000, 384_000)),
    st.one_of(st.just(1.0), st.floats(-30, 30).map(lambda power: 10**power)),
)
def test_values_are_always_finite(sound: str, n_samples: int, sample_rate_hz: int, level: float) -> None:
    samples = extreme_sound(sound, n_samples, sample_rate_hz)
    values = statistics_of((level * samples).astype(np.float32), sample_rate_hz)
    assert values.shape == (392,)
    assert np.isfinite(values).all()


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=300), st.integers(1_000, 384_000))
def test_any_samples_have_values_or_overflow(samples: list[float], sample_rate_hz: int) -> None:
    try:
        values = statistics_of(np.array(samples, np.float32), sample_rate_hz)
    except SignalOverflow:
        assert max(map(abs, samples)) > 1e37
    else:
        assert np.isfinite(values).all()


@pytest.mark.parametrize("sample_rate_hz", [1_000, 8_000, 44_100])
def test_what_overflows_is_named(sample_rate_hz: int) -> None:
    samples = np.full(1_000, np.finfo(np.float32).max)
    with pytest.raises(SignalOverflow, match=r"resampling overflows: samples reach 3\.4e\+38") as caught:
        statistics_of(samples, sample_rate_hz)
    assert (caught.value.stage, caught.value.error_type) == ("features", "non_finite")


def test_full_scale_clipping_of_a_heart() -> None:
    samples = heart("normal")
    clipped = named(np.clip(20 * samples, -1, 1))
    assert np.isfinite(list(clipped.values())).all()
    assert clipped["rhythm_low_period_s"] == pytest.approx(named(samples)["rhythm_low_period_s"], abs=0.03)
