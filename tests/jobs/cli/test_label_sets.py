"""Labels of any set, by the command line: from a label file to dataset, figures, model, predictions and exports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
from typer.testing import Result

from heartbeat_core.bundles.bundle import load
from heartbeat_core.datasets.dataset import Dataset
from tests.commands import done, refused
from tests.conftest import STATISTICS_RECIPE, TINY_RECIPE, without_cluster
from tests.helpers import heart_bytes, read_rows, write_csv

SOUNDS = {"AS": "murmur", "MR": "extrahls", "MS": "artifact"}
"""For each label, the synthetic sound that stands for it."""
LABELS = tuple(SOUNDS)
N_RECORDINGS = 45
CELLS = {9: "AS|MR", 12: "MR | AS", 15: "", 16: "", 17: "AS|MR|MS"}
"""Cells that are not one label, by the number of the recording; 9, 12 and 15 sound as AS does."""


def write_valves(folder: Path) -> list[tuple[str, str, str]]:
    """Write the recordings; returns path, cell and patient of each, three recordings a patient."""
    folder.mkdir(parents=True)
    rows = []
    for number in range(N_RECORDINGS):
        name, label = f"{number:02d}.wav", LABELS[number % 3]
        (folder / name).write_bytes(heart_bytes(SOUNDS[label], number, 1.2 + 0.01 * number))
        rows.append((name, CELLS.get(number, label), f"{label}-{number // 9}"))
    return rows


@dataclass(frozen=True)
class Workflow:
    """The place of every step of the workflow, and what the steps printed."""

    tmp: Path
    built: Result
    judged: Result
    trained: Result
    classified: Result

    @property
    def recordings(self) -> Path:
        return self.tmp / "in"


@pytest.fixture(scope="module")
def workflow(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    tmp = tmp_path_factory.mktemp("valves")
    rows = write_valves(tmp / "in")
    labels = write_csv(tmp / "valves.csv", ("file", "valve", "patient"), rows)
    recipe = tmp / "statistics.yaml"
    recipe.write_text(STATISTICS_RECIPE)
    with pytest.MonkeyPatch.context() as monkeypatch:
        without_cluster(monkeypatch)
        return Workflow(
            tmp,
            done(
                *("build-dataset", tmp / "in", "-o", tmp / "dataset", "--recipe", recipe, "--labels", labels),
                *("--label-column", "valve"),
            ),
            done(
                *("evaluate", tmp / "dataset", "-o", tmp / "judged", "--recipe", recipe, "--without", "ms"),
                *("--folds", 3, "--seeds", 1),
            ),
            done("train", tmp / "dataset", "-o", tmp / "model", "--recipe", recipe),
            done("classify", tmp / "in", "-o", tmp / "out", "--model", tmp / "model"),
        )


# The dataset.


def test_the_dataset_keeps_labels_and_cells(workflow: Workflow) -> None:
    facts = Dataset(str(workflow.tmp / "dataset")).facts
    assert facts.labels == LABELS
    rows = sorted(read_rows(workflow.tmp / "dataset", "recordings"), key=lambda row: row["uri"])
    expected = [CELLS.get(number, LABELS[number % 3]) for number in range(N_RECORDINGS)]
    expected[12] = "AS|MR"
    assert [row["label"] for row in rows] == [cell or None for cell in expected]
    assert [row["label_code"] for row in rows] == [LABELS.index(cell) if cell in LABELS else None for cell in expected]
    assert facts.rows_by_label == {"AS": 12, "MR": 14, "MS": 14, "AS|MR": 2, "AS|MR|MS": 1}


def test_labels_and_their_counts_are_printed(workflow: Workflow) -> None:
    lines = workflow.built.stdout.splitlines()
    assert [line.split() for line in lines[1:6]] == [
        ["12", "AS"],
        ["14", "MR"],
        ["14", "MS"],
        ["2", "AS|MR"],
        ["1", "AS|MR|MS"],
    ]
    assert "labels, in the order of their codes: AS, MR, MS" in lines
    assert "         2 recordings without a label" in lines


def test_rows_that_say_nothing_are_not_labelled(workflow: Workflow) -> None:
    labelled = Dataset(str(workflow.tmp / "dataset")).labelled()
    names = {uri.rpartition("/")[2] for uri in labelled.uri}
    assert names == {f"{number:02d}.wav" for number in range(N_RECORDINGS) if number not in (15, 16, 17)}
    assert (labelled.codes < 0).sum() == 2


# The evaluation.


def test_figures_and_predictions_are_of_these_labels(workflow: Workflow) -> None:
    figures = json.loads((workflow.tmp / "judged/figures.json").read_text())
    assert [(one["task"], one["judgement"]["labels"]) for one in figures["recipes"]] == [
        ("3 classes", ["AS", "MR", "MS"]),
        ("2 classes", ["AS", "MR"]),
    ]
    # Cells of several labels decide nothing of the plain figures: 42 labelled rows, two of them such.
    assert [one["judgement"]["n_rows"] for one in figures["recipes"]] == [40, 26]
    table = pq.read_table(workflow.tmp / "judged/predictions/tiny-statistics.parquet")
    chances = [name for name in table.column_names if name.startswith("prob_")]
    assert chances == ["prob_AS", "prob_MR", "prob_MS"]
    for text in ("3 classes", "2 classes"):
        assert text in workflow.judged.stdout


def test_a_cell_that_says_which_labels_it_is_not_counts_among_the_rest(workflow: Workflow) -> None:
    """A row of AS or MR is a row without MS."""
    figures = json.loads((workflow.tmp / "judged/figures.json").read_text())
    [of_all] = [one for one in figures["recipes"] if one["task"] == "3 classes"]
    counted = {
        one["label"]: (one["pooled"]["n_positive"], one["pooled"]["n_negative"]) for one in of_all["against_rest"]
    }
    assert counted == {"AS": (12, 28), "MR": (14, 26), "MS": (14, 28)}


# The model.


def test_the_bundle_has_the_labels(workflow: Workflow) -> None:
    manifest = load(str(workflow.tmp / "model")).manifest
    assert manifest.labels == manifest.trained_labels == LABELS
    # Rows of several labels are trained on, too.
    n_rows = sum(manifest.training_data.rows_by_label.values())
    assert manifest.holdout is not None
    assert n_rows + manifest.holdout.n_holdout_rows == 42 - holdout_undecided(workflow)
    assert "Labels: AS, MR, MS." in (workflow.tmp / "model/MODEL_CARD.md").read_text()
    assert "AS" in workflow.trained.stdout


def holdout_undecided(workflow: Workflow) -> int:
    """Return how many of the rows that were held out allow several labels; the figures do not count them."""
    labels = pq.read_table(workflow.tmp / "model/holdout.parquet").column("label").to_pylist()
    return sum("|" in label for label in labels)


def test_predictions_have_a_column_for_each_label(workflow: Workflow) -> None:
    rows = read_rows(workflow.tmp / "out", "predictions")
    assert len(rows) == N_RECORDINGS
    assert [name for name in rows[0] if name.startswith("prob_")] == ["prob_AS", "prob_MR", "prob_MS"]
    for row in rows:
        chances = [row[f"prob_{label}"] for label in LABELS]
        assert sum(chances) == pytest.approx(1)
        assert row["predicted_label"] == LABELS[row["predicted_code"]]
        assert len(row["logits"]) == 3
    # The model has learned the labels by their names and not only by their number.
    right = [row["predicted_label"] == LABELS[int(row["uri"][-6:-4]) % 3] for row in rows]
    assert np.mean(right) > 0.8
    assert {line.split()[1] for line in workflow.classified.stdout.splitlines()[1:4]} <= set(LABELS)


def test_predict_says_the_same(workflow: Workflow) -> None:
    stored = {row["uri"]: row for row in read_rows(workflow.tmp / "out", "predictions")}
    row = json.loads(
        done("predict", workflow.recordings / "01.wav", "--model", workflow.tmp / "model", "--json").stdout
    )
    assert tuple(row["probabilities"]) == LABELS
    assert row["predicted_label"] == stored[row["uri"]]["predicted_label"]
    for label, chance in row["probabilities"].items():
        assert chance == pytest.approx(stored[row["uri"]][f"prob_{label}"], abs=1e-6)


def test_the_exported_network_has_the_labels(workflow: Workflow, tmp_path: Path) -> None:
    done("export", workflow.tmp / "model", "-o", tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    properties = {one.key: one.value for one in model.metadata_props}
    assert json.loads(properties["labels"]) == list(LABELS)
    [width] = [one.type.tensor_type.shape.dim[1].dim_value for one in model.graph.output if one.name == "probabilities"]
    assert width == 3


@pytest.mark.parametrize(("option", "command"), [("--drop-label", "train"), ("--without", "evaluate")])
def test_a_label_to_leave_out_must_be_one_of_the_datasets(
    workflow: Workflow, tmp_path: Path, option: str, command: str
) -> None:
    recipe = ("--recipe", workflow.tmp / "statistics.yaml")
    line = refused(command, workflow.tmp / "dataset", "-o", tmp_path / "o", *recipe, option, "murmur")
    assert line == f"{option}: 'murmur' is not a label; the labels are AS, MR, MS"
    assert not (tmp_path / "o").exists()


# Which labels, and in which order.


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of six short recordings, two for each label."""
    folder = tmp_path_factory.mktemp("few")
    for label in LABELS:
        (folder / "in" / label).mkdir(parents=True)
        for number in range(2):
            (folder / "in" / label / f"{label}{number}.wav").write_bytes(heart_bytes("normal", number))
    return folder


def write_labels(folder: Path, cells: Sequence[str]) -> Path:
    names = [f"{label}{number}.wav" for label in LABELS for number in range(2)]
    return write_csv(folder / "labels.csv", ("path", "label"), list(zip(names, cells, strict=True)))


def labels_of(out: Path) -> tuple[str, ...]:
    return Dataset(str(out)).facts.labels


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY_RECIPE)
    return path


def test_the_order_of_the_labels_can_be_declared(few: Path, recipe: Path, tmp_path: Path, in_process: None) -> None:
    labels = write_labels(tmp_path, ["AS", "as", "MR", "MR", "MS", "MS|AS"])
    build = ("build-dataset", few / "in", "--labels", labels)
    result = done(*build, "-o", tmp_path / "declared", "--recipe", recipe, "--labels-are", "MS, AS,MR,PS")
    assert labels_of(tmp_path / "declared") == ("MS", "AS", "MR", "PS")
    assert "labels, in the order of their codes: MS, AS, MR, PS" in result.stdout
    cells = {
        row["uri"][-7:]: (row["label"], row["label_code"]) for row in read_rows(tmp_path / "declared", "recordings")
    }
    assert cells["AS1.wav"] == ("AS", 1)
    assert cells["MS1.wav"] == ("MS|AS", None)
    # The recipe may say so, too, and the option overrules it.
    recipe.write_text(TINY_RECIPE + "labels: [MR, MS, AS]\n")
    done(*build, "-o", tmp_path / "by-recipe", "--recipe", recipe)
    assert labels_of(tmp_path / "by-recipe") == ("MR", "MS", "AS")
    done(*build, "-o", tmp_path / "by-option", "--recipe", recipe, "--labels-are", "AS,MR,MS")
    facts = Dataset(tmp_path / "by-option").facts
    assert facts.labels == facts.recipe.labels == ("AS", "MR", "MS")
    # A model of this recipe needs a dataset with its labels, and so does its evaluation.
    for command in ("train", "evaluate"):
        line = refused(command, tmp_path / "by-option", "-o", tmp_path / command, "--recipe", recipe)
        assert line == (
            "recipe 'tiny' wants the labels MR, MS, AS, and the datasets have AS, MR, MS: build them with --recipe tiny"
        )


def test_labels_among_the_originals_are_these_five_and_not_printed(
    few: Path, recipe: Path, tmp_path: Path, in_process: None
) -> None:
    labels = write_labels(tmp_path, ["normal", "Normal", "murmur", "murmur", "", "normal|murmur"])
    result = done("build-dataset", few / "in", "--labels", labels, "-o", tmp_path / "d", "--recipe", recipe)
    assert labels_of(tmp_path / "d") == ("normal", "extrahls", "murmur", "artifact", "extrastole")
    assert "in the order of their codes" not in result.stdout


@pytest.mark.parametrize(
    ("cells", "options", "told"),
    [
        (
            ["mitral stenosis", *["AS"] * 5],
            (),
            "labels.csv, row 1: 'mitral stenosis' cannot be a label, because it is to be a part of a column's name "
            "(prob_…): use at most 63 letters of English, digits and '_', or a --label-map that turns it into such a "
            "name",
        ),
        (
            ["AS", "MR", "MS", "AS", "MR", "MS"],
            ("--labels-are", "AS,MR"),
            "labels.csv: the label 'MS' is not one of those of --labels-are (AS, MR): add it there, or turn it into "
            "one of them with --label-map",
        ),
        (
            ["present", "absent", "", "", "", "perhaps"],
            ("--label-map", "circor-murmur"),
            "labels.csv, row 6: the label map circor-murmur does not have the word 'perhaps': it has murmur, present, "
            "normal, no_murmur, absent, unknown",
        ),
        (
            ["AS"] * 6,
            ("--label-map", "circor"),
            "unknown label map 'circor': shipped ones are cinc2016, circor-murmur, circor-outcome, pascal, or give a "
            ".yaml file",
        ),
    ],
)
def test_labels_that_are_refused(
    few: Path, recipe: Path, tmp_path: Path, cells: list[str], options: tuple[str, ...], told: str
) -> None:
    labels = write_labels(tmp_path, cells)
    line = refused("build-dataset", few / "in", "-o", tmp_path / "d", "--recipe", recipe, "--labels", labels, *options)
    assert line.removeprefix(f"{tmp_path}/") == told
    assert not (tmp_path / "d").exists()


def test_a_label_map_of_ones_own(few: Path, recipe: Path, tmp_path: Path, in_process: None) -> None:
    words = tmp_path / "words.yaml"
    words.write_text("labels: {mitral stenosis: MS, aortic stenosis: AS, some stenosis: AS|MS, unclear:}\n")
    cells = ["Mitral stenosis", "aortic stenosis", "some stenosis", "unclear", "", "mitral stenosis "]
    build = ("build-dataset", few / "in", "--recipe", recipe, "--label-map", words)
    done(*build, "-o", tmp_path / "d", "--labels", write_labels(tmp_path, cells))
    facts = Dataset(str(tmp_path / "d")).facts
    assert facts.labels == ("AS", "MS")
    assert facts.rows_by_label == {"AS": 1, "MS": 2, "AS|MS": 1}
    line = refused(*build, "-o", tmp_path / "e", "--labels", write_labels(tmp_path, ["healthy", *cells[1:]]))
    assert line == (
        f"{tmp_path}/labels.csv, row 1: the label map {words} does not have the word 'healthy': it has mitral "
        "stenosis, aortic stenosis, some stenosis, unclear"
    )
    words.write_text("labels: {no: AS}\n")
    line = refused(*build, "-o", tmp_path / "e", "--labels", write_labels(tmp_path, cells))
    assert f"{words}: " in line
    assert "False is not a word in YAML: put it into quotes, as it is in the source" in line


def test_labels_from_the_names_of_folders(few: Path, recipe: Path, tmp_path: Path, in_process: None) -> None:
    build = ("build-dataset", few / "in", "--recipe", recipe, "--label-from", "parent-folder")
    result = done(*build, "-o", tmp_path / "d")
    facts = Dataset(str(tmp_path / "d")).facts
    assert facts.labels == LABELS
    assert facts.rows_by_label == {"AS": 2, "MR": 2, "MS": 2}
    assert "labels, in the order of their codes: AS, MR, MS" in result.stdout
    done(*build, "-o", tmp_path / "e", "--labels-are", "MS,MR,AS")
    assert labels_of(tmp_path / "e") == ("MS", "MR", "AS")
    assert {row["label_code"] for row in read_rows(tmp_path / "e", "recordings") if row["label"] == "AS"} == {2}


def test_a_label_map_without_labels_is_refused(few: Path, recipe: Path, tmp_path: Path) -> None:
    build = ("build-dataset", few / "in", "--recipe", recipe, "-o", tmp_path / "d")
    line = refused(*build, "--label-map", "pascal")
    assert line == "--label-map needs labels: give one of --labels, --database and --label-from"
    assert not (tmp_path / "d").exists()


def test_another_order_of_the_labels_is_another_dataset(
    few: Path, recipe: Path, tmp_path: Path, in_process: None
) -> None:
    build = ("build-dataset", few / "in", "--recipe", recipe, "--label-from", "parent-folder", "-o", tmp_path / "d")
    done(*build)
    line = refused(*build, "--labels-are", "MS,MR,AS")
    assert "holds another job (--labels-are or --label-map: " in line
    done(*build)
