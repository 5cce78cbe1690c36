"""Learn from labels that say less than one label: "one of these".

The loss of a row is ``-log sum_k p_k`` over the labels k that it may have (Cour, Sapp, Taskar, Learning from Partial
Labels, JMLR 12, 2011, use a bound of it). A row with one possible label has the plain log loss.
"""

from __future__ import annotations

import torch


def log_losses(logits: torch.Tensor, possible: torch.Tensor) -> torch.Tensor:
    """Return the loss of each row, ``-log sum_k p_k`` over its possible labels.

    Parameters
    ----------
    logits : torch.Tensor
        [n, n_labels] float32; minus infinity for labels that cannot occur.
    possible : torch.Tensor
        [n, n_labels] bool, at least one in each row.

    Returns
    -------
    torch.Tensor
        [n] float32. For a row with one possible label, the plain log loss to the bit; 0 where all are possible.

    Examples
    --------
    >>> logits = torch.log(torch.tensor([[0.5, 0.25, 0.25]]))
    >>> losses = log_losses(logits, torch.tensor([[False, True, True]]))
    >>> round(float(losses[0].exp()), 6)
    2.0
    """
    chances = torch.log_softmax(logits, dim=-1)
    return -torch.logsumexp(chances.masked_fill(~possible, -torch.inf), dim=-1)


def row_weights(possible: torch.Tensor, label_weights: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Return the weight of each row: that of its label.

    Parameters
    ----------
    possible : torch.Tensor
        [n, n_labels] bool.
    label_weights : torch.Tensor
        [n_labels] float32.
    counts : torch.Tensor
        [n_labels] float32: how many training rows are known to have each label.

    Returns
    -------
    torch.Tensor
        [n] float32. For several possible labels, the mean of their weights, each by its share of ``counts``.
    """
    shares = possible * counts
    mean = (shares * label_weights).sum(dim=1) / shares.sum(dim=1).clamp(min=1)
    return torch.where(possible.sum(dim=1) == 1, (possible * label_weights).sum(dim=1), mean)
