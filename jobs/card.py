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
    drops = "".join(f" --drop-label {label}" for label in drop_labels)
    described = f' --data "{data.description}"' if data.description else ""
    paragraphs = [
        f"# Model card: {manifest.name}",
        f"A fully connected network (hidden widths {', '.join(map(str, recipe.network.hidden))}) on frames of "
        f"{recipe.frames.delta_time_s:g} s ({recipe.frames.method} method), padded by alignment "
        f"(`{recipe.alignment.pad_mode}`) to {manifest.reference.n_frames} frames. {_labels(manifest)} "
        "Not a medical device.",
        "## Data",
        f"{data.description or 'The recordings were not described'}.",
        f"Trained on {data.n_rows} rows: {rows}. Fingerprint of their content and labels: `{data.fingerprint}`.",
        "## Figures on held-out rows",
        f"{report.n_holdout_rows} rows of {report.n_holdout_patients} patients that no training row shares (a "
        "recording without a known patient counts as one of its own). The rule beside the model always says "
        f"`{report.majority_label}`. One fold is a small sample, and others can differ by a lot.",
        _table(("figure", "model", "majority rule"), figure_rows(manifest)),
        "Confusion matrix of the model (rows: label; columns: prediction):",
        _confusion(report.model),
        f"Protocol: {report.protocol}.",
        "## Made by",
        f"    heartbeat build-dataset RECORDINGS -o DATASET --recipe {recipe.name} --labels LABELS\n"
        f"    heartbeat train DATASET -o {manifest.name}{drops}{described}",
        "The same data on the same machine with the packages named in `bundle.json` gives the same digest again: "
        f"`{manifest.digest}`. Weights: {weights_bytes / 1e6:.1f} MB.",
    ]
    return "\n\n".join(paragraphs) + "\n"


def figure_rows(manifest: BundleManifest) -> list[tuple[str, str, str]]:
    """Return ``(figure, model, majority rule)`` as text, for a table."""
    model, rule = manifest.holdout.model, manifest.holdout.majority_rule
    return [
        ("accuracy", f"{model.accuracy:.3f}", f"{rule.accuracy:.3f}"),
        ("balanced accuracy", f"{model.balanced_accuracy:.3f}", f"{rule.balanced_accuracy:.3f}"),
        ("macro-F1", f"{model.macro_f1:.3f}", f"{rule.macro_f1:.3f}"),
    ]


def _labels(manifest: BundleManifest) -> str:
    untrained = [label for label in manifest.labels if label not in manifest.trained_labels]
    never = f" Never predicted, since no row of it was trained on: {', '.join(untrained)}." if untrained else ""
    return f"Labels: {', '.join(manifest.trained_labels)}.{never}"


def _confusion(figures: Figures) -> str:
    rows = zip(figures.labels, figures.confusion_matrix, strict=True)
    return _table(("", *figures.labels), [(label, *map(str, counts)) for label, counts in rows])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
