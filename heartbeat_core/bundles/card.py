"""The model card: the facts and honest figures of a bundle, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from heartbeat_core.bundles.manifest import BundleManifest
from heartbeat_core.evaluation.figures import HoldoutReport
from heartbeat_core.evaluation.markdown import markdown_table
from heartbeat_core.evaluation.report import confusion_table, recipe_section
from heartbeat_core.features.catalogue import sets_read
from heartbeat_core.learning.kinds import implementation_of


def model_card(manifest: BundleManifest, weights_bytes: int, drop_labels: Sequence[str]) -> str:
    """Return the card of a bundle; ``drop_labels`` are the labels that were left out of its training."""
    data = manifest.training_data
    recipe = manifest.recipe
    rows = ", ".join(f"{count} {label}" for label, count in data.rows_by_label.items())
    drops = "".join(f" --drop-label {label}" for label in drop_labels)
    described = f' --data "{data.description}"' if data.description else ""
    evaluation = manifest.cross_validation
    judged = " --evaluation EVALUATION" if evaluation else ""
    dropped = {label for one in evaluation.recipes for label in one.dropped_labels} if evaluation else set()
    without = "".join(f" --without {label}" for label in manifest.labels if label in dropped)
    paragraphs = [
        f"# Model card: {manifest.name}",
        f"{recipe.description}. {_reads(manifest)} {_labels(manifest)} Not a medical device.",
        "## Data",
        f"{data.description or 'The recordings were not described'}.",
        f"Trained on {data.n_rows} rows: {rows}. Fingerprint of their content and labels: `{data.fingerprint}`.",
        *_figures(manifest),
        *_doubts(manifest),
        "## What it must not be used for",
        "Diagnosis, triage, or any decision about a person's care. It was judged on the data above and on nothing "
        "else; where device and label go together in that data, as in PASCAL CHSC2011, a part of what it finds may be "
        "the device, and other devices, places on the chest and populations may give other figures.",
        "## Made by",
        f"    heartbeat build-dataset RECORDINGS -o DATASET --recipe {recipe.name} --labels LABELS\n"
        + (f"    heartbeat evaluate DATASET --recipe {recipe.name}{without} -o EVALUATION\n" if judged else "")
        + f"    heartbeat train DATASET -o {manifest.name}{judged}{drops}{described}",
        "`LABELS` stands for whatever the labels came from, and `DATASET` for each dataset if there were several. "
        "The same data on the same machine with the packages named in `bundle.json` gives the same digest again"
        f"{', with the folds and seeds above' if judged else ''}: "
        f"`{manifest.digest}`. Weights: {weights_bytes / 1e6:.2f} MB.",
    ]
    return "\n\n".join(paragraphs) + "\n"


def _reads(manifest: BundleManifest) -> str:
    recipe = manifest.recipe
    model = implementation_of(recipe).describe(recipe)
    frames = (
        f"frames of {recipe.frames.delta_time_s:g} s ({recipe.frames.method} method), padded by alignment "
        f"(`{recipe.alignment.pad_mode}`) to {manifest.reference.n_frames} frames"
    )
    sets = sets_read(recipe.input)
    if sets[0].shape == "frames":
        return f"{model} on {frames}."
    what = " and ".join(f"{len(one.columns)} values of `{one.name}` (`{one.version}`)" for one in sets)
    return f"{model} on {what}. Its reference is for the {frames}."


def _figures(manifest: BundleManifest) -> list[str]:
    """Return the honest figures: on the held-out rows, or from the cross-validation of the recipe."""
    report = manifest.holdout
    found = []
    if report is not None:
        found += [
            "## Figures on held-out rows",
            f"{report.n_holdout_rows} rows of {report.n_holdout_patients} patients that no training row shares (a "
            "recording without a known patient counts as one of its own). The rule beside the model always says "
            f"`{report.majority_label}`. One fold is a small sample, and others can differ by a lot.",
            markdown_table(("figure", "model", "majority rule"), figure_rows(report)),
            "Confusion matrix of the model (rows: label; columns: prediction):",
            confusion_table(report.model),
            f"Protocol: {report.protocol}.",
        ]
    evaluation = manifest.cross_validation
    if evaluation is not None:
        found += [
            "## Figures by cross-validation",
            "Of the recipe, not of this very model, which was trained on all rows. "
            f"{evaluation.protocol} The recipe's own settings are not fitted there: where they were chosen by such "
            "figures, these are too good.",
        ]
        found += [recipe_section(one, evaluation.rules_beside(one)).rstrip() for one in evaluation.recipes]
    return found


def _doubts(manifest: BundleManifest) -> list[str]:
    """Return how labels are decided and when a prediction is marked as unsure."""
    decision, sureness = manifest.decision, manifest.sureness
    thresholds = ", ".join(
        f"{label} {threshold:.3g}"
        for label, threshold in zip(manifest.labels, decision.thresholds, strict=True)
        if label in manifest.trained_labels
    )
    reasons = []
    if sureness.min_confidence:
        reasons.append(f"`low_confidence`: the predicted label's probability is below {sureness.min_confidence:.3f}")
    reasons.append(
        f"`poor_quality`: truncated, shorter than {sureness.min_duration_s:g} s, more than "
        f"{100 * sureness.max_clipped_fraction:g} % of the samples clipped or {100 * sureness.max_silent_fraction:g} % "
        "of the windows silent"
    )
    if sureness.max_distance is not None:
        reasons.append(
            f"`out_of_distribution`: the root mean square of the scaled statistics is above {sureness.max_distance:.3f}"
        )
    return [
        "## Decision",
        f"Probabilities are softmax(logits / {decision.temperature:.3g}). Predicted is the label of the largest "
        f"probability / threshold; thresholds: {thresholds}.",
        "A prediction is marked as `unsure`, with the reason: " + "; ".join(reasons) + ".",
    ]


def figure_rows(report: HoldoutReport) -> list[tuple[str, str, str]]:
    """Return ``(figure, model, majority rule)`` as text, for a table."""
    model, rule = report.model, report.majority_rule
    return [
        ("accuracy", f"{model.accuracy:.3f}", f"{rule.accuracy:.3f}"),
        ("balanced accuracy", f"{model.balanced_accuracy:.3f}", f"{rule.balanced_accuracy:.3f}"),
        ("macro-F1", f"{model.macro_f1:.3f}", f"{rule.macro_f1:.3f}"),
    ]


def _labels(manifest: BundleManifest) -> str:
    untrained = [label for label in manifest.labels if label not in manifest.trained_labels]
    never = f" Never predicted, since no row of it was trained on: {', '.join(untrained)}." if untrained else ""
    return f"Labels: {', '.join(manifest.trained_labels)}.{never}"
