"""A bundle of other labels than the original's: trained, packed, read back, exported, described, and asked."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.torch
import torch

import heartbeat_core
from heartbeat_core.alignment.placement import Reference
from heartbeat_core.bundles.bundle import Bundle, load, unpack
from heartbeat_core.bundles.card import model_card
from heartbeat_core.bundles.export import to_hdf5, to_onnx, torch_outputs
from heartbeat_core.bundles.manifest import ReferenceFacts, manifest_bytes, parse_manifest
from heartbeat_core.bundles.servable import Holdout, Trainable, train_bundle, usable_rows
from heartbeat_core.errors import BundleError, DatasetError
from heartbeat_core.evaluation.metrics import compute_figures
from heartbeat_core.features.statistics_columns import NAMES
from heartbeat_core.labels import Labels, Targets
from heartbeat_core.learning.fit import Examples
from heartbeat_core.recipe import Recipe
from heartbeat_core.results.schema import holdout_table, predictions_schema, predictions_table
from tests.bundles import made_up_bundle, made_up_results, make_frames
from tests.core.results.test_schema import NOW

VALVES: Labels = ("AS", "MR", "MS", "N")
CELLS = ["AS", "MR", "N", "AS|MR", "MR|MS", "N", "AS", "MR", "N"] * 4
HELD_OUT = ["AS", "MR", "N", "AS|N", "MS", "N"]


@dataclass(frozen=True)
class Trained:
    """What ``train_bundle`` returned, and of what it was made."""

    bundle: Bundle
    weights: bytes
    holdout: Holdout
    rows: Examples


@pytest.fixture(scope="module")
def trained() -> Trained:
    """A model of rows in which MS only occurs beside MR; six rows are held out."""
    rng = np.random.default_rng(0)
    cells = [*CELLS, *HELD_OUT]
    shifts = [VALVES.index(cell.split("|")[0]) for cell in cells]
    inputs = [(rng.standard_normal((1, len(NAMES))) + shift).astype(np.float32) for shift in shifts]
    groups = [f"patient:{number // 2}" for number in range(len(cells))]
    rows = Examples(inputs, Targets.of_cells(cells, VALVES), groups)
    training = {"epochs": 3, "batch_size": 16, "learning_rate": 0.01}
    recipe = Recipe.model_validate(
        {
            "name": "valves",
            "description": "Valves",
            "input": "statistics",
            "network": {"hidden": [6]},
            "training": training,
            "decision": {"balance": 1.0},
        }
    )
    trainable = Trainable(
        rows,
        [f"{number:064x}" for number in range(len(cells))],
        np.arange(len(CELLS)),
        np.arange(len(CELLS), len(cells)),
        Reference(make_frames(30, rng)),
        ReferenceFacts(audio_sha256="ab" * 32, n_frames=30, sample_rate_hz=4_000),
    )
    bundle, weights, holdout = train_bundle(recipe, trainable, (), None)
    assert holdout is not None
    return Trained(bundle, weights, holdout, rows)


def test_the_manifest_carries_the_labels_and_what_was_trained_on(trained: Trained) -> None:
    manifest = trained.bundle.manifest
    assert manifest.labels == VALVES
    assert manifest.trained_labels == ("AS", "MR", "N")
    assert manifest.trained_codes.tolist() == [0, 1, 3]
    assert manifest.training_data.n_rows == 36
    assert list(manifest.training_data.rows_by_label.items()) == [
        *(("AS", 8), ("MR", 8), ("N", 12)),
        *(("AS|MR", 4), ("MR|MS", 4)),
    ]
    # MR|MS can only be MR, as no row is known to have MS; of AS|MR, 8 of 20 are expected to have AS. The balance is 1.
    assert manifest.decision.thresholds == pytest.approx((9.6 / 36, 14.4 / 36, 1.0, 12 / 36))


def test_the_holdout_is_judged_where_the_label_is_known(trained: Trained) -> None:
    report = trained.bundle.manifest.holdout
    assert report is not None
    known = np.array([0, 1, 2, 4, 5])
    codes = trained.holdout.targets.codes
    assert codes.tolist() == [0, 1, 3, -1, 2, 3]
    assert (report.n_training_rows, report.n_holdout_rows, report.n_holdout_patients) == (36, 5, 3)
    assert report.model == compute_figures(codes[known], trained.holdout.predicted[known], VALVES)
    assert report.majority_label == "N"
    table = holdout_table(trained.holdout).to_pylist()
    assert [row["label"] for row in table] == HELD_OUT
    assert {row["predicted_label"] for row in table} <= {"AS", "MR", "N"}
    assert {len(row["logits"]) for row in table} == {4}


def test_it_is_read_back_with_its_labels_and_gives_the_same(trained: Trained) -> None:
    again = unpack(parse_manifest(manifest_bytes(trained.bundle.manifest), "here"), trained.weights, "here")
    assert again.manifest.labels == VALVES
    results = made_up_results(again, 20)
    ours, theirs = trained.bundle.classify(results), again.classify(results)
    assert ours.probabilities.shape == (20, 4)
    assert ours.logits.tobytes() == theirs.logits.tobytes()
    assert ours.probabilities.tobytes() == theirs.probabilities.tobytes()
    assert (ours.probabilities[:, 2] == 0).all()
    assert set(ours.codes.tolist()) <= {0, 1, 3}


def test_the_columns_of_predictions_are_those_of_the_labels(trained: Trained) -> None:
    results = made_up_results(trained.bundle, 6)
    found = trained.bundle.classify(results)
    table = predictions_table(results, found, VALVES, model_id="m", recipe="r", generation=0, run_id="run", now=NOW)
    assert table.schema.equals(predictions_schema(VALVES))
    assert [name for name in table.column_names if name.startswith("prob_")] == [
        *("prob_AS", "prob_MR", "prob_MS", "prob_N")
    ]
    for row, code, probabilities in zip(table.to_pylist(), found.codes, found.probabilities.tolist(), strict=True):
        assert row["predicted_label"] == VALVES[code]
        assert row["predicted_code"] == code
        assert [row[f"prob_{label}"] for label in VALVES] == probabilities
        assert len(row["logits"]) == 4


def test_the_card_names_the_labels(trained: Trained) -> None:
    card = model_card(trained.bundle.manifest, len(trained.weights), ())
    assert "Labels: AS, MR, N. Never predicted, since no row of it was trained on: MS." in card
    assert "Trained on 36 rows: 8 AS, 8 MR, 12 N, 4 AS|MR, 4 MR|MS." in card
    assert "thresholds: AS 0.267, MR 0.4, N 0.333." in card
    assert "The rule beside the model always says `N`." in card
    for label in ("normal", "murmur", "extrastole"):
        assert label not in card


@pytest.mark.parametrize("kind", ["aligned", "statistics"])
@pytest.mark.parametrize("int8", [False, True])
def test_onnx_has_an_output_for_each_label_and_names_them(kind: str, int8: bool) -> None:
    bundle, _ = made_up_bundle(kind, trained=("AS", "N"), labels=VALVES, thresholds=(1.0, 0.5, 0.25, 2.0), length=30)
    data = to_onnx(bundle, int8)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    assert [(one.name, one.shape) for one in session.get_outputs()] == [
        ("probabilities", ["batch", 4]),
        ("logits", ["batch", 4]),
    ]
    facts = {one.key: one.value for one in onnx.load_from_string(data).metadata_props}
    assert json.loads(facts["labels"]) == list(VALVES)
    assert json.loads(facts["trained_labels"]) == ["AS", "N"]
    assert json.loads(facts["thresholds"]) == [1.0, 0.5, 0.25, 2.0]
    (told,) = session.get_inputs()
    rng = np.random.default_rng(1)
    inputs = rng.uniform(0, 100, (5, *told.shape[1:])).astype(np.float32)
    probabilities, logits = session.run(["probabilities", "logits"], {told.name: inputs})
    assert probabilities.shape == logits.shape == (5, 4)
    assert (probabilities[:, 1:3] == 0).all()
    if not int8:
        expected, _ = torch_outputs(bundle, inputs)
        np.testing.assert_allclose(probabilities, expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["aligned", "statistics"])
def test_hdf5_has_an_output_for_each_label_and_names_them(kind: str) -> None:
    bundle, _ = made_up_bundle(kind, (6,), ("AS", "N"), labels=VALVES, thresholds=(1.0, 0.5, 0.25, 2.0), length=30)
    with h5py.File(io.BytesIO(to_hdf5(bundle))) as file:
        assert file.attrs["labels"].tolist() == list(VALVES)
        assert file.attrs["trained_labels"].tolist() == ["AS", "N"]
        assert file.attrs["thresholds"].tolist() == [1.0, 0.5, 0.25, 2.0]
        assert file["layers.4.bias"].shape == (4,)
        assert file["layers.4.weight"].shape == (4, 6)


def test_a_prediction_has_probabilities_by_these_labels(trained: Trained) -> None:
    samples = heartbeat_core.synthesise("murmur", 4_000, 3.0, np.random.default_rng(2))
    found = heartbeat_core.predict(samples, trained.bundle, sample_rate_hz=4_000)
    assert list(found.probabilities) == list(VALVES)
    assert found.probabilities["MS"] == 0
    assert sum(found.probabilities.values()) == pytest.approx(1, abs=1e-6)
    assert found.label in ("AS", "MR", "N")
    assert found.confidence == found.probabilities[found.label]
    ratios = {
        label: chance / threshold
        for (label, chance), threshold in zip(
            found.probabilities.items(), trained.bundle.manifest.decision.thresholds, strict=True
        )
    }
    assert found.label == max(ratios, key=lambda label: ratios[label])


@pytest.mark.parametrize("n_outputs", [3, 5])
def test_weights_of_another_number_of_labels_are_refused(n_outputs: int) -> None:
    bundle, weights = made_up_bundle("statistics", (6,), ("AS", "N"), labels=VALVES, thresholds=(1.0,) * 4, length=30)
    tensors = safetensors.torch.load(weights)
    tensors["network.layers.4.weight"] = torch.zeros(n_outputs, 6)
    tensors["network.layers.4.bias"] = torch.zeros(n_outputs)
    changed = safetensors.torch.save(tensors)
    digest = hashlib.sha256(changed).hexdigest()
    manifest = bundle.manifest.model_copy(update={"weights_sha256": digest})
    with pytest.raises(
        BundleError, match=rf"^here: weights.safetensors does not fit .* {n_outputs} outputs, 4 labels$"
    ):
        unpack(manifest, changed, "here")


# What can be trained on


def test_rows_that_say_nothing_of_the_labels_that_are_left_are_left_out() -> None:
    targets = Targets.of_cells(["AS", "MR", "N", "AS|MR", "MR|N", "AS|MR|MS|N", None, "MS|N"], VALVES)
    assert usable_rows(targets, ()).tolist() == [0, 1, 2, 3, 4, 7]
    # Without N, what may be N is one of its other labels.
    assert usable_rows(targets, ("N",)).tolist() == [0, 1, 3, 4, 7]
    # Without MS and N, "AS or MR" says nothing.
    assert usable_rows(targets, ("MS", "N")).tolist() == [0, 1, 4]


def test_one_label_is_too_few() -> None:
    targets = Targets.of_cells(["AS", "AS", "N", "AS|MR"], VALVES)
    with pytest.raises(DatasetError) as caught:
        usable_rows(targets, ("N",))
    assert str(caught.value) == (
        "training needs at least two labels; the dataset's labelled rows, without those dropped, are: 2 AS"
    )
    with pytest.raises(DatasetError, match=r"are: none$"):
        usable_rows(Targets.of_cells(["AS|MR", "MS|N"], VALVES), ())


def test_a_shipped_bundle_has_the_originals_labels() -> None:
    facts: Any = load("cycles").manifest
    assert facts.labels == ("normal", "extrahls", "murmur", "artifact", "extrastole")
