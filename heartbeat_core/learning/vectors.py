"""Models that read a fixed vector of features: one FCNN, or the average of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.alignment.placement import Reference
from heartbeat_core.arrays import Inputs, Logits, Values
from heartbeat_core.features.catalogue import columns_read
from heartbeat_core.features.extract import join_vectors
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
from heartbeat_core.recipe import CLIP, CompressionSettings, Recipe


@dataclass(frozen=True, slots=True)
class VectorScaler:
    """The mean and scale of each value over the training rows.

    Attributes
    ----------
    mean : ndarray, [width] float64
    scale : ndarray, [width] float64
        The standard deviation, or 1 where it is 0.
    clip : float
        Scaled values are clipped here.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    clip: float = CLIP

    @property
    def n_bytes(self) -> int:
        """Return the size of the mean and the scale in bytes."""
        return self.mean.nbytes + self.scale.nbytes

    def transform(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``(rows - mean) / scale``, clipped, [n, width] float32, for rows [n, width] float32."""
        scaled = np.clip((rows - self.mean) / self.scale, -self.clip, self.clip)
        return scaled.astype(np.float32)


def fit_vector_scaler(rows: NDArray[np.float32], clip: float = CLIP) -> VectorScaler:
    """Fit the scaler to training rows.

    Parameters
    ----------
    rows : ndarray, [n, width] float32
    clip : float
        In standard deviations.
    """
    exact = rows.astype(np.float64)
    deviation = exact.std(axis=0)
    return VectorScaler(exact.mean(axis=0), np.where(deviation > 1e-9, deviation, 1.0), clip)


@dataclass(frozen=True, slots=True)
class VectorModel:
    """An FCNN that reads vectors, with the scaler of its training rows.

    Attributes
    ----------
    scaler : VectorScaler
    network : Network
        It reads scaled values.
    recipe_input : str
        The vector sets that it reads, written as in a recipe.
    compression : CompressionSettings
        How the network was compressed.
    """

    scaler: VectorScaler
    network: Network
    recipe_input: str
    compression: CompressionSettings = field(default_factory=CompressionSettings)

    @property
    def n_bytes(self) -> int:
        """Return the size of the network and the scaler in bytes."""
        return stored_bytes(self.network, self.compression) + self.scaler.n_bytes

    def logits(self, inputs: Sequence[Inputs]) -> Logits:
        """Return [n, n_labels] float64 for n arrays [n_rows_i, width] float32, whose first row is the recording."""
        return self.network.logits(self._scaled([one[0] for one in inputs]))

    def distances(self, inputs: Sequence[Inputs]) -> Values:
        """Return [n] float64: the root mean square of the scaled values, 1 for an average training row."""
        return _root_mean_square(self._scaled([one[0] for one in inputs]))

    def serve(self, results: Sequence[Processed]) -> Outputs:
        """Return the outputs for processed recordings.

        Raises
        ------
        ValueError
            A recording lacks a feature set that the model reads.
        """
        rows = self._scaled([join_vectors(one.features, self.recipe_input) for one in results])
        return Outputs(self.network.logits(rows), _root_mean_square(rows))

    def tensors(self) -> Arrays:
        """Return the arrays of the network and the scaler, by name."""
        return stored_arrays(self.network, self.scaler.mean, self.scaler.scale)

    def form(self) -> NetworkForm:
        """Return the network, with the scaler before it; scaled values are clipped."""
        return NetworkForm(self.network, self.scaler.mean, self.scaler.scale, self.scaler.clip)

    def _scaled(self, vectors: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        return self.scaler.transform(np.stack(vectors)) if vectors else np.zeros((0, self.scaler.mean.size), np.float32)


def _root_mean_square(rows: NDArray[np.float32]) -> Values:
    found: Values = np.sqrt(np.square(rows, dtype=np.float64).mean(axis=1))
    return found


class VectorFCNN(Implementation):
    """The kind ``fcnn`` on vectors."""

    def fit(
        self,
        recipe: Recipe,
        inputs: Sequence[Inputs],
        targets: Targets,
        seed: int,
        reference: Reference | None = None,
        on_step: OnStep = lambda: None,
    ) -> VectorModel:
        """Fit the scaler and the network to all rows of all inputs: recordings and their altered copies.

        Vectors are n arrays [n_rows_i, width] float32. All else is as ``Implementation.fit`` says.
        """
        # Imported here because torch takes a second to load and serving does not need it.
        from heartbeat_core.learning.compression import compressed
        from heartbeat_core.learning.training import MatrixRows, train_network

        vectors, repeated = all_rows(inputs, targets)
        scaler = fit_vector_scaler(vectors)
        rows = MatrixRows(scaler.transform(vectors), repeated)
        network = compressed(train_network(rows, recipe, lambda epoch, loss: on_step(), seed), rows, recipe, seed)
        return VectorModel(scaler, network, recipe.input, recipe.compression)

    def n_steps(self, recipe: Recipe) -> int:
        """Return the number of epochs."""
        return recipe.training.epochs

    def check_servable(self, recipe: Recipe) -> None:
        """Refuse an 8-bit network; raises ConfigError."""
        if recipe.compression.int8:
            raise cannot_pack(recipe)

    def restore(self, recipe: Recipe, tensors: Arrays, reference: Reference, device: str = "cpu") -> VectorModel:
        """Return the model that a bundle holds; it serves on the CPU. Raises as ``network.restored_network``."""
        network, mean, scale = restored_network(tensors, self.widths(recipe))
        return VectorModel(VectorScaler(mean, scale, recipe.bagging.clip), network, recipe.input, recipe.compression)

    def describe(self, recipe: Recipe) -> str:
        """Return a description of the network."""
        return describe_network(self.widths(recipe))

    def widths(self, recipe: Recipe) -> tuple[int, ...]:
        """Return the widths of the hidden layers."""
        return recipe.network.hidden


class BaggedFCNN(VectorFCNN):
    """The kind ``bagged-fcnn``: the average of several small networks, stored as one wider FCNN."""

    def fit(
        self,
        recipe: Recipe,
        inputs: Sequence[Inputs],
        targets: Targets,
        seed: int,
        reference: Reference | None = None,
        on_step: OnStep = lambda: None,
    ) -> VectorModel:
        """Fit the scaler to all rows of all inputs; train the members on a random copy of each recording.

        Vectors are n arrays [n_copies, width] float32, all of one shape. All else is as ``Implementation.fit`` says.
        """
        # Imported here for the same reason.
        from heartbeat_core.learning.bagging import train_bagged
        from heartbeat_core.learning.fcnn import as_arrays

        rows = np.stack(inputs)
        scaler = fit_vector_scaler(rows.reshape(-1, rows.shape[2]), recipe.bagging.clip)
        reads = _members_read(recipe, seed)
        network = as_arrays(train_bagged(scaler.transform(rows), targets, reads, recipe, seed, on_step))
        if recipe.bagging.float16:
            network = network.halved()
        return VectorModel(scaler, network, recipe.input)

    def widths(self, recipe: Recipe) -> tuple[int, ...]:
        """Return the total width of the hidden layers of all members."""
        return tuple(len(recipe.bagging.members) * width for width in recipe.network.hidden)


def _members_read(recipe: Recipe, seed: int) -> NDArray[np.bool_]:
    """Return [n_members, width]: a random share of each member's part of the columns, and the shared part.

    Specialists read all of their part, and the shared part. Members of the ``whole_part`` read that and nothing else.
    """
    bagging = recipe.bagging
    reads = np.stack([columns_read(part, recipe.input) for part in bagging.members])
    special = None if bagging.specialists is None else bagging.specialists.part
    shared = None if bagging.shared_part is None else columns_read(bagging.shared_part, recipe.input)
    rng = np.random.default_rng(seed)
    for row, name in zip(reads, bagging.members, strict=True):
        if name == bagging.whole_part:
            continue
        if bagging.input_share < 1 and name != special:
            part = np.flatnonzero(row)
            row[rng.permutation(part)[max(1, round(bagging.input_share * len(part))) :]] = False
        if shared is not None:
            row |= shared
    return reads


def all_rows(inputs: Sequence[Inputs], targets: Targets) -> tuple[Inputs, Targets]:
    """Return the rows of all inputs, and their labels.

    Parameters
    ----------
    inputs : Sequence[Inputs]
        n arrays [n_rows_i, width] float32, at least one.
    targets : Targets
        The labels of the n inputs.

    Returns
    -------
    tuple[Inputs, Targets]
        [n_rows, width] float32, and the labels of these rows.
    """
    return np.concatenate(inputs), targets.take(np.repeat(np.arange(len(inputs)), [len(one) for one in inputs]))
