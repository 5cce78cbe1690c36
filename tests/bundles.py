"""Bundles that nobody trained: a network of random weights, in a moment, for tests of what is done with a bundle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from heartbeat_core.alignment.placement import Placement, Reference
from heartbeat_core.alignment.scaling import Scaler
from heartbeat_core.arrays import Frames, Values
from heartbeat_core.audio.quality import Quality
from heartbeat_core.bundles.bundle import Bundle, pack
from heartbeat_core.features.statistics_columns import NAMES
from heartbeat_core.labels import ORIGINAL_LABELS, Labels
from heartbeat_core.learning.aligned import AlignedModel, Aligner
from heartbeat_core.learning.fcnn import FCNN, as_arrays
from heartbeat_core.learning.vectors import VectorModel, VectorScaler
from heartbeat_core.recipe import Recipe
from heartbeat_core.recordings.process import RecordingResult
from heartbeat_core.recordings.recording import Recording

FOUR = ("normal", "extrahls", "murmur", "extrastole")
THRESHOLDS = (1.0, 0.5, 1.5, 1.0, 0.75)


def make_frames(n_frames: int, rng: np.random.Generator) -> Frames:
    """Return [n_frames, 2] float32: Hz up to 22,050, magnitudes from 0.001 to 10."""
    hz = np.exp(rng.uniform(np.log(20), np.log(22_050), n_frames))
    magnitudes = np.exp(rng.uniform(np.log(1e-3), np.log(10), n_frames))
    return np.stack([hz, magnitudes], axis=1).astype(np.float32)


def made_up_bundle(
    kind: str = "aligned",
    hidden: Sequence[int] = (16, 8),
    trained: Sequence[str] = FOUR,
    temperature: float = 1.0,
    length: int = 300,
    seed: int = 0,
    labels: Labels = ORIGINAL_LABELS,
    thresholds: Sequence[float] = THRESHOLDS,
) -> tuple[Bundle, bytes]:
    """Return a bundle and its weights file; ``kind`` is aligned or statistics."""
    rng = np.random.default_rng(seed)
    shape = (length, 2) if kind == "aligned" else (len(NAMES),)
    network = _network(int(np.prod(shape)), hidden, len(labels), rng)
    mean, scale = _scaler(shape, rng)
    reference = Reference(make_frames(length, rng))
    model = (
        AlignedModel(Aligner(reference, Scaler(mean, scale), "both", False), as_arrays(network))
        if kind == "aligned"
        else VectorModel(VectorScaler(mean, scale), as_arrays(network), kind)
    )
    facts = {
        "name": "made-up",
        "recipe": Recipe.model_validate({"name": "made-up", "input": kind, "network": {"hidden": list(hidden)}}),
        "labels": labels,
        "trained_labels": tuple(trained),
        "reference": {"audio_sha256": "ab" * 32, "n_frames": length, "sample_rate_hz": 44_100},
        "training_data": {"description": None, "fingerprint": "cd" * 32, "n_rows": 0, "rows_by_label": {}},
        "decision": {"temperature": temperature, "thresholds": tuple(thresholds)},
        "packages": {},
    }
    return pack(facts, reference, model)


def made_up_results(bundle: Bundle, n_rows: int, seed: int = 1) -> list[RecordingResult]:
    """Return recordings after the walk, each elsewhere along the reference, with some statistics out of bounds."""
    rng = np.random.default_rng(seed)
    mean, scale = (bundle.model.tensors()[f"scaler.{name}"].astype(np.float64) for name in ("mean", "scale"))
    found = []
    for number in range(n_rows):
        n_frames = int(rng.integers(1, len(bundle.reference) + 1))
        placement = Placement(int(rng.integers(0, len(bundle.reference) - n_frames + 1)), n_frames, 0.0)
        statistics = mean + scale * 3.0 * rng.standard_normal(mean.shape) if bundle.vectors else None
        found.append(
            RecordingResult(
                recording=Recording(f"file:///{number}.wav", f"{number}.wav"),
                audio_sha256="ef" * 32,
                size_bytes=1,
                format="WAV",
                subtype="PCM_16",
                sample_rate_hz=44_100,
                channels=1,
                n_samples=44_100,
                duration_s=1.0,
                header_n_samples=None,
                truncated=False,
                quality=Quality(0.0, 0.0, 0.0, 1.0, 1.0),
                frames=make_frames(n_frames, rng),
                n_frames_cut=0,
                placement=placement,
                features={} if statistics is None else {"statistics": statistics.astype(np.float32)},
            )
        )
    return found


def _network(n_inputs: int, hidden: Sequence[int], n_labels: int, rng: np.random.Generator) -> FCNN:
    """Return a network all of whose parts do something: BatchNorms that shift and stretch, logits of some size."""
    torch.manual_seed(int(rng.integers(2**31)))
    network = FCNN(n_inputs, hidden, n_labels, 0.5)
    with torch.no_grad():
        for layer in network.layers:
            if isinstance(layer, nn.Linear):
                layer.weight.mul_(2.0)
            if isinstance(layer, nn.BatchNorm1d):
                for name, value in layer.state_dict().items():
                    if value.is_floating_point():
                        sign = 1 if "var" in name else torch.empty_like(value).uniform_(-1, 1).sign()
                        value.copy_(torch.empty_like(value).uniform_(0.5, 1.5) * sign)
    return network.eval()


def _scaler(shape: tuple[int, ...], rng: np.random.Generator) -> tuple[Values, Values]:
    """Return mean and scale; of frames in Hz and magnitudes."""
    size = np.array([2_000.0, 1.0]) if len(shape) == 2 else 10.0 ** rng.uniform(-3, 3, shape)
    mean = size * rng.uniform(0.1, 2.0, shape)
    scale = size * np.exp(rng.uniform(np.log(0.1), np.log(2.0), shape))
    return mean, scale
