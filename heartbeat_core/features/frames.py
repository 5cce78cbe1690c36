"""Compute frames from a waveform: one ``(frequency, amplitude)`` pair for each short-time spectrum.

This follows preprocessor 1 of the original project: magnitudes of ``librosa.stft`` with its defaults (periodic Hann
window, centred, zero padding), with each frame reduced to one pair. The spectra equal those of librosa to the last bit
and take a third of the time, because frames are stored in rows, as the transform needs them, in blocks that stay in the
cache. Memory grows with the waveform and not with its spectrogram. A worker does not have to load librosa, which takes
a second.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy  # scipy.fft is loaded when it is used first: a driver does without
from numpy.typing import NDArray

from heartbeat_core.errors import SampleRateTooLowForFrames, SpectrumOverflow, TooShort
from heartbeat_core.features.series import hann, windows
from heartbeat_core.recipe import FramesSettings

BLOCK_VALUES = 2**15
"""Number of windowed samples in one block of frames: 256 KiB, a part of a core's cache."""
FEW_BINS = 5
"""NumPy's argmax is slow for spectra with at most this many bins."""


def stft_parameters(sample_rate_hz: int, delta_time_s: float) -> tuple[int, int]:
    """Return ``(n_fft, hop_length)`` in samples.

    ``n_fft = 2 ** floor(log2(int(delta_time_s * sample_rate_hz)))``, ``hop_length = max(1, n_fft // 4)``.

    Parameters
    ----------
    sample_rate_hz : int
    delta_time_s : float
        Time step.

    Raises
    ------
    SampleRateTooLowForFrames
        ``delta_time_s`` is shorter than one sample.

    Examples
    --------
    >>> stft_parameters(44_100, 0.01)
    (256, 64)
    """
    n_samples = int(delta_time_s * sample_rate_hz)
    if n_samples < 1:
        raise SampleRateTooLowForFrames(
            f"{delta_time_s:g} s is shorter than one sample at {sample_rate_hz} Hz: no frame can be made"
        )
    n_fft: int = 2 ** (n_samples.bit_length() - 1)
    return n_fft, max(1, n_fft // 4)


def count_frames(n_samples: int, sample_rate_hz: int, delta_time_s: float) -> int:
    """Return how many frames ``compute_frames`` makes from ``n_samples`` samples; 0 if it raises TooShort.

    Parameters
    ----------
    n_samples : int
    sample_rate_hz, delta_time_s
        As for ``stft_parameters``.

    Raises
    ------
    SampleRateTooLowForFrames
        ``delta_time_s`` is shorter than one sample.
    """
    n_fft, hop_length = stft_parameters(sample_rate_hz, delta_time_s)
    if n_samples < n_fft:
        return 0
    return 1 + (n_samples + 2 * (n_fft // 2) - n_fft) // hop_length


def compute_frames(samples: NDArray[np.float32], sample_rate_hz: int, settings: FramesSettings) -> NDArray[np.float32]:
    """Reduce each frame of the short-time Fourier transform to one pair.

    Parameters
    ----------
    samples : ndarray, [n_samples] float32
        Mono.
    sample_rate_hz : int
        Native sample rate.
    settings : FramesSettings
        Time step and method.

    Returns
    -------
    ndarray, [n_frames, 2] float32
        Hz, linear magnitude. ``m`` are the magnitudes of a frame and ``f`` the frequencies of its bins:

        * ``dominant``: ``f[k], m[k]`` with ``k = argmax(m)``, the first one if several are equal;
        * ``average``: ``sum(f * m) / sum(m), mean(m)``, or 0, 0 if the sum is 0;
        * ``median``: ``f[k], median(m)`` with ``k`` at index ``len(m) // 2`` of the ascending argsort of ``m``. The
          sort is stable, so equal magnitudes give the same frequency on every machine.

    Raises
    ------
    TooShort
        There are fewer samples than ``n_fft``.
    SampleRateTooLowForFrames
        The time step is shorter than one sample.
    SpectrumOverflow
        The samples are so large that their spectrum overflows float32.

    Examples
    --------
    >>> import numpy as np
    >>> from heartbeat_core.recipe import FramesSettings
    >>> tone = np.sin(2 * np.pi * 125 * np.arange(4_000) / 4_000).astype(np.float32)
    >>> frames = compute_frames(tone, 4_000, FramesSettings(delta_time_s=0.01))
    >>> frames.shape, float(frames[200, 0])
    ((501, 2), 125.0)
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
        raise SpectrumOverflow(f"the spectrum overflows: samples reach {np.abs(samples).max():.3g}")
    return frames


def _magnitude_blocks(
    samples: NDArray[np.float32], n_fft: int, hop_length: int
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield ``(first frame, magnitudes [n_frames_of_block, n_bins] float32)``, in order.

    Like librosa, this windows and transforms in float64 and rounds the spectra to complex64.
    """
    window = hann(n_fft)
    padded = np.zeros(samples.size + 2 * (n_fft // 2), np.float32)
    padded[n_fft // 2 : n_fft // 2 + samples.size] = samples
    n_frames, n_rows = (samples.size + 2 * (n_fft // 2) - n_fft) // hop_length + 1, max(1, BLOCK_VALUES // n_fft)
    windowed = np.empty((min(n_rows, n_frames), n_fft))
    for start in range(0, n_frames, n_rows):
        stop = min(start + n_rows, n_frames)
        # Converted before it is cut into windows that overlap: a quarter of the conversions.
        piece = padded[start * hop_length : (stop - 1) * hop_length + n_fft].astype(np.float64)
        block = np.multiply(windows(piece, n_fft, hop_length), window, out=windowed[: stop - start])
        yield start, np.abs(scipy.fft.rfft(block).astype(np.complex64))


def _dominant(magnitudes: NDArray[np.float32], frequencies_hz: NDArray[np.float64], out: NDArray[np.float32]) -> None:
    if magnitudes.shape[1] <= FEW_BINS:
        peak, out[:, 1] = _peaks_of_short_rows(magnitudes)
    else:
        peak = magnitudes.argmax(axis=1)
        out[:, 1] = magnitudes.take(peak + np.arange(0, magnitudes.size, magnitudes.shape[1]))
    out[:, 0] = frequencies_hz[peak]


def _peaks_of_short_rows(magnitudes: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return the index of the largest magnitude of each row (the first of equal ones) and this magnitude, or NaN.

    The magnitude is NaN if the row holds a NaN. NumPy's argmax needs a fixed time for each row, even a short one. Here
    all rows are compared at once, bin by bin.
    """
    by_bin = np.ascontiguousarray(magnitudes.T)
    largest: NDArray[np.float32] = by_bin.max(axis=0)
    rank_from_behind = np.arange(len(by_bin), 0, -1, dtype=np.uint8)[:, np.newaxis]
    first = ((by_bin == largest).view(np.uint8) * rank_from_behind).max(axis=0)
    return np.minimum(len(by_bin) - first.astype(np.intp), len(by_bin) - 1), largest


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
