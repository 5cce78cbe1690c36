"""The sections about predictions: labels, confidence, and what is unsure."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.reporting.counting import histogram_figure, numbers_of, percent, sampled, whole
from heartbeat_core.reporting.drift import count_reasons
from heartbeat_core.reporting.facts import ReportFacts
from heartbeat_core.reporting.page import Bars, Figure, Numbers, Section

REASONS = {
    "low_confidence": "the probability of its label is low",
    "poor_quality": "the recording is cut off, shorter than a heart cycle, clipped or silent",
    "out_of_distribution": "it lies farther from the training data than nearly all training rows",
    "unlike_training_data": "it lies farther from the training data than recordings of other databases did",
    "no_heart_found": "no heart sounds were found in it",
}
"""Why a prediction is marked as unsure."""
_QUARTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


def labels_section(facts: ReportFacts) -> Section:
    """Return the section: rows by label, beside the training data where those are known."""
    total = sum(facts.labels.values())
    titles = list(facts.labels)
    numbers: dict[str, list[Any]] = {
        "label": titles,
        "recordings": [facts.labels[label] for label in titles],
        "share": [round(facts.labels[label] / max(1, total), 5) for label in titles],
    }
    series = {"this run": [100 * share for share in numbers["share"]]}
    trained = {} if facts.manifest is None else facts.manifest.training_data.rows_by_label
    told = "How many recordings have each label."
    if trained:
        told = "How many recordings were given each label, beside the labels of the training data."
        n_trained = sum(trained.values())
        numbers["training_share"] = [round(trained.get(label, 0) / n_trained, 5) for label in titles]
        series["training data"] = [100 * share for share in numbers["training_share"]]
    alt = ", ".join(f"{label} {percent(count, total)}" for label, count in facts.labels.items())
    figure = Figure(
        "labels", "Recordings by label", told, numbers, Bars("% of the recordings", titles, series), f"Bars: {alt}."
    )
    lead = [] if total else ["There are no rows with a label yet."]
    several = [label for label in trained if "|" in label]
    if several:
        lead.append(
            "Training rows of which only several possible labels are known, such as "
            f"'{several[0]}', count in the total and have no bar."
        )
    return Section("labels", "Labels", lead, [figure] if total else [])


def confidence_section(facts: ReportFacts) -> Section:
    """Return the section: the histogram of the confidence, and its percentiles by label."""
    sample = facts.predictions
    confidence = numbers_of(sample, "confidence")
    if sample is None or not len(confidence):
        return Section("confidence", "Confidence", ["There are no predictions."])
    note = sampled(sample, facts.done)
    is_unsure = np.asarray(sample.columns["unsure"], np.float64) > 0
    values = np.asarray(sample.columns["confidence"], np.float64)
    histogram = histogram_figure(
        "confidence",
        "Confidence of all predictions",
        "The probability of the predicted label. Sure and unsure predictions are stacked.",
        "confidence",
        {"sure": values[~is_unsure], "unsure": values[is_unsure]},
        note,
        low=0.0,
        high=1.0,
    )
    table = Figure(
        "confidence-by-label",
        "Confidence by label",
        "Percentiles of the confidence of the recordings with each label, and how many of them are unsure.",
        _by_label(sample.columns["predicted_label"], values, is_unsure),
        note=note,
    )
    return Section("confidence", "Confidence", [], [histogram, table])


def unsure_section(facts: ReportFacts) -> Section:
    """Return the section: unsure predictions by reason."""
    sample = facts.predictions
    if sample is None or not sample.n_rows:
        return Section("unsure", "Unsure predictions", ["There are no predictions."])
    reasons = count_reasons(sample.columns["unsure_reason"])
    n_unsure = int(np.nansum(np.asarray(sample.columns["unsure"], np.float64)))
    lead = [
        f"{whole(n_unsure)} of {whole(sample.n_rows)} predictions ({percent(n_unsure, sample.n_rows)}) are marked as "
        "unsure. One prediction may have several reasons."
    ]
    if not reasons:
        return Section("unsure", "Unsure predictions", lead)
    titles = list(reasons)
    numbers: Numbers = {
        "reason": titles,
        "predictions": list(reasons.values()),
        "share": [round(count / sample.n_rows, 5) for count in reasons.values()],
        "meaning": [REASONS.get(reason, "") for reason in titles],
    }
    figure = Figure(
        "unsure",
        "Unsure by reason",
        "How many predictions the model is not sure of, by reason. Look at them before you use their labels.",
        numbers,
        Bars("recordings", titles, {"predictions": list(reasons.values())}),
        "Bars: " + ", ".join(f"{reason} {whole(count)}" for reason, count in reasons.items()),
        sampled(sample, facts.done),
    )
    return Section("unsure", "Unsure predictions", lead, [figure])


def _by_label(labels: NDArray[Any], confidence: NDArray[np.float64], is_unsure: NDArray[np.bool_]) -> Numbers:
    found: dict[str, list[Any]] = {"label": [], "recordings": [], "unsure": []}
    found |= {f"p{share * 100:.0f}": [] for share in _QUARTILES}
    names, places, counts = np.unique(labels.astype(str), return_inverse=True, return_counts=True)
    for place in np.argsort(-counts, kind="stable"):
        here = places == place
        found["label"].append(str(names[place]))
        found["recordings"].append(int(counts[place]))
        found["unsure"].append(int(is_unsure[here].sum()))
        for share, value in zip(_QUARTILES, np.quantile(confidence[here], _QUARTILES), strict=True):
            found[f"p{share * 100:.0f}"].append(round(float(value), 3))
    return found
