"""What the core's tests share: a small dataset of made-up frames, and a model of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from heartbeat_core.alignment.placement import Frames, Placement, Reference, place
from heartbeat_core.alignment.scaling import fit_scaler
from heartbeat_core.audio.quality import Quality
from heartbeat_core.bundles.bundle import Bundle, pack
from heartbeat_core.evaluation.judging import report_holdout
from heartbeat_core.labels import ORIGINAL_LABELS, Targets
from heartbeat_core.learning.aligned import AlignedModel, Aligner
from heartbeat_core.learning.decision import Decision
from heartbeat_core.learning.fcnn import as_arrays
from heartbeat_core.learning.training import AlignedFrames, train_network
from heartbeat_core.recipe import Recipe
from heartbeat_core.recordings.process import RecordingResult
from heartbeat_core.recordings.recording import Recording

LENGTH = 24


@dataclass(frozen=True)
class MadeUp:
    """Aligned rows of three labels; murmurs lie higher, extrastoles are louder."""

    reference: Reference
    frames: list[Frames]
    offsets: NDArray[np.int64]
    targets: Targets

    @property
    def codes(self) -> NDArray[np.int64]:
        return self.targets.codes

    def inputs(self) -> AlignedFrames:
        return AlignedFrames(self.frames, self.offsets, self.targets, fit_scaler(self.frames, self.offsets, LENGTH))

    def results(self) -> list[RecordingResult]:
        """Return the rows as recordings after the walk."""
        placed = zip(self.frames, self.offsets.tolist(), strict=True)
        return [make_result(frames, offset) for frames, offset in placed]


def make_result(frames: Frames, offset: int = 0, **changes: Any) -> RecordingResult:
    """Return a recording of two seconds after the walk, with nothing wrong about it but for the changes."""
    facts = {
        "recording": Recording("file:///r/a.wav", "a.wav"),
        "audio_sha256": "ef" * 32,
        "size_bytes": 16_044,
        "format": "WAV",
        "subtype": "PCM_16",
        "sample_rate_hz": 4_000,
        "channels": 1,
        "n_samples": 8_000,
        "duration_s": 2.0,
        "header_n_samples": 8_000,
        "truncated": False,
        "quality": Quality(0.5, 0.1, 0.0, 0.0, 0.0),
        "frames": frames,
        "n_frames_cut": 0,
        "placement": Placement(offset, len(frames), 1.0),
    }
    return RecordingResult(**facts | changes)


def tiny_recipe(**training: Any) -> Recipe:
    """Return a recipe that trains in a moment."""
    settings = {"batch_size": 8, "epochs": 3, "learning_rate": 0.01} | training
    return Recipe.model_validate({"name": "tiny", "network": {"hidden": [6, 4]}, "training": settings})


def make_rows(n_rows: int, labels: tuple[str, ...] = ("normal", "murmur", "extrastole"), seed: int = 0) -> MadeUp:
    """Return rows whose labels go round; the reference is a row of its own."""
    rng = np.random.default_rng(seed)
    scale = np.array([100, 1e-2])
    reference = Reference(np.abs(rng.standard_normal((LENGTH, 2)) * scale).astype(np.float32))
    codes = np.array([ORIGINAL_LABELS.index(labels[i % len(labels)]) for i in range(n_rows)], np.int64)
    frames = []
    for code in codes.tolist():
        shift = {2: [300, 0], 4: [0, 0.1]}.get(code, [0, 0])
        row = np.abs(rng.standard_normal((int(rng.integers(4, LENGTH)), 2)) * scale) + shift
        frames.append(row.astype(np.float32))
    offsets = np.array([place(row, reference, "both").offset_frames for row in frames], np.int64)
    return MadeUp(reference, frames, offsets, Targets.of_codes(codes))


def make_bundle(rows: MadeUp, recipe: Recipe) -> tuple[Bundle, bytes]:
    """Train on the rows and pack the model, with all facts that a manifest has."""
    inputs = rows.inputs()
    network = train_network(inputs, recipe)
    trained = sorted(set(rows.codes.tolist()))
    groups = [str(row % 3) for row in range(len(rows.codes))]
    facts = {
        "name": recipe.name,
        "recipe": recipe,
        "labels": ORIGINAL_LABELS,
        "trained_labels": tuple(ORIGINAL_LABELS[code] for code in trained),
        "reference": {"audio_sha256": "ab" * 32, "n_frames": LENGTH, "sample_rate_hz": 4_000},
        "training_data": {
            "description": "made up, with an ü",
            "fingerprint": "cd" * 32,
            "n_rows": len(rows.codes),
            "rows_by_label": {ORIGINAL_LABELS[code]: int((rows.codes == code).sum()) for code in trained},
        },
        "decision": Decision(thresholds=(1.0,) * len(ORIGINAL_LABELS)),
        "holdout": report_holdout(rows.targets, rows.targets, rows.codes, groups, "the training rows themselves"),
        "packages": {"torch": "2"},
    }
    return pack(
        facts, rows.reference, AlignedModel(Aligner(rows.reference, inputs.scaler, "both", False), as_arrays(network))
    )


@pytest.fixture(scope="session")
def rows() -> MadeUp:
    """Thirty rows of three labels; not to be changed."""
    return make_rows(30)


@pytest.fixture(scope="session")
def packed(rows: MadeUp) -> tuple[Bundle, bytes]:
    """A model of the rows and its weights file; not to be changed."""
    return make_bundle(rows, tiny_recipe())
