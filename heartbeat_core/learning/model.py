"""The interface of every model kind: fitting, serving, size, export.

The author of a kind writes an ``Implementation``, which fits a ``Model``. ``kinds`` lists the kinds by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.arrays import Frames, Inputs, Logits, Values
from heartbeat_core.errors import ConfigError
from heartbeat_core.labels import Targets
from heartbeat_core.recipe import Recipe

if TYPE_CHECKING:
    from heartbeat_core.alignment.placement import Placement, Reference
    from heartbeat_core.learning.network import Arrays, Network

OnStep = Callable[[], None]
"""Called after each of the ``n_steps`` of an implementation."""


def _nothing() -> None:
    pass


class Processed(Protocol):
    """The parts of a processed recording that serving reads; ``recordings.process.RecordingResult`` has them."""

    @property
    def frames(self) -> Frames:
        """Return [n_frames, 2] float32, cut at the end of the bundle's reference."""

    @property
    def placement(self) -> Placement:
        """Return where the frames lie within the reference."""

    @property
    def features(self) -> Mapping[str, NDArray[np.float32]]:
        """Return the computed feature sets, by name."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """The outputs of a model for n recordings.

    Attributes
    ----------
    logits : ndarray, [n, n_labels] float64
        Logits of labels without a training row have no meaning.
    distances : ndarray, [n] float64 | None
        Distance of each recording from the training rows; None if the model does not measure it.
    """

    logits: Logits
    distances: Values | None = None


@dataclass(frozen=True, slots=True)
class NetworkForm:
    """A model as a scaler followed by one FCNN, the form that ONNX and HDF5 files hold.

    Attributes
    ----------
    network : Network
        It reads scaled values.
    mean, scale : ndarray, [L, 2] or [width] float64
        A scaled value is ``(x - mean) / scale``.
    clip : float | None
        Scaled values are clipped at plus and minus this value; None if they are not clipped.
    """

    network: Network
    mean: Values
    scale: Values
    clip: float | None


class Model(Protocol):
    """A fitted model."""

    @property
    def n_bytes(self) -> int | None:
        """Return the size of weights, scaler and reference in bytes; None if it is not known."""

    def logits(self, inputs: Sequence[Inputs]) -> Logits:
        """Compute the outputs for recordings.

        Parameters
        ----------
        inputs : Sequence[Inputs]
            n arrays, as ``features.extract.compute_inputs`` makes them.

        Returns
        -------
        ndarray, [n, n_labels] float64
            Logits of labels without a training row have no meaning.
        """

    def distances(self, inputs: Sequence[Inputs]) -> Values | None:
        """Return [n] float64: the distance of each from the training rows; None if the model does not measure it."""


@runtime_checkable
class ServableModel(Model, Protocol):
    """A fitted model that a bundle can hold."""

    def serve(self, results: Sequence[Processed]) -> Outputs:
        """Compute the outputs for processed recordings, one each, in their order."""

    def tensors(self) -> Arrays:
        """Return the arrays that a bundle stores, by name; ``Implementation.restore`` reads them back."""

    def form(self) -> NetworkForm | None:
        """Return the model as one network; None if it has no such form."""


class Implementation(ABC):
    """How models of one kind are fitted and restored; the class of each kind overrides what differs.

    Only ``fit`` is required. A kind whose models can be packed into bundles also overrides ``check_servable``,
    ``restore`` and ``describe``. An implementation holds no state: all settings come from the recipe.
    """

    @abstractmethod
    def fit(
        self,
        recipe: Recipe,
        inputs: Sequence[Inputs],
        targets: Targets,
        seed: int,
        reference: Reference | None = None,
        on_step: OnStep = _nothing,
    ) -> Model:
        """Fit a model, using only the given rows.

        Parameters
        ----------
        recipe : Recipe
            Its model can read its input.
        inputs : Sequence[Inputs]
            n arrays, as ``features.extract.compute_inputs`` makes them.
        targets : Targets
            The labels of the n rows. Each row allows at least one label that some row is known to have.
        seed : int
            The same rows and seed give the same model on the same machine.
        reference : Reference | None
            Frames are aligned with it; None aligns them with the longest row.
        on_step : OnStep
            Called ``n_steps(recipe)`` times.

        Raises
        ------
        DatasetError
            There are too few rows, or all have the same label.
        """

    def n_steps(self, recipe: Recipe) -> int:
        """Return how often ``fit`` calls ``on_step``."""
        return 1

    def check_servable(self, recipe: Recipe) -> None:
        """Refuse a recipe whose models cannot be packed into a bundle.

        Raises
        ------
        ConfigError
            They cannot be packed; the message says what can be done instead.
        """
        raise _not_servable(recipe)

    def restore(self, recipe: Recipe, tensors: Arrays, reference: Reference, device: str = "cpu") -> ServableModel:
        """Return the model that a bundle holds, ready to serve.

        Parameters
        ----------
        recipe : Recipe
            The recipe of the model.
        tensors : Arrays
            By name, as ``ServableModel.tensors`` returned them.
        reference : Reference
            Frames are aligned with it.
        device : str
            ``cpu`` or ``cuda``. A kind may serve on the CPU whatever it says.

        Raises
        ------
        ConfigError
            Models of this kind cannot be packed into a bundle.
        KeyError, ValueError
            The arrays are not those of such a model.
        """
        raise _not_servable(recipe)

    def describe(self, recipe: Recipe) -> str:
        """Return a description of the model for its card, such as "A fully connected network (hidden widths 16, 8)"."""
        return f"A model of the kind '{recipe.model}'"


def _not_servable(recipe: Recipe) -> ConfigError:
    return ConfigError(
        f"recipe '{recipe.name}' ({recipe.model} on {recipe.input}) cannot be packed into a bundle, only evaluated: "
        "judge it with 'heartbeat evaluate', or use the model fcnn or bagged-fcnn on aligned frames or vectors"
    )


def cannot_pack(recipe: Recipe) -> ConfigError:
    """Return the error for a recipe whose compressed network a bundle cannot hold."""
    what = "compression" if recipe.compression.pruned else "int8"
    instead = " and write 8 bits with 'heartbeat export --int8'" if recipe.compression.int8 else ""
    return ConfigError(
        f"recipe '{recipe.name}' cannot be packed into a bundle, only evaluated: train it without {what}{instead}"
    )
