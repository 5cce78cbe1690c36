"""The FFT alignment against the plain loop: the same offset and the same distance, to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import ArrayLike

from heartbeat_core.alignment import placement
from heartbeat_core.alignment.placement import Frames, Placement, Reference, pad, place
from heartbeat_core.recipe import PadMode
from tests import naive

BIN_HZ = 44_100 / 32
"""One bin at main level of a 44.1 kHz recording; dominant frequencies are its multiples."""


Kind = Callable[[int, np.random.Generator], Frames]
"""A maker of frames of a length."""


def as_frames(values: ArrayLike) -> Frames:
    return np.array(values, dtype=np.float32).reshape(-1, 2)


def assert_is_the_loops(query: Frames, reference: Frames) -> None:
    assert Reference(reference).best_offset(query) == naive.best_offset(query, reference)


def noise(length: int, rng: np.random.Generator) -> Frames:
    return rng.standard_normal((length, 2)).astype(np.float32)


def dominant(length: int, rng: np.random.Generator) -> Frames:
    """Quantised frequencies, amplitudes of 14 orders of magnitude: what real frames look like."""
    amplitude = rng.random(length) * 10.0 ** rng.uniform(-8, 6, length)
    return np.stack((rng.integers(0, 4, length) * BIN_HZ, amplitude), axis=1).astype(np.float32)


def almost_still(length: int, rng: np.random.Generator) -> Frames:
    """A quiet signal in one bin with one click, whose energy drowns all other differences in rounding."""
    values = np.stack((np.zeros(length), rng.random(length) * 1e-4), axis=1)
    values[rng.integers(0, length)] = 22_050, 1e3
    return values.astype(np.float32)


def binary(length: int, rng: np.random.Generator) -> Frames:
    """Small whole numbers: many offsets are exact ties."""
    return rng.integers(0, 2, (length, 2)).astype(np.float32)


def periodic(length: int, rng: np.random.Generator) -> Frames:
    period = int(rng.integers(1, 7))
    return np.tile(noise(period, rng) * np.float32(1e3), (length // period + 1, 1))[:length]


def nearly_periodic(length: int, rng: np.random.Generator) -> Frames:
    """Periods that differ in the last bit of one value."""
    values = periodic(length, rng)
    at = rng.integers(0, length)
    values[at] = np.nextafter(values[at], np.float32(1e9))
    return values


def large_offset(length: int, rng: np.random.Generator) -> Frames:
    return (noise(length, rng) + np.float32(1e7)).astype(np.float32)


def constant(length: int, rng: np.random.Generator) -> Frames:
    return np.full((length, 2), rng.standard_normal() * 10.0 ** rng.integers(-8, 7), np.float32)


def steps(length: int, rng: np.random.Generator) -> Frames:
    """Long runs of equal frames, so that many windows equal the one before."""
    return np.repeat(binary(length, rng) * np.float32(0.1), 5, axis=0)[:length]


def silence(length: int, _: np.random.Generator) -> Frames:
    return np.zeros((length, 2), np.float32)


KINDS = [
    noise,
    dominant,
    almost_still,
    binary,
    periodic,
    nearly_periodic,
    large_offset,
    constant,
    steps,
    silence,
]


@pytest.mark.parametrize("reference_kind", KINDS)
@pytest.mark.parametrize("query_kind", KINDS)
def test_offset_and_distance_are_the_loops(query_kind: Kind, reference_kind: Kind) -> None:
    rng = np.random.default_rng([KINDS.index(query_kind), KINDS.index(reference_kind)])
    for _ in range(6):
        length = int(rng.integers(2, 150))
        reference = reference_kind(length, rng)
        assert_is_the_loops(query_kind(int(rng.integers(1, length + 1)), rng), reference)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("relative_change", [0.0, 1e-7, 1e-3])
def test_a_window_of_the_reference_itself(kind: Kind, relative_change: float) -> None:
    rng = np.random.default_rng(KINDS.index(kind))
    for _ in range(10):
        reference = kind(int(rng.integers(2, 200)), rng)
        start, stop = sorted(rng.choice(len(reference) + 1, 2, replace=False))
        query = reference[start:stop] * (1 + relative_change * rng.standard_normal((stop - start, 2)))
        assert_is_the_loops(query.astype(np.float32), reference)


@pytest.mark.parametrize("n_frames", [1, 2, 63, 64])
@pytest.mark.parametrize("kind", KINDS)
def test_lengths_at_the_ends(kind: Kind, n_frames: int) -> None:
    rng = np.random.default_rng(n_frames)
    assert_is_the_loops(kind(n_frames, rng), noise(64, rng))
    assert_is_the_loops(kind(n_frames, rng), kind(64, rng))


@pytest.mark.parametrize("length", [1, 2, 3, 7, 11, 13, 97, 101, 127, 128, 211, 509])
def test_reference_lengths_that_ffts_like_and_dislike(length: int) -> None:
    rng = np.random.default_rng(length)
    reference = dominant(length, rng)
    for n_frames in {1, (length + 1) // 2, length - 1 or 1, length}:
        assert_is_the_loops(dominant(n_frames, rng), reference)


def test_the_first_of_planted_ties_wins() -> None:
    rng = np.random.default_rng(1)
    query, difference = noise(20, rng), (noise(20, rng) * np.float32(0.25)).astype(np.float32)
    reference = (noise(300, rng) * np.float32(100)).astype(np.float32)
    # The sum of squares is the same for +d and -d, bit for bit, wherever q ± d is exact.
    query, difference = np.round(query * 64) / 64, np.round(difference * 64) / 64
    for at, sign in ((250, 1), (120, -1), (180, 1)):
        reference[at : at + 20] = query + sign * difference
    assert naive.distance_at(query, reference, 120) == naive.distance_at(query, reference, 250)
    assert Reference(reference).best_offset(query)[0] == 120
    assert_is_the_loops(query, reference)


def test_a_later_offset_that_is_nearer_by_one_bit_wins() -> None:
    # The distances are |1 + 2^-23| and 1: the profile cannot tell them apart beside an energy of 1e12.
    reference = as_frames([[0, 0]] * 50)
    reference[10] = 0, 1 + 2.0**-23
    reference[30] = 0, 1
    reference[:10] = reference[11:30] = reference[31:] = [[1e6, 0]] * 1
    query = as_frames([[0, 0]])
    assert Reference(reference).best_offset(query) == (30, 1.0)
    reference[30], reference[10] = reference[10].copy(), reference[30].copy()
    assert Reference(reference).best_offset(query) == (10, 1.0)


def test_roots_that_round_to_the_same_value_are_ties() -> None:
    # Squares that differ in the last bit have equal roots: the first wins though its square is larger.
    reference = as_frames([[5, 5], [1, 2.0**-26], [1, 0], [7, 7]])
    assert 1 + 2.0**-52 > 1
    assert np.sqrt(1 + 2.0**-52) == 1
    assert_is_the_loops(as_frames([[0, 0]]), reference)
    assert Reference(reference).best_offset(as_frames([[0, 0]])) == (1, 1.0)


def test_silence_in_silence_lies_at_the_start() -> None:
    zeros = np.zeros((40, 2), np.float32)
    assert Reference(zeros).best_offset(zeros[:7]) == (0, 0.0)


def test_negative_zero_is_zero() -> None:
    reference = as_frames([[0.0, 1.0], [-0.0, 1.0], [0.0, 1.0], [3.0, 1.0]])
    assert_is_the_loops(reference[1:3], reference)
    assert_is_the_loops(reference[3:], reference)


def test_a_constant_stretch_costs_one_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def counted(query: object, subsequence: object) -> float:
        calls.append(1)
        return evaluate(query, subsequence)

    evaluate = placement.euclidean_distance
    monkeypatch.setattr(placement, "euclidean_distance", counted)
    reference = np.full((5_000, 2), 3, np.float32)
    assert Reference(reference).best_offset(np.full((2_000, 2), 7, np.float32))[0] == 0
    assert len(calls) == 1
    reference[:100] = 50
    reference[-100:] = 50
    assert Reference(reference).best_offset(np.full((2_000, 2), 7, np.float32))[0] == 100
    assert len(calls) == 2


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_order_in_memory_changes_nothing(order: str) -> None:
    rng = np.random.default_rng(3)
    for _ in range(40):
        reference, query = noise(60, rng), noise(30, rng)
        expected = naive.best_offset(query, reference)
        assert Reference(np.asarray(reference, order=order)).best_offset(np.asarray(query, order=order)) == expected
        wide = np.repeat(query, 3, axis=0)
        assert Reference(reference).best_offset(wide[::3]) == expected
        placed = place(np.asarray(query, order=order), Reference(reference), "back")
        assert placed.distance == naive.distance_at(query, reference, 0)


float32s = st.floats(-1e7, 1e7, width=32) | st.sampled_from([0.0, 1.0, BIN_HZ, 1e-8, 1e6, 1e7, 2.0**-149])


@st.composite
def cases(draw: st.DrawFn) -> tuple[Frames, Frames]:
    """A reference of few distinct frames (so that windows repeat), and a query: of the same, changed, or foreign."""
    alphabet = draw(hnp.arrays(np.float32, (draw(st.integers(1, 4)), 2), elements=float32s))
    length = draw(st.integers(1, 40))
    symbols = st.integers(0, len(alphabet) - 1)
    reference = alphabet[draw(hnp.arrays(np.int64, length, elements=symbols))]
    n_frames = draw(st.integers(1, length))
    kind = draw(st.sampled_from(["window", "same alphabet", "foreign"]))
    if kind == "window":
        start = draw(st.integers(0, length - n_frames))
        query = reference[start : start + n_frames].copy()
        for at in draw(st.lists(st.integers(0, n_frames - 1), max_size=3)):
            query[at] = np.nextafter(query[at], np.float32(draw(st.sampled_from([-1e9, 1e9]))))
    elif kind == "same alphabet":
        query = alphabet[draw(hnp.arrays(np.int64, n_frames, elements=symbols))]
    else:
        query = draw(hnp.arrays(np.float32, (n_frames, 2), elements=float32s))
    return query, reference


@settings(max_examples=400)
@given(cases())
def test_any_query_lies_where_the_loop_puts_it(case: tuple[Frames, Frames]) -> None:
    assert_is_the_loops(*case)


@settings(max_examples=100)
@given(cases())
def test_the_profile_lies_within_its_bound_of_the_exact_one(case: tuple[Frames, Frames]) -> None:
    query, reference = case
    profile, bound = Reference(reference).distance_profile(query)
    exact = naive.exact_squared_distances(query, reference)
    assert profile.shape == (len(exact),)
    assert max(abs(Fraction(float(found)) - wanted) for found, wanted in zip(profile, exact, strict=True)) <= Fraction(
        bound
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_also_covers_the_loops_own_rounding(kind: Kind) -> None:
    rng = np.random.default_rng(KINDS.index(kind))
    reference, query = kind(700, rng), kind(333, rng)
    profile, bound = Reference(reference).distance_profile(query)
    loop = [naive.distance_at(query, reference, i) ** 2 for i in range(len(profile))]
    assert np.abs(profile - loop).max() <= bound


def test_the_bound_is_of_use() -> None:
    # In noise, rounding confuses no offset with the nearest: one candidate is left.
    rng = np.random.default_rng(0)
    profile, bound = Reference(noise(5_000, rng)).distance_profile(noise(2_000, rng))
    assert (profile <= profile.min() + 2 * bound).sum() == 1


@pytest.mark.parametrize("pad_mode", ["both", "front", "back"])
@pytest.mark.parametrize("n_frames", [1, 29, 30, 31, 75])
@pytest.mark.parametrize("kind", [noise, dominant, silence, constant])
def test_place_is_the_originals_preprocessor(kind: Kind, n_frames: int, pad_mode: PadMode) -> None:
    rng = np.random.default_rng(n_frames)
    reference, query = kind(30, rng), kind(n_frames, rng)
    placed = place(query, Reference(reference), pad_mode)
    assert placed == Placement(*naive.place(query, reference, pad_mode))


def test_pad_modes_by_hand() -> None:
    reference = Reference(as_frames([[0, 0], [5, 1], [6, 1], [0, 0], [0, 0]]))
    query = as_frames([[5, 1], [6, 2]])
    assert place(query, reference, "both") == Placement(1, 2, 1.0)
    assert place(query, reference, "front") == Placement(3, 2, float(np.sqrt(66)))
    assert place(query, reference, "back").offset_frames == 0
    assert pad(query, 1, 5).tolist() == [[0, 0], [5, 1], [6, 2], [0, 0], [0, 0]]


@pytest.mark.parametrize(("offset", "n_frames"), [(0, 0), (0, 3), (4, 3), (7, 3), (0, 10), (0, 14), (8, 5)])
def test_pad_is_the_plain_copy(offset: int, n_frames: int) -> None:
    query = noise(n_frames, np.random.default_rng(0)) if n_frames else np.zeros((0, 2), np.float32)
    padded = pad(query, offset, 10)
    assert padded.dtype == np.float32
    assert np.array_equal(padded, naive.pad(query, offset, 10))


def test_a_reference_is_a_copy_and_read_only() -> None:
    frames = noise(10, np.random.default_rng(0))
    reference = Reference(frames)
    before = reference.frames.copy()
    frames[:] = 0
    assert np.array_equal(reference.frames, before)
    with pytest.raises(ValueError, match="read-only"):
        reference.frames[0] = 0
    assert len(reference) == 10


def test_the_query_is_left_as_it_was() -> None:
    rng = np.random.default_rng(0)
    query = noise(10, rng)
    before = query.copy()
    Reference(noise(30, rng)).best_offset(query)
    assert np.array_equal(query, before)


@pytest.mark.parametrize("shape", [(0, 2), (5, 1), (5, 3), (5,)])
def test_what_is_no_reference(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="a reference is"):
        Reference(np.zeros(shape, np.float32))
