"""The original project's models: an FCNN that reads frames, which are padded by alignment or at one end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from heartbeat_core.alignment.placement import Reference, pad, place
from heartbeat_core.alignment.scaling import Scaler, fit_scaler
from heartbeat_core.arrays import Inputs, Logits
from heartbeat_core.features.catalogue import ALIGNED, FREQUENCY
from heartbeat_core.labels import Targets
from heartbeat_core.learning.model import Implementation, NetworkForm, OnStep, Outputs, Processed, cannot_pack
from heartbeat_core.learning.network import (
    Arrays,
    Network,
    describe_network,
    restored_network,
    stored_arrays,
    stored_bytes,
)
from heartbeat_core.learning.scorer import Scorer, make_scorer
from heartbeat_core.recipe import CompressionSettings, PadMode, Recipe

if TYPE_CHECKING:
    from heartbeat_core.learning.torch_scorer import TorchScorer
    from heartbeat_core.learning.training import TrainingRows

MATRIX_BYTES = 2**30
"""Padded training rows up to this size stay in memory. Larger ones are padded batch by batch."""


@dataclass(frozen=True, slots=True)
class Aligner:
    """Turn frames into padded and scaled rows, with the reference and the scaler of the model's training rows.

    Attributes
    ----------
    reference : Reference
    scaler : Scaler
        Of each position and channel of the reference.
    pad_mode : PadMode
    frequency_only : bool
        All amplitudes are set to 0.
    """

    reference: Reference
    scaler: Scaler
    pad_mode: PadMode
    frequency_only: bool

    @property
    def n_bytes(self) -> int:
        """Return the size of the reference and the scaler in bytes."""
        return self.reference.frames.nbytes + self.scaler.mean.nbytes + self.scaler.scale.nbytes

    def place(self, inputs: Sequence[Inputs]) -> tuple[list[Inputs], list[int]]:
        """Place rows along the reference.

        Parameters
        ----------
        inputs : Sequence[Inputs]
            n arrays [n_frames_i, 2] float32: Hz, linear magnitude.

        Returns
        -------
        tuple[list[Inputs], list[int]]
            The rows, n arrays [n_frames_i, 2] float32, each cut to the length of the reference; n offsets in frames.
        """
        return _place(inputs, self.reference, self.pad_mode, self.frequency_only)

    def flatten(self, inputs: Sequence[Inputs]) -> Inputs:
        """Return the padded and scaled rows, [n, 2 * length] float32, for inputs as ``place`` takes them."""
        return flatten(*self.place(inputs), self.scaler)


def fit_aligner(
    recipe: Recipe, inputs: Sequence[Inputs], reference: Reference | None = None
) -> tuple[Aligner, list[Inputs], list[int]]:
    """Place rows along a reference and fit the scaler.

    Parameters
    ----------
    recipe : Recipe
        Its alignment settings are used. With the input ``frequency``, all amplitudes are set to 0.
    inputs : Sequence[Inputs]
        n arrays [n_frames_i, 2] float32: Hz, linear magnitude.
    reference : Reference | None
        None takes the longest row, and the first one if several are equally long.

    Returns
    -------
    tuple[Aligner, list[Inputs], list[int]]
        The aligner, and the rows and offsets as its ``place`` returns them.
    """
    frequency_only = recipe.input == FREQUENCY.name
    if reference is None:
        reference = Reference(_kept(max(inputs, key=len), frequency_only))
    rows, offsets = _place(inputs, reference, recipe.alignment.pad_mode, frequency_only)
    scaler = fit_scaler(rows, np.array(offsets, np.int64), len(reference))
    return Aligner(reference, scaler, recipe.alignment.pad_mode, frequency_only), rows, offsets


class AlignedModel:
    """The FCNN on aligned frames, with the reference and the scaler of its own training rows.

    Parameters
    ----------
    aligner : Aligner
    network : Network
    compression : CompressionSettings
        How the network was compressed. The scaler is not folded into an 8-bit network, because the first layer of such
        a network rounds its inputs.
    device : str
        The torch device that the model runs on.
    """

    def __init__(
        self,
        aligner: Aligner,
        network: Network,
        compression: CompressionSettings = CompressionSettings(),  # noqa: B008  it is frozen
        device: str = "cpu",
    ) -> None:
        self.aligner = aligner
        self.network = network
        self._compression = compression
        self._device = device

    @cached_property
    def scorer(self) -> Scorer | TorchScorer:
        """Fold the scaler into the network, once."""
        return make_scorer(self.network, self.aligner.scaler, self._device)

    @property
    def n_bytes(self) -> int:
        """Return the size of network, reference and scaler in bytes."""
        return self.aligner.n_bytes + stored_bytes(self.network, self._compression)

    def logits(self, inputs: Sequence[Inputs]) -> Logits:
        """Return [n, n_labels] float64 for frames, n arrays [n_frames_i, 2] float32."""
        return self._logits(*self.aligner.place(inputs))

    def distances(self, inputs: Sequence[Inputs]) -> None:
        """Return None: the distance of aligned frames depends more on their length than on their kind."""

    def serve(self, results: Sequence[Processed]) -> Outputs:
        """Return the outputs for recordings that were placed along this model's own reference; no distances."""
        offsets = [one.placement.offset_frames for one in results]
        return Outputs(self._logits([one.frames for one in results], offsets))

    def tensors(self) -> Arrays:
        """Return the arrays of the network and the scaler, by name."""
        return stored_arrays(self.network, self.aligner.scaler.mean, self.aligner.scaler.scale)

    def form(self) -> NetworkForm:
        """Return the network, with the scaler of each position before it."""
        return NetworkForm(self.network, self.aligner.scaler.mean, self.aligner.scaler.scale, None)

    def _logits(self, placed: Sequence[Inputs], offsets: Sequence[int]) -> Logits:
        if not self._compression.int8:
            return self.scorer.score(placed, offsets).astype(np.float64)
        return self.network.logits(flatten(placed, offsets, self.aligner.scaler))


class AlignedFCNN(Implementation):
    """The kind ``fcnn`` on frames."""

    def fit(
        self,
        recipe: Recipe,
        inputs: Sequence[Inputs],
        targets: Targets,
        seed: int,
        reference: Reference | None = None,
        on_step: OnStep = lambda: None,
    ) -> AlignedModel:
        """Place the rows, fit the scaler, train the network, compress it.

        Frames are n arrays [n_frames_i, 2] float32: Hz, linear magnitude. All else is as ``Implementation.fit`` says.
        """
        # Imported here because torch takes a second to load and serving does not need it.
        from heartbeat_core.learning.compression import compressed
        from heartbeat_core.learning.training import AlignedFrames, MatrixRows, train_network

        aligner, placed, offsets = fit_aligner(recipe, inputs, reference)
        rows: TrainingRows
        if 4 * len(placed) * aligner.scaler.mean.size <= MATRIX_BYTES:
            rows = MatrixRows(flatten(placed, offsets, aligner.scaler), targets)
        else:
            rows = AlignedFrames(placed, np.array(offsets, np.int64), targets, aligner.scaler)
        network = train_network(rows, recipe, lambda epoch, loss: on_step(), seed)
        return AlignedModel(aligner, compressed(network, rows, recipe, seed), recipe.compression)

    def n_steps(self, recipe: Recipe) -> int:
        """Return the number of epochs."""
        return recipe.training.epochs

    def check_servable(self, recipe: Recipe) -> None:
        """Refuse compressed networks, and the input ``frequency``, which bundles do not align; raises ConfigError."""
        if recipe.input != ALIGNED.name:
            super().check_servable(recipe)
        if recipe.compression != CompressionSettings():
            raise cannot_pack(recipe)

    def restore(self, recipe: Recipe, tensors: Arrays, reference: Reference, device: str = "cpu") -> AlignedModel:
        """Return the model that a bundle holds; raises as ``network.restored_network``."""
        network, mean, scale = restored_network(tensors, recipe.network.hidden)
        aligner = Aligner(reference, Scaler(mean, scale), recipe.alignment.pad_mode, False)
        return AlignedModel(aligner, network, recipe.compression, device)

    def describe(self, recipe: Recipe) -> str:
        """Return a description of the network."""
        return describe_network(recipe.network.hidden)


def _place(
    inputs: Sequence[Inputs], reference: Reference, pad_mode: PadMode, frequency_only: bool
) -> tuple[list[Inputs], list[int]]:
    rows = [_kept(one, frequency_only) for one in inputs]
    placements = [place(row, reference, pad_mode) for row in rows]
    cut = [row[: one.n_frames] for row, one in zip(rows, placements, strict=True)]
    return cut, [one.offset_frames for one in placements]


def flatten(rows: Sequence[Inputs], offsets: Sequence[int], scaler: Scaler) -> Inputs:
    """Return placed rows padded and scaled.

    Parameters
    ----------
    rows : Sequence[Inputs]
        n arrays [n_frames_i, 2] float32: Hz, linear magnitude.
    offsets : Sequence[int]
        n numbers of zero frames in front.
    scaler : Scaler
        Its length is that of the reference.

    Returns
    -------
    ndarray, [n, 2 * length] float32
        Position by position, frequency before magnitude.
    """
    length = len(scaler.mean)
    flat = np.empty((len(rows), 2 * length), np.float32)
    # Row by row: all rows at once, in float64, take gigabytes at the main level.
    for number, (row, offset) in enumerate(zip(rows, offsets, strict=True)):
        flat[number] = scaler.transform(pad(row, offset, length)).reshape(-1)
    return flat


def _kept(frames: Inputs, frequency_only: bool) -> Inputs:
    """Return the frames. If only the frequency is read, the amplitude is 0, and so are its scaled values."""
    return frames * np.array([1, 0], np.float32) if frequency_only else frames
