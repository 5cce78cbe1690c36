"""Partial labels: the loss against a plain loop, finite differences and torch's own, and the weights of rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from heartbeat_core.learning.partial import log_losses, row_weights
from tests import naive

N_LABELS = 4
STEP = 1e-6
LOGITS = st.floats(-30, 30, width=32)


@st.composite
def rows(draw: st.DrawFn, least: int = 1) -> tuple[list[list[float]], list[list[bool]]]:
    """Draw logits, and for each row at least so many possible labels."""
    n = draw(st.integers(1, 6))
    logits = draw(st.lists(st.lists(LOGITS, min_size=N_LABELS, max_size=N_LABELS), min_size=n, max_size=n))
    sets = draw(st.lists(st.sets(st.integers(0, N_LABELS - 1), min_size=least), min_size=n, max_size=n))
    return logits, [[code in chosen for code in range(N_LABELS)] for chosen in sets]


def gradient(logits: torch.Tensor, possible: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    moved = logits.clone().requires_grad_()
    (log_losses(moved, possible) * weights).sum().backward()
    assert moved.grad is not None
    return moved.grad


@given(rows())
def test_the_loss_is_the_plain_loops(drawn: tuple[list[list[float]], list[list[bool]]]) -> None:
    logits, possible = drawn
    found = log_losses(torch.tensor(logits, dtype=torch.float64), torch.tensor(possible))
    assert found.tolist() == pytest.approx(naive.log_losses(logits, possible), rel=1e-9, abs=1e-9)


@settings(max_examples=50)
@given(rows())
def test_the_gradient_is_that_of_finite_differences(drawn: tuple[list[list[float]], list[list[bool]]]) -> None:
    logits, possible = torch.tensor(drawn[0], dtype=torch.float64), torch.tensor(drawn[1])
    weights = torch.arange(1, len(logits) + 1, dtype=torch.float64)
    found = gradient(logits, possible, weights)
    for row in range(len(logits)):
        for code in range(N_LABELS):
            sides = []
            for step in (-STEP, STEP):
                moved = logits.clone()
                moved[row, code] += step
                sides.append(float((log_losses(moved, possible) * weights).sum()))
            difference = (sides[1] - sides[0]) / (2 * STEP)
            assert float(found[row, code]) == pytest.approx(difference, rel=1e-5, abs=1e-6)


@given(rows(), st.booleans())
def test_one_label_has_the_plain_loss_to_the_bit(
    drawn: tuple[list[list[float]], list[list[bool]]], with_weights: bool
) -> None:
    logits = torch.tensor(drawn[0], dtype=torch.float32)
    codes = torch.tensor([row.index(True) for row in drawn[1]])
    possible = torch.eye(N_LABELS, dtype=torch.bool)[codes]
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    losses, plain = log_losses(ours, possible), cross_entropy(theirs, codes, reduction="none")
    assert losses.dtype == torch.float32
    assert torch.equal(losses, plain)
    weights = torch.linspace(0.5, 2.0, len(codes)) if with_weights else torch.ones(len(codes))
    (losses * weights).mean().backward()
    (plain * weights).mean().backward()
    assert ours.grad is not None
    assert theirs.grad is not None
    assert torch.equal(ours.grad, theirs.grad)


def test_labels_that_cannot_occur_take_no_part() -> None:
    inf = float("inf")
    logits = torch.tensor([[1.0, -inf, 0.5, -inf], [2.0, -inf, -1.0, -inf]])
    possible = torch.tensor([[True, False, False, False], [True, True, False, True]])
    losses = log_losses(logits, possible)
    trained = log_losses(logits[:, [0, 2]], possible[:, [0, 2]])
    torch.testing.assert_close(losses, trained)
    slopes = gradient(logits, possible, torch.ones(2))
    assert torch.equal(slopes[:, [1, 3]], torch.zeros(2, 2))
    torch.testing.assert_close(slopes[:, [0, 2]], gradient(logits[:, [0, 2]], possible[:, [0, 2]], torch.ones(2)))


@pytest.mark.parametrize("lowest", [0.0, -float("inf")])
def test_a_row_of_all_labels_has_no_loss_and_no_gradient(lowest: float) -> None:
    torch.manual_seed(0)
    logits = 5 * torch.randn(50, N_LABELS, dtype=torch.float64)
    logits[:, 1] += lowest
    possible = torch.ones(50, N_LABELS, dtype=torch.bool)
    assert float(log_losses(logits, possible).abs().max()) < 1e-14
    assert float(gradient(logits, possible, torch.ones(50)).abs().max()) < 1e-14


def test_several_members_are_judged_by_the_same_rows() -> None:
    torch.manual_seed(1)
    logits = torch.randn(3, 6, N_LABELS)
    possible = torch.rand(6, N_LABELS) < 0.5
    possible[:, 0] = True
    together = log_losses(logits, possible.expand(logits.shape))
    assert together.shape == (3, 6)
    assert torch.equal(together, torch.stack([log_losses(one, possible) for one in logits]))


@given(
    rows(least=0),
    st.lists(st.floats(0.1, 10), min_size=N_LABELS, max_size=N_LABELS),
    st.lists(st.integers(0, 9), min_size=N_LABELS, max_size=N_LABELS),
)
def test_the_weight_of_a_row_is_the_plain_loops(
    drawn: tuple[list[list[float]], list[list[bool]]], weights: list[float], counts: list[int]
) -> None:
    possible = drawn[1]
    found = row_weights(torch.tensor(possible), torch.tensor(weights), torch.tensor(counts, dtype=torch.float32))
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx(naive.row_weights(possible, weights, counts), rel=1e-5)


def test_a_row_of_one_label_has_exactly_its_weight() -> None:
    weights = torch.tensor([0.1, 1 / 3, 2.7])
    # Also where no row counts for the label.
    found = row_weights(torch.eye(3, dtype=torch.bool), weights, torch.tensor([7.0, 0.0, 11.0]))
    assert np.array_equal(found.numpy(), weights.numpy())
