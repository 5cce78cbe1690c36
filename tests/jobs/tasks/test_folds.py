"""One fold: what judges its rows has not seen them, and it is stored once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heartbeat_core import storage
from heartbeat_core.arrays import Inputs
from heartbeat_core.datasets.dataset import Dataset
from heartbeat_core.datasets.labelled import Labelled
from heartbeat_core.errors import DatasetError, HeartbeatError, TrainingDiverged
from heartbeat_core.evaluation.protocols import make_splits
from heartbeat_core.evaluation.splits import Task, folds
from heartbeat_core.features.catalogue import shape_read
from heartbeat_core.labels import ORIGINAL_LABELS, Targets
from heartbeat_core.learning import fit
from heartbeat_core.recipe import Recipe
from heartbeat_core.results.evaluation import FoldResult
from jobs.tasks.extract import input_key, read_inputs
from jobs.tasks.folds import Fold, FoldsJob, judge_fold, read_fold, run_fold
from tests.helpers import tree

N_FOLDS = 3
ALL = Task("5 classes")
FOUR = Task("4 classes", ("artifact",))


@pytest.fixture(scope="module")
def labelled(ward_dataset: Path) -> Labelled:
    return Dataset(str(ward_dataset)).labelled()


@pytest.fixture(scope="module", params=["tiny", "tiny-statistics"])
def chosen(request: pytest.FixtureRequest, recipe: Recipe, statistics_recipe: Recipe) -> Recipe:
    return {"tiny": recipe, "tiny-statistics": statistics_recipe}[request.param]


@pytest.fixture
def inputs(chosen: Recipe, evaluation: Path) -> list[Inputs]:
    return read_inputs(f"file://{evaluation}", input_key(chosen), 2)


def job_of(out: Path, evaluation: Path, dataset: Path, recipe: Recipe) -> FoldsJob:
    """Return the job of an evaluation whose inputs are there already."""
    key = input_key(recipe)
    for name, data in tree(evaluation / "_inputs" / key).items():
        storage.create(f"file://{out}/_inputs/{key}/{name}", data)
    datasets = (f"file://{dataset}",)
    return FoldsJob(f"file://{out}", "run-1", datasets, "grouped-folds", N_FOLDS, 2, storage.Access(), 5.0)


def judged(fold: Fold, labelled: Labelled, inputs: list[Inputs]) -> FoldResult:
    return judge_fold(fold, labelled, inputs, "grouped-folds", N_FOLDS)


def assert_same(found: FoldResult, expected: FoldResult) -> None:
    assert np.array_equal(found.rows, expected.rows)
    assert np.array_equal(found.predicted, expected.predicted)
    assert np.array_equal(found.probabilities, expected.probabilities)
    assert np.array_equal(found.unsure, expected.unsure)
    assert found.n_bytes == expected.n_bytes


@pytest.mark.parametrize("task", [ALL, FOUR])
def test_a_folds_rows_are_those_held_out(chosen: Recipe, labelled: Labelled, inputs: list[Inputs], task: Task) -> None:
    kept = task.rows(labelled.targets)
    held_out = []
    for number in range(N_FOLDS):
        result = judged(Fold(chosen, task, 4, number), labelled, inputs)
        held_out.append(result.rows)
        assert result.probabilities.shape == (len(result.rows), 5)
        _, test = folds(labelled.codes[kept], [labelled.groups[i] for i in kept], N_FOLDS, 4)[number]
        assert np.array_equal(result.rows, kept[test])
    assert sorted(np.concatenate(held_out).tolist()) == kept.tolist()


class Spy:
    """Keeps what ``learning.fit`` was given and gave."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._fit = fit.fit
        self.calls: list[tuple[fit.Examples, int, fit.Fitted]] = []
        monkeypatch.setattr("heartbeat_core.learning.fit.fit", self)

    def __call__(self, recipe: Recipe, rows: fit.Examples, seed: int) -> fit.Fitted:
        fitted = self._fit(recipe, rows, seed)
        self.calls.append((rows, seed, fitted))
        return fitted


def test_fitting_is_given_training_rows_and_the_seed(
    chosen: Recipe, labelled: Labelled, inputs: list[Inputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(monkeypatch)
    result = judged(Fold(chosen, FOUR, 1, 2), labelled, inputs)
    [(rows, seed, fitted)] = spy.calls
    assert seed == 1
    training = sorted(set(FOUR.rows(labelled.targets).tolist()) - set(result.rows.tolist()))
    assert [id(one) for one in rows.inputs] == [id(inputs[i]) for i in training]
    assert rows.targets.codes.tolist() == labelled.codes[training].tolist()
    assert list(rows.groups) == [labelled.groups[i] for i in training]
    assert not set(rows.groups) & {labelled.groups[i] for i in result.rows}
    assert result.n_bytes == fitted.model.n_bytes
    limits, distances = fitted.limits, fitted.model.distances([inputs[i] for i in result.rows.tolist()])
    for place, code in enumerate(result.predicted.tolist()):
        is_far = limits.max_distance is not None and distances is not None and distances[place] > limits.max_distance
        assert isinstance(limits.min_confidence, float)
        assert result.unsure[place] == (result.probabilities[place, code] < limits.min_confidence or is_far)


def answers(fitted: fit.Fitted, probes: list[Inputs]) -> tuple[Any, ...]:
    """Return all that a classifier says: of a model, its outputs for whatever it may be asked."""
    probabilities, codes = fitted.predict(probes)
    return (
        fitted.decision,
        fitted.trained.tolist(),
        fitted.model.logits(probes).tolist(),
        probabilities.tolist(),
        codes.tolist(),
        fitted.limits.min_confidence,
        fitted.limits.max_distance,
    )


@pytest.mark.parametrize("changed", ["inputs", "labels"])
def test_the_rows_that_are_judged_change_nothing_of_the_model(
    chosen: Recipe, labelled: Labelled, inputs: list[Inputs], monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    fold = Fold(chosen, ALL, 0, 1)
    splits = make_splits("grouped-folds", labelled, ALL, N_FOLDS, 0)
    # Folds keep labels in proportion, so that other labels would be other folds.
    monkeypatch.setattr("jobs.tasks.folds.make_splits", lambda *arguments: splits)
    spy = Spy(monkeypatch)
    honest = judged(fold, labelled, inputs)
    rows, codes = list(inputs), labelled.codes.copy()
    rng = np.random.default_rng(0)
    for row in honest.rows.tolist():
        if changed == "inputs":
            # Longer than any other and of another size: a reference, a mean or a scale that saw it would move.
            longer = np.concatenate([rows[row]] * 3) if shape_read(chosen.input) == "frames" else rows[row]
            rows[row] = (longer * 10 + rng.standard_normal(longer.shape)).astype(np.float32)
        else:
            codes[row] = (codes[row] + 1) % len(ORIGINAL_LABELS)
    again = judged(fold, replace(labelled, targets=Targets.of_codes(codes)), rows)
    (_, _, before), (_, _, after) = spy.calls
    assert answers(before, inputs) == answers(after, inputs)
    same = np.array_equal(honest.probabilities, again.probabilities)
    assert same == (changed == "labels")


def test_a_training_row_changes_it(
    chosen: Recipe, labelled: Labelled, inputs: list[Inputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail."""
    fold = Fold(chosen, ALL, 0, 1)
    spy = Spy(monkeypatch)
    honest = judged(fold, labelled, inputs)
    row = int(np.setdiff1d(np.arange(len(labelled)), honest.rows)[0])
    judged(fold, labelled, [*inputs[:row], inputs[row] * np.float32(2), *inputs[row + 1 :]])
    (_, _, before), (_, _, after) = spy.calls
    assert answers(before, inputs) != answers(after, inputs)


def test_a_fold_is_stored_once_and_read_back(
    chosen: Recipe, labelled: Labelled, inputs: list[Inputs], evaluation: Path, ward_dataset: Path, tmp_path: Path
) -> None:
    job = job_of(tmp_path / "out", evaluation, ward_dataset, chosen)
    fold = Fold(chosen, FOUR, 1, 0)
    assert run_fold(fold, job) == fold
    place = tmp_path / "out/_folds" / chosen.name / "all-without-artifact/seed-1-fold-0.parquet"
    assert place.is_file()
    found = read_fold(job.out, fold)
    assert_same(found, judged(fold, labelled, inputs))
    assert 0 <= found.fit_s < 60
    # So has the whole evaluation it.
    assert_same(found, read_fold(f"file://{evaluation}", fold))


def test_a_fold_that_is_there_is_not_judged_again(
    recipe: Recipe, evaluation: Path, ward_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(tmp_path / "out", evaluation, ward_dataset, recipe)
    run_fold(Fold(recipe, ALL, 0, 0), job)
    before = tree(tmp_path / "out")

    def refuse(*arguments: Any) -> None:
        raise AssertionError("judged again")

    monkeypatch.setattr("jobs.tasks.folds.judge_fold", refuse)
    run_fold(Fold(recipe, ALL, 0, 0), job)
    assert tree(tmp_path / "out") == before
    with pytest.raises(AssertionError):
        run_fold(Fold(recipe, ALL, 0, 1), job)


def test_a_worker_that_outlives_a_run_reads_the_next_ones_inputs(
    recipe: Recipe, evaluation: Path, ward_dataset: Path, tmp_path: Path
) -> None:
    """The same place, emptied and begun again: what the process remembers is of the run before."""
    job = job_of(tmp_path / "out", evaluation, ward_dataset, recipe)
    fold = Fold(recipe, ALL, 0, 0)
    run_fold(fold, job)
    first = read_fold(job.out, fold)
    parts = sorted((tmp_path / "out/_inputs" / input_key(recipe)).iterdir())
    swapped = [path.read_bytes() for path in parts]
    for path, data in zip(parts, reversed(swapped), strict=True):
        path.write_bytes(data)
    (tmp_path / "out/_folds/tiny/all/seed-0-fold-0.parquet").unlink()
    run_fold(fold, replace(job, run_id="run-2"))
    assert not np.array_equal(first.probabilities, read_fold(job.out, fold).probabilities)


@pytest.mark.parametrize(
    ("task", "folder", "rows"),
    [
        (ALL, "all", [0, 1, 2, 3, 4]),
        (FOUR, "all-without-artifact", [0, 2, 4]),
        (Task("x", ("normal", "artifact")), "all-without-normal-without-artifact", [2, 4]),
    ],
)
def test_a_task_takes_the_rows_of_its_labels(task: Task, folder: str, rows: list[int]) -> None:
    assert task.folder == folder
    assert task.rows(Targets.of_codes(np.array([0, 3, 4, 3, 1]))).tolist() == rows


def test_a_fold_with_too_little_to_train_on_is_named(
    chosen: Recipe, labelled: Labelled, inputs: list[Inputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(error: HeartbeatError) -> None:
        def fit_nothing(*_: Any) -> None:
            raise error

        monkeypatch.setattr("heartbeat_core.learning.fit.fit", fit_nothing)

    fail(DatasetError("training needs rows of at least two labels"))
    told = (
        rf"^recipe '{chosen.name}', seed 1, fold 3: training needs rows of at least two labels\. Fewer folds, or more"
    )
    with pytest.raises(DatasetError, match=told):
        judged(Fold(chosen, FOUR, 1, 2), labelled, inputs)
    fail(TrainingDiverged("the training diverged"))
    with pytest.raises(TrainingDiverged, match=r"^the training diverged$"):
        judged(Fold(chosen, FOUR, 1, 2), labelled, inputs)
