"""Rows that move from one database to another in training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from heartbeat_core.labels import Targets
from heartbeat_core.learning.bagging import _moved_columns, train_bagged
from heartbeat_core.learning.moving import FEWEST_ROWS, Centres, find_centres
from tests.core.learning.test_bagging import WIDTH, recipe

ALL = np.ones(WIDTH, np.bool_)


def test_a_centre_is_the_mean_of_the_commonest_label_in_all_copies() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((100, 3, WIDTH)).astype(np.float32)
    codes = np.where(np.arange(100) % 3 == 0, 2, 0)
    databases = np.repeat([0, 1, 2], [50, 40, 10])
    columns = ALL.copy()
    columns[4:] = False
    found = find_centres(rows, replace(Targets.of_codes(codes), databases=databases), columns)
    assert found is not None
    # The last database has too few normal rows.
    assert found.own.tolist() == [0] * 50 + [1] * 40 + [-1] * 10
    for number in (0, 1):
        expected = rows[(codes == 0) & (databases == number)].mean(axis=(0, 1))
        np.testing.assert_allclose(found.means[number, :4], expected[:4], atol=1e-6)
    assert not found.means[:, 4:].any()


@pytest.mark.parametrize(("n_second", "there"), [(FEWEST_ROWS, True), (FEWEST_ROWS - 1, False)])
def test_nothing_moves_between_fewer_than_two_centres(n_second: int, there: bool) -> None:
    n = 40 + n_second
    targets = Targets.of_codes(np.zeros(n, np.int64))
    rows = np.zeros((n, 1, WIDTH), np.float32)
    assert find_centres(rows, targets, ALL) is None
    both = replace(targets, databases=np.repeat([0, 1], [40, n_second]))
    assert (find_centres(rows, both, ALL) is not None) == there


def test_a_row_moves_along_the_line_to_another_centre_and_past_it() -> None:
    centres = Centres(torch.tensor([[0.0, 0.0], [4.0, 2.0]]), torch.tensor([0, 1, -1]))
    torch.manual_seed(0)
    index = torch.arange(3).repeat(2_000)
    still = torch.ones(len(index), 2)
    steps = centres.moved(still, index, 2.0) - still
    assert not steps[index == 2].any()
    for own, sign in ((0, 1.0), (1, -1.0)):
        here = steps[index == own]
        torch.testing.assert_close(here[:, 0], 2 * here[:, 1])
        shares = sign * here[:, 0] / 4.0
        moved = shares[shares != 0]
        # A half draws its own centre, and stays.
        assert len(moved) / len(shares) == pytest.approx(0.5, abs=0.05)
        assert 0 < moved.min() < 0.05
        assert 1.95 < moved.max() <= 2.0


def test_what_only_specialists_read_does_not_move() -> None:
    bagging = {"members": ["all", "timbre"], "specialists": {"part": "timbre", "labels": ["extrahls"]}}
    reads = np.array([[True, True, False], [False, True, True]])
    assert _moved_columns(reads, recipe(bagging=bagging)).tolist() == [True, True, False]
    assert _moved_columns(reads, recipe(bagging={"members": ["all", "timbre"]})).all()


def test_a_model_whose_rows_move_does_not_go_by_the_database() -> None:
    """A value that tells the databases apart, and the label as far as they differ in it, tells nothing elsewhere."""
    rng = np.random.default_rng(1)
    databases = np.repeat([0, 1], 150)
    codes = np.where(rng.random(300) < np.where(databases == 0, 0.1, 0.45), 2, 0)
    rows = rng.standard_normal((300, 1, WIDTH)).astype(np.float32)
    rows[:, 0, 0] += codes  # the sound
    rows[:, 0, 1] += 5.0 * databases  # the device
    targets = replace(Targets.of_codes(codes), weights=np.ones(300), databases=databases)
    settings: dict[str, Any] = {"members": ["all"] * 3, "input_dropout": 0.0}
    shift = torch.zeros(2, WIDTH)
    shift[1, 1] = 5.0
    changes = []
    for moved in (0.0, 2.0):
        chosen = recipe(
            bagging=settings | {"moved": moved},
            training={"epochs": 30, "batch_size": 32, "learning_rate": 0.02, "within_databases": True},
        )
        network = train_bagged(rows, targets, np.ones((3, WIDTH), np.bool_), chosen, 0)
        with torch.inference_mode():
            margins = network(shift)[:, 2] - network(shift)[:, 0]
        changes.append(abs(float(margins[1] - margins[0])))
    assert changes[1] < 0.5 * changes[0]
