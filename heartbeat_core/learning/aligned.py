"""The original's models: frames, padded by alignment or at an end, into the FCNN."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from heartbeat_core.alignment.placement import Reference, pad, place
from heartbeat_core.alignment.scaling import Scaler
from heartbeat_core.arrays import Inputs, Logits
from heartbeat_core.learning.compression import compress, stored_bytes
from heartbeat_core.learning.scorer import Scorer
from heartbeat_core.learning.training import MatrixRows, fit_scaler, train_network
from heartbeat_core.recipe import PadMode, Recipe


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
        return _flatten(*self.place(inputs), self.scaler)


def fit_aligner(recipe: Recipe, inputs: Sequence[Inputs]) -> tuple[Aligner, Inputs]:
    """Align rows with the longest of them, the first of equals, and fit the scaler.

    Returns
    -------
    tuple[Aligner, Inputs]
        The aligner, and the rows as its ``flatten`` returns them.
    """
    frequency_only = recipe.input == "frequency"
    reference = Reference(_kept(max(inputs, key=len), frequency_only))
    rows, offsets = _place(inputs, reference, recipe.alignment.pad_mode, frequency_only)
    scaler = fit_scaler(rows, np.array(offsets, np.int64), len(reference))
    return Aligner(reference, scaler, recipe.alignment.pad_mode, frequency_only), _flatten(rows, offsets, scaler)


@dataclass(frozen=True, slots=True)
class AlignedModel:
    """The FCNN on aligned frames; ``logits_of`` takes rows and offsets as ``Aligner.place`` returns them."""

    aligner: Aligner
    logits_of: Callable[[Sequence[Inputs], Sequence[int]], Logits]
    n_bytes: int

    def logits(self, inputs: Sequence[Inputs]) -> Logits:
        """Return [n, 5] float64."""
        return self.logits_of(*self.aligner.place(inputs))


def fit_aligned(recipe: Recipe, inputs: Sequence[Inputs], codes: NDArray[np.int64], seed: int) -> AlignedModel:
    """Align rows with the longest of them, fit the scaler, train the network, compress it."""
    aligner, matrix = fit_aligner(recipe, inputs)
    rows = MatrixRows(matrix, codes)
    network = compress(train_network(rows, recipe, seed=seed), rows, recipe, seed)
    scorer = None if recipe.compression.int8 else Scorer(network, aligner.scaler, np.unique(codes))

    def logits_of(placed: Sequence[Inputs], offsets: Sequence[int]) -> Logits:
        if scorer is not None:
            return scorer.score(placed, offsets).logits.astype(np.float64)
        # The scaler can't be folded into a layer that rounds what it reads.
        with torch.inference_mode():
            found: Logits = network(torch.from_numpy(_flatten(placed, offsets, aligner.scaler))).double().numpy()
        return found

    return AlignedModel(aligner, logits_of, aligner.n_bytes + stored_bytes(network, recipe.compression))


def _place(
    inputs: Sequence[Inputs], reference: Reference, pad_mode: PadMode, frequency_only: bool
) -> tuple[list[Inputs], list[int]]:
    rows = [_kept(one, frequency_only) for one in inputs]
    placements = [place(row, reference, pad_mode) for row in rows]
    cut = [row[: one.n_frames] for row, one in zip(rows, placements, strict=True)]
    return cut, [one.offset_frames for one in placements]


def _flatten(rows: Sequence[Inputs], offsets: Sequence[int], scaler: Scaler) -> Inputs:
    length = len(scaler.mean)
    flat = np.empty((len(rows), 2 * length), np.float32)
    # Row by row: in float64, all of them at once take gigabytes at the main level.
    for number, (row, offset) in enumerate(zip(rows, offsets, strict=True)):
        flat[number] = scaler.transform(pad(row, offset, length)).reshape(-1)
    return flat


def _kept(frames: Inputs, frequency_only: bool) -> Inputs:
    """Return the frames, with the amplitude 0 where only the frequency is read: its scaled values are then 0."""
    return frames * np.array([1, 0], np.float32) if frequency_only else frames
