"""A finished model on labelled recordings: the figures of what ``classify`` says, failures that are named, going on."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sklearn.metrics
from rich.console import Console

from heartbeat_core import storage
from heartbeat_core.bundles.bundle import load
from heartbeat_core.bundles.overlap import find_overlap
from heartbeat_core.bundles.predict import predict
from heartbeat_core.datasets.dataset import Dataset
from heartbeat_core.errors import BundleError, DatasetError, InputError, NothingSucceeded, OutputError, StorageError
from heartbeat_core.evaluation.finished import ModelEvaluation
from heartbeat_core.recipe import Recipe
from heartbeat_core.results.schema import SCHEMA_VERSION
from heartbeat_core.settings import Limits
from jobs.drivers.build_dataset import DatasetOptions, build_dataset
from jobs.drivers.classify import classify
from jobs.drivers.judge import judge
from jobs.drivers.train import TrainOptions, train
from jobs.listing.labels import LabelWords, read_labels
from jobs.output.status import read_status
from jobs.settings import JobSettings
from jobs.tasks.outcomes import OutcomesJob, batch_in_isolation, make_batches, predict_batch
from tests.commands import done, heartbeat, refused
from tests.conftest import fill_disk, quiet_console, watched
from tests.helpers import WARD_ROWS, tree, write_csv

FILES = {"REPORT.md", "_SUCCESS", "failures.parquet", "figures.json", "predictions.parquet"}

pytestmark = pytest.mark.usefixtures("in_process")


def settings(model: Path) -> JobSettings:
    return JobSettings.model_validate({"model": str(model)})


def rows_of(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.ParquetFile(out / "predictions.parquet").read().to_pylist()
    return rows


def build(ward: Path, out: Path, recipe: Recipe, words: LabelWords | None = None, **columns: list[str]) -> Path:
    """Build the ward's dataset with other or more columns of the label file."""
    with (ward / "labels.csv").open() as file:
        head, *lines = [line.strip().split(",") for line in file]
    table = {name: [line[place] for line in lines] for place, name in enumerate(head)} | columns
    labels = write_csv(out.parent / f"{out.name}.csv", list(table), list(zip(*table.values(), strict=True)))
    keep = tuple(name for name in columns if name not in head)
    options = DatasetOptions(recipe, labels=read_labels(str(labels), words=words or LabelWords(), keep_columns=keep))
    job = JobSettings.model_validate({"keep_columns": keep})
    build_dataset([str(ward)], str(out), options, job, quiet_console())
    return out


@pytest.fixture(scope="module")
def judged(
    tmp_path_factory: pytest.TempPathFactory, ward_dataset: Path, statistics_bundle: Path
) -> tuple[Path, ModelEvaluation]:
    """Return the output and the figures of the bundle on the ward; not to be changed."""
    from tests.conftest import without_cluster

    out = tmp_path_factory.mktemp("judged") / "out"
    with pytest.MonkeyPatch.context() as monkeypatch:
        without_cluster(monkeypatch)
        return out, judge([str(ward_dataset)], str(out), settings(statistics_bundle), quiet_console())


def test_each_labelled_recording_has_the_prediction_of_predict(
    judged: tuple[Path, ModelEvaluation], ward_dataset: Path, statistics_bundle: Path
) -> None:
    out, found = judged
    labelled = Dataset(str(ward_dataset)).labelled()
    rows = rows_of(out)
    assert [row["recording_id"] for row in rows] == labelled.recording_id
    assert [row["label"] for row in rows] == labelled.targets.cells()
    bundle = load(statistics_bundle)
    assert {row["model_id"] for row in rows} == {bundle.model_id} == {found.model_id}
    for row in rows[::7]:
        alone = predict(row["uri"], bundle)
        assert row["predicted_label"] == alone.label
        assert [row[f"prob_{label}"] for label in alone.probabilities] == pytest.approx(
            [*alone.probabilities.values()], abs=1e-6
        )
        assert row["unsure_reason"] == (",".join(alone.unsure) or None)


def test_the_figures_are_those_of_the_rows(judged: tuple[Path, ModelEvaluation]) -> None:
    out, found = judged
    rows = rows_of(out)
    truth, said = ([row[name] for row in rows] for name in ("label", "predicted_label"))
    assert (found.n_rows, found.n_failed) == (WARD_ROWS, 0)
    assert found.judgement is not None
    assert found.judgement.accuracy.value == pytest.approx(sklearn.metrics.accuracy_score(truth, said))
    confusion = sklearn.metrics.confusion_matrix(truth, said, labels=found.judgement.labels)
    assert np.array_equal(found.judgement.confusion_matrix, confusion)
    for ranks in found.against_rest:
        has_it = [label == ranks.label for label in truth]
        chances = [row[f"prob_{ranks.label}"] for row in rows]
        assert ranks.pooled.auroc is not None
        assert ranks.pooled.auroc.value == pytest.approx(sklearn.metrics.roc_auc_score(has_it, chances))
        assert ranks.devices.keys() == {"phone", "stethoscope", "4000 Hz"}
    assert len(found.against_rest) == 5
    for name, calls in (("database", found.calls), ("device", found.calls_by_device)):
        told = {
            (place, label, said): count
            for place, of_labels in calls.items()
            for label, of_calls in of_labels.items()
            for said, count in of_calls.items()
        }
        assert told == Counter((row[name], row["label"], row["predicted_label"]) for row in rows)
    assert found.rules.keys() == {"majority rule", "device rule"}
    wrong = [row for row in rows if row["label"] != row["predicted_label"]]
    marked = [row for row in wrong if row["unsure_reason"]]
    assert found.unsure_pooled.n_wrong == len(wrong) > 0
    assert found.unsure_pooled.of_wrong == pytest.approx(len(marked) / len(wrong))


def test_everything_is_written(judged: tuple[Path, ModelEvaluation]) -> None:
    out, found = judged
    diagrams = {f"reliability-{ranks.label}.svg" for ranks in found.against_rest}
    names = {path.name for path in out.iterdir()}
    assert {*FILES, *diagrams} <= names
    assert ModelEvaluation.model_validate(json.loads((out / "figures.json").read_text())) == found
    assert pq.ParquetFile(out / "failures.parquet").read().num_rows == 0
    report = (out / "REPORT.md").read_text()
    for diagram in diagrams:
        assert f"({diagram})" in report
    status = read_status(str(out))
    assert (status.job, status.finished, status.steps["outcomes"].stored, status.steps["outcomes"].total) == (
        *("evaluate", True),
        *(2, 2),
    )


@pytest.mark.parametrize("name", ["predictions", "failures"])
def test_the_tables_say_where_they_come_from(
    judged: tuple[Path, ModelEvaluation], ward_dataset: Path, name: str
) -> None:
    out, evaluation = judged
    run = json.loads((out / "_run.json").read_text())
    metadata = pq.read_schema(out / f"{name}.parquet").metadata
    found = {key.decode().removeprefix("heartbeat."): value.decode() for key, value in metadata.items()}
    assert found["schema_version"] == str(SCHEMA_VERSION)
    assert (found["run_id"], found["started_at"]) == (run["run_id"], run["origin"]["started_at"])
    assert found["model_id"] == evaluation.model_id
    assert json.loads(found["inputs"])["datasets"] == [ward_dataset.as_uri()]
    assert json.loads(found["configuration"]) == run["origin"]["configuration"]


def test_a_finished_one_is_read_and_one_that_was_stopped_goes_on(
    judged: tuple[Path, ModelEvaluation],
    ward_dataset: Path,
    statistics_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, found = judged
    shutil.copytree(out, tmp_path / "out")
    for path in [*(tmp_path / "out").iterdir()]:
        if path.is_file() and path.name != "_run.json":
            path.unlink()

    def refuse(*arguments: Any) -> None:
        raise AssertionError("work that was done is done again")

    monkeypatch.setattr("jobs.tasks.outcomes.process_recordings", refuse)
    for folder in (out, tmp_path / "out"):
        again = judge([str(ward_dataset)], str(folder), settings(statistics_bundle), quiet_console())
        assert again == found
    before, after = tree(out), tree(tmp_path / "out")
    del before["failures.parquet"], after["failures.parquet"]
    assert after == before


def test_without_a_folder_nothing_is_written(
    judged: tuple[Path, ModelEvaluation], ward_dataset: Path, statistics_bundle: Path, tmp_path: Path
) -> None:
    before = tree(ward_dataset)
    assert judge([str(ward_dataset)], None, settings(statistics_bundle), quiet_console()) == judged[1]
    assert tree(ward_dataset) == before


def test_what_fails_is_counted_and_named(
    ward: Path, statistics_bundle: Path, recipe: Recipe, tmp_path: Path, console: Console
) -> None:
    shutil.copytree(ward, tmp_path / "ward")
    dataset = build(tmp_path / "ward", tmp_path / "dataset", recipe)
    (tmp_path / "ward/03.wav").write_bytes(b"no sound")
    (tmp_path / "ward/04.wav").unlink()
    shutil.copy(tmp_path / "ward/06.wav", tmp_path / "ward/05.wav")
    found = judge([str(dataset)], str(tmp_path / "out"), settings(statistics_bundle), console)
    assert (found.n_rows, found.failures) == (
        WARD_ROWS - 3,
        {"changed_since_listed": 1, "not_audio": 1, "not_found": 1},
    )
    failures = pq.ParquetFile(tmp_path / "out/failures.parquet").read().to_pylist()
    assert {row["uri"].rpartition("/")[2] for row in failures} == {"03.wav", "04.wav", "05.wav"}
    assert not {"03.wav", "04.wav", "05.wav"} & {row["uri"].rpartition("/")[2] for row in rows_of(tmp_path / "out")}
    assert "3 more could not be processed" in (tmp_path / "out/REPORT.md").read_text()
    judge([str(dataset)], None, settings(statistics_bundle), console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert re.search(r"failed: .*/ward/03\.wav: ", text)
    for path in (tmp_path / "ward").glob("*.wav"):
        path.unlink()
    with pytest.raises(NothingSucceeded, match=r"all 60 recordings failed, the first of them .*00\.wav"):
        judge([str(dataset)], None, settings(statistics_bundle), console)


def test_ages_sexes_and_sites_that_the_dataset_kept_are_groups(
    ward: Path, dataset: Path, statistics_bundle: Path, recipe: Recipe, tmp_path: Path, console: Console
) -> None:
    ages = [("8", "71", "")[number % 3] for number in range(WARD_ROWS)]
    sexes = [("f", "m")[number // 30] for number in range(WARD_ROWS)]
    kept = build(ward, tmp_path / "kept", recipe, age=ages, sex=sexes)
    labelled = Dataset(str(kept)).labelled()
    assert labelled.traits.keys() == {"age", "sex"}
    found = judge([str(kept)], str(tmp_path / "out"), settings(statistics_bundle), console)
    for ranks in found.against_rest:
        counts = {
            name: {value: one.n_positive + one.n_negative for value, one in values.items()}
            for name, values in ranks.groups.items()
        }
        assert counts == {"age": {"2-12": 20, "65+": 20}, "sex": {"Female": 30, "Male": 30}}
    both = judge([str(kept), str(dataset)], None, settings(statistics_bundle), console)
    for ranks in both.against_rest:
        assert sum(one.n_positive + one.n_negative for one in ranks.groups["sex"].values()) == WARD_ROWS
    rows = rows_of(tmp_path / "out")
    numbers = [int(row["uri"].rpartition("/")[2].partition(".")[0]) for row in rows]
    assert [row["age"] for row in rows] == [ages[number] for number in numbers]
    assert "| sex Female |" in (tmp_path / "out/REPORT.md").read_text()


def judged_rows(dataset: Path, model: Path, folder: Path) -> list[dict[str, Any]]:
    judge([str(dataset)], str(folder / "rows"), settings(model), quiet_console())
    return rows_of(folder / "rows")


def test_labels_are_matched_by_name(
    ward: Path, statistics_bundle: Path, recipe: Recipe, tmp_path: Path, console: Console
) -> None:
    cells = [("Murmur", "normal")[number % 2] for number in range(WARD_ROWS)]
    fewer = build(ward, tmp_path / "fewer", recipe, LabelWords(("Murmur", "normal")), label=cells)
    assert Dataset(str(fewer)).facts.labels == ("Murmur", "normal")
    found = judge([str(fewer)], None, settings(statistics_bundle), console)
    assert [ranks.label for ranks in found.against_rest] == ["normal", "murmur"]
    assert {row["label"] for row in judged_rows(fewer, statistics_bundle, tmp_path)} == {"normal", "murmur"}
    unknown = build(ward, tmp_path / "unknown", recipe, label=[("AS", "normal")[row % 2] for row in range(WARD_ROWS)])
    with pytest.raises(InputError, match=r"labels that the model does not know: AS; it knows normal, .*--label-map"):
        judge([str(unknown)], str(tmp_path / "out"), settings(statistics_bundle), console)
    assert not (tmp_path / "out").exists()


def test_without_labels_there_is_nothing_to_judge_by(
    ward_dataset: Path, statistics_bundle: Path, tmp_path: Path, console: Console
) -> None:
    shutil.copytree(ward_dataset, tmp_path / "dataset")
    for part in (tmp_path / "dataset/recordings").glob("*.parquet"):
        table = pq.ParquetFile(part).read()
        place = table.schema.get_field_index("label")
        nothing = pa.array([None] * len(table), pa.string())
        pq.write_table(table.set_column(place, table.schema.field(place), nothing), part)
    with pytest.raises(DatasetError, match="no recording of the datasets has a label"):
        judge([str(tmp_path / "dataset")], None, settings(statistics_bundle), console)


def test_training_data_is_recognised(
    ward: Path,
    ward_dataset: Path,
    evaluation: Path,
    statistics_recipe: Recipe,
    recipe: Recipe,
    judged: tuple[Path, ModelEvaluation],
    tmp_path: Path,
    console: Console,
) -> None:
    # Rows were held out, so that not all were trained on.
    assert judged[1].overlap == "some"
    assert 0 < (judged[1].n_trained_on or 0) < WARD_ROWS
    options = TrainOptions(statistics_recipe, ("artifact",), data="our ward", evaluations=(str(evaluation),))
    train([str(ward_dataset)], str(tmp_path / "model"), options, JobSettings(), console)
    found = judge([str(ward_dataset)], None, settings(tmp_path / "model"), console)
    assert (judged[1].training_data, found.training_data) == (None, "our ward")
    # All but those with the label that was left out.
    rows = Dataset(str(ward_dataset)).labelled()
    artifact = rows.targets.labels.index("artifact")
    n_trained_on = len(rows) - int((rows.codes == artifact).sum())
    assert (found.overlap, found.n_trained_on) == ("some", n_trained_on)
    # Other recordings of the same ward.
    shutil.copytree(ward, tmp_path / "half")
    rows = Dataset(str(ward_dataset)).labelled()
    for uri in rows.uri[:30]:
        (tmp_path / "half" / uri.rpartition("/")[2]).unlink()
    half = build(tmp_path / "half", tmp_path / "half-dataset", recipe)
    found = judge([str(half)], None, settings(tmp_path / "model"), console)
    n_artifacts = int((Dataset(str(half)).labelled().codes == artifact).sum())
    assert (found.overlap, found.n_trained_on) == ("some", found.n_rows - n_artifacts)


def test_a_bundle_of_an_earlier_version_tells_less(
    ward_dataset: Path, statistics_recipe: Recipe, evaluation: Path, tmp_path: Path, console: Console
) -> None:
    options = TrainOptions(statistics_recipe, ("artifact",), evaluations=(str(evaluation),))
    train([str(ward_dataset)], str(tmp_path / "model"), options, JobSettings(), console)
    manifest = load(str(tmp_path / "model")).manifest
    earlier = manifest.model_copy(
        update={"training_data": manifest.training_data.model_copy(update={"recordings": ""})}
    )
    dataset = Dataset(str(ward_dataset))
    rows = dataset.labelled()
    assert find_overlap(earlier, [dataset], rows) == ("all", len(rows))
    half = replace(rows, targets=rows.targets.take(np.arange(30, len(rows))), audio_sha256=rows.audio_sha256[30:])
    assert find_overlap(earlier, [dataset], half) == ("some", None)
    is_kept = dataset.facts.reference_audio_sha256 in half.audio_sha256
    assert find_overlap(earlier, [], half) == ("likely" if is_kept else "unknown", None)


def test_its_figures_are_not_those_of_a_cross_validation(
    judged: tuple[Path, ModelEvaluation],
    ward_dataset: Path,
    statistics_recipe: Recipe,
    tmp_path: Path,
    console: Console,
) -> None:
    options = TrainOptions(statistics_recipe, evaluations=(str(judged[0]),))
    with pytest.raises(InputError, match="figures of a finished model, and not of a cross-validation"):
        train([str(ward_dataset)], str(tmp_path / "model"), options, JobSettings(), console)
    assert not (tmp_path / "model").exists()


def test_a_dataset_of_the_training_data_among_others_is_recognised(
    ward_dataset: Path,
    dataset: Path,
    evaluation: Path,
    statistics_recipe: Recipe,
    tmp_path: Path,
    console: Console,
) -> None:
    options = TrainOptions(statistics_recipe, ("artifact",), evaluations=(str(evaluation),))
    train([str(ward_dataset)], str(tmp_path / "model"), options, JobSettings(), console)
    for places in ([dataset, ward_dataset], [ward_dataset, dataset]):
        found = judge([str(place) for place in places], None, settings(tmp_path / "model"), console)
        assert found.overlap == "some"
        assert found.unsure.keys() == {"ward-dataset", "dataset"}
        assert found.n_rows == WARD_ROWS + 31
    found = judge([str(dataset)], None, settings(tmp_path / "model"), console)
    assert (found.overlap, found.n_trained_on) == ("none", 0)


def test_another_model_in_the_folder_is_refused(
    judged: tuple[Path, ModelEvaluation], ward_dataset: Path, bundle: Path, console: Console
) -> None:
    with pytest.raises(OutputError, match=r"holds another job \(--model: tiny-statistics@.* there, tiny@.* here\)"):
        judge([str(ward_dataset)], str(judged[0]), settings(bundle), console)


def test_a_batch_whose_worker_died_is_predicted_in_a_process_that_may_die(
    ward_dataset: Path, statistics_bundle: Path
) -> None:
    labelled = Dataset(str(ward_dataset)).labelled()
    batches = make_batches(labelled.uri, labelled.audio_sha256)
    assert [(batch.first_row, len(batch.recordings)) for batch in batches] == [(0, 32), (32, 28)]
    isolated = batch_in_isolation(batches[1])
    assert isolated == replace(batches[1], isolated=True)
    assert batch_in_isolation(isolated) is None, "it is no help twice"
    digest = load(statistics_bundle).manifest.digest
    job = OutcomesJob("", str(statistics_bundle), digest, Limits(), "cpu", storage.FROM_ENVIRONMENT, 1.0)
    (_, here), (index, alone) = predict_batch(batches[1], job), predict_batch(isolated, job)
    assert index == 1
    assert alone.rows.tolist() == here.rows.tolist() == list(range(32, 60))
    assert np.array_equal(alone.probabilities, here.probabilities)
    assert alone.unsure == here.unsure


# The command.


def test_the_command_prints_what_fits_a_terminal(
    judged: tuple[Path, ModelEvaluation], ward_dataset: Path, statistics_bundle: Path
) -> None:
    out, found = judged
    result = done("evaluate", ward_dataset, "--model", statistics_bundle, "-o", out)
    lines = result.stdout.splitlines()
    assert "60 recordings of 30 patients predicted, 0 failed" in lines[0]
    assert f"model {found.model_id}" in lines
    assert f"  {out}/REPORT.md" in lines
    assert max(len(line) for line in lines if not line.startswith(("model ", "  /"))) <= 80
    assert any(line.startswith("balanced accuracy of the majority rule: ") for line in lines)
    told = [line.split() for line in lines if line.startswith("normal ") and "against" not in line]
    of_normal = [one for calls in (found.calls, found.calls_by_device) for one in calls.values() if "normal" in one]
    assert [line[-6] for line in told] == [str(sum(one["normal"].values())) for one in of_normal]
    for ranks in found.against_rest:
        assert any(line.strip() == f"{ranks.label} against the rest" for line in lines)
    # Before any figure, a reader learns that the model has met these recordings.
    before_figures = " ".join(result.stdout.partition("accuracy: ")[0].split())
    assert "of these recordings: its figures here are too good" in before_figures


@pytest.mark.parametrize(
    "option",
    [
        ("--recipe", "cycles"),
        ("--protocol", "grouped-folds"),
        ("--folds", 5),
        ("--seeds", 3),
        ("--without", "artifact"),
    ],
)
def test_a_model_is_not_trained(ward_dataset: Path, option: tuple[object, ...]) -> None:
    told = refused("evaluate", ward_dataset, "--model", "cycles", *option)
    assert told == f"--model judges a model as it is, and {option[0]} is for training: leave one out"


def test_something_to_judge_is_named(ward_dataset: Path, tmp_path: Path) -> None:
    for arguments in ((), ("-o", tmp_path / "out"), ("--recipe", "cycles")):
        assert "name what to judge: --recipe and the folder --output, or a finished model" in refused(
            "evaluate", ward_dataset, *arguments
        )
    result = heartbeat("evaluate", ward_dataset, "--model", tmp_path / "nowhere")
    assert result.exit_code == 2
    assert "no model bundle there" in result.stderr


def test_one_of_the_datasets_that_a_model_was_trained_on_is_recognised(
    ward_dataset: Path, dataset: Path, statistics_recipe: Recipe, tmp_path: Path, console: Console
) -> None:
    options = TrainOptions(statistics_recipe)
    train([str(ward_dataset), str(dataset)], str(tmp_path / "model"), options, JobSettings(), console)
    n_trained_on = 0
    for one in (ward_dataset, dataset):
        found = judge([str(one)], None, settings(tmp_path / "model"), console)
        assert found.overlap == "some"
        n_trained_on += found.n_trained_on or 0
    assert n_trained_on == load(str(tmp_path / "model")).manifest.training_data.n_rows


def test_damaged_weights_are_refused_before_any_work(
    ward_dataset: Path, statistics_bundle: Path, ward: Path, tmp_path: Path, console: Console
) -> None:
    shutil.copytree(statistics_bundle, tmp_path / "model")
    weights = tmp_path / "model" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    told = "weights.safetensors does not match its digest: copy the bundle again"
    with pytest.raises(BundleError, match=told):
        judge([str(ward_dataset)], str(tmp_path / "judged"), settings(tmp_path / "model"), console)
    with pytest.raises(BundleError, match=told):
        classify([str(ward)], str(tmp_path / "out"), settings(tmp_path / "model"), console)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_lost_workers_are_told_without_an_output_folder_too(
    ward_dataset: Path, statistics_bundle: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = watched(monkeypatch, "jobs.drivers.judge.run_tasks")
    judge([str(ward_dataset)], None, settings(statistics_bundle), console)
    assert seen == ["watch", "work", "end"]


def test_a_disk_that_is_full_after_the_predictions_is_no_wrong_usage(
    ward_dataset: Path, statistics_bundle: Path, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        fill_disk(patched, "/predictions.parquet")
        with pytest.raises(StorageError, match=r"predictions\.parquet: cannot be written: No space left on device"):
            judge([str(ward_dataset)], str(tmp_path / "judged"), settings(statistics_bundle), console)
    judge([str(ward_dataset)], str(tmp_path / "judged"), settings(statistics_bundle), console)
    assert (tmp_path / "judged" / "predictions.parquet").exists()
