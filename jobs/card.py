"""The model card: a bundle's facts and honest figures as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from heartbeat_core.figures import Figures
from heartbeat_core.manifest import BundleManifest


def model_card(manifest: BundleManifest, weights_bytes: int, drop_labels: Sequence[str]) -> str:
    """Write the card of a bundle; ``drop_labels`` are the labels that were left out of its training."""
    report = manifest.holdout
    data = manifest.training_data
    recipe = manifest.recipe
    rows = ", ".join(f"{count} {label}" for label, count in data.rows_by_label.items())
    untrained = [label for label in manifest.labels if label not in manifest.trained_labels]
    never = f" Never predicted, since no row of it was trained on: {', '.join(untrained)}." if untrained else ""
    drops = "".join(f" --drop-label {label}" for label in drop_labels)
    described = f' --data "{data.description}"' if data.description else ""
    hidden = ", ".join(map(str, recipe.network.hidden))
    figures = "\n".join(f"| {name} | {model} | {rule} |" for name, model, rule in figure_rows(manifest))
    return f"""# Model card: {manifest.name}

A fully connected network (hidden widths {hidden}) on frames of {recipe.frames.delta_time_s:g} s
({recipe.frames.method} method), padded by alignment (`{recipe.alignment.pad_mode}`) to {manifest.reference.n_frames}
frames. Labels: {", ".join(manifest.trained_labels)}.{never}
Not a medical device.

## Data

{data.description or "The recordings were not described."}
Trained on {data.n_rows} rows: {rows}. Fingerprint of their content and labels: `{data.fingerprint}`.

## Figures on held-out rows

{report.n_holdout_rows} rows of {report.n_holdout_patients} patients that no training row shares (a recording without a
known patient counts as one of its own). The rule beside the model always says `{report.majority_label}`.

| figure | model | majority rule |
|---|---|---|
{figures}

Confusion matrix of the model (rows: label; columns: prediction):

{_confusion(report.model)}

Protocol: {report.protocol}.

## Made by

    heartbeat build-dataset RECORDINGS -o DATASET --recipe {recipe.name} --labels LABELS
    heartbeat train DATASET -o {manifest.name}{drops}{described}

The same data on the same machine with the packages named in `bundle.json` gives the same digest again:
`{manifest.digest}`. Weights: {weights_bytes / 1e6:.1f} MB.
"""


def figure_rows(manifest: BundleManifest) -> list[tuple[str, str, str]]:
    """Return ``(figure, model, majority rule)`` as text, for a table."""
    model, rule = manifest.holdout.model, manifest.holdout.majority_rule
    return [
        ("accuracy", f"{model.accuracy:.3f}", f"{rule.accuracy:.3f}"),
        ("balanced accuracy", f"{model.balanced_accuracy:.3f}", f"{rule.balanced_accuracy:.3f}"),
        ("macro-F1", f"{model.macro_f1:.3f}", f"{rule.macro_f1:.3f}"),
    ]


def _confusion(figures: Figures) -> str:
    head = "| | " + " | ".join(figures.labels) + " |"
    line = "|---" * (len(figures.labels) + 1) + "|"
    rows = zip(figures.labels, figures.confusion_matrix, strict=True)
    body = [f"| {label} | " + " | ".join(map(str, counts)) + " |" for label, counts in rows]
    return "\n".join([head, line, *body])
