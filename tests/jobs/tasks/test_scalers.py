"""The tree of scalers against one fit over all rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from heartbeat_core import storage
from heartbeat_core.alignment.scaling import ScalerFit
from jobs.tasks.scalers import FAN_IN, MergeJob, levels, merge, read_fit, remove_fits, store_fit

LENGTH = 30


@pytest.mark.parametrize("n_shards", [1, 2, 15, 16, 17, 255, 256, 257, 300])
def test_every_fit_is_merged_once(n_shards: int) -> None:
    tree = levels(n_shards)
    n_below = n_shards
    for number, level in enumerate(tree, start=1):
        assert [index for node in level for index in node.below] == list(range(n_below))
        assert all(1 <= len(node.below) <= FAN_IN and node.level == number for node in level)
        n_below = len(level)
    assert n_below == 1


@pytest.mark.parametrize("n_shards", [1, 2, 17, 40])
def test_the_root_is_the_fit_over_all_rows(tmp_path: Path, n_shards: int) -> None:
    rng = np.random.default_rng(n_shards)
    out, whole = tmp_path.as_uri(), ScalerFit(LENGTH)
    for shard in range(n_shards):
        fit = ScalerFit(LENGTH)
        for _ in range(shard % 3):
            row = rng.normal(5, 3, (rng.integers(1, LENGTH), 2)).astype(np.float32)
            offset = int(rng.integers(0, LENGTH - len(row) + 1))
            fit.add(row, offset)
            whole.add(row, offset)
        store_fit(out, 0, shard, fit)
    job = MergeJob(out, storage.FROM_ENVIRONMENT, 5.0)
    tree = levels(n_shards)
    for level in tree:
        for node in reversed(level):
            merge(node, job)
            merge(node, job)  # A task that runs twice changes nothing.
    root = read_fit(out, len(tree), 0)
    assert root.n_rows == whole.n_rows
    if root.n_rows:
        np.testing.assert_allclose(root.finish().mean, whole.finish().mean, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(root.finish().scale, whole.finish().scale, rtol=1e-12)
    remove_fits(out)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_merge_leaves_what_is_there(tmp_path: Path) -> None:
    out = tmp_path.as_uri()
    there = ScalerFit(LENGTH)
    there.add(np.ones((3, 2), np.float32), 4)
    store_fit(out, 1, 0, there)
    node = levels(2)[0][0]
    merge(node, MergeJob(out, storage.FROM_ENVIRONMENT, 5.0))  # The level below is gone already.
    assert read_fit(out, 1, 0).n_rows == 1
