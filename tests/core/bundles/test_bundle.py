"""A bundle: packed and read back it gives the same logits, and any damage is a named error of one line."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from heartbeat_core import storage
from heartbeat_core.audio.quality import Quality
from heartbeat_core.bundles.bundle import Bundle, load, unpack
from heartbeat_core.bundles.manifest import (
    MANIFEST_NAME,
    WEIGHTS_NAME,
    BundleManifest,
    manifest_bytes,
    parse_manifest,
    read_manifest,
    resolve,
    shipped_models,
)
from heartbeat_core.bundles.predictions import Predictions, Sureness
from heartbeat_core.bundles.servable import check_servable
from heartbeat_core.errors import BundleError, ConfigError
from heartbeat_core.labels import ORIGINAL_LABELS
from heartbeat_core.learning.aligned import AlignedModel
from heartbeat_core.learning.decision import Decision
from heartbeat_core.learning.vectors import VectorModel
from heartbeat_core.recipe import Recipe
from heartbeat_core.recordings.process import RecordingResult
from tests.bundles import THRESHOLDS, made_up_bundle, made_up_results
from tests.core.conftest import MadeUp, make_bundle, tiny_recipe

Packed = tuple[Bundle, bytes]

EQUAL = Decision(thresholds=(1.0,) * 5)


@pytest.fixture
def stored(tmp_path: Path, packed: Packed) -> Path:
    """A folder with a bundle's two files that a test may damage."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / MANIFEST_NAME).write_bytes(manifest_bytes(packed[0].manifest))
    (folder / WEIGHTS_NAME).write_bytes(packed[1])
    return folder


def one_line_error(call: Callable[[], object]) -> str:
    with pytest.raises(BundleError) as caught:
        call()
    text = str(caught.value)
    assert text
    assert "\n" not in text
    return text


def test_round_trip_gives_the_same_bundle_and_logits(packed: Packed, rows: MadeUp) -> None:
    bundle, weights = packed
    manifest = parse_manifest(manifest_bytes(bundle.manifest), "here")
    assert manifest == bundle.manifest
    again = unpack(manifest, weights, "here")
    assert np.array_equal(again.reference.frames, bundle.reference.frames)
    assert isinstance(again.model, AlignedModel)
    assert isinstance(bundle.model, AlignedModel)
    assert again.model.aligner.scaler.mean.tobytes() == bundle.model.aligner.scaler.mean.tobytes()
    assert again.model.aligner.scaler.scale.tobytes() == bundle.model.aligner.scaler.scale.tobytes()
    assert_same_scores(bundle.classify(rows.results()), again.classify(rows.results()))
    assert again.model_id == f"tiny@{manifest.digest}"
    assert again.vectors == ()


def assert_same_scores(ours: Predictions, theirs: Predictions) -> None:
    assert len(ours.codes) > 0
    assert ours.logits.tobytes() == theirs.logits.tobytes()
    assert ours.probabilities.tobytes() == theirs.probabilities.tobytes()
    assert np.array_equal(ours.codes, theirs.codes)
    assert ours.unsure == theirs.unsure


def test_round_trip_of_a_model_of_statistics() -> None:
    bundle, weights = made_up_bundle("statistics", temperature=1.5, length=30)
    again = unpack(parse_manifest(manifest_bytes(bundle.manifest), "here"), weights, "here")
    assert again.manifest == bundle.manifest
    assert again.manifest.decision == Decision(temperature=1.5, thresholds=THRESHOLDS)
    assert isinstance(again.model, VectorModel)
    assert isinstance(bundle.model, VectorModel)
    for name in ("mean", "scale"):
        ours, theirs = (getattr(one.model.scaler, name) for one in (bundle, again))
        assert ours.tobytes() == theirs.tobytes()
    assert again.vectors == ("statistics",)
    results = made_up_results(bundle, 40)
    assert_same_scores(bundle.classify(results), again.classify(results))
    distances = again.model.serve(results).distances
    assert np.array_equal(distances, bundle.model.serve(results).distances)
    assert len(distances) == 40


@pytest.mark.parametrize("kind", ["aligned", "statistics"])
def test_the_decision_of_the_manifest_is_applied(kind: str) -> None:
    bundle, _ = made_up_bundle(kind, temperature=2.0, length=30)
    scores = bundle.classify(made_up_results(bundle, 60))
    trained = [ORIGINAL_LABELS.index(label) for label in bundle.manifest.trained_labels]
    assert len(trained) == 4
    powers = np.exp(scores.logits[:, trained].astype(float) / 2.0)
    expected = np.zeros((60, 5))
    expected[:, trained] = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scores.probabilities, expected, rtol=1e-5, atol=1e-6)
    assert np.array_equal(scores.codes, (expected / THRESHOLDS).argmax(axis=1))
    # Of these rows the thresholds decide some.
    assert not np.array_equal(scores.codes, expected.argmax(axis=1))


def good_results(bundle: Bundle, n_rows: int) -> list[RecordingResult]:
    """Return made-up recordings whose quality is beyond doubt."""
    return [replace(one, quality=Quality(0.5, 0.1, 0.0, 0.0, 0.0)) for one in made_up_results(bundle, n_rows)]


def test_classifying_says_of_each_recording_why_it_is_unsure() -> None:
    bundle, weights = made_up_bundle("statistics", length=30)
    results = good_results(bundle, 20)
    distances = bundle.model.serve(results).distances.tolist()
    assert len(distances) == 20
    predictions = bundle.classify(results)
    confidences = predictions.probabilities.max(axis=1)
    limits = Sureness(min_confidence=float(np.median(confidences)), max_distance=float(np.median(distances)))
    manifest = sealed(bundle.manifest, weights, decision=EQUAL, sureness=limits)
    told = unpack(manifest, weights, "here").classify(results).unsure
    expected = [
        limits.reasons(result, code, confidence, distance)
        for result, code, confidence, distance in zip(
            results, predictions.codes.tolist(), confidences.tolist(), distances, strict=True
        )
    ]
    assert told == expected
    assert set(told) == {None, "low_confidence", "out_of_distribution", "low_confidence,out_of_distribution"}


def test_confidence_is_that_of_the_predicted_label_and_not_of_the_most_probable() -> None:
    bundle, weights = made_up_bundle("aligned", length=30)
    results = good_results(bundle, 60)
    plain = bundle.classify(results)
    confidences = plain.probabilities[np.arange(60), plain.codes]
    overruled = np.flatnonzero(confidences < plain.probabilities.max(axis=1) - 0.01)
    assert len(overruled) > 0
    row = overruled[0]
    between = float(confidences[row] + plain.probabilities[row].max()) / 2
    manifest = sealed(bundle.manifest, weights, sureness=Sureness(min_confidence=between))
    assert unpack(manifest, weights, "here").classify(results).unsure[row] == "low_confidence"


def test_a_model_of_statistics_asks_for_them() -> None:
    bundle, _ = made_up_bundle("statistics", length=30)
    results = made_up_results(bundle, 3)
    with pytest.raises(ValueError, match="feature set 'statistics', which was not computed"):
        bundle.classify([*results[:2], replace(results[2], features={})])


def test_aligned_frames_have_no_distance(packed: Packed, rows: MadeUp) -> None:
    assert packed[0].model.serve(rows.results()[:3]).distances is None


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"input": "frequency"}, "recipe 'x' (fcnn on frequency) cannot be packed into a bundle, only evaluated"),
        ({"input": "statistics", "model": "vote"}, "recipe 'x' (vote on statistics) cannot be packed into a bundle"),
        ({"model": "boosting"}, "recipe 'x' (boosting on aligned) cannot be packed into a bundle"),
        ({"input": "log-mel", "model": "cnn"}, "recipe 'x' (cnn on log-mel) cannot be packed into a bundle"),
        ({"compression": {"int8": True}}, "write 8 bits with 'heartbeat export --int8'"),
        ({"input": "statistics", "compression": {"int8": True}}, "write 8 bits with 'heartbeat export --int8'"),
        ({"compression": {"pruned": 0.5}}, "recipe 'x' cannot be packed into a bundle, only evaluated"),
        ({"compression": {"pruned": 0.5, "int8": True}}, "without compression and write 8 bits"),
    ],
)
def test_recipes_that_make_no_bundle(content: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_servable(Recipe.model_validate({"name": "x"} | content))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"input": "statistics", "decision": {"calibrated": True}},
        {"input": "statistics", "compression": {"pruned": 0.5}},
        {"input": "statistics", "model": "bagged-fcnn", "network": {"hidden": [4]}},
        {"input": "statistics+cycles"},
        {"input": "mfcc"},
        {"input": "cycles+spectral-contrast"},
        {"decision": {"calibrated": True, "balance": 0.5}},
    ],
)
def test_recipes_that_make_one(content: dict[str, Any]) -> None:
    check_servable(Recipe.model_validate({"name": "x"} | content))


def test_load_from_disk_and_from_another_filesystem(stored: Path, packed: Packed) -> None:
    digest = packed[0].manifest.digest
    assert load(str(stored)).manifest == packed[0].manifest
    assert load(f"file://{stored}", digest).model_id == packed[0].model_id
    for name in (MANIFEST_NAME, WEIGHTS_NAME):
        storage.create(f"memory://test-bundle/model/{name}", (stored / name).read_bytes())
    assert load("memory://test-bundle/model", digest).manifest == packed[0].manifest


def test_the_digest_is_the_sha256_of_the_canonical_content(packed: Packed) -> None:
    bundle, weights = packed
    content = json.loads(manifest_bytes(bundle.manifest))
    digest = content.pop("digest")
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert digest == hashlib.sha256(text.encode()).hexdigest()
    assert content["weights_sha256"] == hashlib.sha256(weights).hexdigest()


def test_the_same_training_gives_the_same_bytes(packed: Packed, rows: MadeUp) -> None:
    bundle, weights = make_bundle(rows, tiny_recipe())
    assert weights == packed[1]
    assert manifest_bytes(bundle.manifest) == manifest_bytes(packed[0].manifest)


def test_the_bytes_do_not_depend_on_time_or_place(packed: Packed, tmp_path: Path) -> None:
    script = (
        "import hashlib, time; time.time = lambda: 1e9\n"
        "from tests.core.conftest import make_bundle, make_rows, tiny_recipe\n"
        "from heartbeat_core.bundles.manifest import manifest_bytes\n"
        "bundle, weights = make_bundle(make_rows(30), tiny_recipe())\n"
        "print(hashlib.sha256(weights + manifest_bytes(bundle.manifest)).hexdigest())\n"
    )
    root = Path(__file__).parents[3]
    environment = {"PYTHONPATH": str(root), "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == hashlib.sha256(packed[1] + manifest_bytes(packed[0].manifest)).hexdigest()


def test_the_weights_file_is_safetensors_and_no_pickle(packed: Packed) -> None:
    weights = packed[1]
    (length,) = struct.unpack("<Q", weights[:8])
    header = json.loads(weights[8 : 8 + length])
    assert {name: (entry["dtype"], entry["shape"]) for name, entry in header.items()} == {
        "reference.frames": ("F32", [24, 2]),
        "scaler.mean": ("F64", [24, 2]),
        "scaler.scale": ("F64", [24, 2]),
        **{
            f"network.layers.{layer}.{name}": ("F32", shape)
            for layer, name, shape in [
                (0, "weight", [6, 48]),
                (0, "bias", [6]),
                *((2, name, [6]) for name in ("weight", "bias", "running_mean", "running_var")),
                (4, "weight", [4, 6]),
                (4, "bias", [4]),
                *((6, name, [4]) for name in ("weight", "bias", "running_mean", "running_var")),
                (8, "weight", [5, 4]),
                (8, "bias", [5]),
            ]
        },
        "network.layers.2.num_batches_tracked": ("I64", []),
        "network.layers.6.num_batches_tracked": ("I64", []),
    }
    # The tensors fill the rest of the file: nothing else is in it.
    assert 8 + length + max(entry["data_offsets"][1] for entry in header.values()) == len(weights)


@pytest.mark.parametrize("place", ["first", "header", "middle", "last"])
def test_one_flipped_bit_in_the_weights(stored: Path, place: str) -> None:
    data = bytearray((stored / WEIGHTS_NAME).read_bytes())
    data[{"first": 0, "header": 100, "middle": len(data) // 2, "last": -1}[place]] ^= 1
    (stored / WEIGHTS_NAME).write_bytes(data)
    assert "weights.safetensors does not match its digest" in one_line_error(lambda: load(str(stored)))


@pytest.mark.parametrize("length", [0, 100, -1])
def test_weights_that_break_off(stored: Path, length: int) -> None:
    (stored / WEIGHTS_NAME).write_bytes((stored / WEIGHTS_NAME).read_bytes()[:length])
    assert "does not match its digest" in one_line_error(lambda: load(str(stored)))


def edited(stored: Path, change: Callable[[dict[str, Any]], object]) -> str:
    """Edit bundle.json and return the error that loading it gives."""
    path = stored / MANIFEST_NAME
    content = json.loads(path.read_bytes())
    change(content)
    path.write_text(json.dumps(content))
    return one_line_error(lambda: load(str(stored)))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda content: content.update(name="other"), "bundle.json does not match its digest"),
        (lambda content: content["recipe"]["frames"].update(delta_time_s=0.1), "does not match its digest"),
        (lambda content: content["holdout"]["model"].update(accuracy=0.99), "does not match its digest"),
        (lambda content: content.update(digest="0" * 64), "does not match its digest 000000000000…"),
        (lambda content: content.update(weights_sha256="0" * 64), "does not match its digest"),
        (lambda content: content.update(colour="blue"), "unknown key 'colour'; allowed here: "),
        (lambda content: content["recipe"].update(colour=1), "unknown key 'recipe.colour'; allowed here: alignment, "),
        (lambda content: content.pop("reference"), "reference: Field required"),
        (lambda content: content.update(labels=3), "labels: "),
        (lambda content: content["holdout"]["model"].update(accuracy=float("nan")), "holdout.model.accuracy: "),
        (lambda content: content["holdout"]["model"].update(macro_f1=float("inf")), "holdout.model.macro_f1: "),
        (lambda content: content["recipe"].update(version=2), "recipe.version: "),
        (lambda content: content.update(format="zip"), "bundle.json does not describe a heartbeat bundle"),
        (lambda content: content.update(format_version=1), "bundle format 1 is not the one this program reads (2)"),
        (lambda content: content.update(format_version=3), "bundle format 3 is not the one this program reads (2)"),
        (lambda content: content.update(format_version="x"), "bundle format x is not the one"),
        (lambda content: content.pop("format_version"), "bundle format None is not the one"),
    ],
)
def test_an_edited_manifest(stored: Path, change: Callable[[dict[str, Any]], object], told: str) -> None:
    text = edited(stored, change)
    assert str(stored) in text
    assert told in text


def test_a_newer_format_says_what_to_do_before_anything_else(stored: Path) -> None:
    text = edited(stored, lambda content: content.update(format_version=3, a_new_key=1))
    assert text.endswith("install the release that made it, or train it again")


def without_fields(content: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return the content of bundle.json as a version wrote it that did not know these fields, with its digest."""
    fewer = {name: value for name, value in content.items() if name not in (*names, "digest")}
    text = json.dumps(fewer, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return fewer | {"digest": hashlib.sha256(text.encode()).hexdigest()}


def test_a_field_that_an_older_version_lacks_changes_no_digest(stored: Path) -> None:
    path = stored / MANIFEST_NAME
    older = without_fields(json.loads(path.read_bytes()), "sureness", "cross_validation")
    path.write_text(json.dumps(older))
    bundle = load(str(stored), older["digest"])
    assert bundle.manifest.digest == older["digest"]
    assert bundle.model_id == f"tiny@{older['digest']}"
    # It has the new fields' defaults, and what is there is still protected.
    assert bundle.manifest.sureness == Sureness()
    assert "does not match its digest" in edited(stored, lambda content: content.update(name="other"))


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["decision"].update(thresholds=[1.0] * 4),
        lambda content: content["decision"].update(thresholds=[1.0] * 6),
        lambda content: content.update(labels=["normal", "murmur", "extrastole", "other"]),
        lambda content: content.update(trained_labels=["normal", "unheard"]),
        lambda content: content.update(sureness={"min_confidence": [0.5] * 4}),
    ],
)
def test_thresholds_and_trained_labels_that_do_not_fit_the_labels(
    stored: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    path = stored / MANIFEST_NAME
    content = json.loads(path.read_bytes())
    change(content)
    path.write_text(json.dumps(without_fields(content)))
    text = one_line_error(lambda: load(str(stored)))
    assert text == f"{stored}/bundle.json: settings: the trained labels, thresholds or limits do not fit the labels"


def test_a_shipped_bundle_that_lacks_a_field_of_today_keeps_its_digest() -> None:
    for name in shipped_models():
        content = json.loads(storage.read(storage.join(resolve(name), MANIFEST_NAME)))
        assert without_fields(content)["digest"] == content["digest"] == read_manifest(name).digest


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"not json"])
def test_a_manifest_that_is_not_json(stored: Path, data: bytes) -> None:
    (stored / MANIFEST_NAME).write_bytes(data)
    assert "bundle.json is not valid JSON" in one_line_error(lambda: load(str(stored)))


@pytest.mark.parametrize("data", [b"[]", b"null", b"3", b"{}", b'"heartbeat-bundle"'])
def test_json_that_is_no_manifest(stored: Path, data: bytes) -> None:
    (stored / MANIFEST_NAME).write_bytes(data)
    assert "bundle.json does not describe a heartbeat bundle" in one_line_error(lambda: load(str(stored)))


def test_another_bundle_than_the_one_asked_for(stored: Path, packed: Packed) -> None:
    asked = "0123456789abcdef" * 4
    text = one_line_error(lambda: load(str(stored), asked))
    assert text.endswith(f"holds the bundle {packed[0].manifest.digest[:12]}…, but 0123456789ab… was asked for")


@pytest.mark.parametrize("name", [MANIFEST_NAME, WEIGHTS_NAME])
def test_a_missing_file(stored: Path, name: str) -> None:
    (stored / name).unlink()
    assert f"no model bundle there ({name} is missing)" in one_line_error(lambda: load(str(stored)))


def test_a_file_that_cannot_be_read(stored: Path) -> None:
    (stored / WEIGHTS_NAME).unlink()
    (stored / WEIGHTS_NAME).mkdir()
    assert "weights.safetensors: cannot be read: Is a directory" in one_line_error(lambda: load(str(stored)))


def test_nothing_there_names_the_shipped_models(tmp_path: Path) -> None:
    text = one_line_error(lambda: read_manifest(str(tmp_path / "nothing")))
    assert text.startswith(f"{tmp_path}/nothing: no model bundle there (bundle.json is missing)")
    assert text.endswith(f"shipped models: {', '.join(shipped_models())}")


def test_a_bare_name_is_a_shipped_model_first_and_then_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve("no-such-model") == f"file://{tmp_path}/no-such-model"
    assert resolve("s3://bucket/model") == "s3://bucket/model"
    for name in shipped_models():
        assert resolve(name).endswith(f"/models/{name}")
        assert resolve(f"./{name}") == f"file://{tmp_path}/{name}"


def sealed(manifest: BundleManifest, weights: bytes, **changes: object) -> BundleManifest:
    """Return a manifest with its digests made right again, as a careless or older program would write it."""
    content = manifest.model_dump() | changes | {"weights_sha256": hashlib.sha256(weights).hexdigest()}
    draft = BundleManifest.model_validate(content)
    return draft.model_copy(update={"digest": draft.expected_digest()})


def test_a_recipe_that_does_not_fit_the_weights(packed: Packed) -> None:
    bundle, weights = packed
    for hidden in ((7, 4), (6,), (6, 4, 4), ()):
        recipe = bundle.manifest.recipe.model_dump() | {"network": {"hidden": hidden}}
        manifest = parse_manifest(manifest_bytes(sealed(bundle.manifest, weights, recipe=recipe)), "here")
        text = one_line_error(lambda manifest=manifest: unpack(manifest, weights, "here"))
        assert text.startswith("here: weights.safetensors does not fit its recipe: ")


@pytest.mark.parametrize("missing", ["reference.frames", "scaler.mean", "network.layers.0.weight"])
def test_weights_without_a_tensor(packed: Packed, missing: str) -> None:
    tensors = safetensors.torch.load(packed[1])
    del tensors[missing]
    weights = safetensors.torch.save(tensors)
    text = one_line_error(lambda: unpack(sealed(packed[0].manifest, weights), weights, "here"))
    assert "does not fit its recipe" in text
    assert missing.removeprefix("network.") in text


@pytest.mark.parametrize("weights", [b"", b"not safetensors at all", b"\xff" * 64])
def test_weights_that_are_not_safetensors(packed: Packed, weights: bytes) -> None:
    text = one_line_error(lambda: unpack(sealed(packed[0].manifest, weights), weights, "here"))
    assert text.startswith("here: weights.safetensors does not fit its recipe: ")


def test_a_reference_of_the_wrong_shape(packed: Packed) -> None:
    tensors = safetensors.torch.load(packed[1]) | {"reference.frames": torch.zeros(24, 3)}
    weights = safetensors.torch.save(tensors)
    assert "a reference is" in one_line_error(lambda: unpack(sealed(packed[0].manifest, weights), weights, "here"))


def test_scores(packed: Packed, rows: MadeUp) -> None:
    scores = packed[0].classify(rows.results())
    assert scores.logits.shape == scores.probabilities.shape == (30, 5)
    assert np.array_equal(scores.codes, scores.probabilities.argmax(axis=1))
    for logits, probabilities in zip(scores.logits.astype(float), scores.probabilities, strict=True):
        powers = [
            np.exp(logits[code]) if ORIGINAL_LABELS[code] in ("normal", "murmur", "extrastole") else 0
            for code in range(5)
        ]
        np.testing.assert_allclose(probabilities, np.array(powers) / sum(powers), rtol=1e-5)


@pytest.mark.parametrize("kind", ["aligned", "statistics"])
def test_no_rows_at_all(kind: str) -> None:
    bundle, _ = made_up_bundle(kind, length=30)
    scores = bundle.classify([])
    assert scores.logits.shape == scores.probabilities.shape == (0, 5)
    assert scores.codes.shape == (0,)
    assert scores.codes.dtype == np.int64
    assert list(scores.unsure) == []


def test_the_first_of_equally_probable_labels_is_predicted(packed: Packed, rows: MadeUp) -> None:
    bundle = unpack(packed[0].manifest, packed[1], "here")
    assert isinstance(bundle.model, AlignedModel)
    for name in ("weight", "bias"):
        last = bundle.model.network.layers[-1]
        getattr(last, name).fill(0.0)
    scores = bundle.classify(rows.results())
    assert set(scores.codes.tolist()) == {0}
    third = float(np.float32(1 / 3))
    assert scores.probabilities[0].tolist() == [third, 0, third, 0, third]
