"""One versioned model artefact: everything that a prediction needs, and what the model is worth.

On disk, or under any URL::

    BUNDLE/bundle.json           recipe, labels, figures, versions, digests
    BUNDLE/weights.safetensors   network, reference, scaler
    BUNDLE/MODEL_CARD.md         the same facts for people
    BUNDLE/holdout.parquet       the held-out rows' logits, by audio_sha256

Invariants: no pickle; ``digest`` is the SHA-256 over the canonical ``bundle.json`` without it, and
``bundle.json`` holds the SHA-256 of the weights, so one digest names the whole content. Nothing in it
depends on when or where it was made: the same training gives the same digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError

from heartbeat_core.accelerator import make_reference, resolve_device
from heartbeat_core.alignment import Reference
from heartbeat_core.config import LABELS, Device
from heartbeat_core.correlation import Frames
from heartbeat_core.errors import BundleError
from heartbeat_core.fcnn import FCNN
from heartbeat_core.inference import Scorer, Scores
from heartbeat_core.manifest import WEIGHTS_NAME, BundleManifest, read_file, read_manifest, resolve
from heartbeat_core.scaling import Scaler


class Bundle:
    """A model ready to serve.

    Attributes:
        manifest: the facts.
        reference: the alignment reference.
        scaler: the per-position scaler of the training rows.
        network: the FCNN in evaluation mode.
        device: where it scores, of torch's.
    """

    def __init__(
        self,
        manifest: BundleManifest,
        reference: Reference,
        scaler: Scaler,
        network: FCNN,
        device: str = "cpu",
    ) -> None:
        self.manifest = manifest
        self.reference = reference
        self.scaler = scaler
        self.network = network.eval()
        self.device = device

    @property
    def model_id(self) -> str:
        """Name and digest; every prediction row carries it."""
        return self.manifest.model_id

    def score(self, frames: Sequence[Frames], offsets: Sequence[int]) -> Scores:
        """Score aligned sequences.

        Args:
            frames: n arrays [n_frames_i, 2] float32, unpadded.
            offsets: n offsets in frames.
        """
        return self._scorer.score(frames, offsets)

    @cached_property
    def _scorer(self) -> Scorer:
        trained = np.array([LABELS.index(label) for label in self.manifest.trained_labels])
        return Scorer(self.network, self.scaler, trained, self.device)


def pack(facts: dict[str, Any], reference: Reference, scaler: Scaler, network: FCNN) -> tuple[Bundle, bytes]:
    """Make a bundle of ``facts`` (the manifest's fields but the two digests); returns it and its weights file."""
    tensors = {f"network.{name}": value.contiguous() for name, value in network.state_dict().items()}
    tensors["reference.frames"] = torch.from_numpy(reference.frames.copy())
    tensors["scaler.mean"] = torch.from_numpy(scaler.mean)
    tensors["scaler.scale"] = torch.from_numpy(scaler.scale)
    weights = safetensors.torch.save(tensors)
    draft = BundleManifest(**facts, weights_sha256=hashlib.sha256(weights).hexdigest(), digest="")
    manifest = draft.model_copy(update={"digest": draft.expected_digest()})
    return Bundle(manifest, reference, scaler, network), weights


def load(source: str, digest: str | None = None, device: Device = "cpu") -> Bundle:
    """Load a bundle ready to serve, on a GPU where that is the device.

    Raises:
        DeviceError: the device is not there.
        BundleError: as ``read_manifest``; or the weights are damaged, or it is not the bundle with ``digest``.
    """
    manifest = read_manifest(source)
    if digest is not None and manifest.digest != digest:
        raise BundleError(f"{source}: holds the bundle {manifest.digest[:12]}…, and {digest[:12]}… was asked for")
    return unpack(manifest, read_file(resolve(source), WEIGHTS_NAME, source), source, resolve_device(device))


def unpack(manifest: BundleManifest, weights: bytes, source: str, device: str = "cpu") -> Bundle:
    """Load the weights that belong to ``manifest``.

    Raises:
        BundleError: the weights are not those that were packed.
    """
    if hashlib.sha256(weights).hexdigest() != manifest.weights_sha256:
        raise BundleError(f"{source}: {WEIGHTS_NAME} does not match its digest: copy the bundle again")
    try:
        tensors = safetensors.torch.load(weights)
        reference = make_reference(tensors.pop("reference.frames").numpy(), device)
        scaler = Scaler(tensors.pop("scaler.mean").numpy(), tensors.pop("scaler.scale").numpy())
        recipe = manifest.recipe
        network = FCNN(scaler.mean.size, recipe.network.hidden, len(LABELS), recipe.network.dropout)
        network.load_state_dict({name.removeprefix("network."): value for name, value in tensors.items()})
    except (SafetensorError, KeyError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise BundleError(f"{source}: {WEIGHTS_NAME} does not fit its recipe: {reason}") from None
    return Bundle(manifest, reference, scaler, network, device)
