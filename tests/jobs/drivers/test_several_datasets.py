"""Several datasets as one: persons stay together, figures stand within each database, and one can be left out."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import sklearn.metrics
from rich.console import Console
from typer.testing import Result

from heartbeat_core.bundles.bundle import load
from heartbeat_core.datasets.dataset import Dataset
from heartbeat_core.errors import DatasetError, InputError, OutputError
from heartbeat_core.evaluation.figures import Evaluation
from heartbeat_core.learning import fit
from heartbeat_core.recipe import Recipe
from heartbeat_core.settings import parse_settings
from jobs.cli.figures import print_leaderboard
from jobs.drivers.build_dataset import DatasetOptions, build_dataset
from jobs.drivers.evaluate import EvaluateOptions, evaluate
from jobs.drivers.train import TrainOptions, train
from jobs.listing.labels import LabelWords, read_labels
from jobs.settings import JobSettings, shipped_recipes
from tests.commands import done, refused
from tests.conftest import STATISTICS_RECIPE, TINY_RECIPE, quiet_console, without_cluster
from tests.helpers import heart_bytes, read_rows, tree, write_csv

Row = dict[str, Any]

N_ROWS = 30
EXTENTS_S = {"east": 1.2, "west": 1.3}
"""For each database, about how long its recordings are."""
UNDECIDED = "normal|extrahls"


def write_database(folder: Path, name: str) -> Path:
    """Write recordings with labels, three a patient; persons 0 and 1 are in every database.

    East has normal and murmur. West has extrahls, too, and cells that leave it open.
    """
    (folder / "in").mkdir(parents=True)
    rows = []
    for number in range(N_ROWS):
        person = number // 3
        label = ("normal", "murmur", "extrahls")[person % (2 if name == "east" else 3)]
        extent_s = EXTENTS_S[name] + 0.01 * number
        (folder / "in" / f"{number:02d}.wav").write_bytes(heart_bytes(label, number + 100 * (name == "west"), extent_s))
        cell = UNDECIDED if name == "west" and label != "murmur" and number % 3 == 2 else label
        patient = f"both-{person}" if person < 2 else f"{name}-{person}"
        rows.append((f"{number:02d}.wav", cell, patient, ("phone", "horn")[number % 2], name))
    write_csv(folder / "labels.csv", ("path", "label", "patient_id", "device", "database"), rows)
    return folder


def build(folder: Path, recipe: Recipe, out: Path, labels: Path | None = None, words: LabelWords | None = None) -> Path:
    table = read_labels(str(labels or folder / "labels.csv"), words=words or LabelWords())
    build_dataset([str(folder / "in")], str(out), DatasetOptions(recipe, labels=table), JobSettings(), quiet_console())
    return out


class Spy:
    """Keeps the persons of the rows that were trained on, a set for each fit."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._fit = fit.fit
        self.persons: list[set[str]] = []
        monkeypatch.setattr("heartbeat_core.learning.fit.fit", self)

    def __call__(self, recipe: Recipe, rows: fit.Examples, seed: int) -> fit.Fitted:
        self.persons.append(set(rows.groups))
        return self._fit(recipe, rows, seed)


@dataclass(frozen=True)
class Study:
    """Two datasets, and what was made of both."""

    tmp: Path
    east: Path
    west: Path
    folds: Result
    left_out: Result
    trained: Result
    persons: dict[str, list[set[str]]]
    """By the folder of an evaluation, the persons of each of its fits."""

    @property
    def datasets(self) -> list[str]:
        return [str(self.east), str(self.west)]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> Study:
    tmp = tmp_path_factory.mktemp("study")
    statistics, tiny = tmp / "s.yaml", tmp / "t.yaml"
    statistics.write_text(STATISTICS_RECIPE)
    tiny.write_text(TINY_RECIPE)
    persons = {}
    with pytest.MonkeyPatch.context() as monkeypatch:
        without_cluster(monkeypatch)
        east, west = (build(write_database(tmp / f"{name}-files", name), recipe, tmp / name) for name in EXTENTS_S)
        spy = Spy(monkeypatch)
        folds = done(
            *("evaluate", east, west, "-o", tmp / "folds", "--recipe", statistics, "--recipe", tiny),
            *("--folds", 3, "--seeds", 2),
        )
        persons["folds"], spy.persons = spy.persons, []
        left_out = done(
            *("evaluate", east, west, "-o", tmp / "left-out", "--recipe", statistics, "--seeds", 1),
            *("--protocol", "leave-one-database-out"),
        )
        persons["left-out"], spy.persons = spy.persons, []
        trained = done(
            *("train", east, west, "-o", tmp / "model", "--recipe", statistics),
            # In the bundle, the grouped folds come first.
            *("--evaluation", tmp / "left-out", "--evaluation", tmp / "folds"),
        )
    return Study(tmp, east, west, folds, left_out, trained, persons)


def predictions(study: Study, evaluation: str, recipe: str = "tiny-statistics") -> list[Row]:
    rows: list[Row] = pq.read_table(study.tmp / evaluation / f"predictions/{recipe}.parquet").to_pylist()
    return rows


def figures(study: Study, evaluation: str) -> Row:
    """Return the figures of the recipe on statistics."""
    found = json.loads((study.tmp / evaluation / "figures.json").read_text())
    [one] = [one for one in found["recipes"] if one["name"] == "tiny-statistics"]
    assert isinstance(one, dict)
    return one


# The rows and their splits.


@pytest.mark.parametrize(("evaluation", "n_seeds"), [("folds", 2), ("left-out", 1)])
def test_every_row_is_predicted_once_and_knows_its_database(study: Study, evaluation: str, n_seeds: int) -> None:
    expected = {
        row["recording_id"]: (name, row["label"], row["patient_id"])
        for name, place in (("east", study.east), ("west", study.west))
        for row in read_rows(place, "recordings")
    }
    assert len(expected) == 2 * N_ROWS
    assert sum(label == UNDECIDED for _, label, _ in expected.values()) == 7
    rows = predictions(study, evaluation)
    assert len(rows) == n_seeds * 2 * N_ROWS
    for seed in range(n_seeds):
        found = {
            row["recording_id"]: (row["database"], row["label"], row["patient"].removeprefix("patient:"))
            for row in rows
            if row["seed"] == seed
        }
        assert found == expected


def test_grouped_folds_keep_a_person_together_across_databases(study: Study) -> None:
    rows = predictions(study, "folds")
    for seed in (0, 1):
        fold_of: dict[str, set[int]] = {}
        for row in rows:
            if row["seed"] == seed:
                fold_of.setdefault(row["patient"], set()).add(row["fold"])
        assert all(len(folds) == 1 for folds in fold_of.values())
        assert {fold for folds in fold_of.values() for fold in folds} == {0, 1, 2}
    both = [row for row in rows if row["patient"] == "patient:both-0"]
    assert {row["database"] for row in both} == {"east", "west"}


def test_the_database_that_is_judged_was_not_trained_on(study: Study) -> None:
    rows = predictions(study, "left-out")
    assert {(row["fold"], row["database"]) for row in rows} == {(0, "east"), (1, "west")}
    trained_on = study.persons["left-out"]
    # Two persons are in both databases, and so in no training rows.
    assert trained_on == [
        {f"patient:west-{person}" for person in range(2, 10)},
        {f"patient:east-{person}" for person in range(2, 10)},
    ]


@pytest.mark.parametrize("evaluation", ["folds", "left-out"])
def test_no_person_is_in_training_and_test_rows(study: Study, evaluation: str) -> None:
    """The rows of each stored fold, against those that its model was fitted to."""
    groups = [group for place in (study.east, study.west) for group in Dataset(str(place)).labelled().groups]
    stored = sorted((study.tmp / evaluation / "_folds/tiny-statistics/all").iterdir())
    assert len(stored) == {"folds": 6, "left-out": 2}[evaluation]
    for place, trained_on in zip(stored, study.persons[evaluation], strict=False):
        judged = {groups[row] for row in pq.read_table(place).column("row").to_pylist()}
        assert judged
        assert trained_on
        assert not judged & trained_on


# The figures.


@pytest.mark.parametrize("evaluation", ["folds", "left-out"])
def test_figures_stand_within_each_database(study: Study, evaluation: str) -> None:
    rows = predictions(study, evaluation)
    of_labels = {one["label"]: one for one in figures(study, evaluation)["against_rest"]}
    seeds = sorted({row["seed"] for row in rows})
    for label in ("normal", "murmur"):
        found = of_labels[label]
        assert found["databases"].keys() == {"east", "west"}
        areas = {}
        for database in ("east", "west"):
            of_seeds = [
                auroc([row for row in rows if row["database"] == database and row["seed"] == seed], label)
                for seed in seeds
            ]
            areas[database] = float(np.mean(of_seeds))
            assert found["databases"][database]["auroc"]["value"] == pytest.approx(areas[database])
        mean = found["mean_over_databases"]["auroc"]
        assert mean == {"value": pytest.approx(np.mean(list(areas.values()))), "n_databases": 2}
    # For its label, each row counts that decides the question: also one that is normal or extrahls has no murmur.
    west = of_labels["murmur"]["databases"]["west"]
    assert (west["n_positive"], west["n_negative"]) == (9, 21)
    judgement = figures(study, evaluation)["judgement"]
    assert judgement["within_databases"].keys() == {"east", "west"}
    assert judgement["n_rows"] == 2 * N_ROWS - 7


def auroc(rows: list[Row], label: str) -> float:
    """Return the area under the ROC curve of a label, over the rows that are known to have it or not to have it."""
    known = [row for row in rows if row["label"] == label or label not in row["label"].split("|")]
    return float(
        sklearn.metrics.roc_auc_score([row["label"] == label for row in known], [row[f"prob_{label}"] for row in known])
    )


def test_a_label_that_one_database_lacks_has_figures_where_there_are_any(study: Study) -> None:
    [extrahls] = [one for one in figures(study, "folds")["against_rest"] if one["label"] == "extrahls"]
    assert extrahls["databases"]["east"]["auroc"] is None
    west = extrahls["databases"]["west"]["auroc"]["value"]
    assert extrahls["mean_over_databases"]["auroc"] == {"value": pytest.approx(west), "n_databases": 1}
    # The model that judges west was trained on east, which has no extrahls: its probability of it means nothing.
    assert [one["label"] for one in figures(study, "left-out")["against_rest"]] == ["normal", "murmur"]
    assert {row["prob_extrahls"] for row in predictions(study, "left-out") if row["database"] == "west"} == {0.0}


def test_the_leaderboard_shows_each_database_beside_the_mean(study: Study) -> None:
    for evaluation in ("folds", "left-out"):
        text = (study.tmp / evaluation / "LEADERBOARD.md").read_text()
        assert "## Within each database: 3 classes\n" in text
        assert "| recipe | east | west | mean over databases |" in text
    assert (
        "leave one database out: each database is predicted by a model that was trained on all other databases" in text
    )


@pytest.mark.parametrize("evaluation", ["folds", "left-out"])
def test_the_printed_tables_show_databases_and_fit_80_columns(study: Study, evaluation: str) -> None:
    printed = {"folds": study.folds, "left-out": study.left_out}[evaluation].stdout
    lines = printed.splitlines()
    tables = lines[: next(number for number, line in enumerate(lines) if line.startswith("Means over seeds"))]
    assert "3 classes: AUROC of murmur against the rest" in printed
    found = figures(study, evaluation)
    murmur = next(one for one in found["against_rest"] if one["label"] == "murmur")
    for database in ("east", "west"):
        value = murmur["databases"][database]["auroc"]["value"]
        assert any(line.split()[:2] == [database, f"{value:.3f}"] for line in tables)
    assert any(line.split()[:3] == ["mean", "over", "databases"] for line in tables)
    assert max(map(len, tables)) <= 80
    # No figure over all databases stands alone.
    assert "balanced accuracy" not in printed


def test_many_recipes_are_printed_in_several_tables(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as are shipped, each with its whole name, in every table that fits the terminal."""
    found = parse_settings(Evaluation, json.loads((study.tmp / "folds/figures.json").read_text()), "figures.json")
    [one] = [one for one in found.recipes if one.name == "tiny-statistics"]
    names = shipped_recipes()
    many = tuple(one.model_copy(update={"name": name}) for name in names)
    console = Console(file=io.StringIO(), width=80, soft_wrap=True)
    monkeypatch.setattr("jobs.cli.figures.out", console)
    print_leaderboard(found.model_copy(update={"recipes": many}))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    tables = lines[: next(number for number, line in enumerate(lines) if line.startswith("Means over seeds"))]
    assert max(map(len, tables)) <= 80
    heads = [line.split()[1:] for line in tables if line.split()[:1] == ["database"]]
    assert [name for head in heads for name in head] == names * 3
    assert "…" not in "".join(tables)
    # One table a label would not fit, and one a recipe would be too many.
    assert 3 * 4 <= len(heads) <= 3 * 7


@pytest.mark.parametrize("n_devices", [2, 7])
def test_the_columns_of_many_devices_do_not_squeeze_the_table(
    study: Study, monkeypatch: pytest.MonkeyPatch, n_devices: int
) -> None:
    found = parse_settings(Evaluation, json.loads((study.tmp / "folds/figures.json").read_text()), "figures.json")
    [one] = [one for one in found.recipes if one.name == "tiny-statistics"]
    within = next(iter(one.judgement.within_devices.values()))
    devices = {f"phone{number}": within for number in range(n_devices)}
    alone = one.judgement.model_copy(update={"within_devices": devices, "within_databases": {}})
    console = Console(file=io.StringIO(), width=80, soft_wrap=True)
    monkeypatch.setattr("jobs.cli.figures.out", console)
    print_leaderboard(found.model_copy(update={"recipes": (one.model_copy(update={"judgement": alone}),), "rules": ()}))
    assert isinstance(console.file, io.StringIO)
    tables = console.file.getvalue().partition("Means over seeds")[0]
    assert "…" not in tables
    head = next(line for line in tables.splitlines() if "recipe" in line)
    assert ("phone0" in head) == (n_devices == 2)
    # More devices have tables of their own, one for each label.
    heads = [line.split() for line in tables.splitlines() if line.split()[:1] == ["device"]]
    assert heads == ([] if n_devices == 2 else [["device", "tiny-statistics"]] * len(one.against_rest))


# The model.


def test_a_model_of_both_is_trained_on_the_rows_of_both(study: Study) -> None:
    manifest = load(str(study.tmp / "model")).manifest
    assert manifest.training_data.n_rows == 2 * N_ROWS
    assert manifest.trained_labels == ("normal", "extrahls", "murmur")
    # West has the longest recording.
    facts = Dataset(str(study.west)).facts
    assert manifest.reference.audio_sha256 == facts.reference_audio_sha256
    assert manifest.reference.n_frames == facts.length_frames > Dataset(str(study.east)).facts.length_frames
    assert manifest.cross_validation is not None
    assert f"trained on {2 * N_ROWS} rows, none held out; by cross-validation:" in study.trained.stdout
    assert "3 classes: AUROC of murmur against the rest" in study.trained.stdout
    assert "| recipe | east | west | mean over databases |" not in study.trained.stdout


def test_a_model_has_the_figures_by_each_protocol(study: Study) -> None:
    manifest = load(str(study.tmp / "model")).manifest
    of_folds, of_left_out = manifest.evaluations
    assert (manifest.cross_validation, manifest.left_out) == (of_folds, (of_left_out,))
    for evaluation, folder in ((of_folds, "folds"), (of_left_out, "left-out")):
        found = parse_settings(Evaluation, json.loads((study.tmp / folder / "figures.json").read_text()), folder)
        ours = tuple(one.model_copy(update={"fit_s": None}) for one in found.recipes if one.name == "tiny-statistics")
        assert evaluation == found.model_copy(update={"recipes": ours})
        assert evaluation.protocol in study.trained.stdout


def test_two_evaluations_by_one_protocol_are_refused(
    study: Study, statistics_recipe: Recipe, tmp_path: Path, console: Console
) -> None:
    folds, again = str(study.tmp / "folds"), str(tmp_path / "again")
    shutil.copytree(folds, again)
    options = TrainOptions(statistics_recipe, evaluations=(folds, str(study.tmp / "left-out"), again))
    with pytest.raises(InputError) as caught:
        train(study.datasets, str(tmp_path / "model"), options, JobSettings(), console)
    assert str(caught.value) == f"{folds} and {again} are both evaluations by grouped-folds: give one of them"
    assert not (tmp_path / "model").exists()


def test_a_model_of_frames_holds_out_persons_of_both(
    study: Study, recipe: Recipe, tmp_path: Path, console: Console
) -> None:
    trained = train(study.datasets, str(tmp_path / "model"), TrainOptions(recipe), JobSettings(), console)
    held_out = {row["audio_sha256"] for row in pq.read_table(tmp_path / "model/holdout.parquet").to_pylist()}
    rows = [row for place in study.datasets for row in read_rows(place, "recordings")]
    inside, outside = (
        {row["patient_id"] for row in rows if (row["audio_sha256"] in held_out) == side} for side in (False, True)
    )
    assert outside
    assert not inside & outside
    assert len(held_out) + trained.manifest.training_data.n_rows == len(rows)


def test_an_evaluation_of_one_of_them_is_not_of_both(
    study: Study, statistics_recipe: Recipe, tmp_path: Path, console: Console
) -> None:
    options = TrainOptions(statistics_recipe, evaluations=(str(study.tmp / "folds"),))
    with pytest.raises(InputError, match="an evaluation of other recordings, labels, patients or devices"):
        train([str(study.east)], str(tmp_path / "model"), options, JobSettings(), console)


# Protocols.


def test_leave_one_device_out(study: Study, statistics_recipe: Recipe, tmp_path: Path, in_process: None) -> None:
    """Devices are those of the label files, whatever the database; a patient's recordings are of two devices."""
    text = (study.tmp / "west-files/labels.csv").read_text().splitlines()
    # Here each person has one device.
    rows = [line.split(",") for line in text[1:]]
    rows = [(path, label, who, ("phone", "horn")[int(path[:2]) // 3 % 2], name) for path, label, who, _, name in rows]
    labels = write_csv(tmp_path / "labels.csv", tuple(text[0].split(",")), rows)
    dataset = build(study.tmp / "west-files", statistics_recipe, tmp_path / "dataset", labels)
    options = EvaluateOptions((statistics_recipe,), protocol="leave-one-device-out", n_seeds=1)
    found = evaluate([str(dataset)], str(tmp_path / "out"), options, JobSettings(), quiet_console())
    judged = pq.read_table(tmp_path / "out/predictions/tiny-statistics.parquet").to_pylist()
    assert {(row["fold"], row["device"]) for row in judged} == {(0, "horn"), (1, "phone")}
    assert found.protocol.startswith("Protocol: leave one device out: ")


def test_one_database_cannot_be_left_out(study: Study, tmp_path: Path) -> None:
    command = ("evaluate", study.east, "-o", tmp_path / "out", "--recipe", study.tmp / "s.yaml")
    line = refused(*command, "--protocol", "leave-one-database-out")
    assert line == (
        "leave-one-database-out needs rows of at least two databases, and all 30 rows are of 'east': add a dataset "
        "with another database, or evaluate with the grouped folds"
    )
    line = refused(*command, "--protocol", "leave-one-device-out")
    assert line == (
        "leave-one-device-out has no training rows for the device 'horn', because each person of the others occurs in "
        "it as well: add a dataset of other persons, or evaluate with the grouped folds"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("protocol", ["leave-one-database-out", "leave-one-device-out"])
def test_a_number_of_folds_goes_with_the_grouped_folds_only(study: Study, tmp_path: Path, protocol: str) -> None:
    line = refused(
        *("evaluate", *study.datasets, "-o", tmp_path / "out", "--recipe", study.tmp / "s.yaml"),
        *("--protocol", protocol, "--folds", 5),
    )
    assert line == f"--folds goes with --protocol grouped-folds, and not with {protocol}"
    assert not (tmp_path / "out").exists()


def test_an_interrupted_evaluation_goes_on(
    study: Study, statistics_recipe: Recipe, tmp_path: Path, in_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobs.tasks import folds

    judge, judged = folds.judge_fold, []

    def stop_at_the_second(*arguments: Any) -> Any:
        judged.append(arguments)
        if len(judged) == 2:
            raise KeyboardInterrupt
        return judge(*arguments)

    monkeypatch.setattr("jobs.tasks.folds.judge_fold", stop_at_the_second)
    options = EvaluateOptions((statistics_recipe,), protocol="leave-one-database-out", n_seeds=1)
    arguments = study.datasets, str(tmp_path / "out"), options, JobSettings(), quiet_console()
    with pytest.raises(KeyboardInterrupt):
        evaluate(*arguments)
    assert not (tmp_path / "out/figures.json").exists()
    evaluate(*arguments)
    assert len(judged) == 2 + 1
    again = pq.read_table(tmp_path / "out/predictions/tiny-statistics.parquet").to_pylist()
    assert again == predictions(study, "left-out")


def test_another_evaluation_in_the_folder_is_refused(
    study: Study, statistics_recipe: Recipe, tmp_path: Path, in_process: None
) -> None:
    before = tree(study.tmp / "left-out")
    options = EvaluateOptions((statistics_recipe,), protocol="leave-one-database-out", n_seeds=1)
    for datasets, other, told in (
        (study.datasets, EvaluateOptions((statistics_recipe,), n_seeds=1), "--protocol: leave-one-database-out there"),
        (study.datasets[::-1], options, "DATASET: "),
    ):
        with pytest.raises(OutputError, match=told) as caught:
            evaluate(datasets, str(study.tmp / "left-out"), other, JobSettings(), quiet_console())
        assert "holds another job" in str(caught.value)
    assert tree(study.tmp / "left-out") == before


# Datasets that do not go together.


def test_a_recording_that_is_in_two_datasets(study: Study, recipe: Recipe, tmp_path: Path) -> None:
    shutil.copytree(study.east, tmp_path / "copy")
    for command in ("evaluate", "train"):
        line = refused(command, study.east, tmp_path / "copy", "-o", tmp_path / "o", "--recipe", study.tmp / "s.yaml")
        assert line.startswith(f"30 recordings are in {study.east} and in {tmp_path}/copy, the first has the SHA-256 ")
    assert not (tmp_path / "o").exists()


def test_two_folders_of_one_name(study: Study, recipe: Recipe, tmp_path: Path, in_process: None) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text((study.tmp / "west-files/labels.csv").read_text().replace(",west", ","))
    other = build(study.tmp / "west-files", recipe, tmp_path / "east", labels)
    line = refused("train", study.east, other, "-o", tmp_path / "o", "--recipe", study.tmp / "s.yaml")
    assert line == (
        f"{other} and {study.east} both have a database 'east': give the label file a column 'database', or rename the "
        "folder of a dataset that has none"
    )


def test_datasets_with_different_labels(study: Study, recipe: Recipe, tmp_path: Path, in_process: None) -> None:
    words = LabelWords(("normal", "murmur", "extrahls", "AS"))
    other = build(study.tmp / "west-files", recipe, tmp_path / "other", words=words)
    with pytest.raises(InputError) as caught:
        evaluate(
            [str(study.east), str(other)],
            str(tmp_path / "o"),
            EvaluateOptions((recipe,)),
            JobSettings(),
            quiet_console(),
        )
    assert str(caught.value) == (
        f"the datasets have different labels: normal, extrahls, murmur, artifact, extrastole in {study.east}, normal, "
        f"murmur, extrahls, AS in {other}: build them with a --label-map that gives both the same labels"
    )
    # Labels that are all among those of the other go along, in the order of the larger set.
    words = LabelWords(("murmur", "extrahls", "normal"))
    fewer = build(study.tmp / "west-files", recipe, tmp_path / "fewer", words=words)
    trained = train(
        [str(fewer), str(study.east)], str(tmp_path / "m"), TrainOptions(recipe), JobSettings(), quiet_console()
    )
    assert trained.manifest.labels == ("normal", "extrahls", "murmur", "artifact", "extrastole")


def test_datasets_with_other_frames(study: Study, recipe: Recipe, tmp_path: Path, in_process: None) -> None:
    finer = Recipe.model_validate({**recipe.model_dump(), "frames": {"delta_time_s": 0.05}})
    other = build(study.tmp / "west-files", finer, tmp_path / "finer")
    with pytest.raises(DatasetError, match=f"than the dataset {other} was built with"):
        train([str(study.east), str(other)], str(tmp_path / "o"), TrainOptions(recipe), JobSettings(), quiet_console())
    assert not (tmp_path / "o").exists()
