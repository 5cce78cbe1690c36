"""Models of a fixed vector of features: the FCNN on summary statistics, MFCCs or spectral contrast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from heartbeat_core.arrays import Inputs, Logits
from heartbeat_core.features.catalogue import columns_read
from heartbeat_core.learning.bagging import train_bagged
from heartbeat_core.learning.compression import compress, stored_bytes
from heartbeat_core.learning.fcnn import FCNN
from heartbeat_core.learning.training import MatrixRows, train_network
from heartbeat_core.recipe import LABELS, CompressionSettings, Recipe


@dataclass(frozen=True, slots=True)
class VectorScaler:
    """Mean and scale of each value over the training rows.

    Attributes
    ----------
    mean : ndarray, [width] float64
    scale : ndarray, [width] float64
        The standard deviation, 1 where it is 0.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @property
    def n_bytes(self) -> int:
        """Return the size of mean and scale."""
        return self.mean.nbytes + self.scale.nbytes

    def transform(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``(rows - mean) / scale`` for rows [n, width], cut at ``CLIP``, as float32."""
        scaled = np.clip((rows - self.mean) / self.scale, -CLIP, CLIP)
        return scaled.astype(np.float32)


CLIP = 5.0
"""In standard deviations: what a training row hardly had is not believed beyond."""


def fit_vector_scaler(rows: NDArray[np.float32]) -> VectorScaler:
    """Fit the scaler to rows [n, width]."""
    exact = rows.astype(np.float64)
    deviation = exact.std(axis=0)
    return VectorScaler(exact.mean(axis=0), np.where(deviation > 1e-9, deviation, 1.0))


@dataclass(frozen=True, slots=True)
class VectorModel:
    """The FCNN on vectors, with the scaler of its own training rows."""

    scaler: VectorScaler
    network: FCNN
    compression: CompressionSettings = field(default_factory=CompressionSettings)

    @property
    def n_bytes(self) -> int:
        """Return the size of network and scaler."""
        return stored_bytes(self.network, self.compression) + self.scaler.n_bytes

    def distances(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return [n] float64 for rows [n, width]: the root mean square of the scaled values."""
        found: NDArray[np.float64] = np.sqrt(np.square(self.scaler.transform(rows), dtype=np.float64).mean(axis=1))
        return found

    def logits(self, inputs: Sequence[Inputs]) -> Logits:
        """Return [n, 5] float64; of each input the first row is read, the recording itself."""
        if not inputs:
            return np.zeros((0, len(LABELS)))
        rows = self.scaler.transform(np.stack([one[0] for one in inputs]))
        with torch.inference_mode():
            found: Logits = self.network(torch.from_numpy(rows)).double().numpy()
        return found


def fit_vectors(recipe: Recipe, inputs: Sequence[Inputs], codes: NDArray[np.int64], seed: int) -> VectorModel:
    """Fit scaler and network to all rows of all inputs: recordings and their altered copies."""
    vectors, repeated = all_rows(inputs, codes)
    scaler = fit_vector_scaler(vectors)
    rows = MatrixRows(scaler.transform(vectors), repeated)
    network = compress(train_network(rows, recipe, seed=seed), rows, recipe, seed)
    return VectorModel(scaler, network, recipe.compression)


def fit_bagged(recipe: Recipe, inputs: Sequence[Inputs], codes: NDArray[np.int64], seed: int) -> VectorModel:
    """Fit the scaler to all rows of all inputs, and the members to recordings that come as any of their copies."""
    rows = np.stack(inputs)
    width = rows.shape[2]
    scaler = fit_vector_scaler(rows.reshape(-1, width))
    reads = np.stack([columns_read(part, width) for part in recipe.bagging.members])
    return VectorModel(scaler, train_bagged(scaler.transform(rows), codes, reads, recipe, seed))


def all_rows(inputs: Sequence[Inputs], codes: NDArray[np.int64]) -> tuple[Inputs, NDArray[np.int64]]:
    """Return the rows of all inputs, [n_rows, width] float32, and each row's code."""
    return np.concatenate(inputs), np.repeat(codes, [len(one) for one in inputs])
