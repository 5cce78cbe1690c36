"""Train a model on a dataset and pack it, with honest figures, as a bundle."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from heartbeat_core import storage
from heartbeat_core.arrays import Inputs
from heartbeat_core.bundles import bundle as bundles
from heartbeat_core.bundles.bundle import Bundle, check_servable
from heartbeat_core.bundles.card import model_card
from heartbeat_core.bundles.manifest import (
    CARD_NAME,
    HOLDOUT_NAME,
    MANIFEST_NAME,
    WEIGHTS_NAME,
    ReferenceFacts,
    TrainingData,
    manifest_bytes,
)
from heartbeat_core.bundles.servable import FrameRows, StatisticsRows, Trainable
from heartbeat_core.datasets.dataset import Dataset, Labelled, content_fingerprint
from heartbeat_core.errors import DatasetError, InputError, OutputError, StorageError
from heartbeat_core.evaluation.figures import FIGURES_NAME, Evaluation
from heartbeat_core.evaluation.judging import report_holdout
from heartbeat_core.evaluation.splits import holdout_split
from heartbeat_core.formats.parquet import to_parquet
from heartbeat_core.recipe import LABELS, Recipe
from heartbeat_core.results.schema import holdout_table
from heartbeat_core.settings import parse_settings
from jobs.cluster.connect import connect
from jobs.cluster.runner import Tasks, run_tasks
from jobs.drivers.reach import reaching
from jobs.drivers.run import announce
from jobs.output.ledger import list_output
from jobs.progress import meter
from jobs.settings import JobSettings
from jobs.tasks.context import TASK_PATIENCE_S
from jobs.tasks.extract import Computed, ExtractJob, compute, make_chunks

PACKAGES = ("heartbeat", "librosa", "numpy", "scikit-learn", "scipy", "soundfile", "soxr", "torch")


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What to train with.

    Attributes
    ----------
    recipe : Recipe | None
        None takes the dataset's own.
    drop_labels : tuple[str, ...]
        Rows of these are left out.
    data : str | None
        What the recordings are, in words, for the model card.
    evaluation : str | None
        What ``evaluate`` wrote of this recipe and this dataset; then no row is held out.
    """

    recipe: Recipe | None = None
    drop_labels: tuple[str, ...] = ()
    data: str | None = None
    evaluation: str | None = None


def train(dataset_uri: str, out: str, options: TrainOptions, settings: JobSettings, console: Console) -> Bundle:
    """Train on a dataset and write the bundle to ``out``, with honest figures: of rows held out, or of an evaluation.

    Raises
    ------
    UsageError
        The dataset, the recipe, the evaluation or the folder cannot be used.
    JobError
        A recording of the dataset can't be read any more.
    """
    with reaching(settings):
        target = storage.to_uri(out)
        if list_output(target) or (storage.exists(target) and not storage.is_folder(target)):
            raise OutputError(f"{storage.display(target)} is there already: name another place for the bundle")
        dataset = Dataset(dataset_uri)
        recipe = _recipe(dataset, options.recipe)
        check_servable(recipe)
        labelled = dataset.labelled()
        kept = _usable(labelled.codes, options.drop_labels)
        split, evaluation = (np.arange(len(kept)), np.empty(0, np.int64)), None
        if options.evaluation is None:
            split = holdout_split(
                labelled.codes[kept],
                [labelled.groups[i] for i in kept.tolist()],
                recipe.training.holdout_folds,
                recipe.training.seed,
                dataset.reference_group(),
            )
        else:
            evaluation = _evaluation(options.evaluation, recipe, options.drop_labels, labelled)
        _check_writable(target)
        rows = _rows(dataset, recipe, labelled, kept, settings, console)
        return _train(dataset, recipe, rows, split, evaluation, target, options, console)


def _train(
    dataset: Dataset,
    recipe: Recipe,
    rows: Trainable,
    split: tuple[NDArray[np.int64], NDArray[np.int64]],
    evaluation: Evaluation | None,
    target: str,
    options: TrainOptions,
    console: Console,
) -> Bundle:
    training, holdout = split
    with meter(console, "train", rows.n_steps, "steps") as shown:
        trained = rows.train(training, shown.advance)
    facts: dict[str, Any] = {
        "name": recipe.name,
        "recipe": recipe,
        "labels": LABELS,
        "trained_labels": tuple(LABELS[code] for code in trained.codes),
        "reference": ReferenceFacts(
            audio_sha256=dataset.facts.reference_audio_sha256,
            n_frames=len(dataset.reference),
            sample_rate_hz=dataset.facts.reference_sample_rate_hz,
        ),
        "training_data": _describe(rows, training, options.data),
        "decision": trained.decision,
        "sureness": trained.sureness,
        "cross_validation": evaluation,
        "packages": {"python": ".".join(map(str, sys.version_info[:3]))} | {n: version(n) for n in PACKAGES},
    }
    files: dict[str, bytes] = {}
    if evaluation is None:
        logits, predicted = trained.predict(holdout)
        n_patients = len({rows.groups[i] for i in holdout.tolist()})
        facts["holdout"] = report_holdout(
            rows.codes[training], rows.codes[holdout], predicted, n_patients, _protocol(recipe)
        )
        digests = [rows.audio_sha256[i] for i in holdout.tolist()]
        files[HOLDOUT_NAME] = to_parquet(holdout_table(digests, rows.codes[holdout], predicted, logits))
    bundle, weights = bundles.pack(facts, dataset.reference, trained.classifier)
    card = model_card(bundle.manifest, len(weights), options.drop_labels)
    # The manifest last: a bundle without it is not a bundle.
    _write(target, {WEIGHTS_NAME: weights, **files, CARD_NAME: card.encode()})
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


def _rows(
    dataset: Dataset,
    recipe: Recipe,
    labelled: Labelled,
    kept: NDArray[np.int64],
    settings: JobSettings,
    console: Console,
) -> Trainable:
    """Read the labelled rows that are kept."""
    if recipe.reads_frames:
        rows = dataset.rows()
        return FrameRows(dataset, recipe, np.flatnonzero(rows.codes >= 0)[kept], rows)
    chunks = make_chunks(labelled.uri, labelled.audio_sha256)
    parts: dict[int, list[Inputs]] = {}
    access = storage.Access(settings.s3)
    with (
        connect(settings.cluster, storage.join(dataset.uri, "_SUCCESS"), access) as connection,
        meter(console, "inputs", len(labelled), "rows") as shown,
    ):
        announce(connection, console)

        def take(computed: Computed) -> None:
            parts[computed.index] = computed.rows
            shown.advance(len(computed.rows))

        job = ExtractJob("", recipe, settings.limits, access, TASK_PATIENCE_S)
        run_tasks(connection, Tasks(compute, job, settings.task_retries, take), chunks)
    inputs = [row for index in sorted(parts) for row in parts[index]]
    return StatisticsRows(recipe, kept, labelled, inputs)


def _usable(codes: NDArray[np.int64], drop_labels: Sequence[str]) -> NDArray[np.int64]:
    """Return the numbers of the labelled rows whose label is not dropped."""
    dropped = [LABELS.index(label) for label in drop_labels]
    kept = np.flatnonzero(~np.isin(codes, dropped))
    found = Counter(LABELS[code] for code in codes[kept].tolist())
    if len(found) < 2:
        told = ", ".join(f"{count} {label}" for label, count in found.items()) or "none"
        raise DatasetError(
            f"training needs two labels at least; the dataset's labelled rows, without those dropped, are: {told}"
        )
    return kept


def _evaluation(place: str, recipe: Recipe, drop_labels: Sequence[str], labelled: Labelled) -> Evaluation:
    """Read the figures of an evaluation of this recipe on these rows; those of other recipes are left out.

    Raises
    ------
    InputError
        There is none, or it is of something else.
    """
    uri = storage.join(storage.to_uri(place), FIGURES_NAME)
    try:
        found = parse_settings(Evaluation, json.loads(storage.read(uri)), storage.display(uri))
    except FileNotFoundError:
        raise InputError(
            f"{place}: no evaluation there ({FIGURES_NAME} is missing): make it with 'heartbeat evaluate'"
        ) from None
    except ValueError:
        raise InputError(f"{storage.display(uri)}: not valid JSON") from None
    # How long fitting took is another time another: the bundle is what the data and the recipe make it.
    ours = tuple(
        one.model_copy(update={"fit_s": None})
        for one in found.recipes
        if one.recipe_fingerprint == recipe.fingerprint()
    )
    if not ours:
        raise InputError(f"{place}: recipe '{recipe.name}', as it is now, was not judged there: judge it again")
    if found.data_fingerprint != labelled.fingerprint():
        raise InputError(f"{place}: an evaluation of other recordings, labels, patients or devices than this dataset's")
    if not any(set(one.dropped_labels) == set(drop_labels) for one in ours):
        judged = "with" + "".join(f" --without {label}" for label in drop_labels) if drop_labels else "with all labels"
        raise InputError(f"{place}: recipe '{recipe.name}' was not judged {judged}, as it is to be trained")
    return found.model_copy(update={"recipes": ours})


def _describe(rows: Trainable, training: NDArray[np.int64], data: str | None) -> TrainingData:
    codes = rows.codes[training]
    counts = Counter(LABELS[code] for code in codes.tolist())
    return TrainingData(
        description=data,
        fingerprint=content_fingerprint([rows.audio_sha256[i] for i in training.tolist()], codes),
        n_rows=len(training),
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
