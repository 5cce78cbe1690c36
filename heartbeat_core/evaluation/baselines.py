"""The trivial rules that every recipe is compared with: the most common label, and a guess from the device alone.

A rule gives codes without probabilities. ``np.eye(n_labels)[codes]`` are the probabilities of a rule that is always
certain.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from heartbeat_core.arrays import Codes

MAJORITY_RULE, DEVICE_RULE = "majority rule", "device rule"


def majority(codes: Codes) -> int:
    """Return the most common code, and the lowest one if several are equally common.

    Parameters
    ----------
    codes : ndarray, [n] int64
        No label is unknown (-1).

    Raises
    ------
    ValueError
        There are no codes.
    """
    return int(np.bincount(codes).argmax())


def majority_rule(true_training: Codes, n_test: int) -> Codes:
    """Predict the most common label of the training rows for each test row.

    Parameters
    ----------
    true_training : ndarray, [n_training] int64
        Codes; no label is unknown (-1).
    n_test : int

    Returns
    -------
    ndarray, [n_test] int64

    Raises
    ------
    ValueError
        There are no training rows.
    """
    return np.full(n_test, majority(true_training), np.int64)


def device_rule(true_training: Codes, devices_training: Sequence[str], devices_test: Sequence[str]) -> Codes:
    """Predict from the recording device alone, with the best balanced accuracy that is possible in this way.

    For each label, compute the share of its training rows that were made with the device. The device gets the label
    with the largest share (the first of equal ones), because no other label's recall would gain as much. A device
    without a training row gets the most common label.

    Parameters
    ----------
    true_training : ndarray, [n_training] int64
        Codes; no label is unknown (-1).
    devices_training : Sequence[str]
        The device of each training row.
    devices_test : Sequence[str]
        The device of each test row.

    Returns
    -------
    ndarray, [n_test] int64
        One code for each of ``devices_test``.

    Raises
    ------
    ValueError
        There are no training rows.
    """
    totals = np.bincount(true_training)
    trained_on = np.asarray(devices_training)
    label_of = {}
    for device in set(devices_training):
        here = np.bincount(true_training[trained_on == device], minlength=len(totals))
        label_of[device] = int((here / np.maximum(totals, 1)).argmax())
    commonest = majority(true_training)
    return np.array([label_of.get(device, commonest) for device in devices_test], np.int64)


def guess_by_rules(true: Codes, devices: Sequence[str], splits: Iterable[tuple[Codes, Codes]]) -> dict[str, Codes]:
    """Return what each rule guesses for the test rows of splits.

    Parameters
    ----------
    true : ndarray, [n_rows] int64
        Codes; -1 where the label is not known, and the rules learn nothing there.
    devices : Sequence[str]
        The recording device of each row.
    splits : Iterable[tuple[ndarray, ndarray]]
        The numbers of training and test rows; each row is tested once.

    Returns
    -------
    dict[str, ndarray]
        For ``MAJORITY_RULE`` and for ``DEVICE_RULE``, [n_rows] int64: the guessed code of each row.

    Raises
    ------
    ValueError
        A split has no training row with a known label.

    Examples
    --------
    >>> true, half, other = np.array([1, 0, 1, -1]), np.array([0, 1]), np.array([2, 3])
    >>> guess_by_rules(true, ["a", "b", "b", "a"], [(half, other), (other, half)])
    {'majority rule': array([1, 1, 0, 0]), 'device rule': array([1, 1, 0, 1])}
    """
    by_majority, by_device = np.empty_like(true), np.empty_like(true)
    for training, test in splits:
        known = training[true[training] >= 0]
        by_majority[test] = majority_rule(true[known], len(test))
        here, there = ([devices[i] for i in index.tolist()] for index in (known, test))
        by_device[test] = device_rule(true[known], here, there)
    return {MAJORITY_RULE: by_majority, DEVICE_RULE: by_device}
