"""Plain-loop oracles: each clever routine's definition, written so that it can be checked by reading.

They are slow on purpose and share no code with what they judge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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


def calibration_error_of(rows: Ranked) -> float:
    """Return the mean over rows of |share of positive rows - mean score| of the row's bin, in 15 bins."""
    gaps = []
    for number in range(15):
        low, high = number / 15, (number + 1) / 15
        here = [row for row in rows if low < row[0] <= high or (number == 0 and row[0] == 0)]
        if here:
            share = sum(has_it for _, has_it in here) / len(here)
            gaps.append(len(here) * abs(share - math.fsum(score for score, _ in here) / len(here)))
    return math.fsum(gaps) / len(rows)


def rank_intervals(
    rows: Ranked,
    persons: Sequence[int],
    seed: int,
    figures: Callable[[Ranked], tuple[float, ...]] = rank_figures,
) -> list[tuple[float, float]]:
    """Put the rows of each resample's persons together; leave out a resample that lacks rows of one kind."""
    names = sorted(set(persons))
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(1000):
        drawn = [names[place] for place in rng.integers(len(names), size=len(names)).tolist()]
        expanded = [row for name in drawn for row, person in zip(rows, persons, strict=True) if person == name]
        if {has_it for _, has_it in expanded} == {True, False}:
            found.append(figures(expanded))
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


def smallest_linked(links: Sequence[tuple[int, int]]) -> dict[int, int]:
    """Return, for each number, the smallest number of its group: groups are merged until no link joins two."""
    groups = [{number} for number in {number for link in links for number in link}]
    for one, other in links:
        joined = [group for group in groups if one in group or other in group]
        groups = [group for group in groups if group not in joined] + [set().union(*joined)]
    return {number: min(group) for group in groups for number in group}


def newest_failures(history: Sequence[dict[str, str]]) -> dict[str, tuple[int, str]]:
    """Return ``(generation, error_type)`` of each recording that failed when it was processed last.

    ``history`` holds, for each generation, what came of each of its recordings: an error type, or "" for a prediction.
    """
    found: dict[str, tuple[int, str]] = {}
    for generation, outcomes in enumerate(history):
        for name, error_type in outcomes.items():
            found.pop(name, None)
            if error_type:
                found[name] = (generation, error_type)
    return found


def cinc2016_scores(rows: Sequence[tuple[int, int, int]]) -> dict[str, float]:
    """Score rows of (truth 1 or -1, quality 1 or 0, answer 1, 0 or -1) by both formulas of 2016, row by row."""
    found: dict[str, float] = {}
    for name, positive in (("Se", 1), ("Sp", -1)):
        mine = [(quality, answer) for truth, quality, answer in rows if truth == positive]
        share, half = 0.0, 0.0
        for wanted in (1, 0):
            stratum = [answer for quality, answer in mine if quality == wanted]
            right = 0
            for answer in stratum:
                if answer == positive or (wanted == 0 and answer == 0):
                    right += 1
            if stratum:
                share += len(stratum) / len(mine) * right / len(stratum)
        for _, answer in mine:
            half += 1.0 if answer == positive else 0.5 if answer == 0 else 0.0
        found[name] = share if mine else math.nan
        found[f"{name}_sample2016b"] = half / len(mine) if mine else math.nan
    for ending in ("", "_sample2016b"):
        found[f"MAcc{ending}"] = (found[f"Se{ending}"] + found[f"Sp{ending}"]) / 2
    return found


def moody2022_scores(
    labels: Sequence[str],
    outputs: Sequence[Sequence[int]],
    probabilities: Sequence[Sequence[float]],
    outcomes: Sequence[str],
    classes: Sequence[str],
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Score patients by the formulas of 2022: the measures, and those by class; ``classes[0]`` counts in doubt."""
    chosen = [classes[list(row).index(1)] if sum(row) == 1 else classes[0] for row in outputs]
    weights = {"Present": 5, "Unknown": 3, "Absent": 1, "Abnormal": 5, "Normal": 1}
    reached = possible = right = 0
    for label, output in zip(labels, chosen, strict=True):
        possible += weights[label]
        if label == output:
            reached += weights[label]
            right += 1
    n = len(labels)
    true_positive = false_positive = false_negative = 0
    for outcome, output in zip(outcomes, chosen, strict=True):
        is_positive = output in ("Present", "Unknown", "Abnormal")
        true_positive += is_positive and outcome == "Abnormal"
        false_positive += is_positive and outcome == "Normal"
        false_negative += not is_positive and outcome == "Abnormal"
    m = true_positive + false_positive
    experts = 25 + 397 * (m / n) - 1718 * (m / n) ** 2 + 11296 * (m / n) ** 4
    by_class: dict[str, list[float]] = {"AUROC": [], "AUPRC": [], "F_measure": [], "accuracy": []}
    for k, name in enumerate(classes):
        is_label = [label == name for label in labels]
        is_output = [output == name for output in chosen]
        roc, prc = _areas(is_label, [row[k] for row in probabilities])
        both = sum(a and b for a, b in zip(is_label, is_output, strict=True))
        either = sum(is_label) + sum(is_output)
        by_class["AUROC"].append(roc)
        by_class["AUPRC"].append(prc)
        by_class["F_measure"].append(2 * both / either if either else math.nan)
        by_class["accuracy"].append(both / sum(is_label) if any(is_label) else math.nan)
    measures = {
        "weighted_accuracy": reached / possible,
        "cost": (10 * n + experts * n + 10000 * true_positive + 50000 * false_negative) / n,
        "accuracy": right / n,
    }
    for name in ("AUROC", "AUPRC", "F_measure"):
        defined = [value for value in by_class[name] if not math.isnan(value)]
        measures[name] = sum(defined) / len(defined) if defined else math.nan
    return measures, by_class


def _areas(is_label: Sequence[bool], chances: Sequence[float]) -> tuple[float, float]:
    """Walk down the distinct probabilities: trapezoids under sensitivity and specificity, steps under precision."""
    n_positive, n_negative = sum(is_label), len(is_label) - sum(is_label)
    if not n_positive:
        return math.nan, math.nan
    roc = prc = 0.0
    sensitivity, specificity = 0.0, 1.0
    for threshold in sorted(set(chances), reverse=True):
        true_positive = sum(a and c >= threshold for a, c in zip(is_label, chances, strict=True))
        false_positive = sum(not a and c >= threshold for a, c in zip(is_label, chances, strict=True))
        next_sensitivity = true_positive / n_positive
        next_specificity = 1 - false_positive / n_negative if n_negative else math.nan
        roc += (next_sensitivity - sensitivity) * (next_specificity + specificity) / 2
        prc += (next_sensitivity - sensitivity) * true_positive / (true_positive + false_positive)
        sensitivity, specificity = next_sensitivity, next_specificity
    return roc, prc


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


def segment_score(
    states: Sequence[int], emissions: Sequence[Sequence[float]], lengths: Sequence[Sequence[float]]
) -> float:
    """Return the score of a sequence of states: that of every frame, and that of the length of every run.

    A run that touches an end of the recording may be cut: it scores as its likeliest length that is long enough.
    """
    runs: list[tuple[int, int, int]] = []
    for frame, state in enumerate(states):
        if runs and runs[-1][0] == state:
            runs[-1] = (state, runs[-1][1], frame + 1)
        else:
            runs.append((state, frame, frame + 1))
    total = math.fsum(emissions[frame][state] for frame, state in enumerate(states))
    for state, start, stop in runs:
        scores = lengths[state]
        is_cut = start == 0 or stop == len(states)
        n = stop - start
        possible = scores[n:] if is_cut else scores[n : n + 1]
        total += max(possible, default=-math.inf)
    return total


def most_likely_states(
    emissions: Sequence[Sequence[float]], lengths: Sequence[Sequence[float]]
) -> tuple[list[int], float]:
    """Try every length of the last run at every frame: the Viterbi algorithm of a hidden semi-Markov model."""
    n, n_states = len(emissions), len(lengths)
    best: dict[tuple[int, int], tuple[float, list[int]]] = {}
    for stop in range(1, n + 1):
        for state in range(n_states):
            found: tuple[float, list[int]] = (-math.inf, [])
            for length in range(1, stop + 1):
                start = stop - length
                is_cut = start == 0 or stop == n
                possible = lengths[state][length:] if is_cut else lengths[state][length : length + 1]
                score = max(possible, default=-math.inf)
                score += math.fsum(emissions[frame][state] for frame in range(start, stop))
                before: list[int] = []
                if start > 0:
                    more, before = best[start, (state - 1) % n_states]
                    score += more
                if score > found[0]:
                    found = (score, [*before, *[state] * length])
            best[stop, state] = found
    score, states = max((best[n, state] for state in range(n_states)), key=lambda one: one[0])
    return states, score


def cycle_spectrum(
    samples: Sequence[float], systoles: Sequence[tuple[float, float]], diastoles: Sequence[tuple[float, float]]
) -> tuple[list[list[float]], list[list[float]]]:
    """Return level and spread [32, 16] of the log-mel power at 12 phases of the systoles and 20 of the diastoles.

    They begin and end at times in s. Levels are relative to all of them; the spread is as of many spans.
    """
    n_bands, rate, window, hop, n_fft = 16, 4_000, 160, 40, 256

    def mel(hz: float) -> float:
        return 2595 * math.log10(1 + hz / 700)

    edges = [
        700 * (10 ** ((mel(25) + (mel(900) - mel(25)) * i / (n_bands + 1)) / 2595) - 1) for i in range(n_bands + 2)
    ]
    weights = np.zeros((n_bands, n_fft // 2 + 1))
    for band in range(n_bands):
        low, centre, high = edges[band : band + 3]
        for number in range(n_fft // 2 + 1):
            for step in range(64):
                hz = (number + (step - 31.5) / 64) * rate / n_fft
                height = min((hz - low) / (centre - low), (high - hz) / (high - centre))
                weights[band, number] += max(0.0, height) / 64 * 2 / (high - low)

    def levels(frame: int) -> FloatArray:
        heard = np.zeros(window)
        for i in range(window):
            place = frame * hop - window // 2 + i
            if 0 <= place < len(samples):
                heard[i] = samples[place] * (0.5 - 0.5 * math.cos(2 * math.pi * i / window))
        found: FloatArray = np.log(weights @ np.abs(np.fft.rfft(heard, n_fft)) ** 2 + 1e-8)
        return found

    middle: list[FloatArray] = []
    spread: list[FloatArray] = []
    for spans, n_phases in ((systoles, 12), (diastoles, 20)):
        n = len(spans)
        of_few = {1: 1, 2: 1.196, 3: 1.495, 4: 1.363, 5: 1.206, 6: 1.2, 7: 1.14, 8: 1.129, 9: 1.107}
        factor = of_few.get(n, n / (n - 0.8))
        for i in range(n_phases):
            rows = []
            for start, end in spans:
                time = start + (end - start) * (i + 0.5) / n_phases
                frame = math.floor(time * 100)
                share = time * 100 - frame
                rows.append((1 - share) * levels(frame) + share * levels(frame + 1))
            middle.append(np.median(rows, axis=0))
            spread.append(factor * np.median(np.abs(np.array(rows) - middle[-1]), axis=0))
    quiet = np.median(np.array(middle[16:30]), axis=0)
    level = (np.array(middle) - quiet).tolist()
    squares = [one**2 for row in level for one in row]
    scale = math.sqrt(sum(squares) / len(squares)) + 0.05
    return [[one / scale for one in row] for row in level], np.array(spread).tolist()


def shift(z: Sequence[Sequence[float]]) -> float:
    """Return the shift of rows z[recording][column]: the root of the mean product over pairs, 0 if that is negative."""
    width = len(z[0])
    total, n_pairs = 0.0, 0
    for i, one in enumerate(z):
        for j, other in enumerate(z):
            if i != j:
                total += sum(a * b for a, b in zip(one, other, strict=True)) / width
                n_pairs += 1
    return math.sqrt(max(0.0, total / n_pairs))


def counts_between(values: Sequence[float], edges: Sequence[float]) -> list[int]:
    """Count values between edges, the upper one belonging to the last bin; what lies outside, in the outermost bins."""
    counts = [0] * (len(edges) - 1)
    for value in values:
        place = 0
        while place < len(counts) - 1 and value >= edges[place + 1]:
            place += 1
        counts[place] += 1
    return counts
