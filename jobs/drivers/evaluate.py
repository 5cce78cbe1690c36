"""Judge recipes on a dataset as a reviewer would: folds by patient, several seeds, everything fitted in training folds.

On disk, or under any URL::

    OUT/predictions/RECIPE.parquet   the pooled out-of-fold predictions of all tasks and seeds
    OUT/figures.json                 the figures of every recipe and of the trivial rules (``figures.Evaluation``)
    OUT/LEADERBOARD.md               the same for people
    OUT/_inputs/  OUT/_folds/        what the models read, and each fold's predictions
    OUT/_run.json  OUT/_SUCCESS      as every job has them

The same command goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from heartbeat_core import storage
from heartbeat_core.arrays import Codes
from heartbeat_core.datasets.dataset import Dataset, Labelled
from heartbeat_core.errors import DatasetError, OutputError, StorageError, UsageError
from heartbeat_core.evaluation.baselines import device_rule, majority_rule
from heartbeat_core.evaluation.figures import FIGURES_NAME, Evaluation, Judgement, PooledJudgement, RecipeFigures
from heartbeat_core.evaluation.judging import OutOfFold, judge, no_better, pool
from heartbeat_core.evaluation.report import LEADERBOARD_NAME, as_markdown
from heartbeat_core.evaluation.splits import folds
from heartbeat_core.formats.parquet import to_parquet
from heartbeat_core.recipe import LABELS, RESULTS_VERSION, Recipe
from heartbeat_core.results.evaluation import FoldResult, out_of_fold_table
from heartbeat_core.storage.uris import SUCCESS_NAME, public_uri
from jobs.cluster.connect import Connection, check_certificates
from jobs.cluster.runner import Tasks, run_tasks
from jobs.drivers.reach import reaching
from jobs.drivers.run import enter, on_cluster
from jobs.output.ledger import Ledger
from jobs.progress import meter
from jobs.settings import JobSettings
from jobs.tasks.context import TASK_PATIENCE_S
from jobs.tasks.extract import INPUTS_FOLDER, Chunk, ExtractJob, extract, input_key, make_chunks
from jobs.tasks.folds import FOLDS_FOLDER, Fold, FoldsJob, Task, read_fold, run_fold

PREDICTIONS_FOLDER = "predictions"
MAJORITY_RULE, DEVICE_RULE = "majority rule", "device rule"


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """What is judged, and how.

    Attributes
    ----------
    without : tuple[str, ...]
        Labels that are left out in a second task; none where there is only one.
    """

    recipes: tuple[Recipe, ...]
    without: tuple[str, ...] = ()
    n_folds: int = 5
    n_seeds: int = 3


def evaluate(
    dataset_uri: str, out: str, options: EvaluateOptions, settings: JobSettings, console: Console
) -> Evaluation:
    """Judge all recipes and write predictions, figures and the leaderboard to ``out``; goes on where it stopped.

    Raises
    ------
    UsageError
        The dataset, a recipe or the output cannot be used; no work has begun.
    JobError
        The work began and could not be finished.
    """
    check_certificates(settings.cluster)
    with reaching(settings):
        dataset = Dataset(dataset_uri)
        labelled = dataset.labelled()
        tasks = _tasks(labelled, options)
        ledger = Ledger(out)
        identity = _identity(dataset, labelled, options)
        chunks = make_chunks(labelled.uri, labelled.audio_sha256)
        work = [
            Fold(recipe, task, seed, number)
            for recipe in options.recipes
            for task in tasks
            for seed in range(options.n_seeds)
            for number in range(options.n_folds)
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
                        dataset=dataset.uri,
                        n_folds=options.n_folds,
                        n_chunks=len(chunks),
                        access=place.access,
                        patience_s=TASK_PATIENCE_S,
                    )
                    _run(connection, chunks, work, job, options, settings, console)
            return _conclude(labelled, tasks, options, ledger.out)


def _tasks(labelled: Labelled, options: EvaluateOptions) -> list[Task]:
    """Return the tasks; the dataset must have enough patients and labels for each."""
    dropped = tuple(sorted({LABELS.index(label) for label in options.without}))
    for code in dropped:
        if code not in labelled.codes:
            raise DatasetError(f"no row of the dataset has the label '{LABELS[code]}' that is to be left out")
    found = []
    for codes in ((), dropped) if dropped else ((),):
        kept = Task("", codes).rows(labelled.codes)
        n_labels = len(np.unique(labelled.codes[kept]))
        if n_labels < 2:
            raise DatasetError(f"an evaluation needs two labels at least; the dataset's rows have {n_labels}")
        folds(labelled.codes[kept], [labelled.groups[i] for i in kept.tolist()], options.n_folds, 0)
        found.append(Task(f"{n_labels} classes", codes))
    return found


def _identity(dataset: Dataset, labelled: Labelled, options: EvaluateOptions) -> dict[str, object]:
    names = [recipe.name for recipe in options.recipes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"two recipes are called '{twice[0]}': give one of them another name")
    return {
        "job": "evaluate",
        "dataset": public_uri(dataset.uri),
        "data": labelled.ordered_fingerprint(),
        "recipes": {recipe.name: recipe.fingerprint() for recipe in options.recipes},
        "without": sorted(set(options.without)),
        "folds": options.n_folds,
        "seeds": options.n_seeds,
        "results_version": RESULTS_VERSION,
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


def _conclude(labelled: Labelled, tasks: Sequence[Task], options: EvaluateOptions, out: str) -> Evaluation:
    """Pool the folds, write everything, and return the figures."""
    rules = [rule for task in tasks for rule in _rules(labelled, task, options)]
    recipes = []
    for recipe in options.recipes:
        results = {
            (task, seed): [read_fold(out, Fold(recipe, task, seed, number)) for number in range(options.n_folds)]
            for task in tasks
            for seed in range(options.n_seeds)
        }
        pooled = (
            (task.name, seed, number, fold)
            for (task, seed), of_folds in results.items()
            for number, fold in enumerate(of_folds)
        )
        table = out_of_fold_table(labelled, recipe.name, pooled)
        _create(out, (PREDICTIONS_FOLDER, f"{recipe.name}.parquet"), to_parquet(table))
        for task in tasks:
            of_seeds = [results[task, seed] for seed in range(options.n_seeds)]
            beside = {rule.name: rule.judgement for rule in rules if rule.task == task.name}
            recipes.append(_figures(labelled, recipe, task, of_seeds, beside))
    evaluation = Evaluation(
        protocol=_protocol(options),
        data_fingerprint=labelled.fingerprint(),
        recipes=tuple(recipes),
        rules=tuple(rules),
    )
    _create(out, (FIGURES_NAME,), (json.dumps(evaluation.model_dump(mode="json"), indent=2) + "\n").encode())
    _create(out, (LEADERBOARD_NAME,), as_markdown(evaluation).encode())
    _create(out, (SUCCESS_NAME,), b"")
    return evaluation


def _figures(
    labelled: Labelled,
    recipe: Recipe,
    task: Task,
    of_seeds: Sequence[Sequence[FoldResult]],
    rules: dict[str, PooledJudgement],
) -> RecipeFigures:
    judgement = pool(
        [
            _judge(
                labelled,
                np.concatenate([fold.rows for fold in results]),
                np.concatenate([fold.predicted for fold in results]),
                np.concatenate([fold.probabilities for fold in results]),
            )
            for results in of_seeds
        ]
    )
    results = [fold for seed in of_seeds for fold in seed]
    sizes = [fold.n_bytes for fold in results if fold.n_bytes is not None]
    return RecipeFigures(
        name=recipe.name,
        task=task.name,
        dropped_labels=tuple(LABELS[code] for code in task.dropped),
        judgement=judgement,
        recipe_fingerprint=recipe.fingerprint(),
        no_better_than=tuple(no_better(judgement, rules)),
        fit_s=fmean(fold.fit_s for fold in results),
        weights_bytes=max(sizes) if sizes else None,
    )


def _rules(labelled: Labelled, task: Task, options: EvaluateOptions) -> list[RecipeFigures]:
    """Judge the two rules that know nothing of the sound, by the same folds."""
    kept = task.rows(labelled.codes)
    codes = labelled.codes[kept]
    groups, devices = ([values[i] for i in kept.tolist()] for values in (labelled.groups, labelled.devices))
    judged: dict[str, list[Codes]] = {MAJORITY_RULE: [], DEVICE_RULE: []}
    for seed in range(options.n_seeds):
        by_majority, by_device = np.empty_like(codes), np.empty_like(codes)
        for training, test in folds(codes, groups, options.n_folds, seed):
            by_majority[test] = majority_rule(codes[training], len(test))
            here, there = ([devices[i] for i in index.tolist()] for index in (training, test))
            by_device[test] = device_rule(codes[training], here, there)
        judged[MAJORITY_RULE].append(by_majority)
        judged[DEVICE_RULE].append(by_device)
    return [
        RecipeFigures(
            name=name,
            task=task.name,
            dropped_labels=tuple(LABELS[code] for code in task.dropped),
            judgement=pool([_judge(labelled, kept, predicted, np.eye(len(LABELS))[predicted]) for predicted in seeds]),
        )
        for name, seeds in judged.items()
    ]


def _judge(labelled: Labelled, rows: Codes, predicted: Codes, probabilities: NDArray[np.float64]) -> Judgement:
    index = rows.tolist()
    return judge(
        OutOfFold(
            labelled.codes[rows],
            predicted,
            probabilities,
            [labelled.groups[i] for i in index],
            [labelled.devices[i] for i in index],
        )
    )


def _protocol(options: EvaluateOptions) -> str:
    return (
        f"Protocol: StratifiedGroupKFold({options.n_folds}, shuffle) by patient, a recording without a patient being "
        f"its own group; seeds 0 to {options.n_seeds - 1}; reference, scaler, weights, thresholds and temperature "
        "fitted in the training folds only (the last by inner folds of these); out-of-fold predictions pooled."
    )


def _create(out: str, name: tuple[str, ...], data: bytes) -> None:
    try:
        storage.create(storage.join(out, *name), data)
    except StorageError as error:
        raise OutputError(str(error)) from None
