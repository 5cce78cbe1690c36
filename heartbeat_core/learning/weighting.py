"""What each row counts in training, so that a model does not learn which database has which labels.

If one database has mostly murmurs and another mostly normal hearts, then a model that recognises the device already
does well. Here each label has the same weight within each database, whatever its share of the rows there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heartbeat_core.arrays import Values
from heartbeat_core.labels import Targets

DATABASE_POWER = 0.25
"""A database weighs its number of rows to this power: 0 makes all databases equal, 1 all rows."""


def weights_within(targets: Targets, databases: Sequence[str], balance: float) -> Values:
    """Balance the labels within each database.

    Parameters
    ----------
    targets : Targets
        The labels of n rows.
    databases : Sequence[str]
        [n] the database of each row.
    balance : float
        0 weighs all rows of a database the same, 1 all its labels.

    Returns
    -------
    ndarray, [n] float64
        Weights with a mean of 1. Within a database, a label weighs ``(rows / its rows) ** balance``; a row with several
        possible labels has the mean of their weights, each by its rows there. A database counts by the fourth
        root of its number of rows, so that small ones are heard.

    Examples
    --------
    >>> targets = Targets.of_codes(np.array([0, 0, 0, 1, 0, 1]), ("normal", "murmur"))
    >>> weights_within(targets, ["a", "a", "a", "a", "b", "b"], 1.0).round(2).tolist()
    [0.54, 0.54, 0.54, 1.63, 1.37, 1.37]
    """
    names, place = np.unique(np.asarray(databases), return_inverse=True)
    weights = np.ones(len(targets))
    for number in range(len(names)):
        rows = np.flatnonzero(place == number)
        here = targets.take(rows)
        counts = here.expected_counts
        of_label = np.where(counts > 0, (len(rows) / np.maximum(counts, 1e-12)) ** balance, 0.0)
        shares = here.possible * counts
        total = shares.sum(axis=1)
        found = np.divide((shares * of_label).sum(axis=1), total, out=np.ones(len(rows)), where=total > 0)
        weights[rows] = found * (len(rows) ** DATABASE_POWER / found.sum())
    result: Values = weights / weights.mean()
    return result
