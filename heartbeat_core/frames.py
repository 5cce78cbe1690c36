"""Waveform to frames: one ``(frequency, amplitude)`` pair for each short-time spectrum.

Follows the original project's preprocessor 1: magnitudes of ``librosa.stft`` with its defaults (periodic
Hann window, centred, zero padding), each frame reduced to one pair. The spectra are made in blocks that
stay in the cache, so memory grows with the waveform and not with its spectrogram.
"""

from __future__ import annotations

from collections.abc import Iterator

import librosa
import numpy as np
from numpy.typing import NDArray

from heartbeat_core.config import FramesSettings
from heartbeat_core.errors import NonFiniteSamples, TooShort, UnsupportedSampleRate

BLOCK_VALUES = 2**17
"""Complex values in one block of spectra: 1 MiB, the size of a core's cache."""


def warm_up() -> None:
    """Have librosa import the parts that it otherwise imports at the first transform."""
    getattr(librosa, "stft")  # noqa: B009  asking for the name is what loads it


def stft_parameters(sample_rate_hz: int, delta_time_s: float) -> tuple[int, int]:
    """Return ``(n_fft, hop_length)`` in samples.

    ``n_fft = 2 ** floor(log2(int(delta_time_s * sample_rate_hz)))``, ``hop_length = max(1, n_fft // 4)``.

    Raises:
        UnsupportedSampleRate: ``delta_time_s`` is shorter than one sample.
    """
    n_samples = int(delta_time_s * sample_rate_hz)
    if n_samples < 1:
        raise UnsupportedSampleRate(
            f"{delta_time_s:g} s is shorter than one sample at {sample_rate_hz} Hz: no frame can be made"
        )
    n_fft: int = 2 ** (n_samples.bit_length() - 1)
    return n_fft, max(1, n_fft // 4)


def count_frames(n_samples: int, sample_rate_hz: int, delta_time_s: float) -> int:
    """Return how many frames ``compute_frames`` makes of ``n_samples`` samples; 0 where it raises TooShort."""
    n_fft, hop_length = stft_parameters(sample_rate_hz, delta_time_s)
    if n_samples < n_fft:
        return 0
    return 1 + (n_samples + 2 * (n_fft // 2) - n_fft) // hop_length


def compute_frames(samples: NDArray[np.float32], sample_rate_hz: int, settings: FramesSettings) -> NDArray[np.float32]:
    """Reduce each frame of the short-time Fourier transform to one pair.

    Args:
        samples: [n_samples] float32, mono.
        sample_rate_hz: native sample rate.
        settings: time step and method.

    Returns:
        [n_frames, 2] float32: Hz, linear magnitude. With ``m`` the magnitudes of a frame and ``f`` its bins:

        * ``dominant``: ``f[k], m[k]`` with ``k = argmax(m)``, the first of equals;
        * ``average``: ``sum(f * m) / sum(m), mean(m)``, and 0, 0 where the sum is 0;
        * ``median``: ``f[k], median(m)`` with ``k`` at index ``len(m) // 2`` of the ascending argsort of ``m``,
          stable, so that equal magnitudes give the same frequency on every machine.

    Raises:
        TooShort: fewer samples than ``n_fft``.
        UnsupportedSampleRate: the time step is shorter than one sample.
        NonFiniteSamples: the samples are so large that their spectrum overflows float32.
    """
    n_fft, hop_length = stft_parameters(sample_rate_hz, settings.delta_time_s)
    if samples.size < n_fft:
        raise TooShort(f"{samples.size} samples at {sample_rate_hz} Hz are fewer than one frame of {n_fft} samples")
    frequencies_hz = np.arange(1 + n_fft // 2, dtype=np.float64) * (sample_rate_hz / n_fft)
    reduce = _REDUCERS[settings.method]
    frames = np.empty((count_frames(samples.size, sample_rate_hz, settings.delta_time_s), 2), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for start, magnitudes in _magnitude_blocks(samples, n_fft, hop_length):
            reduce(magnitudes, frequencies_hz, frames[start : start + len(magnitudes)])
    if not np.isfinite(frames).all():
        raise NonFiniteSamples(f"the spectrum overflows: samples reach {np.abs(samples).max():.3g}")
    return frames


def _magnitude_blocks(
    samples: NDArray[np.float32], n_fft: int, hop_length: int
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield ``(first frame, magnitudes [n_frames_of_block, n_bins] float32)``, in order."""
    padded = np.pad(samples, n_fft // 2)
    n_frames = 1 + (padded.size - n_fft) // hop_length
    block = max(1, BLOCK_VALUES // (1 + n_fft // 2))
    for start in range(0, n_frames, block):
        stop = min(start + block, n_frames)
        span = padded[start * hop_length : (stop - 1) * hop_length + n_fft]
        spectra = librosa.stft(span, n_fft=n_fft, hop_length=hop_length, center=False)
        yield start, np.abs(spectra).T


def _dominant(magnitudes: NDArray[np.float32], frequencies_hz: NDArray[np.float64], out: NDArray[np.float32]) -> None:
    peak = np.argmax(magnitudes, axis=1)
    out[:, 0] = frequencies_hz[peak]
    out[:, 1] = np.take_along_axis(magnitudes, peak[:, np.newaxis], axis=1)[:, 0]


def _average(magnitudes: NDArray[np.float32], frequencies_hz: NDArray[np.float64], out: NDArray[np.float32]) -> None:
    weights = magnitudes.astype(np.float64)
    total = weights.sum(axis=1)
    weighted = weights @ frequencies_hz
    out[:, 0] = np.divide(weighted, total, out=np.zeros_like(total), where=total > 0)
    out[:, 1] = total / weights.shape[1]


def _median(magnitudes: NDArray[np.float32], frequencies_hz: NDArray[np.float64], out: NDArray[np.float32]) -> None:
    middle = magnitudes.shape[1] // 2
    out[:, 0] = frequencies_hz[np.argsort(magnitudes, axis=1, kind="stable")[:, middle]]
    out[:, 1] = np.median(magnitudes, axis=1)


_REDUCERS = {"dominant": _dominant, "average": _average, "median": _median}
