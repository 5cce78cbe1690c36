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


Ranked = Sequence[tuple[float, bool]]
"""The score of each row, and whether it has the label."""


def auroc(rows: Ranked) -> Fraction:
    """Compare each row that has the label with each that does not; an equal score counts half."""
    with_it = [score for score, has_it in rows if has_it]
    without = [score for score, has_it in rows if not has_it]
    won = sum((Fraction(1 if a > b else 0) + Fraction(a == b, 2) for a in with_it for b in without), start=Fraction(0))
    return won / (len(with_it) * len(without))


def average_precision(rows: Ranked) -> Fraction:
    """Lower the threshold score by score, and add each step in recall times the precision there."""
    n_with = sum(has_it for _, has_it in rows)
    total, recall = Fraction(0), Fraction(0)
    for threshold in sorted({score for score, _ in rows}, reverse=True):
        chosen = [has_it for score, has_it in rows if score >= threshold]
        total += (Fraction(sum(chosen), n_with) - recall) * Fraction(sum(chosen), len(chosen))
        recall = Fraction(sum(chosen), n_with)
    return total


def sensitivity_at_specificity(rows: Ranked, least: Fraction) -> Fraction:
    """Try every threshold, and one above all scores; take the best sensitivity where the specificity is enough."""
    with_it = [score for score, has_it in rows if has_it]
    without = [score for score, has_it in rows if not has_it]
    best = Fraction(0)
    for threshold in [*(score for score, _ in rows), math.inf]:
        specificity = Fraction(sum(score < threshold for score in without), len(without))
        if specificity >= least:
            best = max(best, Fraction(sum(score >= threshold for score in with_it), len(with_it)))
    return best


def rank_figures(rows: Ranked) -> tuple[float, float, float]:
    """Return AUROC, average precision, and sensitivity at a specificity of at least 0.9."""
    found = (auroc(rows), average_precision(rows), sensitivity_at_specificity(rows, Fraction(9, 10)))
    return float(found[0]), float(found[1]), float(found[2])


def rank_intervals(rows: Ranked, persons: Sequence[int], seed: int) -> list[tuple[float, float]]:
    """Put the rows of each resample's persons together; leave out a resample that lacks rows of one kind."""
    names = sorted(set(persons))
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(1000):
        drawn = [names[place] for place in rng.integers(len(names), size=len(names)).tolist()]
        expanded = [row for name in drawn for row, person in zip(rows, persons, strict=True) if person == name]
        if {has_it for _, has_it in expanded} == {True, False}:
            found.append(rank_figures(expanded))
    return [(percentile(each, 0.025), percentile(each, 0.975)) for each in zip(*found, strict=True)]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value at this share of the way through the ascending values, between two by a straight line."""
    ascending = sorted(values)
    place = share * (len(values) - 1)
    below = math.floor(place)
    above = min(below + 1, len(values) - 1)
    return ascending[below] + (place - below) * (ascending[above] - ascending[below])


def patients_of(
    scores: Sequence[float], outcomes: Sequence[int], persons: Sequence[int], databases: Sequence[str]
) -> dict[tuple[str, int], tuple[float, int]]:
    """Return ``(mean score, outcome)`` of each person within each database: 1 has the label, 0 lacks it, -1 open."""
    found = {}
    for patient in sorted(set(zip(databases, persons, strict=True))):
        rows = [i for i in range(len(scores)) if (databases[i], persons[i]) == patient]
        said = [outcomes[i] for i in rows]
        outcome = 1 if 1 in said else 0 if 0 in said else -1
        found[patient] = (math.fsum(scores[i] for i in rows) / len(rows), outcome)
    return found


def expected_counts(possible: Sequence[Sequence[bool]], n_labels: int) -> list[float]:
    """Count each row for its label, or for each possible label by its share of the rows with one label."""
    known = [0] * n_labels
    for row in possible:
        if sum(row) == 1:
            known[list(row).index(True)] += 1
    found = [float(count) for count in known]
    for row in possible:
        total = sum(known[code] for code in range(n_labels) if row[code])
        if sum(row) != 1 and total > 0:
            for code in range(n_labels):
                found[code] += known[code] / total if row[code] else 0.0
    return found


def log_losses(logits: Sequence[Sequence[float]], possible: Sequence[Sequence[bool]]) -> list[float]:
    """Return minus the logarithm of the sum of the probabilities of the labels that each row may have."""
    found = []
    for outputs, allowed in zip(logits, possible, strict=True):
        largest = max(outputs)
        powers = [math.exp(output - largest) for output in outputs]
        chance = math.fsum(power for power, is_allowed in zip(powers, allowed, strict=True) if is_allowed)
        found.append(math.log(math.fsum(powers)) - math.log(chance))
    return found


def row_weights(
    possible: Sequence[Sequence[bool]], label_weights: Sequence[float], counts: Sequence[float]
) -> list[float]:
    """Return the weight of each row's label, or the mean over its labels, each by its share of the counts."""
    found = []
    for row in possible:
        allowed = [code for code, is_allowed in enumerate(row) if is_allowed]
        total = sum(counts[code] for code in allowed)
        if len(allowed) == 1:
            found.append(label_weights[allowed[0]])
        else:
            found.append(sum(label_weights[code] * counts[code] for code in allowed) / total if total else 0.0)
    return found
