"""Synthetic heart sounds, to try the program without a data set.

These are caricatures: windowed tones stand for valves, and noise stands for turbulence. They are good for the demo, for
tests and for benchmarks. They are NOT good for training or judging a model: a model that can distinguish them has
learned this file, not medicine.

The times and bands are those of textbooks of auscultation. S1 (long, 30 to 60 Hz) opens the systole of about 0.3 s and
S2 (shorter, higher) closes it. A murmur fills the systole with noise. An extra heart sound is a third sound (S3 after
S2, S4 before S1, or a click between them). An extrasystole is a beat that comes early and is followed by a compensatory
pause. An artifact has no beats at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from io import BytesIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from heartbeat_core.arrays import Values
from heartbeat_core.labels import ORIGINAL_LABELS

_HEART_RATE_BPM = (55.0, 110.0)
_JITTER = 0.03
_SYSTOLE_S = 0.3
"""At 75 beats per minute; it shortens with the root of the length of the beat."""

_S1_S, _S2_S = 0.12, 0.08

_DEVICES = {
    "phone": (44_100, "WAV", {"normal": 4, "extrahls": 3, "murmur": 3, "artifact": 3, "extrastole": 2}),
    "stethoscope": (4_000, "FLAC", {"normal": 6, "extrahls": 3, "murmur": 4, "artifact": 2, "extrastole": 4}),
}
_DEMO_DURATION_S = (3.0, 10.0)


def synthesise(label: str, sample_rate_hz: int, duration_s: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Make one synthetic recording; the module text warns what it must not be used for.

    Parameters
    ----------
    label : str
        One of ``labels.ORIGINAL_LABELS``.
    sample_rate_hz : int
        At least 1000, so that the sounds are below half of the sample rate.
    duration_s : float
        A positive duration.
    rng : random.Generator
        The only source of randomness; the same state gives the same samples.

    Returns
    -------
    ndarray of float32
        ``samples [round(duration_s * sample_rate_hz)] float32``, with a full scale of ±1 and a peak of at most 0.95.

    Raises
    ------
    ValueError
        The label is unknown, or the sample rate or the duration is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> synthesise("normal", 4_000, 2.0, np.random.default_rng(0)).shape
    (8000,)
    """
    if label not in ORIGINAL_LABELS:
        raise ValueError(f"unknown label '{label}'; labels are {', '.join(ORIGINAL_LABELS)}")
    n_samples = round(duration_s * sample_rate_hz)
    if sample_rate_hz < 1_000 or n_samples < 1:
        raise ValueError(f"cannot make {duration_s} s at {sample_rate_hz} Hz")
    if label == "artifact":
        signal = _artifact(sample_rate_hz, n_samples, rng)
    else:
        signal = _heart(label, sample_rate_hz, n_samples, rng)
    signal += rng.uniform(0.005, 0.03) * rng.standard_normal(n_samples)
    signal += rng.uniform(0.01, 0.04) * _band_noise(20, 200, sample_rate_hz, n_samples, rng)
    peak = float(np.abs(signal).max())
    return (signal * (rng.uniform(0.2, 0.95) / peak)).astype(np.float32)


def demo_recordings(seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield ``(relative name, bytes of the file)`` of 36 small recordings, under 15 MB in all.

    34 are named ``<device>/<label>_<number>.<extension>``: a phone's WAV at 44.1 kHz and a stethoscope's
    FLAC at 4 kHz, 16 bit, 3 to 10 s. Two are broken on purpose: ``phone/notes.wav`` is text, and
    ``stethoscope/interrupted.wav`` breaks off inside its header. A seed always gives the same bytes.
    """
    for device_code, (device, (sample_rate_hz, file_format, counts)) in enumerate(_DEVICES.items()):
        for label, count in counts.items():
            for number in range(1, count + 1):
                # Each file has its own generator, so no file depends on how many came before it.
                rng = np.random.default_rng((seed, device_code, ORIGINAL_LABELS.index(label), number))
                samples = synthesise(label, sample_rate_hz, rng.uniform(*_DEMO_DURATION_S), rng)
                name = f"{device}/{label}_{number:02d}.{file_format.lower()}"
                yield name, _encode(samples, sample_rate_hz, file_format)
    yield "phone/notes.wav", b"Mic held too low on the first three, repeat them tomorrow.\n"
    yield "stethoscope/interrupted.wav", _encode(np.zeros(4_000, np.float32), 4_000, "WAV")[:36]


def _encode(samples: NDArray[np.float32], sample_rate_hz: int, file_format: str) -> bytes:
    buffer = BytesIO()
    soundfile.write(buffer, samples, sample_rate_hz, format=file_format, subtype="PCM_16")
    return buffer.getvalue()


def _heart(label: str, sample_rate_hz: int, n_samples: int, rng: np.random.Generator) -> Values:
    beat_s = 60 / rng.uniform(*_HEART_RATE_BPM)
    systole_s = _SYSTOLE_S * math.sqrt(beat_s / 0.8)
    s1_hz, s2_hz = rng.uniform(30, 60), rng.uniform(55, 95)
    extra = rng.choice(["s3", "s4", "click"])
    signal = np.zeros(n_samples)
    murmur = np.zeros(n_samples)
    for s1_at in _beat_times_s(beat_s, n_samples / sample_rate_hz, rng, premature=label == "extrastole"):
        s2_at = s1_at + systole_s
        _add(signal, s1_at, sample_rate_hz, _burst(_S1_S, s1_hz, sample_rate_hz, rng))
        _add(signal, s2_at, sample_rate_hz, 0.7 * _burst(_S2_S, s2_hz, sample_rate_hz, rng))
        if label == "murmur":
            _add(murmur, s1_at + _S1_S, sample_rate_hz, _hann(systole_s - _S1_S, sample_rate_hz))
        if label == "extrahls" and rng.random() < 0.7:
            sound_at, sound = _extra_sound(extra, s1_at, s2_at, sample_rate_hz, rng)
            _add(signal, sound_at, sample_rate_hz, sound)
    if label == "murmur":
        low_hz = rng.uniform(80, 150)
        loudness = rng.uniform(0.15, 0.3)
        signal += loudness * murmur * _band_noise(low_hz, 3 * low_hz, sample_rate_hz, n_samples, rng)
    return signal


def _beat_times_s(beat_s: float, duration_s: float, rng: np.random.Generator, *, premature: bool) -> Values:
    """Return when each S1 begins; the first one may begin before the recording."""
    n_beats = math.ceil(duration_s / beat_s * 1.2) + 3
    intervals_s = beat_s * (1 + _JITTER * rng.standard_normal(n_beats).clip(-2, 2))
    if premature:
        # Early by two fifths, then a compensatory pause: together as long as two normal beats.
        early = np.arange(1, n_beats - 1, rng.integers(3, 6))
        intervals_s[early] *= 0.6
        intervals_s[early + 1] *= 1.4
    times_s: Values = np.cumsum(intervals_s) - intervals_s[0] - rng.uniform(0, beat_s)
    return times_s[times_s < duration_s]


def _extra_sound(
    kind: str, s1_at: float, s2_at: float, sample_rate_hz: int, rng: np.random.Generator
) -> tuple[float, Values]:
    if kind == "s3":
        return s2_at + 0.14, 0.4 * _burst(0.07, rng.uniform(25, 45), sample_rate_hz, rng)
    if kind == "s4":
        return s1_at - 0.11, 0.4 * _burst(0.07, rng.uniform(20, 35), sample_rate_hz, rng)
    return (s1_at + s2_at) / 2, 0.5 * _burst(0.03, rng.uniform(100, 180), sample_rate_hz, rng)


def _artifact(sample_rate_hz: int, n_samples: int, rng: np.random.Generator) -> Values:
    """Bumps against the sensor, rubbing cloth, and a voice in the room."""
    duration_s = n_samples / sample_rate_hz
    signal = np.zeros(n_samples)
    for at_s in rng.uniform(0, duration_s, rng.integers(2, 6)):
        bump = rng.uniform(0.5, 1) * _burst(rng.uniform(0.05, 0.3), rng.uniform(8, 25), sample_rate_hz, rng)
        _add(signal, at_s, sample_rate_hz, bump)
    rubbing = np.zeros(n_samples)
    for at_s in rng.uniform(-0.5, duration_s, rng.integers(1, 4)):
        _add(rubbing, at_s, sample_rate_hz, _hann(rng.uniform(0.4, 2), sample_rate_hz))
    signal += 0.2 * rubbing * _band_noise(150, 450, sample_rate_hz, n_samples, rng)
    return signal + rng.uniform(0.1, 0.3) * _voice(sample_rate_hz, n_samples, rng)


def _voice(sample_rate_hz: int, n_samples: int, rng: np.random.Generator) -> Values:
    """Return three harmonics of a wandering pitch, in syllables of about a quarter of a second."""
    time_s = np.arange(n_samples) / sample_rate_hz
    pitch_hz = rng.uniform(90, 150) * (1 + 0.1 * np.sin(2 * np.pi * rng.uniform(0.3, 1) * time_s))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / sample_rate_hz
    syllables = np.sin(np.pi * rng.uniform(3, 5) * time_s + rng.uniform(0, np.pi)) ** 2
    tones: Values = np.sin(phase) + np.sin(2 * phase) / 2 + np.sin(3 * phase) / 3
    return syllables * tones


def _burst(length_s: float, frequency_hz: float, sample_rate_hz: int, rng: np.random.Generator) -> Values:
    """Return a tone in a Hann window with its own loudness, and a weaker tone half an octave above."""
    window = _hann(length_s, sample_rate_hz)
    phase = 2 * np.pi * frequency_hz * np.arange(len(window)) / sample_rate_hz
    start, loudness = rng.uniform(0, 2 * np.pi), rng.uniform(0.85, 1.15)
    tones: Values = np.sin(phase + start) + 0.4 * np.sin(1.5 * phase)
    return loudness * window * tones


def _hann(length_s: float, sample_rate_hz: int) -> Values:
    return np.hanning(max(3, round(length_s * sample_rate_hz)))


def _band_noise(low_hz: float, high_hz: float, sample_rate_hz: int, n_samples: int, rng: np.random.Generator) -> Values:
    """Gaussian noise between two frequencies; its standard deviation is 1 if the band holds any bin."""
    spectrum = np.fft.rfft(rng.standard_normal(n_samples))
    frequency_hz = np.fft.rfftfreq(n_samples, 1 / sample_rate_hz)
    spectrum[(frequency_hz < low_hz) | (frequency_hz > high_hz)] = 0
    noise = np.fft.irfft(spectrum, n_samples)
    deviation = noise.std()
    return noise / deviation if deviation > 0 else noise


def _add(signal: Values, at_s: float, sample_rate_hz: int, sound: Values) -> None:
    """Add a sound in place; the part outside the recording is dropped."""
    start = round(at_s * sample_rate_hz)
    first, last = max(start, 0), min(start + len(sound), len(signal))
    if first < last:
        signal[first:last] += sound[first - start : last - start]
