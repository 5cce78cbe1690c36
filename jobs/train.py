"""Train a model on an aligned dataset and pack it, with honest figures, as a bundle."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from rich.console import Console

from heartbeat_core import bundle as bundles
from heartbeat_core import storage
from heartbeat_core.bundle import Bundle
from heartbeat_core.config import LABELS, Recipe
from heartbeat_core.dataset import Dataset, Rows
from heartbeat_core.errors import DatasetError, OutputError, StorageError
from heartbeat_core.evaluation import holdout_split, report_holdout
from heartbeat_core.inference import Scorer
from heartbeat_core.manifest import (
    CARD_NAME,
    HOLDOUT_NAME,
    MANIFEST_NAME,
    WEIGHTS_NAME,
    ReferenceFacts,
    TrainingData,
    manifest_bytes,
)
from heartbeat_core.schema import holdout_table
from heartbeat_core.tables import to_parquet
from heartbeat_core.training import AlignedFrames, fit_scaler, train_network
from jobs.card import model_card
from jobs.ledger import list_output
from jobs.progress import meter

PACKAGES = ("heartbeat", "librosa", "numpy", "scikit-learn", "scipy", "soundfile", "torch")


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What to train with; ``recipe`` None takes the dataset's own."""

    recipe: Recipe | None = None
    drop_labels: tuple[str, ...] = ()
    data: str | None = None
    """What the recordings are, in words, for the model card."""


def train(dataset_uri: str, out: str, options: TrainOptions, console: Console) -> Bundle:
    """Train on a dataset, hold out rows by patient, and write the bundle to ``out``.

    Raises:
        DatasetError: the dataset cannot be trained on.
        OutputError: the folder is not free.
    """
    target = storage.to_uri(out)
    if list_output(target) or (storage.exists(target) and not storage.is_folder(target)):
        raise OutputError(f"{storage.display(target)} is there already: name another place for the bundle")
    dataset = Dataset(dataset_uri)
    recipe = _recipe(dataset, options.recipe)
    every_row = dataset.rows()
    rows = _usable_rows(every_row, options.drop_labels)
    settings = recipe.training
    training, holdout = holdout_split(
        rows.codes, rows.groups, settings.holdout_folds, settings.seed, _reference_group(dataset, every_row)
    )
    training_rows, holdout_rows = rows.take(training), rows.take(holdout)
    scaler = fit_scaler(training_rows.frames, training_rows.offsets, len(dataset.reference))
    inputs = AlignedFrames(training_rows.frames, training_rows.offsets, training_rows.codes, scaler)
    _check_writable(target)
    with meter(console, "train", settings.epochs, "epochs") as shown:
        network = train_network(inputs, recipe, lambda epoch, loss: shown.advance())
    trained = np.unique(training_rows.codes)
    scores = Scorer(network, scaler, trained).score(holdout_rows.frames, holdout_rows.offsets.tolist())
    report = report_holdout(
        training_rows.codes,
        holdout_rows.codes,
        scores.codes,
        len(set(holdout_rows.groups)),
        _protocol(recipe),
    )
    facts = {
        "name": recipe.name,
        "recipe": recipe,
        "labels": LABELS,
        "trained_labels": tuple(LABELS[code] for code in trained),
        "reference": ReferenceFacts(
            audio_sha256=dataset.facts.reference_audio_sha256,
            n_frames=len(dataset.reference),
            sample_rate_hz=dataset.facts.reference_sample_rate_hz,
        ),
        "training_data": _describe(training_rows, options.data),
        "holdout": report,
        "packages": {"python": ".".join(map(str, sys.version_info[:3]))} | {n: version(n) for n in PACKAGES},
    }
    bundle, weights = bundles.pack(facts, dataset.reference, scaler, network)
    table = holdout_table(holdout_rows.audio_sha256, holdout_rows.codes, scores.codes, scores.logits)
    card = model_card(bundle.manifest, len(weights), options.drop_labels)
    # The manifest last: a bundle without it is not a bundle.
    _write(target, {WEIGHTS_NAME: weights, HOLDOUT_NAME: to_parquet(table), CARD_NAME: card.encode()})
    _write(target, {MANIFEST_NAME: manifest_bytes(bundle.manifest)})
    return bundle


def _recipe(dataset: Dataset, wanted: Recipe | None) -> Recipe:
    if wanted is None:
        return dataset.facts.recipe
    if wanted.dataset_settings() != dataset.facts.recipe.dataset_settings():
        raise DatasetError(
            f"recipe '{wanted.name}' wants other frames or alignment than the dataset was built with "
            f"('{dataset.facts.recipe.name}'): build the dataset with --recipe {wanted.name}"
        )
    return wanted


def _usable_rows(rows: Rows, drop_labels: Sequence[str]) -> Rows:
    """Keep rows with a label that is not dropped."""
    dropped = [LABELS.index(label) for label in drop_labels]
    kept = rows.take(np.flatnonzero((rows.codes >= 0) & ~np.isin(rows.codes, dropped)))
    found = Counter(LABELS[code] for code in kept.codes.tolist())
    if len(found) < 2:
        told = ", ".join(f"{count} {label}" for label, count in found.items()) or "none"
        raise DatasetError(
            f"training needs two labels at least; the dataset's labelled rows, without those dropped, are: {told}"
        )
    return kept


def _reference_group(dataset: Dataset, rows: Rows) -> str | None:
    """Return the patient that the alignment reference belongs to; it must not be held out."""
    digests = dict(zip(rows.audio_sha256, rows.groups, strict=True))
    return digests.get(dataset.facts.reference_audio_sha256)


def _describe(rows: Rows, data: str | None) -> TrainingData:
    counts = Counter(LABELS[code] for code in rows.codes.tolist())
    return TrainingData(
        description=data,
        fingerprint=rows.fingerprint(),
        n_rows=len(rows),
        rows_by_label={label: counts[label] for label in LABELS if counts[label]},
    )


def _protocol(recipe: Recipe) -> str:
    return (
        f"one fold of StratifiedGroupKFold({recipe.training.holdout_folds}, shuffle, seed {recipe.training.seed}) "
        "held out by patient, a recording without a patient being its own group; scaler and network fitted on "
        "the other rows, the alignment reference and its patient among these; one training run, last epoch"
    )


def _check_writable(folder: str) -> None:
    try:
        storage.check_writable(folder)
    except StorageError as error:
        raise OutputError(str(error)) from None


def _write(folder: str, content: dict[str, bytes]) -> None:
    for name, data in content.items():
        try:
            created = storage.create(storage.join(folder, name), data)
        except StorageError as error:
            raise OutputError(str(error)) from None
        if not created:
            raise OutputError(f"{storage.display(folder)}/{name} was written by another process a moment ago")
