"""Train a model on datasets and pack it, with honest figures, as a bundle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console

from heartbeat_core import storage
from heartbeat_core.arrays import Inputs
from heartbeat_core.bundles.bundle import Bundle
from heartbeat_core.bundles.card import model_card
from heartbeat_core.bundles.card_figures import card_diagrams
from heartbeat_core.bundles.manifest import (
    CARD_NAME,
    HOLDOUT_NAME,
    MANIFEST_NAME,
    WEIGHTS_NAME,
    ReferenceFacts,
    manifest_bytes,
)
from heartbeat_core.bundles.servable import Trainable, check_servable, train_bundle, usable_rows
from heartbeat_core.datasets.dataset import Dataset
from heartbeat_core.datasets.labelled import Labelled
from heartbeat_core.datasets.several import check_labels, data_notes, read_labelled
from heartbeat_core.errors import DatasetError, InputError, OutputError
from heartbeat_core.evaluation.figures import FIGURES_NAME, Evaluation
from heartbeat_core.evaluation.finished import MODEL_EVALUATION
from heartbeat_core.evaluation.protocols import PROTOCOLS, Protocol, protocol_of
from heartbeat_core.evaluation.splits import Task, holdout_split
from heartbeat_core.features.catalogue import shape_read
from heartbeat_core.formats.parquet import to_parquet
from heartbeat_core.labels import find_label
from heartbeat_core.learning.fit import Examples, n_steps
from heartbeat_core.recipe import Recipe
from heartbeat_core.results.schema import holdout_table, with_metadata
from heartbeat_core.settings import parse_settings
from heartbeat_core.storage.uris import SUCCESS_NAME
from jobs.cluster.connect import connect
from jobs.cluster.runner import Tasks, run_tasks
from jobs.drivers.reach import reaching
from jobs.drivers.run import announced
from jobs.output.places import list_output, output_uri
from jobs.progress import meter
from jobs.settings import JobSettings
from jobs.tasks.context import TASK_PATIENCE_S
from jobs.tasks.extract import Computed, ExtractJob, compute, make_chunks


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What to train with.

    Attributes
    ----------
    recipe : Recipe | None
        None takes the first dataset's own.
    drop_labels : tuple[str, ...]
        Rows of these are left out.
    data : str | None
        What the recordings are, in words, for the model card.
    evaluations : tuple[str, ...]
        What ``evaluate`` wrote of this recipe and these datasets, at most once by each protocol; with any, no row is
        held out.
    """

    recipe: Recipe | None = None
    drop_labels: tuple[str, ...] = ()
    data: str | None = None
    evaluations: tuple[str, ...] = ()


def train(
    dataset_uris: Sequence[str], out: str, options: TrainOptions, settings: JobSettings, console: Console
) -> Bundle:
    """Train on datasets and write the bundle to ``out``, with honest figures: of rows held out, or of an evaluation.

    The alignment reference is the longest of those of the datasets.

    Parameters
    ----------
    dataset_uris : Sequence[str]
        Paths or URLs of one or several datasets.
    out : str
        Path or URL of the bundle: a new or empty folder.
    options : TrainOptions
    settings : JobSettings
    console : Console
        Takes what is said meanwhile.

    Returns
    -------
    Bundle
        As it was written.

    Raises
    ------
    UsageError
        A dataset, the recipe, the evaluation or the folder cannot be used.
    JobError
        A recording of a dataset can't be read any more, or the training diverged.
    """
    with reaching(settings):
        target = output_uri(out)
        if list_output(target) or (storage.exists(target) and not storage.is_folder(target)):
            raise OutputError(f"{storage.display(target)} is there already: name another place for the bundle")
        datasets = [Dataset(uri) for uri in dataset_uris]
        recipe = _recipe(datasets, options.recipe)
        check_servable(recipe)
        labelled = read_labelled(datasets)
        check_labels(recipe, labelled.targets.labels)
        for note in data_notes([recipe], labelled):
            console.print(note)
        dropped = tuple(find_label(label, labelled.targets.labels, "--drop-label") for label in options.drop_labels)
        kept = usable_rows(labelled.targets, dropped)
        targets = Task("", dropped).targets(labelled.targets).take(kept)
        groups = [labelled.groups[i] for i in kept.tolist()]
        longest = max(datasets, key=lambda dataset: len(dataset.reference))
        split = np.arange(len(kept)), np.empty(0, np.int64)
        evaluations = _evaluations(options.evaluations, recipe, dropped, labelled)
        if not evaluations:
            n_folds, seed = recipe.training.holdout_folds, recipe.training.seed
            split = holdout_split(targets.strata, groups, n_folds, seed, _reference_person(longest, labelled))
            if not len(targets.take(split[1]).definite):
                raise DatasetError(
                    f"none of the {len(split[1])} rows that would be held out has a known label, and so there would be "
                    "no figures: add rows with one label each, or judge with 'heartbeat evaluate' and give --evaluation"
                )
        with storage.refusals_as(OutputError):
            storage.check_writable(target)
        inputs = _inputs(datasets, recipe, labelled, settings, console)
        trainable = Trainable(
            Examples(
                [inputs[i] for i in kept.tolist()], targets, groups, [labelled.databases[i] for i in kept.tolist()]
            ),
            [labelled.audio_sha256[i] for i in kept.tolist()],
            *split,
            longest.reference,
            ReferenceFacts(
                audio_sha256=longest.facts.reference_audio_sha256,
                n_frames=len(longest.reference),
                sample_rate_hz=longest.facts.reference_sample_rate_hz,
            ),
        )
        with meter(console, "train", n_steps(recipe), "steps") as shown:
            bundle, weights, holdout = train_bundle(recipe, trainable, evaluations, options.data, shown.advance)
        files = {WEIGHTS_NAME: weights}
        if holdout is not None:
            files[HOLDOUT_NAME] = to_parquet(with_metadata(holdout_table(holdout), {"model_id": bundle.model_id}))
        diagrams = card_diagrams(bundle.manifest, dropped)
        files |= {name: svg.encode() for name, svg in diagrams.items()}
        files[CARD_NAME] = model_card(bundle.manifest, len(weights), dropped).encode()
        _write(target, files)
        # The manifest last: a bundle without it is not a bundle.
        _write(target, {MANIFEST_NAME: manifest_bytes(bundle.manifest)})
        return bundle


def _reference_person(dataset: Dataset, labelled: Labelled) -> str:
    """Return the group of the alignment reference among all rows, where people who share a recording are one."""
    own = dataset.reference_group()
    rows = dataset.labelled()
    group_of = dict(zip(labelled.audio_sha256, labelled.groups, strict=True))
    found = (group_of[digest] for digest, group in zip(rows.audio_sha256, rows.groups, strict=True) if group == own)
    return next(found, own)


def _recipe(datasets: Sequence[Dataset], wanted: Recipe | None) -> Recipe:
    recipe = datasets[0].facts.recipe if wanted is None else wanted
    for dataset in datasets:
        if recipe.dataset_settings() != dataset.facts.recipe.dataset_settings():
            raise DatasetError(
                f"recipe '{recipe.name}' wants other frames or alignment than the dataset "
                f"{storage.display(dataset.uri)} was built with ('{dataset.facts.recipe.name}'): build the dataset "
                f"with --recipe {recipe.name}"
            )
    return recipe


def _inputs(
    datasets: Sequence[Dataset], recipe: Recipe, labelled: Labelled, settings: JobSettings, console: Console
) -> list[Inputs]:
    """Return what the recipe reads of the labelled rows: the datasets' frames, or features computed on the cluster."""
    if shape_read(recipe.input) == "frames":
        return [
            rows.frames[i] for dataset in datasets for rows in dataset.iter_parts() for i in rows.targets.labelled()
        ]
    chunks = make_chunks(labelled)
    parts: dict[int, list[Inputs]] = {}
    access, shared = storage.Access(settings.s3), storage.join(datasets[0].uri, SUCCESS_NAME)
    with (
        connect(settings.cluster, shared, access, tell=console.print) as connection,
        announced(connection, console),
        meter(console, "inputs", len(labelled), "rows") as shown,
    ):

        def take(computed: Computed) -> None:
            parts[computed.index] = computed.rows
            shown.advance(len(computed.rows))

        job = ExtractJob("", recipe, settings.limits, access, TASK_PATIENCE_S)
        run_tasks(connection, Tasks(compute, job, settings.task_retries, take), chunks)
    return [row for index in sorted(parts) for row in parts[index]]


def _evaluations(
    places: Sequence[str], recipe: Recipe, drop_labels: Sequence[str], labelled: Labelled
) -> list[Evaluation]:
    """Read evaluations, at most one by each protocol, and return them in the order of the protocols.

    Raises
    ------
    InputError
        Two are by one protocol, or ``_evaluation`` refuses one.
    """
    found: dict[Protocol, tuple[str, Evaluation]] = {}
    for place in places:
        evaluation = _evaluation(place, recipe, drop_labels, labelled)
        protocol = protocol_of(evaluation.protocol)
        if protocol in found:
            raise InputError(f"{found[protocol][0]} and {place} are both evaluations by {protocol}: give one of them")
        found[protocol] = place, evaluation
    return [found[protocol][1] for protocol in PROTOCOLS if protocol in found]


def _evaluation(place: str, recipe: Recipe, drop_labels: Sequence[str], labelled: Labelled) -> Evaluation:
    """Read the figures of an evaluation of this recipe on these rows; those of other recipes are left out.

    Raises
    ------
    InputError
        There is none, or it is of something else.
    """
    uri = storage.join(storage.to_uri(place), FIGURES_NAME)
    try:
        content = json.loads(storage.read(uri))
        if isinstance(content, dict) and content.get("format") == MODEL_EVALUATION:
            raise InputError(f"{place}: figures of a finished model, and not of a cross-validation: evaluate --recipe")
        found = parse_settings(Evaluation, content, storage.display(uri))
    except FileNotFoundError:
        raise InputError(
            f"{place}: no evaluation there ({FIGURES_NAME} is missing): make it with 'heartbeat evaluate'"
        ) from None
    except ValueError:
        raise InputError(f"{storage.display(uri)}: not valid JSON") from None
    # The time of fitting differs from run to run, and the bundle depends on the data and the recipe alone.
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


def _write(folder: str, content: dict[str, bytes]) -> None:
    for name, data in content.items():
        if not storage.create(storage.join(folder, name), data):
            raise OutputError(f"{storage.display(folder)}/{name} was written by another process a moment ago")
