"""One versioned model file set: everything that a prediction needs, and the figures of the model.

On disk, or under any URL::

    BUNDLE/bundle.json           recipe, labels, decision, figures, versions, digests
    BUNDLE/weights.safetensors   network, reference, scaler (``weights``)
    BUNDLE/MODEL_CARD.md         the same facts for readers
    BUNDLE/holdout.parquet       logits of the held-out rows, by audio_sha256; only if rows were held out

Every bundle has an alignment reference, because ``classify`` writes aligned frames for every model.

Invariants: no pickle. ``digest`` is the SHA-256 of the canonical ``bundle.json`` without the digest itself.
``bundle.json`` holds the SHA-256 of the weights, so one digest identifies all that a prediction depends on; the card,
``holdout.parquet`` and the diagrams are not covered. Nothing in a bundle depends on when or where it was made: the same
training gives the same digest.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from safetensors import SafetensorError

from heartbeat_core.alignment.placement import Reference
from heartbeat_core.alignment.reference import make_reference
from heartbeat_core.bundles.manifest import WEIGHTS_NAME, BundleManifest, read_manifest, read_weights
from heartbeat_core.bundles.predictions import Predictions
from heartbeat_core.bundles.weights import from_bytes, to_bytes
from heartbeat_core.devices import resolve_device
from heartbeat_core.errors import BundleError, ConfigError
from heartbeat_core.features.catalogue import vectors_read
from heartbeat_core.learning.kinds import implementation_of
from heartbeat_core.learning.model import ServableModel
from heartbeat_core.recipe import Recipe
from heartbeat_core.recordings.process import RecordingResult
from heartbeat_core.settings import Device


class Bundle:
    """A model ready to serve.

    Attributes
    ----------
    manifest : BundleManifest
        The facts.
    reference : Reference
        The alignment reference.
    model : ServableModel
        The model that computes the outputs.

    Examples
    --------
    >>> import heartbeat_core as hb
    >>> bundle = hb.load_bundle("cycles")
    >>> bundle.vectors
    ('statistics', 'cycles')
    >>> bundle.manifest.trained_labels
    ('normal', 'extrahls', 'murmur', 'artifact', 'extrastole')
    """

    def __init__(self, manifest: BundleManifest, reference: Reference, model: ServableModel) -> None:
        self.manifest = manifest
        self.reference = reference
        self.model = model

    @property
    def model_id(self) -> str:
        """Name and digest; every prediction row holds it."""
        return self.manifest.model_id

    @property
    def recipe(self) -> Recipe:
        """The recipe of the model."""
        return self.manifest.recipe

    @property
    def vectors(self) -> tuple[str, ...]:
        """The vector sets that ``classify`` must compute for this model."""
        return vectors_read(self.manifest.recipe.input)

    def classify(self, results: Sequence[RecordingResult]) -> Predictions:
        """Predict the labels of processed recordings.

        Parameters
        ----------
        results : Sequence[RecordingResult]
            n recordings, processed with the model's recipe and reference, with the feature sets that it reads.

        Returns
        -------
        Predictions
            Logits and probabilities [n, n_labels] float32, codes [n] int64, and why each one is unsure.

        Raises
        ------
        ValueError
            A result lacks a feature set that the model reads.
        """
        decision, sureness = self.manifest.decision, self.manifest.sureness
        outputs = self.model.serve(results)
        probabilities = decision.probabilities(outputs.logits, self.manifest.trained_codes)
        codes = decision.codes(probabilities)
        confidences = probabilities[np.arange(len(codes)), codes].tolist()
        distances = [None] * len(results) if outputs.distances is None else outputs.distances.tolist()
        unsure = [
            sureness.reasons(result, code, confidence, distance)
            for result, code, confidence, distance in zip(results, codes.tolist(), confidences, distances, strict=True)
        ]
        return Predictions(outputs.logits.astype(np.float32), probabilities.astype(np.float32), codes, unsure)


def pack(facts: dict[str, Any], reference: Reference, model: ServableModel) -> tuple[Bundle, bytes]:
    """Make a bundle from its facts, reference and model.

    Parameters
    ----------
    facts : dict[str, Any]
        All fields of ``BundleManifest`` but ``weights_sha256`` and ``digest``.
    reference : Reference
    model : ServableModel

    Returns
    -------
    tuple[Bundle, bytes]
        The bundle, and its weights file.

    Raises
    ------
    ValueError
        The facts do not fit together.
    """
    weights = to_bytes({**model.tensors(), "reference.frames": reference.frames})
    draft = BundleManifest(**facts, weights_sha256=hashlib.sha256(weights).hexdigest(), digest="")
    manifest = draft.model_copy(update={"digest": draft.expected_digest()})
    return Bundle(manifest, reference, model), weights


def load(source: str | os.PathLike[str], digest: str | None = None, device: Device = "cpu") -> Bundle:
    """Load a bundle ready to serve.

    Parameters
    ----------
    source : str | os.PathLike
        The name of a shipped model, a path, or any fsspec URL.
    digest : str | None
        Refuse a bundle with any other digest. None takes any.
    device : Device
        ``auto`` uses a GPU if there is one.

    Returns
    -------
    Bundle

    Raises
    ------
    DeviceError
        The device is not available.
    BundleError
        As ``read_manifest``. Also if the weights are damaged, or if the bundle has another digest than ``digest``.
    InputError, StoreUnavailable
        As ``read_manifest``.

    Examples
    --------
    >>> import heartbeat_core as hb
    >>> hb.load_bundle("seed-small").manifest.recipe.input
    'aligned'
    """
    source = os.fspath(source)
    manifest = read_manifest(source)
    if digest is not None and manifest.digest != digest:
        raise BundleError(f"{source}: holds the bundle {manifest.digest[:12]}…, but {digest[:12]}… was asked for")
    return unpack(manifest, read_weights(source, manifest), source, resolve_device(device))


def unpack(manifest: BundleManifest, weights: bytes, source: str, device: str = "cpu") -> Bundle:
    """Load the weights that belong to a manifest.

    Parameters
    ----------
    manifest : BundleManifest
    weights : bytes
        The weights file, whose digest was checked, as by ``read_weights``.
    source : str
        The bundle's place, for messages.
    device : str
        ``cpu`` or ``cuda``.

    Raises
    ------
    BundleError
        The weights do not fit the recipe, or a bundle cannot hold models of this kind.
    """
    try:
        tensors = from_bytes(weights)
        reference = make_reference(tensors.pop("reference.frames"), device)
        model = implementation_of(manifest.recipe).restore(manifest.recipe, tensors, reference, device)
        form = model.form()
        n_outputs = None if form is None else len(form.network.layers[-1].bias)
        if n_outputs not in (None, len(manifest.labels)):
            raise ValueError(f"{n_outputs} outputs, {len(manifest.labels)} labels")
    except ConfigError as error:
        raise BundleError(f"{source}: {error}") from None
    except (SafetensorError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise BundleError(f"{source}: {WEIGHTS_NAME} does not fit its recipe: {reason}") from None
    return Bundle(manifest, reference, model)
