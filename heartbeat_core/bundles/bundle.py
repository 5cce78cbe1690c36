"""One versioned model artefact: everything that a prediction needs, and what the model is worth.

On disk, or under any URL::

    BUNDLE/bundle.json           recipe, labels, decision, figures, versions, digests
    BUNDLE/weights.safetensors   network, reference, scaler
    BUNDLE/MODEL_CARD.md         the same facts for people
    BUNDLE/holdout.parquet       the held-out rows' logits, by audio_sha256, where rows were held out

Two kinds of models make a bundle: the FCNN on aligned frames and the FCNN on summary statistics. Either has an
alignment reference, since ``classify`` writes aligned frames whatever the model reads.

Invariants: no pickle; ``digest`` is the SHA-256 over the canonical ``bundle.json`` without it, and
``bundle.json`` holds the SHA-256 of the weights, so one digest names the whole content. Nothing in it
depends on when or where it was made: the same training gives the same digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from heartbeat_core.alignment.placement import Reference
from heartbeat_core.alignment.scaling import Scaler
from heartbeat_core.alignment.torch_correlator import make_reference
from heartbeat_core.arrays import Logits
from heartbeat_core.bundles.manifest import WEIGHTS_NAME, BundleManifest, read_file, read_manifest, resolve
from heartbeat_core.bundles.predictions import Scores
from heartbeat_core.devices import resolve_device
from heartbeat_core.errors import BundleError, ConfigError
from heartbeat_core.learning.fcnn import FCNN
from heartbeat_core.learning.scorer import Scorer
from heartbeat_core.learning.vectors import VectorModel, VectorScaler
from heartbeat_core.recipe import LABELS, Recipe
from heartbeat_core.recordings.process import RecordingResult
from heartbeat_core.settings import Device


class Classifier(Protocol):
    """What reads recordings: of a bundle, the part that differs between kinds of models."""

    def logits(self, results: Sequence[RecordingResult]) -> Logits:
        """Return [n, 5] float64."""

    def distances(self, results: Sequence[RecordingResult]) -> list[float | None]:
        """Return how far each lies from the training rows; None where the model has no measure of it."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return what is stored of it, by name."""


class FrameClassifier:
    """The FCNN on aligned frames.

    Attributes
    ----------
    scaler : Scaler
        The per-position scaler of the training rows.
    network : FCNN
        The FCNN in evaluation mode.
    scorer : Scorer
        Both, ready to serve.
    """

    def __init__(self, scaler: Scaler, network: FCNN, trained: NDArray[np.int64], device: str = "cpu") -> None:
        self.scaler = scaler
        self.network = network.eval()
        self._trained = trained
        self._device = device

    @cached_property
    def scorer(self) -> Scorer:
        """Fold the scaler into the network, once."""
        return Scorer(self.network, self.scaler, self._trained, self._device)

    def logits(self, results: Sequence[RecordingResult]) -> Logits:
        """Return [n, 5] float64."""
        scores = self.scorer.score([r.frames for r in results], [r.placement.offset_frames for r in results])
        return scores.logits.astype(np.float64)

    def distances(self, results: Sequence[RecordingResult]) -> list[float | None]:
        """Return None for each: the distance of aligned frames tells of their length more than of their kind."""
        return [None] * len(results)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return what is stored of it, by name."""
        return _tensors(self.scaler, self.network)


class StatisticsClassifier:
    """The FCNN on summary statistics."""

    def __init__(self, model: VectorModel) -> None:
        self.model = model

    def logits(self, results: Sequence[RecordingResult]) -> Logits:
        """Return [n, 5] float64."""
        return self.model.logits([row[np.newaxis] for row in self._rows(results)])

    def distances(self, results: Sequence[RecordingResult]) -> list[float | None]:
        """Return the root mean square of the scaled statistics, 1 for an average training row."""
        return [*self.model.distances(self._rows(results)).tolist()]

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return what is stored of it, by name."""
        return _tensors(self.model.scaler, self.model.network)

    def _rows(self, results: Sequence[RecordingResult]) -> NDArray[np.float32]:
        """Return [n, width] float32, as many statistics as the network reads."""
        width = self.model.scaler.mean.size
        rows = [result.statistics[:width] for result in results if result.statistics is not None]
        if len(rows) != len(results) or any(len(row) < width for row in rows):
            raise ValueError("the model reads summary statistics that a result does not have")
        return np.stack(rows) if rows else np.zeros((0, width), np.float32)


class Bundle:
    """A model ready to serve.

    Attributes
    ----------
    manifest : BundleManifest
        The facts.
    reference : Reference
        The alignment reference.
    classifier : Classifier
        What reads the recordings.
    """

    def __init__(self, manifest: BundleManifest, reference: Reference, classifier: Classifier) -> None:
        self.manifest = manifest
        self.reference = reference
        self.classifier = classifier
        self._trained = np.array([LABELS.index(label) for label in manifest.trained_labels])

    @property
    def model_id(self) -> str:
        """Name and digest; every prediction row carries it."""
        return self.manifest.model_id

    @property
    def reads_statistics(self) -> bool:
        """Whether results need their summary statistics."""
        return self.manifest.recipe.reads_statistics

    def classify(self, results: Sequence[RecordingResult]) -> Scores:
        """Say what recordings are; with their summary statistics where the model reads these."""
        decision, sureness = self.manifest.decision, self.manifest.sureness
        logits = self.classifier.logits(results)
        probabilities = decision.probabilities(logits, self._trained)
        codes = decision.codes(probabilities)
        confidences = probabilities[np.arange(len(codes)), codes].tolist()
        unsure = [
            sureness.reasons(result, confidence, distance)
            for result, confidence, distance in zip(
                results, confidences, self.classifier.distances(results), strict=True
            )
        ]
        return Scores(logits.astype(np.float32), probabilities.astype(np.float32), codes, unsure)


def check_servable(recipe: Recipe) -> None:
    """Refuse a recipe whose model makes no bundle.

    Raises
    ------
    ConfigError
        It is neither an FCNN on aligned frames nor one on summary statistics.
    """
    if recipe.model not in ("fcnn", "bagged-fcnn") or not (recipe.input == "aligned" or recipe.reads_statistics):
        raise ConfigError(
            f"recipe '{recipe.name}' ({recipe.model} on {recipe.input}) makes no bundle, only figures: bundles hold an "
            "fcnn or a bagged-fcnn on aligned frames or statistics; judge it with 'heartbeat evaluate'"
        )
    if recipe.compression.int8 or (recipe.input == "aligned" and recipe.compression.pruned):
        raise ConfigError(
            f"recipe '{recipe.name}' makes no bundle, only figures: train it without compression and write 8 bits with "
            "'heartbeat export --int8'"
        )
    if recipe.input == "aligned" and (recipe.decision.calibrated or recipe.decision.balance):
        raise ConfigError(
            f"recipe '{recipe.name}': a bundle on aligned frames has no decision beside the probabilities"
        )


def pack(facts: dict[str, Any], reference: Reference, classifier: Classifier) -> tuple[Bundle, bytes]:
    """Make a bundle of ``facts`` (the manifest's fields but the two digests); returns it and its weights file."""
    weights = safetensors.torch.save(
        {**classifier.tensors(), "reference.frames": torch.from_numpy(reference.frames.copy())}
    )
    draft = BundleManifest(**facts, weights_sha256=hashlib.sha256(weights).hexdigest(), digest="")
    manifest = draft.model_copy(update={"digest": draft.expected_digest()})
    return Bundle(manifest, reference, classifier), weights


def load(source: str, digest: str | None = None, device: Device = "cpu") -> Bundle:
    """Load a bundle ready to serve, on a GPU where that is the device.

    Raises
    ------
    DeviceError
        The device is not there.
    BundleError
        As ``read_manifest``; or the weights are damaged, or it is not the bundle with ``digest``.
    """
    manifest = read_manifest(source)
    if digest is not None and manifest.digest != digest:
        raise BundleError(f"{source}: holds the bundle {manifest.digest[:12]}…, and {digest[:12]}… was asked for")
    return unpack(manifest, read_file(resolve(source), WEIGHTS_NAME, source), source, resolve_device(device))


def unpack(manifest: BundleManifest, weights: bytes, source: str, device: str = "cpu") -> Bundle:
    """Load the weights that belong to ``manifest``.

    Raises
    ------
    BundleError
        The weights are not those that were packed.
    """
    if hashlib.sha256(weights).hexdigest() != manifest.weights_sha256:
        raise BundleError(f"{source}: {WEIGHTS_NAME} does not match its digest: copy the bundle again")
    try:
        tensors = safetensors.torch.load(weights)
        reference = make_reference(tensors.pop("reference.frames").numpy(), device)
        classifier = _unpack_classifier(manifest, tensors, device)
    except (SafetensorError, KeyError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise BundleError(f"{source}: {WEIGHTS_NAME} does not fit its recipe: {reason}") from None
    return Bundle(manifest, reference, classifier)


def _unpack_classifier(manifest: BundleManifest, tensors: dict[str, torch.Tensor], device: str) -> Classifier:
    recipe = manifest.recipe
    mean, scale = (tensors.pop(f"scaler.{name}").numpy() for name in ("mean", "scale"))
    network = FCNN(mean.size, recipe.widths, len(LABELS), recipe.network.dropout)
    network.load_state_dict({name.removeprefix("network."): value for name, value in tensors.items()})
    if recipe.reads_statistics:
        return StatisticsClassifier(VectorModel(VectorScaler(mean, scale), network.eval()))
    trained = np.array([LABELS.index(label) for label in manifest.trained_labels])
    return FrameClassifier(Scaler(mean, scale), network, trained, device)


def _tensors(scaler: Scaler | VectorScaler, network: FCNN) -> dict[str, torch.Tensor]:
    tensors = {f"network.{name}": value.contiguous() for name, value in network.state_dict().items()}
    return {**tensors, "scaler.mean": torch.from_numpy(scaler.mean), "scaler.scale": torch.from_numpy(scaler.scale)}
