"""Fit a network to rows.

The method is that of the original project: Adam, cross-entropy, ReduceLROnPlateau. The original scheduler looked at
the test rows; this one follows the training loss. Labels that no training row is known to have are masked out of the
loss, so that training and serving see the same outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, Dataset

from heartbeat_core.alignment.placement import pad
from heartbeat_core.alignment.scaling import Scaler
from heartbeat_core.errors import DatasetError
from heartbeat_core.labels import Targets
from heartbeat_core.learning.fcnn import FCNN
from heartbeat_core.learning.partial import log_losses, row_weights
from heartbeat_core.recipe import Recipe

EpochCallback = Callable[[int, float], None]
Batch = tuple[torch.Tensor, torch.Tensor]
"""Inputs [batch, n_inputs] float32, and the labels that each row may have, [batch, n_labels] bool."""


class TrainingRows(Protocol):
    """The rows that a network is trained on.

    Attributes
    ----------
    targets : Targets
        The labels of the n rows; each allows at least one label that is known of some row.
    n_inputs : int
        Number of values in a row.
    """

    targets: Targets

    @property
    def n_inputs(self) -> int:
        """Return the number of values in a row."""

    def __len__(self) -> int: ...

    def __getitems__(self, index: list[int]) -> Batch:
        """Return the rows at ``index``: [batch, n_inputs] float32 and [batch, n_labels] bool."""


class MatrixRows(Dataset[Batch]):
    """Rows in memory, ready for the network.

    Parameters
    ----------
    inputs : ndarray, [n, n_inputs] float32
        Scaled values.
    targets : Targets
        The labels of the n rows.
    """

    def __init__(self, inputs: NDArray[np.float32], targets: Targets) -> None:
        self.targets = targets
        self._inputs = torch.from_numpy(inputs)
        self._possible = torch.from_numpy(targets.possible)

    @property
    def n_inputs(self) -> int:
        """Return the number of values in a row."""
        return int(self._inputs.shape[1])

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> Batch:
        return self._inputs[index], self._possible[index]

    def __getitems__(self, index: list[int]) -> Batch:
        """Return the rows at ``index`` as one batch."""
        return self._inputs[index], self._possible[index]


class AlignedFrames(Dataset[Batch]):
    """Unpadded rows, which are padded and scaled only when they are read.

    Item ``i`` is ``(inputs [length * 2] float32, possible [n_labels] bool)``: position-major, Hz before magnitude,
    z-scored.

    Parameters
    ----------
    frames : Sequence[ndarray]
        n arrays [n_frames_i, 2] float32: Hz, linear magnitude.
    offsets : ndarray, [n] int64
        Number of zero frames in front of each.
    targets : Targets
        The labels of the n rows.
    scaler : Scaler
        Its length is that of the padded rows.
    """

    def __init__(
        self,
        frames: Sequence[NDArray[np.float32]],
        offsets: NDArray[np.int64],
        targets: Targets,
        scaler: Scaler,
    ) -> None:
        self.frames = frames
        self.offsets = offsets
        self.targets = targets
        self._possible = torch.from_numpy(targets.possible)
        self.scaler = scaler

    @property
    def n_inputs(self) -> int:
        """Return the number of values in a row."""
        return int(self.scaler.mean.size)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitems__(self, index: list[int]) -> Batch:
        """Return the rows at ``index`` as one batch."""
        inputs, possible = zip(*(self[i] for i in index), strict=True)
        return torch.stack(inputs), torch.stack(possible)

    def __getitem__(self, index: int) -> Batch:
        padded = pad(self.frames[index], int(self.offsets[index]), len(self.scaler.mean))
        return torch.from_numpy(self.scaler.transform(padded).reshape(-1)), self._possible[index]


def train_network(
    rows: TrainingRows, recipe: Recipe, on_epoch: EpochCallback | None = None, seed: int | None = None
) -> FCNN:
    """Fit the recipe's network; the same rows and seed give the same weights on the same machine.

    Parameters
    ----------
    rows : TrainingRows
        Training rows only.
    recipe : Recipe
        Its network and training settings are used.
    on_epoch : EpochCallback | None
        Called with the number of the epoch, counted from 1, and its mean training loss.
    seed : int | None
        Replaces the recipe's value.

    Returns
    -------
    FCNN
        The network in evaluation mode, on the CPU.

    Raises
    ------
    DatasetError
        There are fewer than two rows, or fewer than two labels.
    """
    check_labels(rows.targets)
    seed = recipe.training.seed if seed is None else seed
    with deterministic(seed):
        network = FCNN(rows.n_inputs, recipe.network.hidden, len(rows.targets.labels), recipe.network.dropout)
        optimise(network, rows, recipe, recipe.training.epochs, seed, on_epoch)
    return network.eval()


def check_labels(targets: Targets) -> None:
    """Refuse rows that nothing can be learned from.

    Raises
    ------
    DatasetError
        There are fewer than two rows, or fewer than two labels that a row is known to have.
    """
    if len(targets) < 2 or len(targets.present) < 2:
        found = ", ".join(targets.labels[code] for code in targets.present) or "none"
        raise DatasetError(f"training needs rows of at least two labels; found {len(targets)} rows of: {found}")


def optimise(
    network: nn.Module,
    rows: TrainingRows,
    recipe: Recipe,
    n_epochs: int,
    seed: int,
    on_epoch: EpochCallback | None = None,
) -> None:
    """Train a network in place with the recipe's training settings; call this inside ``deterministic``.

    Parameters
    ----------
    network : nn.Module
        It stays in training mode.
    rows : TrainingRows
        Training rows only.
    recipe : Recipe
        Its training settings are used.
    n_epochs : int
        Replaces the recipe's value.
    seed : int
        Decides the order of the rows.
    on_epoch : EpochCallback | None
        Called with the number of the epoch, counted from 1, and its mean training loss.
    """
    settings = recipe.training
    targets = rows.targets
    weights = label_weights(targets, settings.class_weights)
    # A weighted log loss is lowest at weight * probability, up to a factor (Elkan, IJCAI 2001). The offsets hold the
    # weights, so the network's own logits correspond to the true shares of the labels.
    offsets = label_mask(targets.present, len(targets.labels)) + (0.0 if weights is None else weights.log())
    loader: DataLoader[Any] = DataLoader(
        rows,  # type: ignore[arg-type]
        batch_size=settings.batch_size,
        shuffle=True,
        # BatchNorm1d has no variance in a batch of one row.
        drop_last=len(rows) % settings.batch_size == 1,
        collate_fn=_as_it_is,
        generator=torch.Generator().manual_seed(seed),
    )
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimiser, patience=settings.plateau_patience, factor=settings.plateau_factor
    )
    counts = torch.from_numpy(targets.counts.astype(np.float32))

    def mean_loss(logits: torch.Tensor, possible: torch.Tensor) -> torch.Tensor:
        if bool((possible.sum(dim=1) == 1).all()):
            # The same loss. But its sums have another order, which keeps the models of plain labels to the bit.
            return nn.functional.cross_entropy(logits, possible.int().argmax(dim=1), weights)
        losses = log_losses(logits, possible)
        if weights is None:
            return losses.mean()
        of_rows = row_weights(possible, weights, counts)
        return (losses * of_rows).sum() / of_rows.sum()

    for epoch in range(1, n_epochs + 1):
        loss = _run_epoch(network, loader, optimiser, offsets, mean_loss)
        scheduler.step(loss)
        if on_epoch is not None:
            on_epoch(epoch, loss)


def label_weights(targets: Targets, how: str) -> torch.Tensor | None:
    """Return the weight of each label in the loss.

    Parameters
    ----------
    targets : Targets
        The labels of n training rows.
    how : str
        ``none`` or ``balanced``.

    Returns
    -------
    torch.Tensor | None
        [n_labels] float32: ``n / (n_labels_present * n_label)`` for ``balanced``; None for ``none``.
    """
    if how == "none":
        return None
    counts = targets.expected_counts
    weights = len(targets) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return torch.from_numpy(weights.astype(np.float32))


def _as_it_is(batch: Any) -> Any:
    return batch


def label_mask(trained_codes: NDArray[np.int64], n_labels: int) -> torch.Tensor:
    """Return what leaves untrained labels out of a softmax when it is added to logits.

    Parameters
    ----------
    trained_codes : ndarray, [n_trained] int64
    n_labels : int

    Returns
    -------
    torch.Tensor
        [n_labels] float32: 0 for trained labels, minus infinity for all others.
    """
    mask = torch.full((n_labels,), -torch.inf)
    mask[torch.from_numpy(trained_codes)] = 0.0
    return mask


def _run_epoch(
    network: nn.Module,
    loader: DataLoader[Any],
    optimiser: torch.optim.Optimizer,
    offsets: torch.Tensor,
    mean_loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> float:
    """Train for one epoch and return the mean loss over its rows."""
    network.train()
    total, seen = 0.0, 0
    for inputs, possible in loader:
        optimiser.zero_grad()
        loss = mean_loss(network(inputs) + offsets, possible)
        loss.backward()
        optimiser.step()
        total += float(loss.detach()) * len(possible)
        seen += len(possible)
    return total / seen


@contextmanager
def deterministic(seed: int) -> Iterator[None]:
    """Seed torch and fix the order of its sums (one thread); restore its global state at the end."""
    threads = torch.get_num_threads()
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    was_warning = torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(was_deterministic, warn_only=was_warning)
            torch.set_num_threads(threads)
