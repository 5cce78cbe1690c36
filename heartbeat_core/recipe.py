"""``Recipe``: everything that changes the results of a model, from frames to training."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from heartbeat_core.settings import PositiveFloat, PositiveInt, Settings, fingerprint, text_like

RESULTS_VERSION = 9
"""Increased with every code change that changes a result; part of the fingerprint of each job."""
FrameMethod = Literal["dominant", "average", "median"]
PadMode = Literal["both", "front", "back"]
InnerFolds = Literal["persons", "databases"]

Name = Annotated[
    str,
    text_like(r"[a-z0-9][a-z0-9._-]{0,63}", "up to 64 small letters, digits, '.', '_' and '-', such as 'seed-small-2'"),
]
"""The name of a recipe, a feature set or a model kind."""


CLIP = 5.0
"""In standard deviations. Larger values hardly occur in training rows, so scaled inputs are clipped."""


class FramesSettings(Settings):
    """How a waveform becomes frames; the levels are mini 0.1 s, small 0.01 s and main 0.001 s.

    Attributes
    ----------
    delta_time_s : float
        Time step in s. ``n_fft`` is the largest power of two of samples within it.
    method : FrameMethod
        What is kept of a spectrum: a frequency in Hz and a magnitude, as ``features.frames.compute_frames`` says.
    """

    delta_time_s: PositiveFloat = 0.01
    method: FrameMethod = "dominant"


class AlignmentSettings(Settings):
    """Where a sequence is placed within the length of the reference.

    Attributes
    ----------
    pad_mode : PadMode
        ``both``: where it is nearest to the reference. ``front``: at the end. ``back``: at the start.
    """

    pad_mode: PadMode = "both"


class NetworkSettings(Settings):
    """The fully connected network.

    Attributes
    ----------
    hidden : tuple[int, ...]
        Widths of the hidden layers, from the inputs to the outputs; of a bagged-fcnn, the one width of each member.
    dropout : float
        Probability that a hidden value is set to 0 in training.
    """

    hidden: tuple[PositiveInt, ...] = (16, 8)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5


class AugmentationSettings(Settings):
    """Altered copies of each training recording: another device, noise, another speed, or only a piece."""

    copies: Annotated[int, Field(ge=0, le=64)] = 0
    harsh: Annotated[bool, Field(exclude_if=lambda harsh: not harsh)] = False
    """Devices with narrower bands, louder noise, the noise of recordings without a heart, and hum of the mains."""
    pieces: Annotated[int, Field(ge=0, le=64, exclude_if=lambda pieces: not pieces)] = 0
    """Further copies that are only a piece of 2 to 6 s, unaltered: a model must also hold on short recordings."""


class CompressionSettings(Settings):
    """How a trained FCNN is made smaller."""

    pruned: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the weights of each layer that are set to 0, beginning with the smallest."""
    int8: bool = False
    """Weights and activations in 8 bits, as onnxruntime quantizes them."""


class OddsSettings(Settings):
    """Labels whose calibrated probability counts several times when it is compared with those of other labels."""

    labels: Annotated[tuple[str, ...], Field(min_length=1)]
    times: PositiveFloat


class DecisionSettings(Settings):
    """How outputs become labels: the label of the largest ``probability / threshold`` is predicted."""

    calibrated: bool = False
    """One temperature for all logits: the one with the lowest log loss on inner training folds (Guo et al., 2017)."""
    inner_folds: Annotated[int, Field(ge=2)] = 5
    balance: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The threshold of a label is its share of the training rows to this power: 0 is best for accuracy, 1 for balanced
    accuracy. It applies before the temperature, so the temperature changes no label."""
    odds: Annotated[OddsSettings | None, Field(exclude_if=lambda odds: odds is None)] = None
    """Labels that count more than once. None: each counts once."""
    inner: Annotated[InnerFolds, Field(exclude_if=lambda inner: inner == "persons")] = "persons"
    """What an inner fold holds out: persons, or whole databases, as a device that the model has not met. With
    databases, the limits of what counts as sure are fitted there as well."""


class TrainingSettings(Settings):
    """Optimisation and hold-out; the values are the best ones of the original project."""

    batch_size: Annotated[int, Field(ge=2)] = 64
    epochs: PositiveInt = 50
    learning_rate: PositiveFloat = 0.001
    plateau_patience: Annotated[int, Field(ge=0)] = 5
    plateau_factor: Annotated[float, Field(gt=0, lt=1)] = 0.3
    holdout_folds: Annotated[int, Field(ge=2)] = 5
    """One of this many folds is held out, by patient: 5 gives the 80/20 split of the original project."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: each label has the same weight in the loss, for any number of rows."""
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    within_databases: Annotated[bool, Field(exclude_if=lambda within: not within)] = False
    """Labels are balanced within each database (``learning.weighting``), by the ``balance`` of ``bagging``."""


class SpecialistSettings(Settings):
    """Networks that decide how likely some labels are; all other networks decide among the other labels."""

    part: Name
    """The networks of ``members`` that read this."""
    labels: Annotated[tuple[str, ...], Field(min_length=1)]


class BaggingSettings(Settings):
    """Settings of the model ``bagged-fcnn``: several small networks that are averaged, and what limits overfitting."""

    members: Annotated[tuple[Name, ...], Field(min_length=1)] = ("all",) * 4
    """What each network reads: ``all``, a feature set, or a part of their columns, such as ``timbre`` or ``rhythm``."""
    balance: Annotated[float, Field(ge=0, le=1)] = 0.75
    """The weight of a label in the loss is ``(rows / its rows) ** balance``: 1 makes all labels equal."""
    input_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    input_noise: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5
    """Deviation of the noise on each input, which has a deviation of about 1."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    input_share: Annotated[float, Field(gt=0, le=1, exclude_if=lambda share: share == 1)] = 1.0
    """The share of its inputs that each network reads, drawn at random (random subspaces; Ho, IEEE TPAMI 20, 1998)."""
    whole_part: Annotated[Name | None, Field(exclude_if=lambda part: part is None)] = None
    """Networks whose part of the columns this is read all of it and nothing else: no share, and no ``shared_part``."""
    shared_part: Annotated[Name | None, Field(exclude_if=lambda part: part is None)] = None
    """A part of the columns that each other network reads in whole, besides its share."""
    clip: Annotated[PositiveFloat, Field(exclude_if=lambda clip: clip == CLIP)] = CLIP
    """Scaled inputs are clipped here, in standard deviations."""
    specialists: Annotated[SpecialistSettings | None, Field(exclude_if=lambda one: one is None)] = None
    """Some networks decide on some labels alone. None: all networks decide on all labels."""
    moved: Annotated[float, Field(ge=0, allow_inf_nan=False, exclude_if=lambda moved: moved == 0)] = 0.0
    """In training, each row moves towards another database, by up to this many times their distance
    (``learning.moving``); 0 moves none."""
    float16: Annotated[bool, Field(exclude_if=lambda float16: not float16)] = False
    """The trained weights are rounded to float16 and stored so."""


class Recipe(Settings):
    """One way from bytes to a prediction.

    ``learning.kinds.check_recipe`` knows all inputs and models, and which of them fit together.
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
    """The kind of the model."""
    labels: Annotated[tuple[str, ...] | None, Field(exclude_if=lambda labels: labels is None)] = None
    """The labels, in the order of their codes. None takes those of the label source (``labels.settle_labels``),
    and is not written, so that a recipe without labels keeps its fingerprint."""
    frames: FramesSettings = FramesSettings()
    """The frames that are aligned. For other inputs, ``classify`` writes these frames as well."""
    alignment: AlignmentSettings = AlignmentSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    network: NetworkSettings = NetworkSettings()
    training: TrainingSettings = TrainingSettings()
    bagging: BaggingSettings = BaggingSettings()
    decision: DecisionSettings = DecisionSettings()
    compression: CompressionSettings = CompressionSettings()

    def dataset_settings(self) -> dict[str, Any]:
        """Return the part of the recipe that an aligned dataset depends on."""
        return self.model_dump(mode="json", include={"version", "frames", "alignment"})

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) over everything except the name and the description."""
        return fingerprint(self.model_dump(mode="json", exclude={"name", "description"}))
