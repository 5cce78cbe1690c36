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
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from heartbeat_core.alignment import Reference, pad
from heartbeat_core.config import LABELS
from heartbeat_core.correlation import Frames
from heartbeat_core.errors import BundleError
from heartbeat_core.fcnn import FCNN
from heartbeat_core.manifest import WEIGHTS_NAME, BundleManifest, read_file, read_manifest, resolve
from heartbeat_core.scaling import Scaler
from heartbeat_core.training import label_mask

BATCH_ROWS = 64


@dataclass(frozen=True, slots=True)
class Scores:
    """Outputs for a batch of recordings.

    Attributes:
        logits: [n, 5] float32, as the network gives them.
        probabilities: [n, 5] float32, softmax over the trained labels, 0 for the others.
        codes: [n] int64, the most probable label, the first of equals.
    """

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    codes: NDArray[np.int64]


class Bundle:
    """A model ready to serve.

    Attributes:
        manifest: the facts.
        reference: the alignment reference.
        scaler: the per-position scaler of the training rows.
        network: the FCNN in evaluation mode.
    """

    def __init__(self, manifest: BundleManifest, reference: Reference, scaler: Scaler, network: FCNN) -> None:
        self.manifest = manifest
        self.reference = reference
        self.scaler = scaler
        self.network = network.eval()

    @property
    def model_id(self) -> str:
        """Name and digest; every prediction row carries it."""
        return self.manifest.model_id

    def score(self, frames: Sequence[Frames], offsets: Sequence[int]) -> Scores:
        """Score aligned sequences in batches.

        Args:
            frames: n arrays [n_frames_i, 2] float32, unpadded.
            offsets: n offsets in frames.
        """
        trained = np.array([LABELS.index(label) for label in self.manifest.trained_labels])
        return score(self.network, self.scaler, trained, frames, offsets)


def score(
    network: FCNN,
    scaler: Scaler,
    trained_codes: NDArray[np.int64],
    frames: Sequence[Frames],
    offsets: Sequence[int],
) -> Scores:
    """Pad, scale and run in batches; training judges its held-out rows by this same function."""
    batches = [
        _logits(network, scaler, frames[i : i + BATCH_ROWS], offsets[i : i + BATCH_ROWS])
        for i in range(0, len(frames), BATCH_ROWS)
    ]
    logits = torch.cat(batches) if batches else torch.zeros((0, len(LABELS)))
    probabilities = torch.softmax(logits + label_mask(trained_codes), dim=1)
    return Scores(logits.numpy(), probabilities.numpy(), probabilities.argmax(dim=1).numpy())


def _logits(network: FCNN, scaler: Scaler, frames: Sequence[Frames], offsets: Sequence[int]) -> torch.Tensor:
    length = len(scaler.mean)
    padded = np.stack([pad(row, offset, length) for row, offset in zip(frames, offsets, strict=True)])
    with torch.inference_mode():
        logits: torch.Tensor = network(torch.from_numpy(scaler.transform(padded).reshape(len(padded), -1)))
    return logits


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


def load(source: str, digest: str | None = None) -> Bundle:
    """Load a bundle ready to serve.

    Raises:
        BundleError: as ``read_manifest``; or the weights are damaged, or it is not the bundle with ``digest``.
    """
    manifest = read_manifest(source)
    if digest is not None and manifest.digest != digest:
        raise BundleError(f"{source}: holds the bundle {manifest.digest[:12]}…, and {digest[:12]}… was asked for")
    return unpack(manifest, read_file(resolve(source), WEIGHTS_NAME, source), source)


def unpack(manifest: BundleManifest, weights: bytes, source: str) -> Bundle:
    """Load the weights that belong to ``manifest``.

    Raises:
        BundleError: the weights are not those that were packed.
    """
    if hashlib.sha256(weights).hexdigest() != manifest.weights_sha256:
        raise BundleError(f"{source}: {WEIGHTS_NAME} does not match its digest: copy the bundle again")
    try:
        tensors = safetensors.torch.load(weights)
        reference = Reference(tensors.pop("reference.frames").numpy())
        scaler = Scaler(tensors.pop("scaler.mean").numpy(), tensors.pop("scaler.scale").numpy())
        recipe = manifest.recipe
        network = FCNN(scaler.mean.size, recipe.network.hidden, len(LABELS), recipe.network.dropout)
        network.load_state_dict({name.removeprefix("network."): value for name, value in tensors.items()})
    except (SafetensorError, KeyError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise BundleError(f"{source}: {WEIGHTS_NAME} does not fit its recipe: {reason}") from None
    return Bundle(manifest, reference, scaler, network)
