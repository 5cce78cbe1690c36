"""What is exported gives what the bundle gives, in onnxruntime, in 8 bits, and read back from HDF5."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from heartbeat_core.alignment.placement import pad
from heartbeat_core.bundles.bundle import Bundle, unpack
from heartbeat_core.bundles.export import plausible_inputs, to_hdf5, to_onnx, torch_outputs
from heartbeat_core.errors import BundleError
from heartbeat_core.features.statistics_columns import NAMES, VERSION
from heartbeat_core.labels import ORIGINAL_LABELS
from heartbeat_core.learning.aligned import AlignedModel
from heartbeat_core.learning.fcnn import FCNN
from heartbeat_core.learning.vectors import VectorModel
from heartbeat_core.recordings.process import RecordingResult
from tests.bundles import FOUR, THRESHOLDS, made_up_bundle, made_up_results

KINDS = ("aligned", "statistics")
INPUT = {"aligned": "frames", "statistics": "statistics"}
N_ROWS = 200


def run(data: bytes, inputs: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return probabilities and logits."""
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (told,) = session.get_inputs()
    probabilities, logits = session.run(["probabilities", "logits"], {told.name: inputs})
    return probabilities, logits


def inputs_of(bundle: Bundle, results: Sequence[RecordingResult]) -> NDArray[np.float32]:
    """Return recordings as the network's own inputs, before scaling."""
    if bundle.vectors:
        return np.stack([result.features["statistics"] for result in results])
    return np.stack([pad(r.frames, r.placement.offset_frames, len(bundle.reference)) for r in results])


def weights_of(data: bytes) -> dict[str, NDArray[np.generic]]:
    """Return a model's constants by name."""
    return {one.name: numpy_helper.to_array(one) for one in onnx.load_from_string(data).graph.initializer}


@pytest.mark.parametrize("n_rows", [1, 70])
@pytest.mark.parametrize(
    ("hidden", "trained", "temperature"),
    [
        ((16, 8), FOUR, 1.0),
        ((16, 8), ORIGINAL_LABELS, 2.5),
        ((32,), ("murmur", "artifact"), 0.4),
        ((), FOUR, 2.5),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_onnx_gives_what_the_bundle_gives(
    kind: str, hidden: tuple[int, ...], trained: tuple[str, ...], temperature: float, n_rows: int
) -> None:
    bundle, _ = made_up_bundle(kind, hidden, trained, temperature)
    results = made_up_results(bundle, n_rows)
    expected = bundle.classify(results)
    probabilities, logits = run(to_onnx(bundle), inputs_of(bundle, results))
    assert probabilities.dtype == logits.dtype == np.float32
    np.testing.assert_allclose(probabilities, expected.probabilities, rtol=0, atol=1e-5)
    largest = np.abs(expected.logits).max(axis=1, keepdims=True)
    assert (np.abs(logits - expected.logits) <= 1e-5 * np.maximum(1, largest)).all()
    untrained = [code for code, label in enumerate(ORIGINAL_LABELS) if label not in trained]
    assert not probabilities[:, untrained].any()
    # Else the above would show little.
    assert largest.max() > 1
    assert n_rows == 1 or len(np.unique(expected.codes)) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_torch_outputs_are_the_bundle_s_own(kind: str) -> None:
    bundle, _ = made_up_bundle(kind, temperature=1.5)
    results = made_up_results(bundle, 9)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        probabilities, logits = torch_outputs(bundle, inputs_of(bundle, results))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    expected = bundle.classify(results)
    np.testing.assert_allclose(probabilities, expected.probabilities, rtol=0, atol=1e-6)
    np.testing.assert_allclose(logits, expected.logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_statistics_are_cut_and_frames_are_not(kind: str) -> None:
    bundle, _ = made_up_bundle(kind)
    far, farther = (np.full_like(plausible_inputs(bundle, 1, 0), value) for value in (1e6, 2e6))
    (_, one), (_, other) = (run(to_onnx(bundle), inputs) for inputs in (far, farther))
    assert np.array_equal(one, other) == (kind == "statistics")


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_model_describes_itself(kind: str, int8: bool) -> None:
    bundle, _ = made_up_bundle(kind, temperature=2.5)
    data = to_onnx(bundle, int8)
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 17)]
    assert model.ir_version == 8
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (told,) = session.get_inputs()
    shape = [300, 2] if kind == "aligned" else [392]
    assert (told.name, told.type, told.shape) == (INPUT[kind], "tensor(float)", ["batch", *shape])
    assert [(one.name, one.type, one.shape) for one in session.get_outputs()] == [
        ("probabilities", "tensor(float)", ["batch", 5]),
        ("logits", "tensor(float)", ["batch", 5]),
    ]
    found = session.get_modelmeta()
    facts = found.custom_metadata_map
    assert "Not a medical device" in found.description
    assert facts.pop("notice") == "Not a medical device."
    assert facts.pop("model_id") == bundle.model_id
    assert facts.pop("weights") == ("int8" if int8 else "float32")
    texts = {name: facts.pop(name) for name in ("feature_version",) if name in facts}
    expected = {
        "labels": list(ORIGINAL_LABELS),
        "trained_labels": list(FOUR),
        "thresholds": list(THRESHOLDS),
        "temperature": 2.5,
    }
    if kind == "statistics":
        assert texts == {"feature_version": VERSION}
        expected["feature_names"] = list(NAMES)
    else:
        expected["frames"] = {"delta_time_s": 0.01, "method": "dominant", "pad_mode": "both"}
    assert {name: json.loads(text) for name, text in facts.items()} == expected


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bundle_gives_the_same_bytes(kind: str) -> None:
    bundle, weights = made_up_bundle(kind)
    again = unpack(bundle.manifest, weights, "again")
    for int8 in (False, True):
        assert to_onnx(bundle, int8) == to_onnx(again, int8)
    assert to_hdf5(bundle) == to_hdf5(again)


# 8 bits.


@pytest.mark.parametrize("kind", KINDS)
def test_in_8_bits_a_model_is_smaller_and_says_nearly_the_same(kind: str) -> None:
    # As many weights as the shipped bundle has inputs for; one label would otherwise have nearly all rows.
    bundle, _ = made_up_bundle(kind, (64, 32), ORIGINAL_LABELS, temperature=4.0, length=4_000)
    results = made_up_results(bundle, N_ROWS)
    whole, small = to_onnx(bundle), to_onnx(bundle, int8=True)
    assert len(small) < len(whole) * (0.28 if kind == "aligned" else 0.4)
    inputs = inputs_of(bundle, results)
    (expected, expected_logits), (found, found_logits) = run(whole, inputs), run(small, inputs)
    assert len(np.unique(expected.argmax(axis=1))) > 1
    assert not np.array_equal(found, expected)
    assert np.mean(found.argmax(axis=1) == expected.argmax(axis=1)) >= 0.97
    assert np.abs(found - expected).mean() < 0.01
    # Nothing but the rounding of weights: no bias towards a side.
    differences = (found_logits - expected_logits).mean(axis=0)
    assert np.abs(differences).max() < 0.01 * np.abs(expected_logits).max()


def test_in_8_bits_an_average_row_keeps_its_logits() -> None:
    bundle, _ = made_up_bundle("aligned", ())
    assert isinstance(bundle.model, AlignedModel)
    row = bundle.model.aligner.scaler.mean[np.newaxis].astype(np.float32)
    np.testing.assert_allclose(run(to_onnx(bundle, int8=True), row)[1], run(to_onnx(bundle), row)[1], atol=1e-4)


def test_only_large_matrices_are_stored_in_8_bits() -> None:
    weights = weights_of(to_onnx(made_up_bundle("statistics", (64, 16))[0], int8=True))
    stored = {name: value.dtype for name, value in weights.items() if value.size > 5 and "weight" in name}
    assert {name: str(dtype) for name, dtype in stored.items()} == {
        "layer_0.weight_int8": "int8",
        "layer_0.weight_scale": "float32",
        "layer_1.weight_int8": "int8",
        "layer_1.weight_scale": "float32",
        "logits.weight": "float32",
    }


def test_inputs_that_no_weight_reads_are_stored_in_8_bits_too() -> None:
    bundle, _ = made_up_bundle("aligned")
    assert isinstance(bundle.model, AlignedModel)
    weight = bundle.model.network.layers[0].weight
    weight[:, 7:90] = 0.0
    weight[3] = 0.0
    inputs = inputs_of(bundle, made_up_results(bundle, 20))
    expected, found = run(to_onnx(bundle), inputs)[0], run(to_onnx(bundle, int8=True), inputs)[0]
    np.testing.assert_allclose(found, expected, atol=0.1)


# HDF5.


@pytest.mark.parametrize("hidden", [(16, 8), ()])
@pytest.mark.parametrize("kind", KINDS)
def test_hdf5_holds_the_network_the_scaler_and_the_reference(kind: str, hidden: tuple[int, ...]) -> None:
    bundle, _ = made_up_bundle(kind, hidden, temperature=2.5)
    results = made_up_results(bundle, 5)
    with h5py.File(io.BytesIO(to_hdf5(bundle))) as file:
        values = {name: dataset[()] for name, dataset in file.items()}
        facts = dict(file.attrs)
    mean, scale = values.pop("scaler.mean"), values.pop("scaler.scale")
    assert np.array_equal(values.pop("reference.frames"), bundle.reference.frames)
    network = FCNN(mean.size, hidden, len(ORIGINAL_LABELS), 0.5)
    network.load_state_dict({name: torch.as_tensor(value) for name, value in values.items()})
    assert "layers.0.weight" in values
    inputs = inputs_of(bundle, results)
    scaled = (inputs - mean) / scale
    if kind == "statistics":
        scaled = scaled.clip(-5, 5)
    with torch.inference_mode():
        logits = network.eval()(torch.from_numpy(scaled.astype(np.float32).reshape(len(results), -1))).numpy()
    np.testing.assert_allclose(logits, bundle.classify(results).logits, rtol=1e-4, atol=1e-4)
    assert facts["model_id"] == bundle.model_id
    assert facts["input"] == kind
    assert facts["labels"].tolist() == list(ORIGINAL_LABELS)
    assert facts["trained_labels"].tolist() == list(FOUR)
    assert facts["thresholds"].tolist() == list(THRESHOLDS)
    assert facts["temperature"] == 2.5
    assert facts["notice"] == "Not a medical device."
    assert ("feature_version" in facts) == (kind == "statistics")
    if kind == "statistics":
        assert facts["feature_version"] == VERSION
        assert facts["feature_names"].tolist() == list(NAMES)


# What they are tried on, and what is refused.


def test_plausible_frames_are_of_the_reference_s_size_with_zeros_around() -> None:
    bundle, _ = made_up_bundle("aligned")
    rows = plausible_inputs(bundle, 30, seed=3)
    assert rows.shape == (30, 300, 2)
    assert rows.dtype == np.float32
    assert np.array_equal(rows, plausible_inputs(bundle, 30, seed=3))
    assert not np.array_equal(rows, plausible_inputs(bundle, 30, seed=4))
    largest = bundle.reference.frames.max(axis=0)
    assert (rows >= 0).all()
    assert (rows.max(axis=(0, 1)) <= 1.5 * largest).all()
    assert (rows.max(axis=(0, 1)) > 0.8 * largest).all()
    covered = (rows[:, :, 0] > 0).sum(axis=1)
    assert covered.min() < 100 < 200 < covered.max()
    for row, count in zip(rows, covered.tolist(), strict=True):
        assert np.ptp(np.flatnonzero(row[:, 0])) == count - 1


def test_plausible_statistics_lie_about_the_training_rows() -> None:
    bundle, _ = made_up_bundle("statistics")
    assert isinstance(bundle.model, VectorModel)
    rows = plausible_inputs(bundle, 400, seed=3)
    assert rows.shape == (400, 392)
    assert rows.dtype == np.float32
    scaler = bundle.model.scaler
    scaled = (rows - scaler.mean) / scaler.scale
    assert np.abs(scaled.mean(axis=0)).max() < 0.6
    assert np.abs(scaled.std(axis=0) - 2).max() < 0.4


def test_a_model_without_a_form_as_a_network_is_refused() -> None:
    bundle, _ = made_up_bundle("aligned")

    class Forest:
        def form(self) -> None:
            return None

    other: Any = Forest()
    changed = Bundle(bundle.manifest, bundle.reference, other)
    with pytest.raises(BundleError, match="a model of the kind 'fcnn' cannot be exported: it is not a network"):
        to_onnx(changed)
    with pytest.raises(BundleError, match="a model of the kind 'fcnn' cannot be exported: it is not a network"):
        torch_outputs(changed, np.zeros((1, 300, 2), np.float32))
