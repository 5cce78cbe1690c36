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

from heartbeat_core.alignment.scaling import fit_scaler
from heartbeat_core.bundles.bundle import Bundle, load
from heartbeat_core.datasets.dataset import Dataset
from heartbeat_core.errors import ConfigError, DatasetError, InputError, JobError, OutputError, StorageError
from heartbeat_core.evaluation.figures import Evaluation, HoldoutReport
from heartbeat_core.labels import ORIGINAL_LABELS
from heartbeat_core.learning.aligned import AlignedModel
from heartbeat_core.learning.fit import Examples, fit
from heartbeat_core.learning.vectors import VectorModel
from heartbeat_core.recipe import Recipe
from heartbeat_core.results.schema import SCHEMA_VERSION
from heartbeat_core.settings import parse_settings
from jobs.drivers.build_dataset import DatasetOptions, build_dataset
from jobs.drivers.classify import classify
from jobs.drivers.train import TrainOptions, train
from jobs.listing.labels import read_labels
from jobs.settings import JobSettings
from jobs.tasks.extract import input_key, read_inputs
from tests.conftest import fill_disk, quiet_console, watched, without_cluster
from tests.helpers import COUNTS, WARD_ROWS, comparable, heart_bytes, read_rows, tree, write_csv

FILES = ["MODEL_CARD.md", "bundle.json", "holdout.parquet", "weights.safetensors"]


def holdout_rows(bundle: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.ParquetFile(bundle / "holdout.parquet").read().to_pylist()
    return rows


def report_of(bundle: Bundle) -> HoldoutReport:
    assert bundle.manifest.holdout is not None
    return bundle.manifest.holdout


@pytest.fixture(scope="module")
def loaded(bundle: Path) -> Bundle:
    return load(str(bundle))


def test_a_bundle_holds_its_four_files(bundle: Path, loaded: Bundle) -> None:
    assert sorted(tree(bundle)) == FILES
    assert loaded.model_id == f"tiny@{loaded.manifest.digest}"
    assert loaded.manifest.trained_labels == ("normal", "extrahls", "murmur", "extrastole")
    assert loaded.manifest.labels == ORIGINAL_LABELS


def test_the_held_out_rows_name_their_schema_and_their_model_alone(bundle: Path, loaded: Bundle) -> None:
    assert pq.read_schema(bundle / "holdout.parquet").metadata == {
        b"heartbeat.schema_version": str(SCHEMA_VERSION).encode(),
        b"heartbeat.model_id": loaded.model_id.encode(),
    }


def test_two_runs_give_the_same_bundle(dataset: Path, bundle: Path, tmp_path: Path, console: Console) -> None:
    options = TrainOptions(drop_labels=("artifact",), data="synthetic")
    train([str(dataset)], str(tmp_path / "again"), options, JobSettings(), console)
    assert tree(tmp_path / "again") == tree(bundle)


def test_another_place_and_another_sharding_of_the_same_data_give_the_same_digest(
    library: Path, recipe: Recipe, bundle: Path, tmp_path: Path, console: Console, in_process: None
) -> None:
    shutil.copytree(library, tmp_path / "moved")
    labels = read_labels(str(tmp_path / "moved" / "labels.csv"))
    settings = JobSettings.model_validate({"shards": {"recordings": 5}})
    build_dataset(
        [str(tmp_path / "moved")],
        str(tmp_path / "dataset"),
        DatasetOptions(recipe, "padded", labels),
        settings,
        console,
    )
    options = TrainOptions(drop_labels=("artifact",), data="synthetic")
    trained = train([str(tmp_path / "dataset")], str(tmp_path / "bundle"), options, JobSettings(), console)
    assert trained.manifest.digest == load(str(bundle)).manifest.digest


def test_another_seed_gives_another_bundle(
    dataset: Path, recipe: Recipe, loaded: Bundle, tmp_path: Path, console: Console
) -> None:
    other = recipe.model_copy(update={"training": recipe.training.model_copy(update={"seed": 2})})
    options = TrainOptions(other, ("artifact",), "synthetic")
    trained = train([str(dataset)], str(tmp_path / "other"), options, JobSettings(), console)
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


def test_the_references_patient_is_not_held_out_though_the_reference_has_no_label(
    recipe: Recipe, tmp_path: Path, console: Console, in_process: None
) -> None:
    """All rows were compared with it, and of the patient's other recordings some would be."""
    (tmp_path / "in").mkdir()
    rows = [("0-long.wav", "", "p0")]
    rows += [(f"{n}.wav", ("normal", "murmur")[n % 2], f"p{n // 2}") for n in range(20)]
    for number, (name, *_) in enumerate(rows):
        (tmp_path / "in" / name).write_bytes(heart_bytes("normal", number, 1.0 if number else 2.0))
    write_csv(tmp_path / "labels.csv", ("path", "label", "patient_id"), rows)
    options = DatasetOptions(recipe, labels=read_labels(str(tmp_path / "labels.csv")))
    build_dataset([str(tmp_path / "in")], str(tmp_path / "dataset"), options, JobSettings(), console)
    built = read_rows(tmp_path / "dataset", "recordings")
    patients, labels = ({row["audio_sha256"]: row[name] for row in built} for name in ("patient_id", "label"))
    assert patients[Dataset(str(tmp_path / "dataset")).facts.reference_audio_sha256] == "p0"
    for seed in range(5):
        other = recipe.model_copy(update={"training": recipe.training.model_copy(update={"seed": seed, "epochs": 1})})
        out = tmp_path / f"model-{seed}"
        train([str(tmp_path / "dataset")], str(out), TrainOptions(other), JobSettings(), console)
        assert "p0" not in {patients[row["audio_sha256"]] for row in holdout_rows(out)}
        # A row without a label takes no part, and shifts none of the others.
        assert {row["audio_sha256"]: row["label"] for row in holdout_rows(out)}.items() <= labels.items()
        assert load(str(out)).manifest.training_data.n_rows == 20 - len(holdout_rows(out))
        assert "the reference itself being no labelled row" in report_of(load(str(out))).protocol


def test_the_scaler_saw_training_rows_only(dataset: Path, bundle: Path, loaded: Bundle) -> None:
    held_out = {row["audio_sha256"] for row in holdout_rows(bundle)}
    rows = Dataset(str(dataset)).rows()
    kept = [
        i
        for i, (digest, code) in enumerate(zip(rows.audio_sha256, rows.codes, strict=True))
        if digest not in held_out and ORIGINAL_LABELS[code] != "artifact"
    ]
    training = rows.take(np.array(kept))
    assert len(training) == loaded.manifest.training_data.n_rows == report_of(loaded).n_training_rows
    scaler = fit_scaler(training.frames, training.offsets, len(loaded.reference))
    assert isinstance(loaded.model, AlignedModel)
    np.testing.assert_allclose(loaded.model.aligner.scaler.mean, scaler.mean, rtol=1e-12)
    np.testing.assert_allclose(loaded.model.aligner.scaler.scale, scaler.scale, rtol=1e-12)
    assert loaded.manifest.training_data.fingerprint == training.fingerprint()


def test_figures_are_those_of_the_held_out_rows(bundle: Path, loaded: Bundle) -> None:
    rows = holdout_rows(bundle)
    report = report_of(loaded)
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


@pytest.mark.parametrize(("model", "recordings"), [("bundle", "library"), ("statistics_bundle", "ward")])
def test_serving_gives_the_logits_of_training(
    model: str, recordings: str, request: pytest.FixtureRequest, tmp_path: Path, console: Console, in_process: None
) -> None:
    place = request.getfixturevalue(model)
    settings = JobSettings.model_validate({"model": str(place), "shards": {"recordings": 7}})
    classify([str(request.getfixturevalue(recordings))], str(tmp_path / "out"), settings, console)
    served = {row["audio_sha256"]: row for row in comparable(tmp_path / "out", "predictions").values()}
    rows = holdout_rows(place)
    assert len(rows) >= 4
    for row in rows:
        found = served[row["audio_sha256"]]
        np.testing.assert_allclose(found["logits"], row["logits"], rtol=0, atol=1e-4)
        assert found["predicted_label"] == row["predicted_label"]
    # The logits tell the recordings apart: the comparison is not one of constants.
    assert np.std([row["logits"][0] for row in rows]) > 1e-3


def test_the_card_states_figures_command_and_digest(bundle: Path, loaded: Bundle) -> None:
    card = (bundle / "MODEL_CARD.md").read_text()
    report = report_of(loaded)
    assert f"| accuracy | {report.model.accuracy:.3f} | {report.majority_rule.accuracy:.3f} |" in card
    assert f"| balanced accuracy | {report.model.balanced_accuracy:.3f} |" in card
    assert f"| macro-F1 | {report.model.macro_f1:.3f} |" in card
    assert "heartbeat train DATASET -o tiny --drop-label artifact" in card
    assert '--data "synthetic"' in card
    assert loaded.manifest.digest in card
    assert "Never predicted, since no row of it was trained on: artifact." in card
    assert "Not a medical device." in card


def test_all_labels_are_trained_when_none_is_dropped(dataset: Path, tmp_path: Path, console: Console) -> None:
    trained = train([str(dataset)], str(tmp_path / "all"), TrainOptions(), JobSettings(), console)
    assert trained.manifest.trained_labels == ORIGINAL_LABELS
    assert trained.manifest.training_data.description is None


def test_a_recipe_may_change_the_network_but_not_the_frames(
    dataset: Path, recipe: Recipe, tmp_path: Path, console: Console
) -> None:
    wide = Recipe.model_validate(
        {**recipe.model_dump(), "name": "wide", "network": {"hidden": [4, 4]}, "training": {"epochs": 1}}
    )
    trained = train([str(dataset)], str(tmp_path / "wide"), TrainOptions(wide), JobSettings(), console)
    assert trained.manifest.name == "wide"
    assert trained.manifest.recipe == wide
    finer = Recipe.model_validate({**recipe.model_dump(), "name": "finer", "frames": {"delta_time_s": 0.05}})
    with pytest.raises(DatasetError, match=r"recipe 'finer' wants other frames .*\('tiny'\)"):
        train([str(dataset)], str(tmp_path / "finer"), TrainOptions(finer), JobSettings(), console)
    assert not (tmp_path / "finer").exists()


@pytest.mark.parametrize(
    ("out", "told"),
    [
        ("memory://model", "^memory://model: no worker sees the memory of this process"),
        ("/", "^/: the root of the file system is no output"),
        ("s3://b//model", "'//' in a path"),
    ],
)
def test_a_place_that_can_hold_no_bundle_is_refused(dataset: Path, out: str, told: str, console: Console) -> None:
    with pytest.raises(OutputError, match=told):
        train([str(dataset)], out, TrainOptions(), JobSettings(), console)


def test_the_root_is_named_where_it_is_no_dataset(tmp_path: Path, console: Console) -> None:
    with pytest.raises(DatasetError, match=r"^/ is not a finished dataset "):
        train(["/"], str(tmp_path / "model"), TrainOptions(), JobSettings(), console)


def test_a_place_that_is_not_free_is_refused(dataset: Path, bundle: Path, tmp_path: Path, console: Console) -> None:
    before = tree(bundle)
    with pytest.raises(OutputError, match="is there already: name another place"):
        train([str(dataset)], str(bundle), TrainOptions(), JobSettings(), console)
    assert tree(bundle) == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError):
        train([str(dataset)], str(tmp_path / "file"), TrainOptions(), JobSettings(), console)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_disk_that_is_full_after_the_training_is_no_wrong_usage(
    dataset: Path, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_disk(monkeypatch, "/weights.safetensors")
    with pytest.raises(StorageError, match=r"weights\.safetensors: cannot be written: No space left on device"):
        train([str(dataset)], str(tmp_path / "model"), TrainOptions(), JobSettings(), console)


def test_lost_workers_are_told_while_inputs_are_computed(
    ward_dataset: Path, tmp_path: Path, statistics_recipe: Recipe, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_cluster(monkeypatch)
    seen = watched(monkeypatch, "jobs.drivers.train.run_tasks")
    train([str(ward_dataset)], str(tmp_path / "model"), TrainOptions(statistics_recipe), JobSettings(), console)
    assert seen == ["watch", "work", "end"]


def small_dataset(folder: Path, recipe: Recipe, console: Console, labels: dict[str, str]) -> str:
    (folder / "in").mkdir(parents=True)
    for number, name in enumerate(labels):
        (folder / "in" / name).write_bytes(heart_bytes("normal", number))
    write_csv(folder / "labels.csv", ("path", "label"), list(labels.items()))
    options = DatasetOptions(recipe, labels=read_labels(str(folder / "labels.csv")))
    build_dataset([str(folder / "in")], str(folder / "dataset"), options, JobSettings(), console)
    return str(folder / "dataset")


def test_the_person_of_the_reference_is_kept_in_training_who_shares_a_recording(
    tmp_path: Path, recipe: Recipe, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The patient with the longest recording, z, has one in common with a: both are one person."""
    (tmp_path / "in").mkdir()
    rows = [(f"{n}.wav", ("normal", "murmur")[n % 2], name) for n, name in enumerate("aabbccddeeffggzz")]
    for number, (name, label, _) in enumerate(rows):
        content = heart_bytes(label, number, 2.5 if number == 15 else 1.5)
        (tmp_path / "in" / name).write_bytes(heart_bytes("normal", 0) if number == 14 else content)
    write_csv(tmp_path / "labels.csv", ("path", "label", "patient_id"), rows)
    options = DatasetOptions(recipe, labels=read_labels(str(tmp_path / "labels.csv")))
    build_dataset([str(tmp_path / "in")], str(tmp_path / "dataset"), options, JobSettings(), console)
    from jobs.drivers import train as driver

    split = driver.holdout_split
    kept: list[int] = []

    def see(strata: Any, groups: Any, n_folds: int, seed: int, always: str) -> Any:
        kept.append(groups.count(always))
        return split(strata, groups, n_folds, seed, always)

    monkeypatch.setattr(driver, "holdout_split", see)
    train([str(tmp_path / "dataset")], str(tmp_path / "model"), TrainOptions(), JobSettings(), console)
    assert kept == [4]


@pytest.mark.parametrize(
    ("labels", "drop", "told"),
    [
        ({"a.wav": "normal", "b.wav": "normal"}, (), r"at least two labels; .* are: 2 normal$"),
        ({"a.wav": "", "b.wav": ""}, (), r"at least two labels; .* are: none$"),
        ({"a.wav": "normal", "b.wav": "artifact"}, ("artifact",), r"without those dropped, are: 1 normal$"),
        ({"a.wav": "normal", "b.wav": "murmur"}, (), "2 patients are too few to hold out one of 5 folds"),
        (
            dict(zip((f"{n}.wav" for n in range(6)), ORIGINAL_LABELS * 2, strict=False)),
            (),
            "no label has the 5 rows that 5 folds need; the most is 2",
        ),
        (
            {"0.wav": "normal", "1.wav": "murmur"} | {f"{n}.wav": "normal|extrahls" for n in range(2, 12)},
            (),
            "none of the 2 rows that would be held out has a known label",
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
        train([made], str(tmp_path / "bundle"), TrainOptions(drop_labels=drop), JobSettings(), console)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("missing", ["_SUCCESS", "_dataset.json", "_reference.safetensors", "_scaler.safetensors"])
def test_an_unfinished_dataset_is_refused(dataset: Path, tmp_path: Path, console: Console, missing: str) -> None:
    shutil.copytree(dataset, tmp_path / "dataset")
    (tmp_path / "dataset" / missing).unlink()
    with pytest.raises(DatasetError, match=f"is not a finished dataset .*{missing} is not there"):
        train([str(tmp_path / "dataset")], str(tmp_path / "bundle"), TrainOptions(), JobSettings(), console)


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
        train([str(tmp_path / "dataset")], str(tmp_path / "bundle"), TrainOptions(), JobSettings(), console)
    assert str(tmp_path / "dataset") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "bundle").exists()


def test_facts_name_packages_and_protocol(bundle: Path) -> None:
    content = json.loads((bundle / "bundle.json").read_text())
    assert {"python", "torch", "numpy", "scikit-learn"} <= set(content["packages"])
    assert "held out by patient" in content["holdout"]["protocol"]
    assert "the alignment reference and its patient among these" in content["holdout"]["protocol"]
    assert content["training_data"]["rows_by_label"].keys() == {"normal", "extrahls", "murmur", "extrastole"}


# A model of summary statistics.


@pytest.fixture(scope="module")
def of_statistics(statistics_bundle: Path) -> Bundle:
    return load(str(statistics_bundle))


def statistics_rows(dataset: Path, evaluation: Path, recipe: Recipe) -> tuple[list[str], Examples]:
    """Return the digests of the dataset's rows, and what the recipe reads of them."""
    labelled = Dataset(str(dataset)).labelled()
    inputs = read_inputs(f"file://{evaluation}", input_key(recipe), 2)
    return labelled.audio_sha256, Examples(inputs, labelled.targets, labelled.groups)


def test_a_bundle_of_statistics_holds_its_files_and_facts(
    statistics_bundle: Path, of_statistics: Bundle, statistics_recipe: Recipe
) -> None:
    assert sorted(tree(statistics_bundle)) == FILES
    manifest = of_statistics.manifest
    assert manifest.recipe == statistics_recipe
    assert manifest.trained_labels == ORIGINAL_LABELS
    assert manifest.cross_validation is None
    assert of_statistics.vectors == ("statistics",)
    report = report_of(of_statistics)
    assert report.n_training_rows + report.n_holdout_rows == WARD_ROWS
    assert report.n_holdout_rows == len(holdout_rows(statistics_bundle))
    card = (statistics_bundle / "MODEL_CARD.md").read_text()
    assert "on 392 values of `statistics` (`pcg-stats-v1`)" in card
    assert (
        f"`low_confidence`: the predicted label's probability is below {manifest.sureness.min_confidence:.3f}" in card
    )
    assert f"above {manifest.sureness.max_distance:.3f}" in card


def test_what_is_fitted_is_fitted_to_the_training_rows(
    statistics_bundle: Path,
    of_statistics: Bundle,
    ward_dataset: Path,
    evaluation: Path,
    statistics_recipe: Recipe,
) -> None:
    """Scaler, temperature, and what counts as sure: each from the rows that were not held out, and from all of them."""
    digests, rows = statistics_rows(ward_dataset, evaluation, statistics_recipe)
    held_out = {row["audio_sha256"] for row in holdout_rows(statistics_bundle)}
    training = rows.take(np.array([i for i, digest in enumerate(digests) if digest not in held_out]))
    assert len(training) == report_of(of_statistics).n_training_rows
    assert not set(training.groups) & {
        group for group, digest in zip(rows.groups, digests, strict=True) if digest in held_out
    }
    assert isinstance(of_statistics.model, VectorModel)
    model = of_statistics.model
    vectors = np.concatenate(training.inputs).astype(np.float64)
    np.testing.assert_allclose(model.scaler.mean, vectors.mean(axis=0), rtol=1e-9)
    expected = fit(statistics_recipe, training, statistics_recipe.training.seed)
    assert of_statistics.manifest.decision == expected.decision
    assert expected.decision.temperature != 1.0
    sureness = of_statistics.manifest.sureness
    assert 0 < sureness.min_confidence == expected.limits.min_confidence
    distances = model.distances(training.inputs)
    assert sureness.max_distance is not None
    assert np.mean(distances > sureness.max_distance) == pytest.approx(0.005, abs=1 / len(training))


def test_two_runs_give_the_same_bundle_of_statistics(
    ward_dataset: Path,
    statistics_recipe: Recipe,
    statistics_bundle: Path,
    tmp_path: Path,
    console: Console,
    in_process: None,
) -> None:
    train([str(ward_dataset)], str(tmp_path / "again"), TrainOptions(statistics_recipe), JobSettings(), console)
    assert tree(tmp_path / "again") == tree(statistics_bundle)


def test_statistics_of_recordings_that_have_changed(
    ward: Path, recipe: Recipe, statistics_recipe: Recipe, tmp_path: Path, console: Console, in_process: None
) -> None:
    shutil.copytree(ward, tmp_path / "ward")
    options = DatasetOptions(recipe, labels=read_labels(str(tmp_path / "ward/labels.csv")))
    build_dataset([str(tmp_path / "ward")], str(tmp_path / "dataset"), options, JobSettings(), console)
    shutil.copy(ward / "03.wav", tmp_path / "ward/41.wav")
    with pytest.raises(JobError, match=r"41\.wav: changed since the dataset was built"):
        train(
            [str(tmp_path / "dataset")],
            str(tmp_path / "model"),
            TrainOptions(statistics_recipe),
            JobSettings(),
            console,
        )
    assert tree(tmp_path / "model") == {}


@pytest.mark.parametrize(
    "content",
    [
        {"input": "frequency"},
        {"input": "statistics", "model": "vote"},
        {"input": "log-mel", "model": "rnn"},
    ],
)
def test_recipes_that_make_no_bundle_are_refused(
    ward_dataset: Path, recipe: Recipe, tmp_path: Path, console: Console, content: dict[str, Any]
) -> None:
    other = Recipe.model_validate({"name": "x", "frames": recipe.frames.model_dump()} | content)
    with pytest.raises(ConfigError, match=r"^recipe 'x' \(.*\) cannot be packed into a bundle, only evaluated"):
        train([str(ward_dataset)], str(tmp_path / "model"), TrainOptions(other), JobSettings(), console)
    assert not (tmp_path / "model").exists()


# With the figures of an evaluation.


@pytest.fixture(scope="module", params=["tiny-statistics", "tiny"])
def judged(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    ward_dataset: Path,
    evaluation: Path,
    recipe: Recipe,
    statistics_recipe: Recipe,
) -> Path:
    """Return a bundle that was trained on all rows."""
    out = tmp_path_factory.mktemp("judged") / "model"
    options = TrainOptions(
        {"tiny": recipe, "tiny-statistics": statistics_recipe}[request.param], evaluations=(str(evaluation),)
    )
    with pytest.MonkeyPatch.context() as monkeypatch:
        without_cluster(monkeypatch)
        train([str(ward_dataset)], str(out), options, JobSettings(), quiet_console())
    return out


def test_with_an_evaluation_no_row_is_held_out(judged: Path, evaluation: Path) -> None:
    manifest = load(str(judged)).manifest
    [one, *_] = [one for one in manifest.evaluations[0].recipes if not one.dropped_labels]
    diagrams = [f"reliability-{ranks.label}.svg" for ranks in one.against_rest]
    assert diagrams
    assert sorted(tree(judged)) == sorted([*diagrams, *(name for name in FILES if name != "holdout.parquet")])
    assert manifest.holdout is None
    assert manifest.training_data.n_rows == WARD_ROWS
    found = parse_settings(Evaluation, json.loads((evaluation / "figures.json").read_text()), "figures.json")
    ours = tuple(one.model_copy(update={"fit_s": None}) for one in found.recipes if one.name == manifest.recipe.name)
    assert len(ours) == 2
    assert manifest.cross_validation == found.model_copy(update={"recipes": ours})
    card = (judged / "MODEL_CARD.md").read_text()
    assert "They are of the recipe, not of this very model, which was trained on all rows." in card
    assert found.protocol in card
    assert "--evaluation EVALUATION" in card
    assert f"heartbeat evaluate DATASET --recipe {manifest.recipe.name} --without artifact -o EVALUATION" in card
    assert "where they were chosen by such figures, these are too good" in card
    for one in ours:
        figure = one.judgement.balanced_accuracy
        assert f"## {one.name}: {one.task}" in card
        assert f"| balanced accuracy | {figure.value:.3f} ({figure.low:.2f} to {figure.high:.2f}) |" in card


def test_how_long_fitting_took_is_not_in_the_digest(
    judged: Path, ward_dataset: Path, evaluation: Path, tmp_path: Path, console: Console
) -> None:
    figures = json.loads((evaluation / "figures.json").read_text())
    for one in figures["recipes"]:
        one["fit_s"] += 1.0
    (tmp_path / "figures.json").write_text(json.dumps(figures))
    manifest = load(str(judged)).manifest
    options = TrainOptions(manifest.recipe, evaluations=(str(tmp_path),))
    again = train([str(ward_dataset)], str(tmp_path / "model"), options, JobSettings(), console)
    assert again.manifest.digest == manifest.digest


def test_its_model_is_that_of_all_rows(
    judged: Path, ward_dataset: Path, evaluation: Path, statistics_recipe: Recipe
) -> None:
    bundle = load(str(judged))
    if isinstance(bundle.model, VectorModel):
        _, rows = statistics_rows(ward_dataset, evaluation, statistics_recipe)
        fitted = fit(statistics_recipe, rows, statistics_recipe.training.seed)
        assert np.array_equal(bundle.model.logits(rows.inputs), fitted.model.logits(rows.inputs))
        assert bundle.manifest.decision == fitted.decision
    else:
        rows_of_frames = Dataset(str(ward_dataset)).rows()
        scaler = fit_scaler(rows_of_frames.frames, rows_of_frames.offsets, len(bundle.reference))
        assert isinstance(bundle.model, AlignedModel)
        np.testing.assert_allclose(bundle.model.aligner.scaler.mean, scaler.mean, rtol=1e-12)


def refused(
    dataset: Path, place: Path, recipe: Recipe, out: Path, console: Console, drop_labels: tuple[str, ...] = ()
) -> str:
    options = TrainOptions(recipe, drop_labels, evaluations=(str(place),))
    with pytest.raises(InputError) as caught:
        train([str(dataset)], str(out), options, JobSettings(), console)
    assert not out.exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_evaluations_that_are_not_of_this_model(
    dataset: Path, ward_dataset: Path, evaluation: Path, recipe: Recipe, tmp_path: Path, console: Console
) -> None:
    out = tmp_path / "model"
    changed = recipe.model_copy(update={"training": recipe.training.model_copy(update={"epochs": 5})})
    assert refused(ward_dataset, evaluation, changed, out, console) == (
        f"{evaluation}: recipe 'tiny', as it is now, was not judged there: judge it again"
    )
    assert refused(dataset, evaluation, recipe, out, console) == (
        f"{evaluation}: an evaluation of other recordings, labels, patients or devices than this dataset's"
    )
    assert refused(ward_dataset, evaluation, recipe, out, console, ("murmur",)) == (
        f"{evaluation}: recipe 'tiny' was not judged with --without murmur, as it is to be trained"
    )
    (tmp_path / "nothing").mkdir()
    for place in (tmp_path / "nothing", tmp_path / "gone"):
        assert refused(ward_dataset, place, recipe, out, console) == (
            f"{place}: no evaluation there (figures.json is missing): make it with 'heartbeat evaluate'"
        )
    for content, told in (
        (b"{", "figures.json: not valid JSON"),
        (b"\xff", "figures.json: not valid JSON"),
        (b"[]", "figures.json: expected a mapping of settings, found list"),
        (b"{}", "figures.json: protocol: Field required"),
    ):
        (tmp_path / "nothing/figures.json").write_bytes(content)
        options = TrainOptions(recipe, evaluations=(str(tmp_path / "nothing"),))
        with pytest.raises((InputError, ConfigError), match=told):
            train([str(ward_dataset)], str(out), options, JobSettings(), console)


def test_a_label_that_was_left_out_of_the_evaluation_may_be_dropped(
    ward_dataset: Path, evaluation: Path, recipe: Recipe, tmp_path: Path, console: Console
) -> None:
    options = TrainOptions(recipe, ("artifact",), evaluations=(str(evaluation),))
    trained = train([str(ward_dataset)], str(tmp_path / "model"), options, JobSettings(), console)
    assert trained.manifest.trained_labels == tuple(label for label in ORIGINAL_LABELS if label != "artifact")
    assert trained.manifest.cross_validation is not None
