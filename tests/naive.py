"""Plain-loop oracles: each clever routine's definition, written so that it can be checked by reading.

They are slow on purpose and share no code with what they judge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import librosa
import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

FloatArray = NDArray[np.float64]
Frames = NDArray[np.float32]


def distance_at(query: Frames, reference: Frames, offset: int) -> float:
    """Return the original's distance at one offset, in float64."""
    x = np.array(query, dtype=np.float64, order="C")
    r = np.array(reference[offset : offset + len(query)], dtype=np.float64, order="C")
    return float(np.sqrt(np.sum((x - r) ** 2)))


def best_offset(query: Frames, reference: Frames) -> tuple[int, float]:
    """Try every offset as the original does; a later one wins only where it is strictly nearer."""
    best, least = -1, math.inf
    for offset in range(len(reference) - len(query) + 1):
        distance = distance_at(query, reference, offset)
        if distance < least:
            best, least = offset, distance
    return best, least


def place(query: Frames, reference: Frames, pad_mode: str) -> tuple[int, int, float]:
    """Return ``(offset, frames kept, distance)`` of the original's preprocessor 2."""
    kept = query[: len(reference)]
    if len(query) >= len(reference):
        offset = 0
    elif pad_mode == "both":
        offset = best_offset(query, reference)[0]
    else:
        offset = {"front": len(reference) - len(query), "back": 0}[pad_mode]
    return offset, len(kept), distance_at(kept, reference, offset)


def pad(query: Frames, offset: int, length: int) -> Frames:
    """Copy frame by frame into zeros; what reaches beyond the end is lost."""
    padded = np.zeros((length, 2), np.float32)
    for position, frame in enumerate(query, start=offset):
        if position < length:
            padded[position] = frame
    return padded


def exact_squared_distances(query: Frames, reference: Frames) -> list[Fraction]:
    """Return the squared distance at every offset without any rounding."""
    x = [[Fraction(float(value)) for value in row] for row in query]
    r = [[Fraction(float(value)) for value in row] for row in reference]
    return [
        sum(
            ((x[t][c] - r[i + t][c]) ** 2 for t in range(len(x)) for c in range(2)),
            start=Fraction(0),
        )
        for i in range(len(r) - len(x) + 1)
    ]


def stft_parameters(sample_rate_hz: int, delta_time_s: float) -> tuple[int, int]:
    """Return ``(n_fft, hop_length)`` by the original's formula."""
    n_fft = 2 ** math.floor(math.log2(int(delta_time_s * sample_rate_hz)))
    return n_fft, max(1, n_fft // 4)


def frames(samples: NDArray[np.float32], sample_rate_hz: int, delta_time_s: float, method: str) -> FloatArray:
    """Return [n_frames, 2]: the whole spectrogram at once, then one frame after the other.

    Sums are correctly rounded, so what is compared with them carries all of the difference.
    """
    n_fft, hop_length = stft_parameters(sample_rate_hz, delta_time_s)
    magnitudes = np.abs(librosa.stft(samples, n_fft=n_fft, hop_length=hop_length))
    frequencies_hz = [k * (sample_rate_hz / n_fft) for k in range(1 + n_fft // 2)]
    return reduce_frames(magnitudes.T, frequencies_hz, method)


def reduce_frames(magnitudes: Frames, frequencies_hz: Sequence[float], method: str) -> FloatArray:
    """Reduce magnitudes [n_frames, n_bins] to [n_frames, 2], one frame after the other."""
    reduce = {"dominant": _dominant, "average": _average, "median": _median}[method]
    return np.array([reduce([float(m) for m in row], frequencies_hz) for row in magnitudes])


def _dominant(m: Sequence[float], f: Sequence[float]) -> tuple[float, float]:
    peak = 0
    for k in range(len(m)):
        if m[k] > m[peak]:
            peak = k
    return f[peak], m[peak]


def _average(m: Sequence[float], f: Sequence[float]) -> tuple[float, float]:
    total = math.fsum(m)
    if total == 0:
        return 0.0, 0.0
    return math.fsum(f[k] * m[k] for k in range(len(m))) / total, total / len(m)


def _median(m: Sequence[float], f: Sequence[float]) -> tuple[float, float]:
    ascending = sorted(range(len(m)), key=lambda k: m[k])
    middle = len(m) // 2
    if len(m) % 2 == 1:
        return f[ascending[middle]], m[ascending[middle]]
    return f[ascending[middle]], (m[ascending[middle - 1]] + m[ascending[middle]]) / 2


def scaler(rows: Sequence[tuple[Frames, int]], length: int) -> tuple[FloatArray, FloatArray]:
    """Return ``(mean, scale)``, each [length, 2]: scikit-learn's over all padded rows at once."""
    padded = np.stack([pad(row, offset, length) for row, offset in rows])
    fitted = StandardScaler().fit(padded.reshape(len(rows), -1).astype(np.float64))
    return fitted.mean_.reshape(length, 2), fitted.scale_.reshape(length, 2)


def with_decimal_point(cell: str) -> str:
    """Return a number that has a decimal comma with a point instead, sign by sign; any other cell as it is."""
    number, separator, exponent = cell.strip().lower().partition("e")
    whole, comma, decimals = number.partition(",")
    parts = [whole.removeprefix("-") if whole.startswith("-") else whole.removeprefix("+"), decimals]
    if separator:
        parts.append(exponent.removeprefix("-") if exponent.startswith("-") else exponent.removeprefix("+"))
    is_number = comma and all(part and all(sign in "0123456789" for sign in part) for part in parts)
    return cell.replace(",", ".") if is_number else cell


def kept_type(values: Sequence[str | None]) -> str:
    """Return the first type that holds all values of a column, by trying each type on each value."""

    def is_integer(text: str) -> bool:
        try:
            return str(int(text)) == text.strip() and -(2**63) <= int(text) <= 2**63 - 1
        except ValueError:
            return False

    def is_float(text: str) -> bool:
        digits = text.strip().lower().removeprefix("-")
        if not digits or digits[0] not in "0123456789.in" or (digits.startswith("inf") and digits != "inf"):
            return False
        if len(digits) > 1 and digits[0] == "0" and digits[1] in "0123456789_":
            return False
        try:
            number = float(text)
        except ValueError:
            return False
        if "_" in digits or (math.isinf(number) and digits != "inf") or text.strip().lower() == "-nan":
            return False
        return not digits.isdigit() or int(number) == int(text)

    def is_bool(text: str) -> bool:
        return text.strip().lower() in ("true", "false")

    present = [value for value in values if value is not None]
    for kind, holds in (("int64", is_integer), ("float64", is_float), ("bool", is_bool)):
        if present and all(holds(value) for value in present):
            return kind
    return "text"
