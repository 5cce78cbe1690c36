"""An evaluation: figures that its own rows bear out, folds that part patients, and the same again after a stop."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import sklearn.metrics
from rich.console import Console
from sklearn.model_selection import StratifiedGroupKFold

from heartbeat_core import storage
from heartbeat_core.datasets.dataset import Dataset
from heartbeat_core.datasets.labelled import Labelled
from heartbeat_core.errors import DatasetError, JobError, OutputError, StorageError, UsageError
from heartbeat_core.evaluation.baselines import DEVICE_RULE, MAJORITY_RULE
from heartbeat_core.evaluation.diagram import reliability_svg
from heartbeat_core.evaluation.figures import Evaluation, RecipeFigures
from heartbeat_core.evaluation.splits import Task
from heartbeat_core.labels import ORIGINAL_LABELS
from heartbeat_core.recipe import Recipe
from heartbeat_core.results.schema import SCHEMA_VERSION
from heartbeat_core.settings import parse_settings
from jobs.drivers.build_dataset import DatasetOptions, build_dataset
from jobs.drivers.evaluate import EvaluateOptions, evaluate
from jobs.listing.labels import read_labels
from jobs.output.lease import present
from jobs.settings import JobSettings
from tests.conftest import fill_disk
from tests.helpers import WARD_ROWS, start_command, tree, write_csv

FINAL = (
    "_SUCCESS",
    "LEADERBOARD.md",
    "figures.json",
    "predictions/tiny-statistics.parquet",
    "predictions/tiny.parquet",
)
TASKS = {"5 classes": (), "4 classes": ("artifact",)}

Row = dict[str, Any]


def read_figures(out: Path) -> Evaluation:
    return parse_settings(Evaluation, json.loads((out / "figures.json").read_text()), "figures.json")


def read_predictions(out: Path, recipe: str) -> list[Row]:
    rows: list[Row] = pq.ParquetFile(out / "predictions" / f"{recipe}.parquet").read().to_pylist()
    return rows


def by_task_and_seed(rows: Iterable[Row]) -> dict[tuple[str, int], list[Row]]:
    found: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        found.setdefault((row["task"], row["seed"]), []).append(row)
    return found


def column(rows: Iterable[Row], name: str) -> list[Any]:
    return [row[name] for row in rows]


def chances(rows: Iterable[Row]) -> np.ndarray:
    return np.array([[row[f"prob_{label}"] for label in ORIGINAL_LABELS] for row in rows])


def without_times(evaluation: Evaluation) -> Evaluation:
    return evaluation.model_copy(
        update={"recipes": tuple(one.model_copy(update={"fit_s": None}) for one in evaluation.recipes)}
    )


@pytest.fixture(scope="module")
def figures(evaluation: Path) -> Evaluation:
    return read_figures(evaluation)


@pytest.fixture(scope="module")
def labelled(ward_dataset: Path) -> Labelled:
    return Dataset(str(ward_dataset)).labelled()


@pytest.fixture(params=["tiny-statistics", "tiny"])
def rows(request: pytest.FixtureRequest, evaluation: Path) -> list[Row]:
    return read_predictions(evaluation, request.param)


def figures_of(figures: Evaluation, name: str, task: str) -> RecipeFigures:
    [found] = [one for one in (*figures.recipes, *figures.rules) if (one.name, one.task) == (name, task)]
    return found


# The rows.


def test_every_row_is_predicted_once_a_task_and_seed(rows: list[Row], labelled: Labelled) -> None:
    groups = by_task_and_seed(rows)
    assert groups.keys() == {(task, seed) for task in TASKS for seed in (0, 1)}
    known = zip(labelled.recording_id, labelled.uri, labelled.audio_sha256, labelled.devices, strict=True)
    expected = {
        identity: (ORIGINAL_LABELS[code], group)
        for identity, code, group in zip(known, labelled.codes.tolist(), labelled.groups, strict=True)
    }
    assert len(expected) == WARD_ROWS
    for (task, _), predicted in groups.items():
        wanted = {key: value for key, value in expected.items() if value[0] not in TASKS[task]}
        found = [tuple(row[name] for name in ("recording_id", "uri", "audio_sha256", "device")) for row in predicted]
        assert len(set(found)) == len(found)
        assert (
            dict(zip(found, zip(column(predicted, "label"), column(predicted, "patient"), strict=True), strict=True))
            == wanted
        )


def test_no_patient_is_on_both_sides(rows: list[Row]) -> None:
    partitions = []
    for predicted in by_task_and_seed(rows).values():
        fold_of: dict[str, set[int]] = {}
        for row in predicted:
            fold_of.setdefault(row["patient"], set()).add(row["fold"])
        assert all(len(found) == 1 for found in fold_of.values())
        assert {fold for found in fold_of.values() for fold in found} == {0, 1, 2}
        partitions.append({patient: min(found) for patient, found in fold_of.items()})
        # Patients have three recordings each, so that folds by rows would part some of them.
        assert max(Counter(column(predicted, "patient")).values()) == 3
    # Another seed, other folds.
    assert partitions[0] != partitions[1]


def test_folds_are_those_of_the_protocol(rows: list[Row], labelled: Labelled) -> None:
    for (task, seed), predicted in by_task_and_seed(rows).items():
        dropped = [ORIGINAL_LABELS.index(label) for label in TASKS[task]]
        kept = np.flatnonzero(~np.isin(labelled.codes, dropped))
        groups = [labelled.groups[i] for i in kept]
        splitter = StratifiedGroupKFold(3, shuffle=True, random_state=seed)
        for number, (_, test) in enumerate(splitter.split(kept, labelled.codes[kept], groups)):
            found = {row["recording_id"] for row in predicted if row["fold"] == number}
            assert found == {labelled.recording_id[i] for i in kept[test]}


def test_probabilities_are_of_the_labels_that_take_part(rows: list[Row]) -> None:
    for (task, _), predicted in by_task_and_seed(rows).items():
        found = chances(predicted)
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-9)
        assert ((found > 0).all(axis=0) == [label not in TASKS[task] for label in ORIGINAL_LABELS]).all()
        assert not set(column(predicted, "predicted_label")) & set(TASKS[task])
        # They tell the recordings apart: the rows below are not those of a constant.
        assert len(np.unique(found[:, 0])) > len(predicted) / 2


# The figures.


@pytest.mark.parametrize("name", ["tiny-statistics", "tiny"])
@pytest.mark.parametrize("task", TASKS)
def test_figures_are_those_of_the_rows(evaluation: Path, figures: Evaluation, name: str, task: str) -> None:
    of_seeds = [
        predicted
        for (found, _), predicted in by_task_and_seed(read_predictions(evaluation, name)).items()
        if found == task
    ]
    assert len(of_seeds) == 2
    judged = figures_of(figures, name, task).judgement
    present = [label for label in ORIGINAL_LABELS if label not in TASKS[task]]
    assert (judged.n_seeds, judged.n_rows) == (2, len(of_seeds[0]))
    assert judged.n_patients == len(set(column(of_seeds[0], "patient")))
    pairs = [(column(rows, "label"), column(rows, "predicted_label")) for rows in of_seeds]

    def assert_over_seeds(found: Any, values: list[float]) -> None:
        assert (found.value, found.least, found.most) == pytest.approx((np.mean(values), min(values), max(values)))

    assert_over_seeds(judged.accuracy, [sklearn.metrics.accuracy_score(*pair) for pair in pairs])
    recalls = [sklearn.metrics.recall_score(*pair, labels=present, average=None) for pair in pairs]
    assert_over_seeds(judged.balanced_accuracy, [float(np.mean(one)) for one in recalls])
    assert_over_seeds(
        judged.macro_f1,
        [sklearn.metrics.f1_score(*pair, labels=present, average="macro", zero_division=0) for pair in pairs],
    )
    confusion = sum(sklearn.metrics.confusion_matrix(*pair, labels=judged.labels) for pair in pairs)
    assert np.array_equal(judged.confusion_matrix, confusion)
    assert set(judged.labels) == set(present)
    for place, label in enumerate(present):
        assert judged.by_label[label].n_rows == 12
        found = judged.by_label[label]
        assert_over_seeds(found.recall, [float(one[place]) for one in recalls])
        precisions = sklearn_precision(pairs, label)
        assert (found.precision is None) == (not precisions)
        if precisions:
            assert_over_seeds(found.precision, precisions)
    truths = [
        np.array([[label == one for one in ORIGINAL_LABELS] for label in column(rows, "label")]) for rows in of_seeds
    ]
    briers = [
        float(((chances(rows) - truth) ** 2).sum(axis=1).mean()) for rows, truth in zip(of_seeds, truths, strict=True)
    ]
    assert_over_seeds(judged.brier, briers)
    for device, within in judged.within_devices.items():
        here = [[row for row in rows if row["device"] == device] for rows in of_seeds]
        assert within.n_rows == len(here[0]) > 0
        found_here = [recall_within(rows) for rows in here]
        assert_over_seeds(within.balanced_accuracy, found_here)
    assert judged.within_devices.keys() == {row["device"] for row in of_seeds[0]} == {"phone", "stethoscope", "4000 Hz"}


def recall_within(rows: list[Row]) -> float:
    labels = sorted(set(column(rows, "label")))
    return float(
        np.mean([np.mean([r["predicted_label"] == label for r in rows if r["label"] == label]) for label in labels])
    )


def sklearn_precision(pairs: list[tuple[list[str], list[str]]], label: str) -> list[float]:
    """Return the label's precision by each seed that predicts it."""
    return [
        float(sklearn.metrics.precision_score(*pair, labels=[label], average=None)[0])
        for pair in pairs
        if label in pair[1]
    ]


@pytest.mark.parametrize("task", TASKS)
def test_the_rules_stand_beside_and_are_fitted_in_the_training_folds(
    figures: Evaluation, labelled: Labelled, task: str
) -> None:
    dropped = [ORIGINAL_LABELS.index(label) for label in TASKS[task]]
    kept = np.flatnonzero(~np.isin(labelled.codes, dropped))
    codes, groups = labelled.codes[kept], [labelled.groups[i] for i in kept]
    devices = np.array([labelled.devices[i] for i in kept])
    accuracies: dict[str, list[float]] = {MAJORITY_RULE: [], DEVICE_RULE: []}
    for seed in (0, 1):
        right: dict[str, list[bool]] = {MAJORITY_RULE: [], DEVICE_RULE: []}
        splitter = StratifiedGroupKFold(3, shuffle=True, random_state=seed)
        for training, test in splitter.split(kept, codes, groups):
            counts = Counter(codes[training].tolist())
            most = max(sorted(counts), key=lambda code: counts[code])
            right[MAJORITY_RULE] += [code == most for code in codes[test]]
            for row in test:
                here = Counter(codes[i] for i in training if devices[i] == devices[row])
                share = {code: here[code] / counts[code] for code in sorted(counts)}
                right[DEVICE_RULE].append(max(share, key=lambda code: share[code]) == codes[row])
        for name, found in right.items():
            accuracies[name].append(float(np.mean(found)))
    for name, values in accuracies.items():
        judged = figures_of(figures, name, task).judgement
        assert judged.accuracy.value == pytest.approx(np.mean(values))
        assert (judged.accuracy.least, judged.accuracy.most) == pytest.approx((min(values), max(values)))


def test_what_is_known_of_recipes_and_rules(
    figures: Evaluation, recipe: Recipe, statistics_recipe: Recipe, labelled: Labelled
) -> None:
    fingerprints = {"tiny": recipe.fingerprint(), "tiny-statistics": statistics_recipe.fingerprint()}
    assert [(one.name, one.task) for one in figures.recipes] == [
        (name, task) for name in ("tiny-statistics", "tiny") for task in TASKS
    ]
    for one in figures.recipes:
        assert one.recipe_fingerprint == fingerprints[one.name]
        assert one.dropped_labels == TASKS[one.task]
        assert one.fit_s is not None
        assert one.weights_bytes is not None
        assert 0 < one.fit_s < 60
        assert 1_000 < one.weights_bytes < 100_000
    assert {(one.name, one.task) for one in figures.rules} == {
        (name, task) for name in (MAJORITY_RULE, DEVICE_RULE) for task in TASKS
    }
    assert figures.data_fingerprint == labelled.fingerprint()
    assert figures.protocol.startswith("Protocol: StratifiedGroupKFold(3, shuffle) by patient")


def test_the_leaderboard_tells_the_same(evaluation: Path, figures: Evaluation) -> None:
    lines = (evaluation / "LEADERBOARD.md").read_text().splitlines()
    for one in (*figures.recipes, *figures.rules):
        [line] = [line for line in lines if line.startswith(f"| {one.task} | {one.name} | ")]
        figure = one.judgement.balanced_accuracy
        assert f"| {figure.value:.3f} ({figure.low:.2f} to {figure.high:.2f}) |" in line
    assert figures.protocol in "\n".join(lines)
    for one in figures.recipes:
        section = lines[lines.index(f"## {one.name}: {one.task}") :]
        # Each rule once, and as it was judged for this task.
        [head] = [line for line in section[:10] if line.startswith("| figure |")]
        assert head == f"| figure | {one.name} | {MAJORITY_RULE} | {DEVICE_RULE} |"
        accuracies = next(line for line in section if line.startswith("| balanced accuracy |")).split(" | ")
        for cell, name in zip(accuracies[1:], (one.name, MAJORITY_RULE, DEVICE_RULE), strict=True):
            assert cell.startswith(f"{figures_of(figures, name, one.task).judgement.balanced_accuracy.value:.3f} (")


def test_each_label_has_a_reliability_diagram(evaluation: Path, figures: Evaluation) -> None:
    wanted = {
        f"reliability/{one.name}/{folder}/{ranks.label}.svg": (ranks.label, ranks.reliability)
        for one in figures.recipes
        for folder in [Task(one.task, one.dropped_labels).folder]
        for ranks in one.against_rest
    }
    assert len(wanted) == 2 * (5 + 4)
    assert {str(path.relative_to(evaluation)) for path in evaluation.rglob("*.svg")} == wanted.keys()
    for name, (label, tables) in wanted.items():
        assert (evaluation / name).read_text() == reliability_svg(label, tables)
    for one in figures.recipes:
        for ranks in one.against_rest:
            assert sum(each.n for each in ranks.reliability_pooled) == one.judgement.n_rows * one.judgement.n_seeds


# A recipe that has learned nothing.


def shuffled_dataset(folder: Path, ward: Path, recipe: Recipe, console: Console) -> str:
    """Build the ward's dataset with labels that have nothing to do with the sounds; a patient keeps one label."""
    names = [f"{number:02d}.wav" for number in range(WARD_ROWS)]
    order = np.random.default_rng(5).permutation(WARD_ROWS).tolist()
    rows = [
        (name, ORIGINAL_LABELS[place % 5], f"{ORIGINAL_LABELS[place % 5]}-{place // 15}")
        for name, place in zip(names, order, strict=True)
    ]
    labels = write_csv(folder / "shuffled.csv", ("path", "label", "patient_id"), rows)
    options = DatasetOptions(recipe, labels=read_labels(str(labels)))
    build_dataset([str(ward)], str(folder / "dataset"), options, JobSettings(), console)
    return str(folder / "dataset")


def test_a_recipe_that_is_no_better_says_so(
    ward: Path,
    recipe: Recipe,
    statistics_recipe: Recipe,
    figures: Evaluation,
    tmp_path: Path,
    console: Console,
    in_process: None,
) -> None:
    dataset = shuffled_dataset(tmp_path, ward, recipe, console)
    options = EvaluateOptions((statistics_recipe,), n_folds=2, n_seeds=1)
    found = evaluate([dataset], str(tmp_path / "out"), options, JobSettings(), console)
    [judged] = found.recipes
    assert MAJORITY_RULE in judged.no_better_than
    assert judged.judgement.balanced_accuracy.low <= 0.2
    assert "**No better than the majority rule" in (tmp_path / "out/LEADERBOARD.md").read_text()
    # With the true labels the same recipe beats both rules.
    assert figures_of(figures, "tiny-statistics", "5 classes").no_better_than == ()


def test_the_predictions_say_where_they_come_from(ward_dataset: Path, evaluation: Path, figures: Evaluation) -> None:
    run = json.loads((evaluation / "_run.json").read_text())
    for name in ("tiny", "tiny-statistics"):
        schema = pq.read_schema(evaluation / "predictions" / f"{name}.parquet")
        found = {key.decode().removeprefix("heartbeat."): value.decode() for key, value in schema.metadata.items()}
        assert found["schema_version"] == str(SCHEMA_VERSION)
        assert (found["run_id"], found["command"]) == (run["run_id"], run["origin"]["command"])
        assert json.loads(found["configuration"]) == run["origin"]["configuration"]
        assert json.loads(found["packages"])["numpy"] == np.__version__
        fingerprint = Dataset(str(ward_dataset)).labelled().ordered_fingerprint()
        assert json.loads(found["inputs"]) == {"datasets": [ward_dataset.as_uri()], "fingerprint": fingerprint}
        assert (found["recipe"], found["protocol"]) == (name, figures.protocol)
        assert schema.field("fold").metadata == {b"method": b"run"}


# Stopped and begun again.


def run_again(
    dataset: Path, out: Path, options: EvaluateOptions, console: Console, settings: JobSettings | None = None
) -> Evaluation:
    return evaluate([str(dataset)], str(out), options, settings or JobSettings(), console)


def refuse(*arguments: Any, **options: Any) -> None:
    raise AssertionError("work that was done is done again")


def test_a_finished_evaluation_is_read(
    ward_dataset: Path,
    evaluation: Path,
    figures: Evaluation,
    evaluate_options: EvaluateOptions,
    console: Console,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("jobs.cluster.connect.connect", refuse)
    before = tree(evaluation)
    assert run_again(ward_dataset, evaluation, evaluate_options, console) == figures
    assert tree(evaluation) == before


def killed_before_its_end(evaluation: Path, folder: Path) -> Path:
    """Return a copy of a finished evaluation without what its end writes."""
    out = folder / "out"
    shutil.copytree(evaluation, out)
    for name in FINAL:
        (out / name).unlink()
    return out


def test_one_that_was_killed_before_its_end_gives_the_same_bytes(
    ward_dataset: Path,
    evaluation: Path,
    evaluate_options: EvaluateOptions,
    tmp_path: Path,
    console: Console,
    in_process: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = killed_before_its_end(evaluation, tmp_path)
    monkeypatch.setattr("jobs.tasks.folds.judge_fold", refuse)
    monkeypatch.setattr("jobs.tasks.extract.compute_inputs", refuse)
    run_again(ward_dataset, out, evaluate_options, console)
    assert tree(out) == tree(evaluation)


def test_one_that_was_killed_in_the_middle_gives_the_same_predictions(
    ward_dataset: Path,
    evaluation: Path,
    figures: Evaluation,
    evaluate_options: EvaluateOptions,
    tmp_path: Path,
    console: Console,
    in_process: None,
) -> None:
    out = tmp_path / "out"
    shutil.copytree(evaluation, out)
    lost = [out / name for name in FINAL]
    lost += sorted(out.glob("_folds/*/*/seed-1-fold-*.parquet"))[::2]
    lost += [sorted(out.glob("_inputs/*/part-000001.parquet"))[0]]
    for path in lost:
        path.unlink()
    left = tree(out)
    assert len(lost) == 5 + 6 + 1
    found = run_again(ward_dataset, out, evaluate_options, console)
    after, before = tree(out), tree(evaluation)
    assert left.items() <= after.items(), "what was there was written again"
    assert after.keys() == before.keys()
    # Only how long the fits took is another.
    assert without_times(found) == without_times(figures)
    for name in after:
        if not name.startswith("_folds") and name not in ("figures.json", "LEADERBOARD.md"):
            assert after[name] == before[name], name


def test_an_interrupted_run_goes_on(
    ward_dataset: Path,
    evaluation: Path,
    evaluate_options: EvaluateOptions,
    tmp_path: Path,
    console: Console,
    in_process: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = replace(evaluate_options, recipes=evaluate_options.recipes[1:], without=())
    from jobs.tasks import folds

    judge, judged = folds.judge_fold, []

    def stop_at_the_third(*arguments: Any) -> Any:
        judged.append(arguments)
        if len(judged) == 3:
            raise KeyboardInterrupt
        return judge(*arguments)

    monkeypatch.setattr("jobs.tasks.folds.judge_fold", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        run_again(ward_dataset, tmp_path / "out", options, console)
    assert not {*FINAL} & tree(tmp_path / "out").keys()
    run_again(ward_dataset, tmp_path / "out", options, console)
    assert len(judged) == 6 + 1
    again = by_task_and_seed(read_predictions(tmp_path / "out", "tiny"))
    whole = by_task_and_seed(read_predictions(evaluation, "tiny"))
    assert again == {key: rows for key, rows in whole.items() if key[0] == "5 classes"}


def test_a_disk_that_is_full_after_the_folds_is_no_wrong_usage(
    ward_dataset: Path,
    evaluation: Path,
    evaluate_options: EvaluateOptions,
    tmp_path: Path,
    console: Console,
    in_process: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = killed_before_its_end(evaluation, tmp_path)
    fill_disk(monkeypatch, "/figures.json")
    with pytest.raises(StorageError, match=r"figures\.json: cannot be written: No space left on device") as caught:
        run_again(ward_dataset, out, evaluate_options, console)
    assert not isinstance(caught.value, UsageError)


# Refusals.


def test_another_evaluation_in_the_folder_is_refused(
    ward_dataset: Path, evaluation: Path, evaluate_options: EvaluateOptions, console: Console, in_process: None
) -> None:
    statistics, frames = evaluate_options.recipes
    changed = frames.model_copy(update={"training": frames.training.model_copy(update={"epochs": 5})})
    before = tree(evaluation)
    for other, told in (
        (replace(evaluate_options, recipes=(statistics,)), "--recipe tiny: [0-9a-f]{12}… there, none here"),
        (
            replace(evaluate_options, recipes=(statistics, changed)),
            "--recipe tiny: [0-9a-f]{12}… there, [0-9a-f]{12}… here",
        ),
        (replace(evaluate_options, without=()), "--without: artifact there, none here"),
        (replace(evaluate_options, n_seeds=1), "--seeds: 2 there, 1 here"),
        (replace(evaluate_options, n_folds=2), "--folds: 3 there, 2 here"),
    ):
        with pytest.raises(OutputError, match=f"holds another job .*{told}.*name another folder") as caught:
            run_again(ward_dataset, evaluation, other, console)
        assert "\n" not in str(caught.value)
    assert tree(evaluation) == before


def test_on_a_store_that_ignores_conditions_one_driver_evaluates(
    ward_dataset: Path,
    evaluate_options: EvaluateOptions,
    tmp_path: Path,
    console: Console,
    monkeypatch: pytest.MonkeyPatch,
    in_process: None,
) -> None:
    """It looks before it writes, as the tasks of the other jobs do."""
    looking: list[bool] = []

    def stopping(connection: Any, tasks: Any, items: Any) -> None:
        looking.append(tasks.job.access.looks_first)
        raise KeyboardInterrupt

    monkeypatch.setattr("jobs.drivers.evaluate.run_tasks", stopping)
    monkeypatch.setattr(storage, "honours_conditions", lambda folder: False)
    out = tmp_path / "out"
    with (
        present(f"file://{out}", alone=True),
        pytest.raises(OutputError, match="another job works there"),
    ):
        run_again(ward_dataset, out, evaluate_options, console)
    with pytest.raises(KeyboardInterrupt):
        run_again(ward_dataset, out, evaluate_options, console)
    assert looking == [True]


def test_an_evaluation_without_a_cluster_gives_its_folder_back(
    ward_dataset: Path,
    evaluate_options: EvaluateOptions,
    tmp_path: Path,
    console: Console,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_scheduler(*arguments: Any) -> None:
        raise JobError("no scheduler")

    monkeypatch.setattr("jobs.cluster.connect.connect", no_scheduler)
    with pytest.raises(JobError, match="no scheduler"):
        run_again(ward_dataset, tmp_path / "out", evaluate_options, console)
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("change", ["patients", "devices", "order"])
def test_a_dataset_that_was_built_otherwise_is_another_evaluation(
    ward: Path,
    ward_dataset: Path,
    recipe: Recipe,
    tmp_path: Path,
    console: Console,
    in_process: None,
    change: str,
) -> None:
    """The recordings and their labels are the same: folds that are stored would be taken for others."""
    shutil.copytree(ward_dataset, tmp_path / "dataset")
    options = EvaluateOptions((recipe,), n_folds=2, n_seeds=1)
    run_again(tmp_path / "dataset", tmp_path / "out", options, console)
    for part in (tmp_path / "dataset/recordings").glob("*.parquet"):
        table = pq.ParquetFile(part).read()
        if change == "order":
            table = table.take(list(range(table.num_rows))[::-1])
        else:
            name = {"patients": "patient_id", "devices": "device"}[change]
            place = table.schema.get_field_index(name)
            table = table.set_column(
                place, table.schema.field(name), table.column(name).take(list(range(table.num_rows))[::-1])
            )
        pq.write_table(table, part)
    with pytest.raises(OutputError, match=r"holds another job \(rows of the dataset: "):
        run_again(tmp_path / "dataset", tmp_path / "out", options, console)


def test_two_recipes_of_one_name(
    ward_dataset: Path, recipe: Recipe, statistics_recipe: Recipe, tmp_path: Path, console: Console
) -> None:
    twin = statistics_recipe.model_copy(update={"name": "tiny"})
    with pytest.raises(UsageError, match=r"^two recipes are called 'tiny': give one of them another name$"):
        run_again(ward_dataset, tmp_path / "out", EvaluateOptions((recipe, twin)), console)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"n_folds": 31}, "^30 patients are too few to hold out one of 31 folds$"),
        ({"n_folds": 13}, "^no label has the 13 rows that 13 folds need; the most is 12$"),
        (
            {"without": ORIGINAL_LABELS[1:]},
            "^an evaluation needs at least two labels; the labelled rows are: 12 normal$",
        ),
    ],
)
def test_too_little_to_judge_with(
    ward_dataset: Path, recipe: Recipe, tmp_path: Path, console: Console, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(DatasetError, match=told):
        run_again(ward_dataset, tmp_path / "out", EvaluateOptions((recipe,), **options), console)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("cell", ["normal", "normal|artifact"])
def test_a_label_that_no_row_is_known_to_have_cannot_be_left_out(
    ward: Path, recipe: Recipe, tmp_path: Path, console: Console, in_process: None, cell: str
) -> None:
    """Both tasks would have the same name and the same figures."""
    rows = [(f"{number:02d}.wav", ORIGINAL_LABELS[number % 5].replace("artifact", cell)) for number in range(WARD_ROWS)]
    labels = write_csv(tmp_path / "labels.csv", ("path", "label"), rows)
    options = DatasetOptions(recipe, labels=read_labels(str(labels)))
    build_dataset([str(ward)], str(tmp_path / "dataset"), options, JobSettings(), console)
    with pytest.raises(DatasetError, match="no row of the dataset is known to have the label 'artifact' that"):
        run_again(tmp_path / "dataset", tmp_path / "out", EvaluateOptions((recipe,), ("artifact",)), console)


def test_an_unfinished_dataset(ward_dataset: Path, recipe: Recipe, tmp_path: Path, console: Console) -> None:
    shutil.copytree(ward_dataset, tmp_path / "dataset")
    (tmp_path / "dataset/_SUCCESS").unlink()
    with pytest.raises(DatasetError, match="is not a finished dataset"):
        run_again(tmp_path / "dataset", tmp_path / "out", EvaluateOptions((recipe,)), console)
    assert not (tmp_path / "out").exists()


def test_a_recording_that_has_changed_ends_the_job(
    ward: Path, recipe: Recipe, tmp_path: Path, console: Console, in_process: None
) -> None:
    shutil.copytree(ward, tmp_path / "ward")
    labels = read_labels(str(tmp_path / "ward/labels.csv"))
    build_dataset(
        [str(tmp_path / "ward")],
        str(tmp_path / "dataset"),
        DatasetOptions(recipe, labels=labels),
        JobSettings(),
        console,
    )
    shutil.copy(ward / "07.wav", tmp_path / "ward/08.wav")
    with pytest.raises(JobError, match=r"08\.wav: changed since the dataset was built") as caught:
        run_again(tmp_path / "dataset", tmp_path / "out", EvaluateOptions((recipe,), n_folds=2, n_seeds=1), console)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out/_SUCCESS").exists()


# The real process, on a cluster of its own.


def test_a_cluster_gives_the_same_rows(
    ward_dataset: Path, evaluation: Path, statistics_recipe: Recipe, tmp_path: Path
) -> None:
    (tmp_path / "r.yaml").write_text(json.dumps(statistics_recipe.model_dump(mode="json")))
    command = ("evaluate", ward_dataset, "--recipe", "r.yaml", "--folds", 3, "--seeds", 1, "-o", "out", "--workers", 2)
    process = start_command(*command, cwd=tmp_path)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert "Traceback" not in error
    assert "balanced" in out
    assert f"  {tmp_path}/out/LEADERBOARD.md" in out
    again = by_task_and_seed(read_predictions(tmp_path / "out", "tiny-statistics"))
    whole = by_task_and_seed(read_predictions(evaluation, "tiny-statistics"))
    assert again == {("5 classes", 0): whole["5 classes", 0]}
