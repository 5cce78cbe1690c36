"""The protocols of an evaluation: how its rows are split, and the text that says so."""

from __future__ import annotations

from typing import Literal, get_args

from heartbeat_core.errors import DatasetError
from heartbeat_core.evaluation.judging import Truth
from heartbeat_core.evaluation.leave_one_out import Place, leave_one_out
from heartbeat_core.evaluation.splits import Split, Task, folds, folds_protocol, seeds_text

Protocol = Literal["grouped-folds", "leave-one-database-out", "leave-one-device-out"]

HELD_OUT: dict[Protocol, Place] = {"leave-one-database-out": "database", "leave-one-device-out": "device"}
"""What each protocol other than the grouped folds holds out."""
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)


def make_splits(protocol: Protocol, truth: Truth, task: Task, n_folds: int, seed: int) -> list[Split]:
    """Split the rows of a task; no person is on both sides of a split.

    Parameters
    ----------
    protocol : Protocol
    truth : Truth
        The facts about all labelled rows.
    task : Task
    n_folds : int
        The number of grouped folds; the other protocols do not use it.
    seed : int
        Decides the grouped folds; the other protocols have the same splits for every seed.

    Returns
    -------
    list[Split]
        Row numbers among ``task.rows(truth.targets)``. Each of these is a test row of exactly one split.

    Raises
    ------
    DatasetError
        There are too few patients, databases or devices, too few rows of each label, or fewer than two labels outside
        of a database or device.
    """
    kept = task.rows(truth.targets)
    groups = [truth.groups[i] for i in kept.tolist()]
    if protocol not in HELD_OUT:
        strata = task.targets(truth.targets).take(kept).strata
        return [
            Split(str(number), training, test)
            for number, (training, test) in enumerate(folds(strata, groups, n_folds, seed))
        ]
    place = HELD_OUT[protocol]
    names = truth.databases if place == "database" else truth.devices
    splits = leave_one_out([names[i] for i in kept.tolist()], groups, place)
    targets = task.targets(truth.targets).take(kept)
    for split in splits:
        if len(targets.take(split.training).present) < 2:
            raise DatasetError(
                f"without the {place} '{split.name}', the training rows have fewer than two labels: add a dataset with "
                "more labels, or evaluate with the grouped folds"
            )
    return splits


def protocol_of(text: str) -> Protocol:
    """Return the protocol of an evaluation from its text, as ``protocol_text`` writes it.

    Examples
    --------
    >>> protocol_of(protocol_text("leave-one-device-out", 5, 3))
    'leave-one-device-out'
    """
    for protocol, place in HELD_OUT.items():
        if text.startswith(_held_out_text(place)):
            return protocol
    return "grouped-folds"


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
    seeds = seeds_text(n_seeds) + ", each with the same splits" * (n_seeds > 1)
    return (
        f"{_held_out_text(place)} each {place} is predicted by a model that was trained on all other "
        f"{place}s, without any recording of its patients; {seeds}; "
        "reference, scaler, weights, thresholds and temperature fitted in the training rows only (the "
        f"last by inner folds of these); predictions of all {place}s pooled."
    )


def _held_out_text(place: Place) -> str:
    return f"Protocol: leave one {place} out:"
