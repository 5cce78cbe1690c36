"""Train several small networks together and average them; the result is one wider FCNN.

Each member is Linear, ReLU, BatchNorm1d, Linear. One single network gives the mean of the members' logits: its hidden
layer holds the units of all members, and its last layer holds the members' last layers side by side, divided by the
number of members. This is bagging (Breiman, Machine Learning 24, 1996), but here all members see the same rows. They
differ in the inputs that they read, their initial weights, dropout and noise. A member that reads only a part of the
inputs has weights of 0 for the others.

A recipe may name specialists: members that alone decide how likely some labels are against the others together, while
the remaining members alone decide among those others. The inputs that tell the former labels apart may then be others
than those that hold on devices which the model has not met. This too is a linear function of the members' logits, and
so one network.

All members are trained in one batched product. Each epoch draws one copy of each row at random, and a recipe may move
it towards another database (``moving``).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from heartbeat_core.errors import DatasetError
from heartbeat_core.labels import Targets
from heartbeat_core.learning.fcnn import FCNN
from heartbeat_core.learning.moving import find_centres
from heartbeat_core.learning.partial import log_losses, row_weights
from heartbeat_core.learning.training import check_labels, deterministic
from heartbeat_core.recipe import Recipe

_FEWEST_ROWS = 8
"""A smaller batch gives a poor estimate of the mean and the deviation."""
_WARM_UP = 0.15
"""Share of the steps in which the learning rate rises (Smith, Topin, 2018)."""


class _Members(nn.Module):
    """All members at once.

    Attributes
    ----------
    reads : torch.Tensor
        [n_members, n_inputs, 1]: 1 where a member reads an input, else 0.
    first, last
        [n_members, n_inputs, width], [n_members, width, n_classes].
    """

    def __init__(self, reads: torch.Tensor, width: int, n_labels: int) -> None:
        """Start with random weights; ``reads`` is [n_members, n_inputs], 1 or 0."""
        super().__init__()
        n_members, n_inputs = reads.shape
        self.reads: torch.Tensor
        self.register_buffer("reads", reads.unsqueeze(2))
        n_read = self.reads.sum(dim=1, keepdim=True)
        # A weight of an input that is not read is multiplied by 0: it has no gradient and stays 0.
        self.first = nn.Parameter(torch.randn(n_members, n_inputs, width) / n_read.sqrt() * self.reads)
        self.first_bias = nn.Parameter(torch.zeros(n_members, 1, width))
        self.gain = nn.Parameter(torch.ones(n_members, 1, width))
        self.shift = nn.Parameter(torch.zeros(n_members, 1, width))
        self.last = nn.Parameter(torch.randn(n_members, width, n_labels) / math.sqrt(width))
        self.last_bias = nn.Parameter(torch.zeros(n_members, 1, n_labels))
        self.mean: torch.Tensor
        self.variance: torch.Tensor
        self.register_buffer("mean", torch.zeros(n_members, 1, width))
        self.register_buffer("variance", torch.ones(n_members, 1, width))

    def forward(self, inputs: torch.Tensor, dropout: float) -> torch.Tensor:
        """Return logits [n_members, batch, n_classes] for inputs [n_members, batch, n_inputs]; for training only."""
        hidden = torch.relu(torch.baddbmm(self.first_bias, inputs, self.first * self.reads))
        mean = hidden.mean(dim=1, keepdim=True)
        variance = hidden.var(dim=1, unbiased=False, keepdim=True)
        hidden = (hidden - mean) / torch.sqrt(variance + 1e-5) * self.gain + self.shift
        return torch.baddbmm(self.last_bias, nn.functional.dropout(hidden, dropout), self.last)

    def settle(self, rows: torch.Tensor) -> None:
        """Compute the means and variances for serving from all ``rows`` [n, n_copies, n_inputs], without noise.

        Noise and dropout change the mean and variance of a hidden unit (Li et al., CVPR 2019, on dropout and variance).
        """
        flat = rows.reshape(1, -1, rows.shape[2])
        with torch.no_grad():
            # One member at a time: all rows of all members together take too much memory.
            for number in range(len(self.first)):
                one = slice(number, number + 1)
                hidden = torch.relu(torch.baddbmm(self.first_bias[one], flat, self.first[one]))
                self.mean[one] = hidden.mean(dim=1, keepdim=True)
                self.variance[one] = hidden.var(dim=1, unbiased=False, keepdim=True)

    def merged(self, dropout: float, votes: torch.Tensor) -> FCNN:
        """Return one network, in evaluation mode, that gives the sum of the members' logits after their votes.

        ``votes`` is [n_members, n_labels, n_labels]: what each logit of a member adds to each logit of the network.
        """
        n_members, n_inputs, width = self.first.shape
        n_labels = self.last.shape[2]
        network = FCNN(n_inputs, (n_members * width,), n_labels, dropout)
        state = {
            "layers.0.weight": self.first.permute(0, 2, 1).reshape(-1, n_inputs),
            "layers.0.bias": self.first_bias.reshape(-1),
            "layers.2.weight": self.gain.reshape(-1),
            "layers.2.bias": self.shift.reshape(-1),
            "layers.2.running_mean": self.mean.reshape(-1),
            "layers.2.running_var": self.variance.reshape(-1),
            "layers.2.num_batches_tracked": torch.tensor(0),
            "layers.4.weight": (self.last @ votes).permute(2, 0, 1).reshape(n_labels, -1),
            "layers.4.bias": (self.last_bias @ votes).sum(dim=0).reshape(-1),
        }
        network.load_state_dict({name: value.detach().clone() for name, value in state.items()})
        return network.eval()


def train_bagged(
    rows: NDArray[np.float32],
    targets: Targets,
    reads: NDArray[np.bool_],
    recipe: Recipe,
    seed: int,
    on_step: Callable[[], None] = lambda: None,
) -> FCNN:
    """Train the members and merge them; the same rows and seed give the same weights on the same machine.

    Parameters
    ----------
    rows : ndarray, [n, n_copies, n_inputs] float32
        Scaled values of each recording and its altered copies.
    targets : Targets
        Their labels; each row allows at least one label that is known of some row. Without weights, labels are
        balanced over all rows.
    reads : ndarray of bool_
        [n_members, n_inputs]: the inputs that each member reads.
    recipe : Recipe
        Its network, training and bagging settings are used.
    seed : int
        Decides the initial weights, the order of rows, the copies and the noise.
    on_step : Callable[[], None]
        Called after each epoch.

    Returns
    -------
    FCNN
        One network in evaluation mode; its hidden layer holds all members. As in ``training.optimise``, its logits
        correspond to the true shares of the labels.

    Raises
    ------
    DatasetError
        There are fewer than two rows, or fewer than two labels.
    """
    check_labels(targets)
    settings, bagging = recipe.training, recipe.bagging
    n_rows, n_copies, _ = rows.shape
    inputs = torch.from_numpy(rows)
    possible = torch.from_numpy(targets.possible)
    is_known = possible.sum(dim=1, keepdim=True) == 1
    weights, offsets = _weights(targets, possible, bagging.balance)
    wanted = (possible & is_known).float() * (1 - bagging.label_smoothing) + bagging.label_smoothing / len(
        targets.labels
    )
    wanted *= weights.unsqueeze(1)
    centres = find_centres(rows, targets, _moved_columns(reads, recipe)) if bagging.moved else None
    # Of a row with several possible labels, the part of the loss that is not smoothing.
    several = weights * (1 - bagging.label_smoothing) * ~is_known.squeeze(1)
    with deterministic(seed):
        members = _Members(torch.from_numpy(reads.astype(np.float32)), recipe.network.hidden[0], len(targets.labels))
        is_weight = {id(members.first), id(members.last)}
        optimiser = torch.optim.AdamW(
            [
                {"params": [members.first, members.last], "weight_decay": settings.weight_decay},
                {"params": [one for one in members.parameters() if id(one) not in is_weight], "weight_decay": 0.0},
            ],
            lr=settings.learning_rate,
        )
        n_batches = math.ceil(n_rows / settings.batch_size)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, settings.learning_rate, total_steps=settings.epochs * n_batches + 1, pct_start=_WARM_UP
        )
        for _ in range(settings.epochs):
            for index in torch.randperm(n_rows).split(settings.batch_size):
                if len(index) < min(_FEWEST_ROWS, settings.batch_size, n_rows):
                    continue
                # All members get the same copy of a row, but each has its own dropout.
                batch = inputs[index, torch.randint(0, n_copies, (len(index),))]
                if centres is not None:
                    batch = centres.moved(batch, index, bagging.moved)
                batch = batch + bagging.input_noise * torch.randn(batch.shape)
                batch = nn.functional.dropout(batch.expand(len(reads), -1, -1), bagging.input_dropout)
                logits = members(batch, recipe.network.dropout) + offsets
                # Each member has its own loss. Their sum gives each member the same gradient as if it were alone.
                losses = -(wanted[index] * torch.log_softmax(logits, dim=-1)).sum(dim=-1)
                if several[index].any():
                    losses = losses + several[index] * log_losses(logits, possible[index].expand(logits.shape))
                loss = losses.mean(dim=1).sum()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
            on_step()
        members.settle(inputs)
        return members.merged(recipe.network.dropout, torch.from_numpy(member_votes(targets, recipe)))


def _moved_columns(reads: NDArray[np.bool_], recipe: Recipe) -> NDArray[np.bool_]:
    """Return [n_inputs]: the inputs that a member reads which is no specialist.

    What tells a label apart that occurs in one database alone would be lost by a move to another one.
    """
    specialists = recipe.bagging.specialists
    is_special = np.array([specialists is not None and part == specialists.part for part in recipe.bagging.members])
    found: NDArray[np.bool_] = reads[~is_special].any(axis=0)
    return found


def member_votes(targets: Targets, recipe: Recipe) -> NDArray[np.float32]:
    """Return how the members' logits add up to those of the network: [n_members, n_labels, n_labels] float32.

    Without specialists, each logit is the mean over the members. With them, a label of the specialists has the mean of
    their logits. Each other label has its mean logit over the other members, less the mean of these over all such
    labels, plus the same mean over the specialists.

    Raises
    ------
    DatasetError
        The specialists decide on all labels of the training rows.
    """
    parts, n_labels = recipe.bagging.members, len(targets.labels)
    specialists = recipe.bagging.specialists
    if specialists is None:
        return np.repeat(np.eye(n_labels, dtype=np.float32)[None] / len(parts), len(parts), axis=0)
    special = np.array([label in specialists.labels for label in targets.labels])
    others = np.intersect1d(np.flatnonzero(~special), targets.present)
    if not len(others):
        named = ", ".join(specialists.labels)
        raise DatasetError(f"the specialists of recipe '{recipe.name}' decide on {named}: no row has another label")
    mean = np.zeros((n_labels, n_labels), np.float32)
    mean[np.ix_(others, ~special)] = 1 / len(others)
    own = np.diag(special.astype(np.float32))
    among = np.diag((~special).astype(np.float32)) - mean
    is_special = np.array([part == specialists.part for part in parts])
    votes = np.empty((len(parts), n_labels, n_labels), np.float32)
    votes[is_special] = (own + mean) / is_special.sum()
    votes[~is_special] = among / (~is_special).sum()
    return votes


def _weights(targets: Targets, possible: torch.Tensor, balance: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weights [n] float32 of the rows, and what to add to the logits [n_labels] float32 in training.

    Weights by label are undone by the offsets. Given weights are not: the probabilities then hold in a world in which
    rows are as common as they weigh.
    """
    if targets.weights is not None:
        return torch.from_numpy(targets.weights.astype(np.float32)), torch.zeros(len(targets.labels))
    label_weights = tempered_label_weights(targets, balance)
    weights = row_weights(possible, label_weights, torch.from_numpy(targets.counts.astype(np.float32)))
    return weights, torch.where(label_weights > 0, label_weights, 1.0).log()


def tempered_label_weights(targets: Targets, balance: float) -> torch.Tensor:
    """Return the weight of each label in the loss, scaled to a mean of 1 over the rows with a known label.

    Parameters
    ----------
    targets : Targets
        At least one row has a known label.
    balance : float
        With 0, each row counts the same; with 1, each label.

    Returns
    -------
    torch.Tensor
        [n_labels] float32: ``(n / n_label) ** balance`` times a constant; 0 for a label that no row is known to have.
    """
    counts = targets.expected_counts
    weights = np.where(counts > 0, (len(targets) / np.maximum(counts, 1)) ** balance, 0.0)
    weights /= weights[targets.codes[targets.definite]].mean()
    return torch.from_numpy(weights.astype(np.float32))
