"""Judge recipes on datasets as a reviewer would: splits by person, several seeds, everything fitted in training rows.

On disk, or under any URL::

    OUT/predictions/RECIPE.parquet   the pooled out-of-fold predictions of all tasks and seeds
    OUT/figures.json                 the figures of every recipe and of the trivial rules (``figures.Evaluation``)
    OUT/LEADERBOARD.md               the same for people
    OUT/reliability/RECIPE/TASK/LABEL.svg   a reliability diagram of each label
    OUT/_inputs/  OUT/_folds/        what the models read, and each fold's predictions
    OUT/_run.json  OUT/_SUCCESS      as every job has them

The same command goes on where it stopped.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from heartbeat_core import storage
from heartbeat_core.datasets.dataset import Dataset
from heartbeat_core.datasets.labelled import Labelled
from heartbeat_core.datasets.several import check_labels, data_notes, read_labelled
from heartbeat_core.errors import DatasetError, UsageError
from heartbeat_core.evaluation.diagram import reliability_svg
from heartbeat_core.evaluation.figures import FIGURES_NAME, Evaluation
from heartbeat_core.evaluation.judging import judge_recipe, judge_rules
from heartbeat_core.evaluation.protocols import HELD_OUT, Protocol, make_splits, protocol_text
from heartbeat_core.evaluation.report import LEADERBOARD_NAME, as_markdown
from heartbeat_core.evaluation.splits import Split, Task
from heartbeat_core.formats.parquet import to_parquet
from heartbeat_core.labels import Labels, find_label
from heartbeat_core.recipe import RESULTS_VERSION, Recipe
from heartbeat_core.results.evaluation import FOLD_VERSION, out_of_fold_table
from heartbeat_core.results.schema import with_metadata
from heartbeat_core.storage.uris import SUCCESS_NAME, public_uri
from jobs.cluster.connect import check_certificates
from jobs.cluster.connection import Connection
from jobs.cluster.runner import Tasks, run_tasks
from jobs.drivers.reach import reaching
from jobs.drivers.run import enter, on_cluster
from jobs.output.ledger import Ledger
from jobs.output.provenance import claim_entries, datasets_entry
from jobs.progress import meter
from jobs.settings import JobSettings
from jobs.tasks.context import TASK_PATIENCE_S
from jobs.tasks.extract import INPUTS_FOLDER, Chunk, ExtractJob, extract, input_key, make_chunks
from jobs.tasks.folds import FOLDS_FOLDER, Fold, FoldsJob, read_fold, run_fold

PREDICTIONS_FOLDER, RELIABILITY_FOLDER = "predictions", "reliability"


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """What is judged, and how.

    Attributes
    ----------
    recipes : tuple[Recipe, ...]
        Of different names.
    without : tuple[str, ...]
        Labels that are left out in a second task; none where there is only one.
    protocol : Protocol
        How the rows are split; only the grouped folds use ``n_folds``.
    n_folds : int
    n_seeds : int
        The seeds are 0 to ``n_seeds - 1``.
    """

    recipes: tuple[Recipe, ...]
    without: tuple[str, ...] = ()
    protocol: Protocol = "grouped-folds"
    n_folds: int = 5
    n_seeds: int = 3


Splits = dict[Task, list[list[Split]]]
"""For each task, the splits of each seed."""


def evaluate(
    dataset_uris: Sequence[str], out: str, options: EvaluateOptions, settings: JobSettings, console: Console
) -> Evaluation:
    """Judge all recipes and write predictions, figures and the leaderboard to ``out``; goes on where it stopped.

    Parameters
    ----------
    dataset_uris : Sequence[str]
        Paths or URLs of one or several datasets.
    out : str
        Path or URL of a new folder, or of one that holds this job.
    options : EvaluateOptions
    settings : JobSettings
    console : Console
        Takes what is said meanwhile.

    Returns
    -------
    Evaluation
        The figures of every recipe and of the trivial rules, as in ``figures.json``.

    Raises
    ------
    UsageError
        A dataset, a recipe or the output cannot be used; no work has begun.
    JobError
        The work began and could not be finished.
    """
    check_certificates(settings.cluster)
    with reaching(settings):
        datasets = [Dataset(uri) for uri in dataset_uris]
        labelled = read_labelled(datasets)
        for recipe in options.recipes:
            check_labels(recipe, labelled.targets.labels)
        for note in data_notes(options.recipes, labelled):
            console.print(note)
        splits = {
            task: [
                make_splits(options.protocol, labelled, task, options.n_folds, seed) for seed in range(options.n_seeds)
            ]
            for task in _tasks(labelled, options)
        }
        ledger = Ledger(out)
        identity = _identity(datasets, labelled, options)
        chunks = make_chunks(labelled)
        work = [
            Fold(recipe, task, seed, number)
            for recipe in options.recipes
            for task, of_seeds in splits.items()
            for seed, of_seed in enumerate(of_seeds)
            for number in range(len(of_seed))
        ]
        n_kinds = len({input_key(recipe) for recipe in options.recipes})
        n_files = {INPUTS_FOLDER: n_kinds * len(chunks), FOLDS_FOLDER: len(work)}
        with enter(ledger, ledger.find_run(identity), identity, settings, n_files) as place:
            if ledger.is_finished():
                console.print(f"finished already: all {len(work)} folds are judged")
            else:
                with on_cluster(place, settings, console) as connection:
                    job = FoldsJob(
                        out=ledger.out,
                        run_id=place.run_id,
                        datasets=tuple(dataset.uri for dataset in datasets),
                        protocol=options.protocol,
                        n_folds=options.n_folds,
                        n_chunks=len(chunks),
                        access=place.access,
                        patience_s=TASK_PATIENCE_S,
                    )
                    _run(connection, chunks, work, job, options, settings, console)
            return _conclude(labelled, splits, options, ledger.out, datasets_entry(identity))


def _tasks(labelled: Labelled, options: EvaluateOptions) -> list[Task]:
    """Return the tasks; the rows must have enough labels for each."""
    targets = labelled.targets
    dropped = _dropped(targets.labels, options)
    for label in dropped:
        # A label that occurs in cells of several only is never predicted: without it, the task would be the same.
        if targets.labels.index(label) not in targets.present:
            raise DatasetError(f"no row of the dataset is known to have the label '{label}' that is to be left out")
    found = []
    for labels in ((), dropped) if dropped else ((),):
        n_labels = len(Task("", labels).targets(targets).present)
        if n_labels < 2:
            known = Counter(cell for cell in Task("", labels).targets(targets).cells() if cell)
            told = ", ".join(f"{n} {cell}" for cell, n in known.items()) or "none"
            raise DatasetError(f"an evaluation needs at least two labels; the labelled rows are: {told}")
        found.append(Task(f"{n_labels} classes", labels))
    return found


def _dropped(labels: Labels, options: EvaluateOptions) -> tuple[str, ...]:
    """Return the labels that the second task leaves out, in order."""
    found = {find_label(label, labels, "--without") for label in options.without}
    return tuple(label for label in labels if label in found)


def _identity(datasets: Sequence[Dataset], labelled: Labelled, options: EvaluateOptions) -> dict[str, object]:
    names = [recipe.name for recipe in options.recipes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"two recipes are called '{twice[0]}': give one of them another name")
    return {
        "job": "evaluate",
        "datasets": [public_uri(dataset.uri) for dataset in datasets],
        "data": labelled.ordered_fingerprint(),
        "recipes": {recipe.name: recipe.fingerprint() for recipe in options.recipes},
        "without": sorted(_dropped(labelled.targets.labels, options)),
        "protocol": options.protocol,
        "folds": options.n_folds if options.protocol == "grouped-folds" else None,
        "seeds": options.n_seeds,
        "results_version": RESULTS_VERSION,
        "fold_version": FOLD_VERSION,
    }


def _run(
    connection: Connection,
    chunks: Sequence[Chunk],
    work: Sequence[Fold],
    job: FoldsJob,
    options: EvaluateOptions,
    settings: JobSettings,
    console: Console,
) -> None:
    """Compute what the models read, once for each kind, then all folds."""
    n_rows = sum(len(chunk.recordings) for chunk in chunks)
    for key, recipe in {input_key(recipe): recipe for recipe in options.recipes}.items():
        with meter(console, f"inputs: {key.rpartition('-')[0]}", n_rows, "rows") as shown:
            inputs_job = ExtractJob(job.out, recipe, settings.limits, job.access, job.patience_s)
            run_tasks(connection, Tasks(extract, inputs_job, settings.task_retries, shown.advance), chunks)
    with meter(console, "folds", len(work), "folds") as shown:
        run_tasks(connection, Tasks(run_fold, job, settings.task_retries, lambda _: shown.advance()), work)


def _conclude(labelled: Labelled, splits: Splits, options: EvaluateOptions, out: str, inputs: str) -> Evaluation:
    """Pool the folds, write everything, and return the figures."""
    rules = [rule for task, of_seeds in splits.items() for rule in judge_rules(labelled, task, of_seeds)]
    protocol = protocol_text(options.protocol, options.n_folds, options.n_seeds)
    recipes = []
    for recipe in options.recipes:
        results = {
            (task, seed): [read_fold(out, Fold(recipe, task, seed, number)) for number in range(len(of_seed))]
            for task, of_seeds in splits.items()
            for seed, of_seed in enumerate(of_seeds)
        }
        pooled = (
            (task.name, seed, number, fold)
            for (task, seed), of_folds in results.items()
            for number, fold in enumerate(of_folds)
        )
        provenance = {**claim_entries(out, inputs), "recipe": recipe.name, "protocol": protocol}
        table = with_metadata(out_of_fold_table(labelled, recipe.name, pooled), provenance)
        _create(out, (PREDICTIONS_FOLDER, f"{recipe.name}.parquet"), to_parquet(table))
        for task in splits:
            of_seeds = [results[task, seed] for seed in range(options.n_seeds)]
            leaves_out = options.protocol in HELD_OUT
            recipes.append(judge_recipe(labelled, task, recipe, of_seeds, rules, leaves_out))
            for one in recipes[-1].against_rest:
                place = (RELIABILITY_FOLDER, recipe.name, task.folder, f"{one.label}.svg")
                _create(out, place, reliability_svg(one.label, one.reliability).encode())
    evaluation = Evaluation(
        protocol=protocol,
        data_fingerprint=labelled.fingerprint(),
        recipes=tuple(recipes),
        rules=tuple(rules),
    )
    _create(out, (FIGURES_NAME,), (json.dumps(evaluation.model_dump(mode="json"), indent=2) + "\n").encode())
    _create(out, (LEADERBOARD_NAME,), as_markdown(evaluation).encode())
    _create(out, (SUCCESS_NAME,), b"")
    return evaluation


def _create(out: str, name: tuple[str, ...], data: bytes) -> None:
    storage.create(storage.join(out, *name), data)
