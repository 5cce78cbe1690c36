"""The model card: the facts and honest figures of a bundle, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from heartbeat_core.bundles.card_figures import figures_sections
from heartbeat_core.bundles.card_use import decision_section, misuse_section
from heartbeat_core.bundles.manifest import BundleManifest
from heartbeat_core.evaluation.protocols import protocol_of
from heartbeat_core.features.catalogue import sets_read
from heartbeat_core.learning.kinds import implementation_of


def model_card(manifest: BundleManifest, weights_bytes: int, drop_labels: Sequence[str]) -> str:
    """Return the card of a bundle as Markdown.

    Parameters
    ----------
    manifest : BundleManifest
    weights_bytes : int
        Size of the weights file.
    drop_labels : Sequence[str]
        The labels that were left out of the training.
    """
    data = manifest.training_data
    recipe = manifest.recipe
    rows = ", ".join(f"{count} {label}" for label, count in data.rows_by_label.items())
    drops = "".join(f" --drop-label {label}" for label in drop_labels)
    described = f' --data "{data.description}"' if data.description else ""
    judged, evaluating = _judging(manifest)
    paragraphs = [
        f"# Model card: {manifest.name}",
        f"{recipe.description}. {_reads(manifest)} {_labels(manifest)} Not a medical device.",
        "## Data",
        f"{data.description or 'The recordings were not described'}. No recording is part of this bundle.",
        f"Trained on {data.n_rows} rows: {rows}. Fingerprint of their content and labels: `{data.fingerprint}`.",
        *misuse_section(manifest, drop_labels),
        *decision_section(manifest),
        *figures_sections(manifest, drop_labels),
        "## Made by",
        f"    heartbeat build-dataset RECORDINGS -o DATASET --recipe {recipe.name} --labels LABELS\n"
        + "".join(f"    {line}\n" for line in evaluating)
        + f"    heartbeat train DATASET -o {manifest.name}{judged}{drops}{described}",
        f"`{recipe.name}` is a shipped recipe, or else the YAML file of one's own, whose settings `bundle.json` holds. "
        "`LABELS` stands for whatever the labels came from, and `DATASET` for each dataset if there were several. "
        "The same data on the same machine with the packages named in `bundle.json` gives the same digest again"
        f"{', with the folds and seeds above' if judged else ''}: "
        f"`{manifest.digest}`. Weights: {weights_bytes / 1e6:.2f} MB.",
    ]
    return "\n\n".join(paragraphs) + "\n"


def _judging(manifest: BundleManifest) -> tuple[str, list[str]]:
    """Return the options of ``train`` for the evaluations, and the commands that made them."""
    options, commands = "", []
    for number, evaluation in enumerate(manifest.evaluations, 1):
        place = "EVALUATION" if len(manifest.evaluations) == 1 else f"EVALUATION-{number}"
        dropped = {label for one in evaluation.recipes for label in one.dropped_labels}
        without = "".join(f" --without {label}" for label in manifest.labels if label in dropped)
        protocol = protocol_of(evaluation.protocol)
        how = "" if protocol == "grouped-folds" else f" --protocol {protocol}"
        commands.append(f"heartbeat evaluate DATASET --recipe {manifest.recipe.name}{without}{how} -o {place}")
        options += f" --evaluation {place}"
    return options, commands


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


def _labels(manifest: BundleManifest) -> str:
    untrained = [label for label in manifest.labels if label not in manifest.trained_labels]
    never = f" Never predicted, since no row of it was trained on: {', '.join(untrained)}." if untrained else ""
    return f"Labels: {', '.join(manifest.trained_labels)}.{never}"
