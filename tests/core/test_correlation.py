"""The cross terms against the plain sum, within the bounds that they state."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heartbeat_core import correlation
from heartbeat_core.alignment import FEW_CANDIDATES, Reference
from heartbeat_core.correlation import BlockCorrelator, Correlator, Frames, WholeCorrelator, best_block
from tests import naive

KINDS = ("noise", "steps", "constant", "one spike", "copies")


def make_frames(n: int, kind: str, rng: np.random.Generator) -> Frames:
    """Return [n, 2] float32: Hz and magnitudes of some kind."""
    noise = np.stack((rng.uniform(0, 2_000, n), rng.exponential(0.1, n)), axis=1)
    if kind == "steps":
        noise = np.round(noise / [500, 0.2]) * [500, 0.2]
    elif kind == "constant":
        noise = np.tile([300.0, 0.1], (n, 1))
    elif kind == "one spike":
        noise = np.tile([300.0, 0.1], (n, 1))
        noise[rng.integers(n)] = [1e4, 5]
    elif kind == "copies":
        noise = np.tile(noise[: max(1, n // 5)], (6, 1))[:n]
    return noise.astype(np.float32)


def exact_terms(query: Frames, reference: Frames) -> tuple[np.ndarray, float]:
    mean = reference.mean(axis=0, dtype=np.float64)
    x, r = query - mean, reference - mean
    offsets = range(len(reference) - len(query) + 1)
    return np.array([np.sum(x * r[i : i + len(x)]) for i in offsets]), float(np.sum(x * x))


def assert_within_the_bound(correlator: Correlator, query: Frames, reference: Frames) -> float:
    cross, energy, error = correlator.cross(query)
    expected, expected_energy = exact_terms(query, reference)
    assert cross.dtype == np.float64
    assert cross.shape == expected.shape
    assert energy == pytest.approx(expected_energy, rel=1e-9, abs=1e-12)
    assert np.isfinite(error)
    found = float(2 * np.abs(cross - expected).max())
    # The expected values round as well.
    assert found <= error + 1e-12 * expected_energy + 1e-300
    return found / error if error else 0.0


@pytest.mark.parametrize("make", [WholeCorrelator, BlockCorrelator])
@settings(max_examples=150, deadline=None)
@given(
    length=st.integers(1, 700),
    part=st.floats(0, 1),
    kinds=st.tuples(st.sampled_from(KINDS), st.sampled_from(KINDS)),
    magnitude=st.sampled_from([1e-30, 1e-6, 1.0, 1e6, 1e30]),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_terms_are_within_their_bound(
    make: type[BlockCorrelator], length: int, part: float, kinds: tuple[str, str], magnitude: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    reference = make_frames(length, kinds[0], rng) * np.float32(magnitude)
    query = make_frames(max(1, round(part * length)), kinds[1], rng) * np.float32(magnitude)
    assert_within_the_bound(make(reference), query, reference)


@pytest.mark.parametrize("block", [256, 512, 1024, 2048, 8192])
@pytest.mark.parametrize("n", [1, 255, 256, 257, 1_000, 2_999, 3_000])
def test_any_block_gives_the_same_terms(monkeypatch: pytest.MonkeyPatch, block: int, n: int) -> None:
    rng = np.random.default_rng(n)
    reference, query = make_frames(3_000, "noise", rng), make_frames(n, "noise", rng)
    monkeypatch.setattr(correlation, "best_block", lambda n_frames, n_offsets: block)
    assert assert_within_the_bound(BlockCorrelator(reference), query, reference) < 0.2


def test_the_blocks_that_are_chosen() -> None:
    """Not a rule, but a choice that would be absurd shows here: padding to many times what there is."""
    for n_frames in (1, 100, 5_000, 30_000, 100_000):
        for n_offsets in (1, 100, 5_000, 80_000, 300_000):
            assert best_block(n_frames, n_offsets) <= max(256, 4 * max(n_frames, n_offsets))


def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the calls to the precise correlator."""
    calls: list[int] = []
    cross = WholeCorrelator.cross

    def counting(self: WholeCorrelator, query: Frames) -> tuple[np.ndarray, float, float]:
        calls.append(len(query))
        return cross(self, query)

    monkeypatch.setattr(WholeCorrelator, "cross", counting)
    return calls


def test_float32_is_enough_for_sounds(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = asked(monkeypatch)
    rng = np.random.default_rng(0)
    reference = make_frames(5_000, "noise", rng)
    query = make_frames(1_200, "noise", rng)
    assert Reference(reference).best_offset(query) == naive.best_offset(query, reference)
    assert calls == []


def test_what_float32_leaves_open_is_told_apart_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = asked(monkeypatch)
    rng = np.random.default_rng(0)
    # A constant tone with a whisper in it: in float32 all offsets look alike.
    reference = (np.tile([300.0, 0.1], (3_000, 1)) + 1e-3 * rng.standard_normal((3_000, 2))).astype(np.float32)
    reference[0] = [20_000, 3]
    query = (np.tile([301.0, 0.1], (700, 1)) + 1e-3 * rng.standard_normal((700, 2))).astype(np.float32)
    ours = Reference(reference)
    assert len(ours._candidates(query, BlockCorrelator(ours.frames))) > FEW_CANDIDATES
    assert ours.best_offset(query) == naive.best_offset(query, reference)
    assert calls == [700]


@pytest.mark.parametrize("magnitude", [1e-30, 1e18, 1e30])
def test_offsets_of_very_quiet_and_very_loud_frames(magnitude: float) -> None:
    rng = np.random.default_rng(1)
    reference = make_frames(2_000, "steps", rng) * np.float32(magnitude)
    query = reference[700:1_100] + np.float32(magnitude) * rng.normal(0, 1e-3, (400, 2)).astype(np.float32)
    assert Reference(reference).best_offset(query) == naive.best_offset(query, reference)
