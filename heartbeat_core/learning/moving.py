"""Move training rows from one database to another, so that a model does not learn where a row is from.

The mean of the recordings with one and the same label differs between databases: by their devices, rooms and patients.
That difference says nothing about the label. In training, each row moves by a random part of it towards another
database, or past it. Decisions that depend on a database's place among the values then fail in training as they would
for a device that the model has not met. Mixing the statistics of domains is known from images (Zhou et al., Domain
Generalization with MixStyle, ICLR 2021); here they are the means of one label, because the shares of the labels differ
as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from heartbeat_core.arrays import Values
from heartbeat_core.labels import Targets

FEWEST_ROWS = 15
"""The mean of fewer rows says little: the rows of such a database stay where they are, and none moves there."""


@dataclass(frozen=True, slots=True)
class Centres:
    """Where databases lie.

    Attributes
    ----------
    means : torch.Tensor
        [n_centres, n_inputs] float32: the mean row of one label, for each database with enough of them.
    own : torch.Tensor
        [n] int64: the centre of each training row's database, or -1.
    """

    means: torch.Tensor
    own: torch.Tensor

    def moved(self, batch: torch.Tensor, index: torch.Tensor, most: float) -> torch.Tensor:
        """Return the batch with each row moved towards a random centre, by 0 to ``most`` times its distance.

        Parameters
        ----------
        batch : torch.Tensor
            [n_batch, n_inputs] float32.
        index : torch.Tensor
            [n_batch] int64: the numbers of the training rows.
        most : float
            More than 1 moves some rows past the other centre.

        Returns
        -------
        torch.Tensor
            [n_batch, n_inputs] float32. Rows without a centre of their own stay where they are.
        """
        own = self.own[index]
        other = torch.randint(0, len(self.means), (len(index),))
        share = most * torch.rand(len(index)) * (own >= 0)
        return batch + share.unsqueeze(1) * (self.means[other] - self.means[own])


def find_centres(rows: NDArray[np.float32], targets: Targets, columns: NDArray[np.bool_]) -> Centres | None:
    """Find the centre of each database: the mean of its rows with the label that most rows are known to have.

    Parameters
    ----------
    rows : ndarray, [n, n_copies, n_inputs] float32
    targets : Targets
        The labels and databases of the rows.
    columns : ndarray, [n_inputs] bool
        The inputs that move; in the others, all centres are the same.

    Returns
    -------
    Centres | None
        None if there are fewer than two: nothing can move.

    Examples
    --------
    >>> rows = np.repeat(np.array([1.0, 3.0], np.float32), 20).reshape(40, 1, 1)
    >>> targets = Targets(("normal", "murmur"), np.tile([True, False], (40, 1)), databases=np.repeat([0, 1], 20))
    >>> find_centres(rows, targets, np.array([True])).means.flatten().tolist()
    [1.0, 3.0]
    """
    if targets.databases is None:
        return None
    has_label = targets.codes == int(targets.counts.argmax())
    own = np.full(len(targets), -1)
    means: list[Values] = []
    for database in np.unique(targets.databases):
        is_here = targets.databases == database
        if (is_here & has_label).sum() >= FEWEST_ROWS:
            own[is_here] = len(means)
            means.append(np.where(columns, rows[is_here & has_label].mean(axis=(0, 1)), 0.0))
    if len(means) < 2:
        return None
    return Centres(torch.from_numpy(np.stack(means).astype(np.float32)), torch.from_numpy(own))
