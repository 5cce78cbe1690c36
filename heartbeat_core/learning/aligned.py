"""The original's models: frames, padded by alignment or at an end, into the FCNN."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from heartbeat_core.alignment.placement import Reference, pad, place
from heartbeat_core.alignment.scaling import Scaler
from heartbeat_core.arrays import Codes, Inputs, Logits
from heartbeat_core.errors import ConfigError
from heartbeat_core.learning.compression import compress, stored_bytes
from heartbeat_core.learning.fcnn import FCNN, describe_network, restored_network, stored_tensors
from heartbeat_core.learning.model import Implementation, NetworkForm, OnStep, Outputs, Processed
from heartbeat_core.learning.scorer import Scorer
from heartbeat_core.learning.training import AlignedFrames, MatrixRows, TrainingRows, fit_scaler, train_network
from heartbeat_core.recipe import CompressionSettings, PadMode, Recipe

MATRIX_BYTES = 2**30
"""Up to this size the padded training rows are held in memory; larger ones are padded batch by batch."""


@dataclass(frozen=True, slots=True)
class Aligner:
    """Frames to padded and scaled rows, by the reference and the scaler of its own training rows."""

    reference: Reference
    scaler: Scaler
    pad_mode: PadMode
    frequency_only: bool

    @property
    def n_bytes(self) -> int:
        """Return the size of reference and scaler."""
        return self.reference.frames.nbytes + self.scaler.mean.nbytes + self.scaler.scale.nbytes

    def place(self, inputs: Sequence[Inputs]) -> tuple[list[Inputs], list[int]]:
        """Return the rows as far as the reference reaches, n arrays [n_frames, 2] float32, and their offsets."""
        return _place(inputs, self.reference, self.pad_mode, self.frequency_only)

    def flatten(self, inputs: Sequence[Inputs]) -> Inputs:
        """Return the padded and scaled rows, [n, 2 * length] float32."""
        return flatten(*self.place(inputs), self.scaler)


def fit_aligner(
    recipe: Recipe, inputs: Sequence[Inputs], reference: Reference | None = None
) -> tuple[Aligner, list[Inputs], list[int]]:
    """Place rows along a reference and fit the scaler.

    Parameters
    ----------
    recipe : Recipe
        Its alignment; of the input ``frequency`` the amplitudes are 0.
    inputs : Sequence[Inputs]
        N arrays [n_frames_i, 2] float32: Hz, linear magnitude.
    reference : Reference | None
        None takes the longest row, the first of equals.

    Returns
    -------
    tuple[Aligner, list[Inputs], list[int]]
        The aligner, and the rows and offsets as its ``place`` returns them.
    """
    frequency_only = recipe.input == "frequency"
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
    network : FCNN
        In evaluation mode.
    compression : CompressionSettings
        What was done to the network; one with 8 bits is not folded, since its first layer rounds what it reads.
    device : str
        Of torch's, to serve on.
    """

    def __init__(
        self,
        aligner: Aligner,
        network: FCNN,
        compression: CompressionSettings = CompressionSettings(),  # noqa: B008  it is frozen
        device: str = "cpu",
    ) -> None:
        self.aligner = aligner
        self.network = network.eval()
        self._compression = compression
        self._device = device

    @cached_property
    def scorer(self) -> Scorer:
        """Fold the scaler into the network, once."""
        return Scorer(self.network, self.aligner.scaler, self._device)

    @property
    def n_bytes(self) -> int:
        """Return the size of network, reference and scaler."""
        return self.aligner.n_bytes + stored_bytes(self.network, self._compression)

    def logits(self, inputs: Sequence[Inputs]) -> Logits:
        """Return [n, n_labels] float64 for frames, n arrays [n_frames_i, 2] float32."""
        return self._logits(*self.aligner.place(inputs))

    def distances(self, inputs: Sequence[Inputs]) -> None:
        """Return None: the distance of aligned frames tells more of their length than of their kind."""

    def serve(self, results: Sequence[Processed]) -> Outputs:
        """Return the outputs for recordings that were placed along this model's own reference."""
        offsets = [one.placement.offset_frames for one in results]
        return Outputs(self._logits([one.frames for one in results], offsets))

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return network and scaler, by name."""
        return stored_tensors(self.network, self.aligner.scaler.mean, self.aligner.scaler.scale)

    def form(self) -> NetworkForm:
        """Return the network behind the scaler of each position."""
        return NetworkForm(self.network, self.aligner.scaler.mean, self.aligner.scaler.scale, None)

    def _logits(self, placed: Sequence[Inputs], offsets: Sequence[int]) -> Logits:
        if not self._compression.int8:
            return self.scorer.score(placed, offsets).astype(np.float64)
        rows = torch.from_numpy(flatten(placed, offsets, self.aligner.scaler))
        with torch.inference_mode():
            logits: Logits = self.network(rows).double().numpy()
        return logits


class AlignedFCNN(Implementation):
    """The kind ``fcnn`` on frames."""

    def fit(
        self,
        recipe: Recipe,
        inputs: Sequence[Inputs],
        codes: Codes,
        seed: int,
        reference: Reference | None = None,
        on_step: OnStep = lambda: None,
    ) -> AlignedModel:
        """Place the rows, fit the scaler, train the network, compress it."""
        aligner, placed, offsets = fit_aligner(recipe, inputs, reference)
        rows: TrainingRows
        if 4 * len(placed) * aligner.scaler.mean.size <= MATRIX_BYTES:
            rows = MatrixRows(flatten(placed, offsets, aligner.scaler), codes)
        else:
            rows = AlignedFrames(placed, np.array(offsets, np.int64), codes, aligner.scaler)
        network = train_network(rows, recipe, lambda epoch, loss: on_step(), seed)
        return AlignedModel(aligner, compress(network, rows, recipe, seed), recipe.compression)

    def n_steps(self, recipe: Recipe) -> int:
        """Return the epochs."""
        return recipe.training.epochs

    def check_servable(self, recipe: Recipe) -> None:
        """Refuse frequency alone, which bundles do not align, and compressed networks."""
        if recipe.input != "aligned":
            super().check_servable(recipe)
        if recipe.compression != CompressionSettings():
            raise ConfigError(
                f"recipe '{recipe.name}' makes no bundle, only figures: train it without compression and write 8 bits "
                "with 'heartbeat export --int8'"
            )

    def restore(
        self, recipe: Recipe, tensors: dict[str, torch.Tensor], reference: Reference, device: str = "cpu"
    ) -> AlignedModel:
        """Return the model that a bundle holds."""
        network, mean, scale = restored_network(tensors, recipe.network.hidden, recipe)
        aligner = Aligner(reference, Scaler(mean, scale), recipe.alignment.pad_mode, False)
        return AlignedModel(aligner, network, recipe.compression, device)

    def describe(self, recipe: Recipe) -> str:
        """Return what the network is."""
        return describe_network(recipe.network.hidden)


def _place(
    inputs: Sequence[Inputs], reference: Reference, pad_mode: PadMode, frequency_only: bool
) -> tuple[list[Inputs], list[int]]:
    rows = [_kept(one, frequency_only) for one in inputs]
    placements = [place(row, reference, pad_mode) for row in rows]
    cut = [row[: one.n_frames] for row, one in zip(rows, placements, strict=True)]
    return cut, [one.offset_frames for one in placements]


def flatten(rows: Sequence[Inputs], offsets: Sequence[int], scaler: Scaler) -> Inputs:
    """Return placed rows padded and scaled, [n, 2 * length] float32."""
    length = len(scaler.mean)
    flat = np.empty((len(rows), 2 * length), np.float32)
    # Row by row: in float64, all of them at once take gigabytes at the main level.
    for number, (row, offset) in enumerate(zip(rows, offsets, strict=True)):
        flat[number] = scaler.transform(pad(row, offset, length)).reshape(-1)
    return flat


def _kept(frames: Inputs, frequency_only: bool) -> Inputs:
    """Return the frames, with the amplitude 0 where only the frequency is read: its scaled values are then 0."""
    return frames * np.array([1, 0], np.float32) if frequency_only else frames
