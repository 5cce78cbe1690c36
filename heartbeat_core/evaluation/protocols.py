"""The protocols of an evaluation, and the text of each for its report."""

from __future__ import annotations

from typing import Literal

from heartbeat_core.evaluation.leave_one_out import Place
from heartbeat_core.evaluation.splits import folds_protocol

Protocol = Literal["grouped-folds", "leave-one-database-out", "leave-one-device-out"]

HELD_OUT: dict[Protocol, Place] = {"leave-one-database-out": "database", "leave-one-device-out": "device"}
"""What each protocol other than the grouped folds holds out."""


def protocol_text(protocol: Protocol, n_folds: int, n_seeds: int) -> str:
    """Return a text that says how an evaluation splits its rows, and on which rows it fits what.

    Parameters
    ----------
    protocol : Protocol
    n_folds : int
        The number of grouped folds; the other protocols do not use it.
    n_seeds : int
    """
    if protocol not in HELD_OUT:
        return folds_protocol(n_folds, n_seeds)
    place = HELD_OUT[protocol]
    return (
        f"Protocol: leave one {place} out: each {place} is predicted by a model that was trained on all other "
        f"{place}s, without any recording of its patients; seeds 0 to {n_seeds - 1}, each with the same splits; "
        "reference, scaler, weights, thresholds and temperature fitted in the training rows only (the "
        f"last by inner folds of these); predictions of all {place}s pooled."
    )
