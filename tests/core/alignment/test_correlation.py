"""The cross terms against the plain sum, within the bounds that they state."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from heartbeat_core.alignment import correlation
from heartbeat_core.alignment.correlation import BlockCorrelator, Correlator, WholeCorrelator, best_block
from heartbeat_core.alignment.placement import FEW_CANDIDATES, Reference
from heartbeat_core.arrays import Frames
from tests import naive

KINDS = ("noise", "steps", "constant", "whisper", "one spike", "alternating", "copies")
BLOCKS = correlation._BLOCKS
MAGNITUDES = st.sampled_from([1e-42, 1e-30, 1e-6, 1.0, 1e6, 1e30, 1e34])
"""From below float32's normal numbers to where the energies are far beyond it."""


def make_frames(n: int, kind: str, rng: np.random.Generator) -> Frames:
    """Return [n, 2] float32: Hz and magnitudes of some kind."""
    noise = np.stack((rng.uniform(0, 2_000, n), rng.exponential(0.1, n)), axis=1)
    if kind == "steps":
        noise = np.round(noise / [500, 0.2]) * [500, 0.2]
    elif kind in ("constant", "whisper", "one spike"):
        noise = np.tile([300.0, 0.1], (n, 1))
    elif kind == "alternating":
        noise = np.tile([[2_000, -0.1], [-2_000, 0.1]], (n, 1))[:n]
    elif kind == "copies":
        copied = noise[: max(1, n // 5)]
        noise = np.tile(copied, (-(-n // len(copied)), 1))[:n]
    if kind == "whisper":
        noise += 1e-4 * rng.standard_normal((n, 2))
    elif kind == "one spike":
        noise[rng.integers(n)] = [1e4, 5]
    return noise.astype(np.float32)


def exact_terms(query: Frames, reference: Frames, offsets: range) -> NDArray[np.longdouble]:
    """Return the plain sums of the centred float64 values, in the widest type that the machine has."""
    x, r = ((one - reference.mean(axis=0, dtype=np.float64)).astype(np.longdouble) for one in (query, reference))
    return np.array([np.sum(x * r[i : i + len(x)]) for i in offsets])


def share_of_the_bound(correlator: Correlator, query: Frames, reference: Frames, step: int = 1) -> float:
    """Check what a correlator returns, and return its largest error as a share of its bound.

    Of all offsets, every ``step``-th is held against the plain sum.
    """
    cross, energy, bound = correlator.cross(query)
    assert cross.dtype == np.float64
    assert cross.shape == (len(reference) - len(query) + 1,)
    centred = query - reference.mean(axis=0, dtype=np.float64)
    assert energy == pytest.approx(float(np.sum(np.square(centred))), rel=1e-13, abs=0)
    assert np.isfinite(bound)
    error = float(2 * np.abs(cross[::step] - exact_terms(query, reference, range(0, len(cross), step))).max())
    assert error <= bound
    return error / bound if bound else 0.0


@pytest.mark.parametrize("make", [WholeCorrelator, BlockCorrelator])
@settings(max_examples=200)
@given(
    length=st.integers(1, 1_500),
    part=st.floats(0, 1),
    kinds=st.tuples(st.sampled_from(KINDS), st.sampled_from((*KINDS, "planted"))),
    magnitudes=st.tuples(MAGNITUDES, MAGNITUDES),
    block=st.sampled_from([None, 256, 512, 1024]),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_terms_are_within_their_bound(
    make: type[BlockCorrelator],
    length: int,
    part: float,
    kinds: tuple[str, str],
    magnitudes: tuple[float, float],
    block: int | None,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    n = max(1, round(part * length))
    reference = make_frames(length, kinds[0], rng) * np.float32(magnitudes[0])
    if kinds[1] == "planted":
        start = int(rng.integers(0, length - n + 1))
        query = reference[start : start + n].copy()
    else:
        query = make_frames(n, kinds[1], rng) * np.float32(magnitudes[1])
    with patch.object(correlation, "best_block", lambda *lengths: block or best_block(*lengths)):
        share_of_the_bound(make(reference), query, reference)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("n", [1, 255, 256, 257, 1_000, 2_999, 3_000])
def test_any_block_gives_the_same_terms(monkeypatch: pytest.MonkeyPatch, block: int, n: int) -> None:
    rng = np.random.default_rng(n)
    reference, query = make_frames(3_000, "noise", rng), make_frames(n, "noise", rng)
    monkeypatch.setattr(correlation, "best_block", lambda n_frames, n_offsets: block)
    assert share_of_the_bound(BlockCorrelator(reference), query, reference, step=13) < 0.2


@pytest.mark.parametrize(("n", "length"), [(1, 40_000), (5_000, 40_000), (30_000, 40_000), (39_990, 40_000)])
def test_the_terms_at_the_lengths_of_recordings(n: int, length: int) -> None:
    rng = np.random.default_rng(n)
    reference, query = make_frames(length, "noise", rng), make_frames(n, "steps", rng)
    for correlator in (BlockCorrelator(reference), WholeCorrelator(reference)):
        assert share_of_the_bound(correlator, query, reference, step=max(1, (length - n) // 60)) < 0.2


def test_recordings_are_cut_into_several_blocks_of_both() -> None:
    block = best_block(5_000, 35_001)
    assert block < 5_000
    assert block < 35_001


def test_the_blocks_that_are_chosen() -> None:
    """Not a rule, but a choice that would be absurd shows here: padding to many times what there is."""
    for n_frames in (1, 100, 5_000, 30_000, 100_000):
        for n_offsets in (1, 100, 5_000, 80_000, 300_000):
            assert best_block(n_frames, n_offsets) <= max(256, 4 * max(n_frames, n_offsets))


@pytest.mark.parametrize("kind", KINDS)
def test_the_block_never_changes_the_offset(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    rng = np.random.default_rng(KINDS.index(kind))
    reference, query = make_frames(900, kind, rng), make_frames(300, kind, rng)
    expected = naive.best_offset(query, reference)
    for block in BLOCKS:
        monkeypatch.setattr(correlation, "best_block", lambda n_frames, n_offsets, block=block: block)
        assert Reference(reference).best_offset(query) == expected


@pytest.mark.parametrize("make", [WholeCorrelator, BlockCorrelator])
def test_the_order_in_memory_changes_nothing(make: type[BlockCorrelator]) -> None:
    rng = np.random.default_rng(2)
    reference, query = make_frames(1_000, "noise", rng), make_frames(300, "noise", rng)
    expected, energy, bound = make(reference).cross(query)
    wide = np.zeros((600, 4), np.float32)
    wide[::2, ::2] = query
    for same in (np.asfortranarray(query), wide[::2, ::2], np.ascontiguousarray(query[::-1])[::-1]):
        cross, *others = make(reference).cross(same)
        assert np.array_equal(cross, expected)
        assert others == [energy, bound]
    assert np.array_equal(make(np.asfortranarray(reference)).cross(query)[0], expected)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the lengths of the queries that the precise correlator is asked for, as they come."""
    calls: list[int] = []
    cross = WholeCorrelator.cross

    def counting(self: WholeCorrelator, query: Frames) -> tuple[NDArray[np.float64], float, float]:
        calls.append(len(query))
        return cross(self, query)

    monkeypatch.setattr(WholeCorrelator, "cross", counting)
    return calls


def test_float32_is_enough_for_sounds(asked: list[int]) -> None:
    rng = np.random.default_rng(0)
    reference = make_frames(5_000, "noise", rng)
    query = make_frames(1_200, "noise", rng)
    assert Reference(reference).best_offset(query) == naive.best_offset(query, reference)
    assert asked == []


@pytest.mark.parametrize("noise", [1e-4, 1e-3])
def test_what_float32_leaves_open_is_told_apart_in_float64(asked: list[int], noise: float) -> None:
    rng = np.random.default_rng(0)
    # A constant tone with a whisper in it: in float32 all offsets look alike.
    reference = (np.tile([300.0, 0.1], (3_000, 1)) + noise * rng.standard_normal((3_000, 2))).astype(np.float32)
    reference[0] = [20_000, 3]
    query = (np.tile([301.0, 0.1], (700, 1)) + noise * rng.standard_normal((700, 2))).astype(np.float32)
    ours = Reference(reference)
    assert len(ours._candidates(query, BlockCorrelator(ours.frames))) > FEW_CANDIDATES
    assert ours.best_offset(query) == naive.best_offset(query, reference)
    assert asked == [700]


@pytest.mark.parametrize("more", [0, 1])
def test_float64_is_asked_beyond_so_many_candidates(asked: list[int], more: int) -> None:
    rng = np.random.default_rng(0)
    query = make_frames(60, "noise", rng)
    # Copies of the query with noise between: each is as near as the others, and nothing else is.
    reference = np.concatenate([np.concatenate((make_frames(40, "noise", rng), query))] * (FEW_CANDIDATES + more))
    ours = Reference(reference)
    assert len(ours._candidates(query, BlockCorrelator(ours.frames))) == FEW_CANDIDATES + more
    assert ours.best_offset(query) == naive.best_offset(query, reference) == (40, 0.0)
    assert asked == [60] * more


@pytest.mark.parametrize("magnitude", [1e-30, 1e18, 1e30])
def test_offsets_of_very_quiet_and_very_loud_frames(magnitude: float) -> None:
    rng = np.random.default_rng(1)
    reference = make_frames(2_000, "steps", rng) * np.float32(magnitude)
    query = reference[700:1_100] + np.float32(magnitude) * rng.normal(0, 1e-3, (400, 2)).astype(np.float32)
    assert Reference(reference).best_offset(query) == naive.best_offset(query, reference)
