"""Rows of an aligned dataset to a fitted network.

The recipe is the original's: Adam, cross-entropy, ReduceLROnPlateau. Its scheduler looked at the test rows;
ours follows the training loss. Labels without a training row are masked out of the loss, so that
training and serving see the same outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, Dataset

from heartbeat_core.alignment import pad
from heartbeat_core.config import LABELS, Recipe
from heartbeat_core.errors import DatasetError
from heartbeat_core.fcnn import FCNN
from heartbeat_core.scaling import Scaler, ScalerFit

EpochCallback = Callable[[int, float], None]


class AlignedFrames(Dataset[tuple[torch.Tensor, int]]):
    """Compact rows, expanded and scaled when they are asked for.

    Item ``i`` is ``(inputs [length * 2] float32, code)``: position-major, Hz before magnitude, z-scored.
    """

    def __init__(
        self,
        frames: Sequence[NDArray[np.float32]],
        offsets: NDArray[np.int64],
        codes: NDArray[np.int64],
        scaler: Scaler,
    ) -> None:
        self.frames = frames
        self.offsets = offsets
        self.codes = codes
        self.scaler = scaler

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        padded = pad(self.frames[index], int(self.offsets[index]), len(self.scaler.mean))
        return torch.from_numpy(self.scaler.transform(padded).reshape(-1)), int(self.codes[index])


def fit_scaler(frames: Sequence[NDArray[np.float32]], offsets: NDArray[np.int64], length: int) -> Scaler:
    """Fit the per-position scaler on raw aligned rows."""
    fit = ScalerFit(length)
    for row, offset in zip(frames, offsets.tolist(), strict=True):
        fit.add(row, offset)
    return fit.finish()


def train_network(rows: AlignedFrames, recipe: Recipe, on_epoch: EpochCallback | None = None) -> FCNN:
    """Fit the recipe's network; the same rows and seed give the same weights on the same machine.

    Args:
        rows: training rows only.
        recipe: network and training settings.
        on_epoch: called with the epoch's number from 1 and its mean training loss.

    Returns:
        The network in evaluation mode, on the CPU.

    Raises:
        DatasetError: fewer than two rows, or fewer than two labels.
    """
    present = np.unique(rows.codes)
    if len(rows) < 2 or len(present) < 2:
        found = ", ".join(LABELS[code] for code in present) or "none"
        raise DatasetError(f"training needs rows of two labels at least; found {len(rows)} rows of: {found}")
    settings = recipe.training
    mask = label_mask(present)
    with _deterministic(settings.seed):
        n_inputs = rows.scaler.mean.size
        network = FCNN(n_inputs, recipe.network.hidden, len(LABELS), recipe.network.dropout)
        loader = DataLoader(
            rows,
            batch_size=settings.batch_size,
            shuffle=True,
            # BatchNorm1d has no variance in a batch of one row.
            drop_last=len(rows) % settings.batch_size == 1,
            generator=torch.Generator().manual_seed(settings.seed),
        )
        optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimiser, patience=settings.plateau_patience, factor=settings.plateau_factor
        )
        loss_function = nn.CrossEntropyLoss()
        for epoch in range(1, settings.epochs + 1):
            loss = _run_epoch(network, loader, loss_function, optimiser, mask)
            scheduler.step(loss)
            if on_epoch is not None:
                on_epoch(epoch, loss)
    return network.eval()


def label_mask(trained_codes: NDArray[np.int64]) -> torch.Tensor:
    """Return [n_labels] float32 to add to logits: 0 for a trained label, minus infinity for the others."""
    mask = torch.full((len(LABELS),), -torch.inf)
    mask[torch.from_numpy(trained_codes)] = 0.0
    return mask


def _run_epoch(
    network: FCNN,
    loader: DataLoader[tuple[torch.Tensor, int]],
    loss_function: nn.CrossEntropyLoss,
    optimiser: torch.optim.Optimizer,
    mask: torch.Tensor,
) -> float:
    """Return the mean loss over the rows seen."""
    network.train()
    total, seen = 0.0, 0
    for inputs, codes in loader:
        optimiser.zero_grad()
        loss = loss_function(network(inputs) + mask, codes)
        loss.backward()
        optimiser.step()
        total += float(loss.detach()) * len(codes)
        seen += len(codes)
    return total / seen


@contextmanager
def _deterministic(seed: int) -> Iterator[None]:
    """Seed torch and keep its sums in one order (one thread); leave its global state as it was found."""
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
