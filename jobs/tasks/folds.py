"""The work of one evaluation task: fit one recipe on the training rows of one split, and predict its test rows.

On disk, or under any URL::

    OUT/_folds/RECIPE/TASK/seed-0-fold-3.parquet   rows of the fold with their predictions; written by one winner

``learning.fit`` gets only the training rows.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from heartbeat_core import storage
from heartbeat_core.arrays import Inputs
from heartbeat_core.datasets.dataset import Dataset
from heartbeat_core.datasets.labelled import Labelled
from heartbeat_core.datasets.several import read_labelled
from heartbeat_core.errors import DatasetError
from heartbeat_core.evaluation.judging import FoldResult
from heartbeat_core.evaluation.protocols import Protocol, make_splits
from heartbeat_core.evaluation.splits import Task
from heartbeat_core.formats.parquet import to_parquet
from heartbeat_core.recipe import Recipe
from heartbeat_core.results.evaluation import fold_table, table_fold
from heartbeat_core.results.files import read_file
from jobs.tasks.core import computing, loaded_once
from jobs.tasks.extract import input_key, read_inputs

FOLDS_FOLDER = "_folds"


@dataclass(frozen=True, slots=True)
class Fold:
    """One task for a worker.

    Attributes
    ----------
    recipe : Recipe
    task : Task
    seed : int
        Of the splits and of the fit.
    number : int
        The number of the split, from 0.
    """

    recipe: Recipe
    task: Task
    seed: int
    number: int


@dataclass(frozen=True, slots=True)
class FoldsJob:
    """Where an evaluation is stored, what it judges and how its rows are split.

    A worker may outlive a run and its folder, and a new run may start in the same place: ``run_id`` distinguishes them.

    Attributes
    ----------
    out : str
        URI of the output folder, which holds the inputs of all recipes.
    run_id : str
    datasets : tuple[str, ...]
        URIs of the datasets.
    protocol : Protocol
    n_folds : int
        The number of grouped folds.
    n_chunks : int
        The number of parts for each kind of inputs.
    access : storage.Access
    patience_s : float
        How long a store is asked again, in s.
    """

    out: str
    run_id: str
    datasets: tuple[str, ...]
    protocol: Protocol
    n_folds: int
    n_chunks: int
    access: storage.Access
    patience_s: float


def run_fold(fold: Fold, job: FoldsJob) -> Fold:
    """Fit and predict one fold and store the predictions, unless they exist already; return the fold.

    Raises
    ------
    DatasetError
        As ``judge_fold`` and ``read_labelled``.
    InputError, FileNotFoundError
        As ``extract.read_inputs``.
    """
    with storage.using(job.access, job.patience_s):
        uri = _uri(job.out, fold)
        if storage.find(uri) is None:
            labelled, inputs = _load(job, fold.recipe)
            with computing():
                result = judge_fold(fold, labelled, inputs, job.protocol, job.n_folds)
            storage.create(uri, to_parquet(fold_table(result, labelled.targets.labels)))
    return fold


def judge_fold(fold: Fold, labelled: Labelled, inputs: list[Inputs], protocol: Protocol, n_folds: int) -> FoldResult:
    """Fit the recipe on the training rows of a split and predict its test rows.

    Parameters
    ----------
    fold : Fold
        Its recipe, task and seed, and the number of the split.
    labelled : Labelled
        The n labelled rows of all datasets.
    inputs : list[ndarray]
        What the recipe reads of each of them: n arrays of float32, as ``compute_inputs`` returns them.
    protocol : Protocol
    n_folds : int
        The number of grouped folds.

    Returns
    -------
    FoldResult
        Of the test rows, by their row numbers among all n.

    Raises
    ------
    DatasetError
        The rows are too few to split them or to fit the recipe.
    ConfigError, TrainingDiverged
        As ``learning.fit``.
    """
    # Imported here because torch takes seconds to load and the driver does not need it.
    from heartbeat_core.learning.fit import Examples, fit

    kept = fold.task.rows(labelled.targets)
    rows = Examples(inputs, fold.task.targets(labelled.targets), labelled.groups, labelled.databases).take(kept)
    split = make_splits(protocol, labelled, fold.task, n_folds, fold.seed)[fold.number]
    started = time.perf_counter()
    try:
        fitted = fit(fold.recipe, rows.take(split.training), fold.seed)
    except DatasetError as error:
        raise DatasetError(
            f"recipe '{fold.recipe.name}', seed {fold.seed}, fold {fold.number + 1}: {error}. Fewer folds, or more "
            "recordings with the rare labels, leave more to train on"
        ) from None
    fit_s = time.perf_counter() - started
    test = [rows.inputs[i] for i in split.test.tolist()]
    probabilities, predicted = fitted.predict(test)
    unsure = fitted.unsure(fold.recipe, test, probabilities, predicted)
    return FoldResult(kept[split.test], predicted, probabilities, unsure, fit_s, fitted.model.n_bytes)


def read_fold(out: str, fold: Fold) -> FoldResult:
    """Read a stored fold.

    Raises
    ------
    FileNotFoundError
        It is not there.
    InputError
        It is damaged.
    """
    return table_fold(read_file(_uri(out, fold)))


@loaded_once
def _load(job: FoldsJob, recipe: Recipe) -> tuple[Labelled, list[Inputs]]:
    """Return the labelled rows and their inputs for the recipe; recipes with the same inputs run one after another."""
    labelled = read_labelled([Dataset(uri) for uri in job.datasets])
    return labelled, _inputs(job, input_key(recipe))


@loaded_once
def _inputs(job: FoldsJob, key: str) -> list[Inputs]:
    return read_inputs(job.out, key, job.n_chunks)


def _uri(out: str, fold: Fold) -> str:
    return storage.join(
        out, FOLDS_FOLDER, fold.recipe.name, fold.task.folder, f"seed-{fold.seed}-fold-{fold.number}.parquet"
    )
