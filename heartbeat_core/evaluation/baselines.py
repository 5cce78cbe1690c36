"""The trivial rules that stand beside every recipe: the commonest label, and what the device alone gives away.

A rule gives codes without probabilities; ``np.eye(len(LABELS))[codes]`` are those of a rule that is always certain.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heartbeat_core.arrays import Codes
from heartbeat_core.recipe import LABELS


def majority(codes: Codes) -> int:
    """Return the commonest of ``codes`` [n] int64, the first of equals."""
    return int(np.bincount(codes).argmax())


def majority_rule(true_training: Codes, n_test: int) -> Codes:
    """Predict the training rows' commonest label for each of ``n_test`` rows: [n_test] int64 codes."""
    return np.full(n_test, majority(true_training), np.int64)


def device_rule(true_training: Codes, devices_training: Sequence[str], devices_test: Sequence[str]) -> Codes:
    """Predict from the recording device alone, as well as balanced accuracy can be had that way.

    A device stands for the label that has the largest share of its own training rows on it, the first of equals: no
    other label's recall gains as much. A device without a training row gets the commonest label.

    Returns
    -------
    ndarray, [n_test] int64
        Codes, one for each of ``devices_test``.
    """
    totals = np.bincount(true_training, minlength=len(LABELS))
    trained_on = np.asarray(devices_training)
    label_of = {}
    for device in set(devices_training):
        here = np.bincount(true_training[trained_on == device], minlength=len(LABELS))
        label_of[device] = int((here / np.maximum(totals, 1)).argmax())
    commonest = majority(true_training)
    return np.array([label_of.get(device, commonest) for device in devices_test], np.int64)
