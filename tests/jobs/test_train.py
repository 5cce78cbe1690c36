"""Training: the same twice, honest about held-out rows, and the same when it serves."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from heartbeat_core.bundle import Bundle, load
from heartbeat_core.config import LABELS, Recipe
from heartbeat_core.dataset import Dataset
from heartbeat_core.errors import DatasetError, OutputError
from heartbeat_core.training import fit_scaler
from jobs.classify import classify
from jobs.dataset import DatasetOptions, build_dataset
from jobs.labels import read_labels
from jobs.settings import JobSettings
from jobs.train import TrainOptions, train
from tests.helpers import COUNTS, comparable, heart_bytes, read_rows, tree, write_csv

FILES = ["MODEL_CARD.md", "bundle.json", "holdout.parquet", "weights.safetensors"]


def holdout_rows(bundle: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.ParquetFile(bundle / "holdout.parquet").read().to_pylist()
    return rows


@pytest.fixture(scope="module")
def loaded(bundle: Path) -> Bundle:
    return load(str(bundle))


def test_a_bundle_holds_its_four_files(bundle: Path, loaded: Bundle) -> None:
    assert sorted(tree(bundle)) == FILES
    assert loaded.model_id == f"tiny@{loaded.manifest.digest}"
    assert loaded.manifest.trained_labels == ("normal", "extrahls", "murmur", "extrastole")
    assert loaded.manifest.labels == LABELS


def test_two_runs_give_the_same_bundle(dataset: Path, bundle: Path, tmp_path: Path, console: Console) -> None:
    options = TrainOptions(drop_labels=("artifact",), data="synthetic")
    train(str(dataset), str(tmp_path / "again"), options, JobSettings(), console)
    assert tree(tmp_path / "again") == tree(bundle)


def test_another_place_and_another_sharding_of_the_same_data_give_the_same_digest(
    library: Path, recipe: Recipe, bundle: Path, tmp_path: Path, console: Console, in_process: None
) -> None:
    shutil.copytree(library, tmp_path / "moved")
    labels = read_labels(str(tmp_path / "moved" / "labels.csv"), None, None, None)
    settings = JobSettings.model_validate({"shards": {"recordings": 5}})
    build_dataset(
        [str(tmp_path / "moved")],
        str(tmp_path / "dataset"),
        DatasetOptions(recipe, "padded", labels),
        settings,
        console,
    )
    options = TrainOptions(drop_labels=("artifact",), data="synthetic")
    trained = train(str(tmp_path / "dataset"), str(tmp_path / "bundle"), options, JobSettings(), console)
    assert trained.manifest.digest == load(str(bundle)).manifest.digest


def test_another_seed_gives_another_bundle(
    dataset: Path, recipe: Recipe, loaded: Bundle, tmp_path: Path, console: Console
) -> None:
    other = recipe.model_copy(update={"training": recipe.training.model_copy(update={"seed": 2})})
    options = TrainOptions(other, ("artifact",), "synthetic")
    trained = train(str(dataset), str(tmp_path / "other"), options, JobSettings(), console)
    assert trained.manifest.digest != loaded.manifest.digest


def test_no_patient_is_on_both_sides(dataset: Path, bundle: Path, library: Path) -> None:
    held_out = {row["audio_sha256"] for row in holdout_rows(bundle)}
    rows = [row for row in read_rows(dataset, "recordings") if row["label"] != "artifact"]
    outside = {row["patient_id"] for row in rows if row["audio_sha256"] in held_out} - {None}
    inside = {row["patient_id"] for row in rows if row["audio_sha256"] not in held_out} - {None}
    assert outside
    assert inside
    assert not outside & inside
    # Each patient has two recordings, so that a split by rows would part some of them.
    with (library / "labels.csv").open(newline="") as file:
        patients = [row["patient_id"] for row in csv.DictReader(file) if row["patient_id"]]
    assert len(patients) > 1.5 * len(set(patients))


def test_the_reference_is_not_held_out(dataset: Path, bundle: Path) -> None:
    facts = Dataset(str(dataset)).facts
    patients = {row["audio_sha256"]: row["patient_id"] for row in read_rows(dataset, "recordings")}
    reference_patient = patients[facts.reference_audio_sha256]
    for row in holdout_rows(bundle):
        assert row["audio_sha256"] != facts.reference_audio_sha256
        assert reference_patient is None or patients[row["audio_sha256"]] != reference_patient


def test_the_scaler_saw_training_rows_only(dataset: Path, bundle: Path, loaded: Bundle) -> None:
    held_out = {row["audio_sha256"] for row in holdout_rows(bundle)}
    rows = Dataset(str(dataset)).rows()
    kept = [
        i
        for i, (digest, code) in enumerate(zip(rows.audio_sha256, rows.codes, strict=True))
        if digest not in held_out and LABELS[code] != "artifact"
    ]
    training = rows.take(np.array(kept))
    assert len(training) == loaded.manifest.training_data.n_rows == loaded.manifest.holdout.n_training_rows
    scaler = fit_scaler(training.frames, training.offsets, len(loaded.reference))
    np.testing.assert_allclose(loaded.scaler.mean, scaler.mean, rtol=1e-12)
    np.testing.assert_allclose(loaded.scaler.scale, scaler.scale, rtol=1e-12)
    assert loaded.manifest.training_data.fingerprint == training.fingerprint()


def test_figures_are_those_of_the_held_out_rows(bundle: Path, loaded: Bundle) -> None:
    rows = holdout_rows(bundle)
    report = loaded.manifest.holdout
    assert report.n_holdout_rows == len(rows)
    assert report.n_training_rows + len(rows) == sum(COUNTS.values()) - COUNTS["artifact"]
    right = [row["label"] == row["predicted_label"] for row in rows]
    assert report.model.accuracy == pytest.approx(np.mean(right))
    assert report.majority_label == "normal"
    always = [row["label"] == "normal" for row in rows]
    assert report.majority_rule.accuracy == pytest.approx(np.mean(always))
    table = np.array(report.model.confusion_matrix)
    for i, label in enumerate(report.model.labels):
        for j, predicted in enumerate(report.model.labels):
            pairs = [row for row in rows if (row["label"], row["predicted_label"]) == (label, predicted)]
            assert table[i, j] == len(pairs)
    recalls = [
        np.mean([row["predicted_label"] == label for row in rows if row["label"] == label])
        for label in sorted({row["label"] for row in rows})
    ]
    assert report.model.balanced_accuracy == pytest.approx(np.mean(recalls))


def test_serving_gives_the_logits_of_training(
    library: Path, bundle: Path, tmp_path: Path, console: Console, in_process: None
) -> None:
    settings = JobSettings.model_validate({"model": str(bundle), "shards": {"recordings": 3}})
    classify([str(library)], str(tmp_path / "out"), settings, console)
    served = {row["audio_sha256"]: row for row in comparable(tmp_path / "out", "predictions").values()}
    rows = holdout_rows(bundle)
    assert len(rows) >= 4
    for row in rows:
        found = served[row["audio_sha256"]]
        np.testing.assert_allclose(found["logits"], row["logits"], rtol=0, atol=1e-4)
        assert found["predicted_label"] == row["predicted_label"]
    # The logits tell the recordings apart: the comparison is not one of constants.
    assert np.std([row["logits"][0] for row in rows]) > 1e-3


def test_the_card_states_figures_command_and_digest(bundle: Path, loaded: Bundle) -> None:
    card = (bundle / "MODEL_CARD.md").read_text()
    report = loaded.manifest.holdout
    assert f"| accuracy | {report.model.accuracy:.3f} | {report.majority_rule.accuracy:.3f} |" in card
    assert f"| balanced accuracy | {report.model.balanced_accuracy:.3f} |" in card
    assert f"| macro-F1 | {report.model.macro_f1:.3f} |" in card
    assert "heartbeat train DATASET -o tiny --drop-label artifact" in card
    assert '--data "synthetic"' in card
    assert loaded.manifest.digest in card
    assert "Never predicted, since no row of it was trained on: artifact." in card
    assert "Not a medical device." in card


def test_all_labels_are_trained_when_none_is_dropped(dataset: Path, tmp_path: Path, console: Console) -> None:
    trained = train(str(dataset), str(tmp_path / "all"), TrainOptions(), JobSettings(), console)
    assert trained.manifest.trained_labels == LABELS
    assert trained.manifest.training_data.description is None


def test_a_recipe_may_change_the_network_but_not_the_frames(
    dataset: Path, recipe: Recipe, tmp_path: Path, console: Console
) -> None:
    wide = Recipe.model_validate(
        {**recipe.model_dump(), "name": "wide", "network": {"hidden": [4, 4]}, "training": {"epochs": 1}}
    )
    trained = train(str(dataset), str(tmp_path / "wide"), TrainOptions(wide), JobSettings(), console)
    assert trained.manifest.name == "wide"
    assert trained.manifest.recipe == wide
    finer = Recipe.model_validate({**recipe.model_dump(), "name": "finer", "frames": {"delta_time_s": 0.05}})
    with pytest.raises(DatasetError, match=r"recipe 'finer' wants other frames .*\('tiny'\)"):
        train(str(dataset), str(tmp_path / "finer"), TrainOptions(finer), JobSettings(), console)
    assert not (tmp_path / "finer").exists()


def test_a_place_that_is_not_free_is_refused(dataset: Path, bundle: Path, tmp_path: Path, console: Console) -> None:
    before = tree(bundle)
    with pytest.raises(OutputError, match="is there already: name another place"):
        train(str(dataset), str(bundle), TrainOptions(), JobSettings(), console)
    assert tree(bundle) == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError):
        train(str(dataset), str(tmp_path / "file"), TrainOptions(), JobSettings(), console)
    assert (tmp_path / "file").read_text() == "mine"


def small_dataset(folder: Path, recipe: Recipe, console: Console, labels: dict[str, str]) -> str:
    (folder / "in").mkdir(parents=True)
    for number, name in enumerate(labels):
        (folder / "in" / name).write_bytes(heart_bytes("normal", number))
    write_csv(folder / "labels.csv", ("path", "label"), list(labels.items()))
    options = DatasetOptions(recipe, labels=read_labels(str(folder / "labels.csv"), None, None, None))
    build_dataset([str(folder / "in")], str(folder / "dataset"), options, JobSettings(), console)
    return str(folder / "dataset")


@pytest.mark.parametrize(
    ("labels", "drop", "told"),
    [
        ({"a.wav": "normal", "b.wav": "normal"}, (), r"two labels at least; .* are: 2 normal$"),
        ({"a.wav": "", "b.wav": ""}, (), r"two labels at least; .* are: none$"),
        ({"a.wav": "normal", "b.wav": "artifact"}, ("artifact",), r"without those dropped, are: 1 normal$"),
        ({"a.wav": "normal", "b.wav": "murmur"}, (), "2 patients are too few to hold out one of 5 folds"),
        (
            dict(zip((f"{n}.wav" for n in range(6)), LABELS * 2, strict=False)),
            (),
            "no label has the 5 rows that 5 folds need; the most is 2",
        ),
    ],
)
def test_a_dataset_that_cannot_be_trained_on(
    recipe: Recipe,
    console: Console,
    tmp_path: Path,
    in_process: None,
    labels: dict[str, str],
    drop: tuple[str, ...],
    told: str,
) -> None:
    made = small_dataset(tmp_path, recipe, console, labels)
    with pytest.raises(DatasetError, match=told):
        train(made, str(tmp_path / "bundle"), TrainOptions(drop_labels=drop), JobSettings(), console)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("missing", ["_SUCCESS", "_dataset.json", "_reference.safetensors", "_scaler.safetensors"])
def test_an_unfinished_dataset_is_refused(dataset: Path, tmp_path: Path, console: Console, missing: str) -> None:
    shutil.copytree(dataset, tmp_path / "dataset")
    (tmp_path / "dataset" / missing).unlink()
    with pytest.raises(DatasetError, match=f"is not a finished dataset .*{missing} is not there"):
        train(str(tmp_path / "dataset"), str(tmp_path / "bundle"), TrainOptions(), JobSettings(), console)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("_dataset.json", b"no json"),
        ("_dataset.json", b"[]"),
        ("_dataset.json", b'{"format": "heartbeat-dataset", "format_version": 99}'),
        ("_scaler.safetensors", b"damaged"),
        ("_reference.safetensors", b""),
        ("recordings/part-000001.parquet", b"PAR1"),
    ],
)
def test_a_damaged_dataset_is_refused(
    dataset: Path, tmp_path: Path, console: Console, name: str, content: bytes
) -> None:
    shutil.copytree(dataset, tmp_path / "dataset")
    (tmp_path / "dataset" / name).write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        train(str(tmp_path / "dataset"), str(tmp_path / "bundle"), TrainOptions(), JobSettings(), console)
    assert str(tmp_path / "dataset") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "bundle").exists()


def test_facts_name_packages_and_protocol(bundle: Path) -> None:
    content = json.loads((bundle / "bundle.json").read_text())
    assert {"python", "torch", "numpy", "scikit-learn"} <= set(content["packages"])
    assert "held out by patient" in content["holdout"]["protocol"]
    assert content["training_data"]["rows_by_label"].keys() == {"normal", "extrahls", "murmur", "extrastole"}
