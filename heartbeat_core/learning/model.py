"""What every model kind has in common: fitting, serving, size, export.

``Implementation`` is what a kind's author writes; ``Model`` is what it gives. ``kinds`` lists them by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.arrays import Codes, Frames, Inputs, Logits, Values
from heartbeat_core.errors import ConfigError
from heartbeat_core.recipe import Recipe

if TYPE_CHECKING:
    import torch

    from heartbeat_core.alignment.placement import Placement, Reference
    from heartbeat_core.learning.fcnn import FCNN

OnStep = Callable[[], None]
"""Called at each of an implementation's ``n_steps``."""


def _nothing() -> None:
    pass


class Processed(Protocol):
    """What serving reads of a processed recording; ``recordings.process.RecordingResult`` has it."""

    @property
    def frames(self) -> Frames:
        """Return [n_frames, 2] float32, as far as the bundle's reference reaches."""

    @property
    def placement(self) -> Placement:
        """Return where they lie within the reference."""

    @property
    def features(self) -> Mapping[str, NDArray[np.float32]]:
        """Return the feature sets that were computed, by name."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a model gives for n recordings that it serves.

    Attributes
    ----------
    logits : ndarray, [n, n_labels] float64
        Those of labels without a training row mean nothing.
    distances : ndarray, [n] float64 | None
        How far each lies from the training rows; None where the model does not measure it.
    """

    logits: Logits
    distances: Values | None = None


@dataclass(frozen=True, slots=True)
class NetworkForm:
    """A model as one FCNN behind a scaler: what ONNX and HDF5 hold.

    Attributes
    ----------
    network : FCNN
        In evaluation mode; it reads scaled values.
    mean, scale : ndarray, [L, 2] or [width] float64
        Scaled is ``(x - mean) / scale``.
    clip : float | None
        Scaled values are cut at plus and minus this; None where they are not.
    """

    network: FCNN
    mean: Values
    scale: Values
    clip: float | None


class Model(Protocol):
    """A fitted model."""

    @property
    def n_bytes(self) -> int | None:
        """Return the size of what it keeps: weights, scaler, reference; None where that is not known."""

    def logits(self, inputs: Sequence[Inputs]) -> Logits:
        """Return [n, n_labels] float64 for inputs as ``features.extract.compute_inputs`` makes them.

        Those of labels without a training row mean nothing.
        """

    def distances(self, inputs: Sequence[Inputs]) -> Values | None:
        """Return [n] float64: how far each lies from the training rows; None where the model does not measure it."""


@runtime_checkable
class ServableModel(Model, Protocol):
    """A fitted model that a bundle can hold."""

    def serve(self, results: Sequence[Processed]) -> Outputs:
        """Return the outputs for processed recordings."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return what a bundle stores of it, by name; ``Implementation.restore`` reads it back."""

    def form(self) -> NetworkForm | None:
        """Return the model as one network, None where it has no such form."""


class Implementation:
    """How models of one kind are fitted and restored; a kind's own class overrides what differs.

    Only ``fit`` has to be written; a kind whose models make bundles also overrides ``check_servable``, ``restore`` and
    ``describe``. An implementation holds no state: all of it comes from the recipe.
    """

    def fit(
        self,
        recipe: Recipe,
        inputs: Sequence[Inputs],
        codes: Codes,
        seed: int,
        reference: Reference | None = None,
        on_step: OnStep = _nothing,
    ) -> Model:
        """Fit a model to rows and to nothing else.

        Parameters
        ----------
        recipe : Recipe
            Its input and model are ones that go together.
        inputs : Sequence[Inputs]
            As ``features.extract.compute_inputs`` makes them.
        codes : ndarray, [n] int64
        seed : int
            The same rows and seed give the same model on the same machine.
        reference : Reference | None
            Of frames: align with it; None aligns with the longest row.
        on_step : OnStep
            Called ``n_steps(recipe)`` times.

        Raises
        ------
        DatasetError
            The rows are too few, or of one label.
        """
        raise NotImplementedError

    def n_steps(self, recipe: Recipe) -> int:
        """Return how often ``fit`` calls ``on_step``."""
        return 1

    def check_servable(self, recipe: Recipe) -> None:
        """Raise ConfigError where a model of this recipe makes no bundle, with the way out."""
        raise ConfigError(
            f"recipe '{recipe.name}' ({recipe.model} on {recipe.input}) makes no bundle, only figures: bundles hold an "
            "fcnn or a bagged-fcnn on aligned frames or vectors; judge it with 'heartbeat evaluate'"
        )

    def restore(
        self, recipe: Recipe, tensors: dict[str, torch.Tensor], reference: Reference, device: str = "cpu"
    ) -> ServableModel:
        """Return the model whose ``tensors`` a bundle holds, ready to serve on ``cpu`` or ``cuda``."""
        raise NotImplementedError

    def describe(self, recipe: Recipe) -> str:
        """Return what the model is, for its card: "A fully connected network (hidden widths 16, 8)"."""
        return f"A model of the kind '{recipe.model}'"
