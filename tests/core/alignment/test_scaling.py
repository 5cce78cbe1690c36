"""The mergeable scaler against scikit-learn's over all padded rows at once."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from heartbeat_core.alignment.placement import Frames
from heartbeat_core.alignment.scaling import Scaler, ScalerFit
from tests import naive

Row = tuple[Frames, int]


def fit(rows: list[Row], length: int) -> ScalerFit:
    made = ScalerFit(length)
    for frames, offset in rows:
        made.add(frames, offset)
    return made


def assert_is_the_definition(found: Scaler, rows: list[Row], length: int) -> None:
    mean, scale = naive.scaler(rows, length)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-9, atol=1e-12 * np.abs(mean).max(initial=0))
    np.testing.assert_allclose(found.scale, scale, rtol=1e-9)


def random_rows(n_rows: int, length: int, seed: int) -> list[Row]:
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n_rows):
        start, stop = sorted(rng.choice(length + 1, 2, replace=False))
        frames = rng.standard_normal((stop - start, 2)) * [500, 1e-3] + [900, 1e-3]
        rows.append((frames.astype(np.float32), int(start)))
    return rows


@pytest.mark.parametrize("n_rows", [1, 2, 3, 50])
def test_one_fit_is_scikit_learns(n_rows: int) -> None:
    rows = random_rows(n_rows, 30, seed=n_rows)
    assert_is_the_definition(fit(rows, 30).finish(), rows, 30)


def test_means_that_are_large_beside_their_spread() -> None:
    # The textbook sum of squares loses all digits here.
    rng = np.random.default_rng(0)
    rows = [((2**20 + rng.integers(0, 4, (5, 2)) / 8).astype(np.float32), 0) for _ in range(1_000)]
    found = fit(rows, 5).finish()
    assert_is_the_definition(found, rows, 5)
    exact = np.stack([frames for frames, _ in rows]).astype(np.longdouble)
    np.testing.assert_allclose(found.scale, exact.std(axis=0).astype(float), rtol=1e-9)


def test_constant_positions_have_scale_one() -> None:
    for value in (0.1, 1e6, 1e-8, 22_050.0):
        rows = [(np.full((4, 2), value, np.float32), 2)] * 7
        halves = fit(rows[:3], 9).merge(fit(rows[3:], 9)).finish()
        for found in (fit(rows, 9).finish(), halves):
            assert np.array_equal(found.scale, np.ones((9, 2)))
            expected = np.zeros((9, 2))
            expected[2:6] = np.float32(value)
            assert np.array_equal(found.mean, expected)


def test_positions_that_no_row_covers() -> None:
    found = fit([(np.float32([[3, 4]]), 1), (np.float32([[5, 4]]), 1)], 3).finish()
    assert found.mean.tolist() == [[0, 0], [4, 4], [0, 0]]
    assert found.scale.tolist() == [[1, 1], [1, 1], [1, 1]]


def test_the_zeros_of_the_padding_count() -> None:
    # 6 and a zero: mean 3, standard deviation 3.
    found = fit([(np.float32([[6, 1]]), 0), (np.float32([[6, 1]]), 1)], 2).finish()
    assert found.mean.tolist() == [[3, 0.5], [3, 0.5]]
    assert found.scale.tolist() == [[3, 0.5], [3, 0.5]]


values = st.floats(-1e7, 1e7, width=32) | st.sampled_from([0.0, 1e6, 1e6 + 1, 1e-8, 22_050.0])


@st.composite
def divided_rows(draw: st.DrawFn) -> tuple[int, list[list[Row]]]:
    """A length, and rows in parts, some of them empty."""
    length = draw(st.integers(1, 6))
    parts: list[list[Row]] = []
    for n_rows in draw(st.lists(st.integers(0, 4), min_size=1, max_size=5)):
        rows = []
        for _ in range(n_rows):
            offset = draw(st.integers(0, length - 1))
            n_frames = draw(st.integers(1, length - offset))
            rows.append((draw(hnp.arrays(np.float32, (n_frames, 2), elements=values)), offset))
        parts.append(rows)
    return length, parts


@settings(max_examples=200)
@given(divided_rows(), st.randoms(use_true_random=False), st.booleans())
@example((2, [[], [(np.float32([[1, 2]]), 1)], []]), None, True)
def test_any_split_and_any_order_of_merging(divided: tuple[int, list[list[Row]]], random: object, store: bool) -> None:
    length, parts = divided
    rows = [row for part in parts for row in part]
    fits = [fit(part, length) for part in parts]
    if store:
        fits = [ScalerFit.from_state(safetensors.numpy.load(safetensors.numpy.save(one.state()))) for one in fits]
    while len(fits) > 1:
        if random is not None:
            random.shuffle(fits)  # type: ignore[attr-defined]
        fits.append(fits.pop().merge(fits.pop()))
    if not rows:
        with pytest.raises(ValueError, match="at least one row"):
            fits[0].finish()
        return
    assert fits[0].n_rows == len(rows)
    found = fits[0].finish()
    mean, scale = naive.scaler(rows, length)
    largest = np.max([np.abs(naive.pad(frames, offset, length)) for frames, offset in rows], axis=0)
    # Both round: a mean to eps of the largest value, and so a spread far below it no better than that.
    assert np.all(np.abs(found.mean - mean) <= 1e-9 * np.abs(mean) + 1e-14 * largest)
    same_constant = (found.scale == 1) == (scale == 1)
    assert np.all(same_constant)
    assert np.all(np.abs(found.scale - scale) <= 1e-9 * scale)


def test_state_round_trip_is_exact() -> None:
    made = fit(random_rows(20, 12, seed=4), 12)
    stored = safetensors.numpy.load(safetensors.numpy.save(made.state()))
    again = ScalerFit.from_state(stored)
    assert again.n_rows == 20
    assert np.array_equal(again.covered, made.covered)
    assert np.array_equal(again.finish().mean, made.finish().mean)
    assert np.array_equal(again.finish().scale, made.finish().scale)
    again.add(np.ones((12, 2), np.float32), 0)
    assert again.n_rows == 21


def test_finish_can_be_followed_by_more_rows() -> None:
    rows = random_rows(10, 8, seed=5)
    made = fit(rows[:4], 8)
    made.finish()
    for frames, offset in rows[4:]:
        made.add(frames, offset)
    assert_is_the_definition(made.finish(), rows, 8)


def test_merging_leaves_the_other_as_it_was() -> None:
    a, b = fit(random_rows(5, 8, seed=6), 8), fit(random_rows(5, 8, seed=7), 8)
    before = b.finish()
    assert a.merge(b) is a
    assert np.array_equal(b.finish().mean, before.mean)
    assert b.n_rows == 5
    assert a.n_rows == 10


@pytest.mark.parametrize(("n_frames", "offset"), [(4, 0), (3, 1), (1, 3), (1, -1)])
def test_rows_beyond_the_length_are_refused(n_frames: int, offset: int) -> None:
    made = ScalerFit(3)
    with pytest.raises(ValueError, match="reach beyond 3 positions"):
        made.add(np.zeros((n_frames, 2), np.float32), offset)
    assert made.n_rows == 0


def test_other_lengths_do_not_merge() -> None:
    with pytest.raises(ValueError, match="3 and 4 positions cannot be merged"):
        ScalerFit(3).merge(ScalerFit(4))


def test_transform_is_the_definition_in_float64() -> None:
    rng = np.random.default_rng(0)
    scaler = Scaler(rng.standard_normal((4, 2)) + 1e6, rng.random((4, 2)) + 0.5)
    padded = (rng.standard_normal((7, 4, 2)) + 1e6).astype(np.float32)
    found = scaler.transform(padded)
    assert found.dtype == np.float32
    for row in range(7):
        for position in range(4):
            for channel in range(2):
                value = float(padded[row, position, channel]) - float(scaler.mean[position, channel])
                expected = np.float32(value / float(scaler.scale[position, channel]))
                assert found[row, position, channel] == expected
    assert np.array_equal(scaler.transform(padded[3]), found[3])
