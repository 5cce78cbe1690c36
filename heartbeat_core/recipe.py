"""``Recipe``: everything that changes a model's results, from frames to training."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from heartbeat_core.settings import PositiveFloat, PositiveInt, Settings, fingerprint, text_like

RESULTS_VERSION = 5
"""Raised by every change of the code that changes a result; part of each job's fingerprint."""
LABELS: tuple[str, ...] = ("normal", "extrahls", "murmur", "artifact", "extrastole")
"""The original's labels; a label's code is its place."""
FrameMethod = Literal["dominant", "average", "median"]
PadMode = Literal["both", "front", "back"]

Name = Annotated[
    str,
    text_like(r"[a-z0-9][a-z0-9._-]{0,63}", "up to 64 small letters, digits, '.', '_' and '-', such as 'seed-small-2'"),
]
"""Of a recipe, a feature set or a model kind."""


class FramesSettings(Settings):
    """How a waveform becomes frames; the levels are mini 0.1 s, small 0.01 s and main 0.001 s."""

    delta_time_s: PositiveFloat = 0.01
    method: FrameMethod = "dominant"


class AlignmentSettings(Settings):
    """Where a sequence is placed within the reference's length."""

    pad_mode: PadMode = "both"


class NetworkSettings(Settings):
    """The fully connected network."""

    hidden: tuple[PositiveInt, ...] = (16, 8)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5


class AugmentationSettings(Settings):
    """Altered copies of each training recording: another device, noise, another speed, a piece of it."""

    copies: Annotated[int, Field(ge=0, le=64)] = 0


class CompressionSettings(Settings):
    """What is done to a trained FCNN to make it smaller."""

    pruned: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each layer's weights, the smallest ones, that are set to 0."""
    int8: bool = False
    """Weights and activations in 8 bits, as onnxruntime quantizes them."""


class DecisionSettings(Settings):
    """How outputs become labels: the label of the largest ``probability / threshold`` is predicted."""

    calibrated: bool = False
    """One temperature for all logits, of least log loss on inner folds of the training rows (Guo et al., 2017)."""
    inner_folds: Annotated[int, Field(ge=2)] = 5
    balance: Annotated[float, Field(ge=0, le=1)] = 0.0
    """A label's threshold is its share of the training rows to this power, before the temperature, which so changes
    no label: 0 serves accuracy, 1 balanced accuracy."""


class TrainingSettings(Settings):
    """Optimisation and hold-out; the values are the original's best."""

    batch_size: Annotated[int, Field(ge=2)] = 64
    epochs: PositiveInt = 50
    learning_rate: PositiveFloat = 0.001
    plateau_patience: Annotated[int, Field(ge=0)] = 5
    plateau_factor: Annotated[float, Field(gt=0, lt=1)] = 0.3
    holdout_folds: Annotated[int, Field(ge=2)] = 5
    """One fold of so many is held out, by patient: 5 gives the original's 80/20."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: each label weighs the same in the loss, however many rows it has."""
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


class BaggingSettings(Settings):
    """Of the model ``bagged-fcnn``: several small networks, averaged, and what keeps them from learning by heart."""

    members: Annotated[tuple[Name, ...], Field(min_length=1)] = ("all",) * 4
    """What each of them reads: ``all``, or a part of its feature sets' columns, such as ``timbre`` or ``rhythm``."""
    balance: Annotated[float, Field(ge=0, le=1)] = 0.75
    """A label weighs ``(rows / its rows) ** balance`` in the loss: 1 makes all labels equal."""
    input_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    input_noise: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5
    """Deviation of the noise on each input, which has a deviation of about 1."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1


class Recipe(Settings):
    """One way from bytes to a prediction.

    Which inputs and models there are, and which go together, ``learning.kinds.check_recipe`` knows.
    """

    name: Name
    version: Literal[1] = 1
    description: str = ""
    input: Annotated[
        str,
        text_like(
            r"[a-z0-9][a-z0-9._-]*(\+[a-z0-9][a-z0-9._-]*)*", "a feature set, or several such as 'statistics+cycles'"
        ),
    ] = "aligned"
    """A feature set that the model reads, or several vectors joined by ``+``."""
    model: Name = "fcnn"
    """The model's kind."""
    frames: FramesSettings = FramesSettings()
    """What is aligned; for other inputs, what ``classify`` writes beside them."""
    alignment: AlignmentSettings = AlignmentSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    network: NetworkSettings = NetworkSettings()
    training: TrainingSettings = TrainingSettings()
    bagging: BaggingSettings = BaggingSettings()
    decision: DecisionSettings = DecisionSettings()
    compression: CompressionSettings = CompressionSettings()

    def dataset_settings(self) -> dict[str, Any]:
        """Return the part that an aligned dataset depends on."""
        return self.model_dump(mode="json", include={"version", "frames", "alignment"})

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) over everything but the name and the description."""
        return fingerprint(self.model_dump(mode="json", exclude={"name", "description"}))
