"""How a model decides, what it marks as unsure, and what it must not be used for, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isclose

from heartbeat_core.bundles.card_figures import as_trained
from heartbeat_core.bundles.manifest import BundleManifest
from heartbeat_core.bundles.reasons import (
    LOW_CONFIDENCE,
    NO_HEART_FOUND,
    OUT_OF_DISTRIBUTION,
    POOR_QUALITY,
    UNLIKE_TRAINING_DATA,
)
from heartbeat_core.evaluation.figures import DeviceOverSeeds, RecipeFigures
from heartbeat_core.evaluation.markdown import one_line
from heartbeat_core.learning.limits import FAR_SHARE, NO_HEART_SHARE, UNLIKE_RIGHT_SHARE


def decision_section(manifest: BundleManifest) -> list[str]:
    """Return paragraphs of Markdown: how labels are decided and when a prediction is marked as unsure."""
    return [
        "## Decision",
        f"Probabilities are softmax(logits / {manifest.decision.temperature:.3g}). {_rule(manifest)}",
        *_specialists(manifest),
        "A prediction is marked as `unsure`, with the reason:",
        "\n".join(f"- `{name}`: {text}" for name, text in _reasons(manifest).items()),
    ]


def misuse_section(manifest: BundleManifest, drop_labels: Sequence[str]) -> list[str]:
    """Return paragraphs of Markdown: what the model must not be used for, as far as its evaluations tell.

    Parameters
    ----------
    manifest : BundleManifest
    drop_labels : Sequence[str]
        The labels that were left out of the training.
    """
    found = [
        "## What it must not be used for",
        "Diagnosis, triage, or any decision about a person's care. It names what a recording sounds like, and not a "
        "disease.",
        "Devices, places on the chest, ages and populations outside its data: the figures of this card are of this "
        "data, and others may give other figures. Where label and device go together in the data, a part of what the "
        "model finds may be the device.",
    ]
    if not manifest.evaluations:
        return found
    entry = as_trained(manifest.evaluations[0], drop_labels)
    known = _known_values(entry)
    if known:
        found.append("In its data: " + "; ".join(f"{kind}: {', '.join(names)}" for kind, names in known.items()) + ".")
    if bound := _bound_labels(entry):
        found += [
            "Labels that occur in one database or with one device only; how well the model finds them elsewhere was "
            "never judged:",
            "\n".join(f"- {label}: only {' and '.join(places)}" for label, places in bound.items()),
        ]
    return found


def _specialists(manifest: BundleManifest) -> list[str]:
    specialists = manifest.recipe.bagging.specialists
    if specialists is None:
        return []
    labels = ", ".join(specialists.labels)
    return [
        f"Only the units that read `{specialists.part}` decide how likely these labels are: {labels}. All other units "
        "decide only between the other labels."
    ]


def _rule(manifest: BundleManifest) -> str:
    of_labels = dict(zip(manifest.labels, manifest.decision.thresholds, strict=True))
    thresholds = {label: of_labels[label] for label in manifest.trained_labels}
    first = next(iter(thresholds.values()))
    if all(isclose(threshold, first) for threshold in thresholds.values()):
        return "The most probable label is predicted, and `confidence` is its probability."
    if manifest.recipe.decision.balance == 0:  # Each threshold is 1, divided by the label's odds.
        told = " and ".join(
            f"that of {label} counts {1 / one:.3g} times" for label, one in thresholds.items() if one != 1
        )
        return (
            f"The label of the largest probability is predicted, where {told}; `confidence` is the probability of the "
            "predicted label, counted once."
        )
    told = ", ".join(f"{label} {threshold:.3g}" for label, threshold in thresholds.items())
    return (
        f"Predicted is the label of the largest probability / threshold; thresholds: {told}. `confidence` is the "
        "probability of the predicted label."
    )


def _reasons(manifest: BundleManifest) -> dict[str, str]:
    """Return what marks a prediction, by the reason that is given."""
    limits = manifest.sureness
    found = {}
    if limits.min_confidence:
        found[LOW_CONFIDENCE] = f"the predicted label's probability is below {_least_confidence(manifest)}"
    found[POOR_QUALITY] = (
        f"truncated, shorter than {limits.min_duration_s:g} s, more than {100 * limits.max_clipped_fraction:g} % of "
        f"the samples clipped or {100 * limits.max_silent_fraction:g} % of the windows silent"
    )
    distance = "the root mean square of the scaled values that the model reads is above"
    if limits.max_distance is not None:
        found[OUT_OF_DISTRIBUTION] = (
            f"{distance} {limits.max_distance:.3f}, as it is for {100 * FAR_SHARE:g} % of the training rows"
        )
    if limits.max_unlike is not None:
        found[UNLIKE_TRAINING_DATA] = (
            f"{distance} {limits.max_unlike:.3f}, as it is for {100 * UNLIKE_RIGHT_SHARE:g} % of the right predictions "
            "for databases that were left out of the training"
        )
    if limits.min_segmentation is not None:
        found[NO_HEART_FOUND] = (
            f"the `segmentation_confidence` of the heart sounds is below {limits.min_segmentation:.3f}, as it is for "
            f"{100 * NO_HEART_SHARE:g} % of the training recordings of hearts{_but_without_heart(manifest)}"
        )
    return found


def _but_without_heart(manifest: BundleManifest) -> str:
    code = manifest.sureness.no_heart_code
    return f", and the predicted label is not {manifest.labels[code]}" if code >= 0 else ""


def _least_confidence(manifest: BundleManifest) -> str:
    limit = manifest.sureness.min_confidence
    if isinstance(limit, float):
        return f"{limit:.3f}"
    of_labels = dict(zip(manifest.labels, limit, strict=True))
    told = ", ".join(f"{of_labels[label]:.3f} for {label}" for label in manifest.trained_labels)
    return (
        f"{told}: there, a prediction for a database that was left out of the training is equally likely to be right. "
        "A label that only one database has cannot be judged so: it has the mean limit of the others"
    )


def _known_values(entry: RecipeFigures) -> dict[str, list[str]]:
    """Return the devices, and the ages, sexes and sites as far as they are known, that the judged rows have."""
    known: dict[str, list[str]] = {"devices": list(entry.judgement.within_devices)}
    for ranks in entry.against_rest:
        for kind, values in ranks.groups.items():
            names = known.setdefault(kind, [])
            names += [name for name in values if name not in names]
    return {kind: [one_line(name) for name in names] for kind, names in known.items() if names}


def _bound_labels(entry: RecipeFigures) -> dict[str, list[str]]:
    """Return the labels that only one of several databases or devices has, and which."""
    judgement = entry.judgement
    found: dict[str, list[str]] = {}
    for kind, within in (("in", judgement.within_databases), ("with", judgement.within_devices)):
        for label, names in _places(within).items():
            if len(names) == 1 and len(within) > 1:
                found.setdefault(label, []).append(f"{kind} {one_line(names[0])}")
    return found


def _places(within: Mapping[str, DeviceOverSeeds]) -> dict[str, list[str]]:
    """Return for each label the databases or devices that have it."""
    found: dict[str, list[str]] = {}
    for name, figures in within.items():
        for label in figures.labels:
            found.setdefault(label, []).append(name)
    return dict(sorted(found.items()))
