"""Two results beside each other, against plain loops."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heartbeat_core.errors import InputError
from heartbeat_core.results import comparison
from heartbeat_core.results.comparison import compare_generations, compare_results, last_generation
from tests.core.results.test_folder import write

LABELS = ("normal", "murmur")
Row = tuple[str | None, float, bool]
"""The label, None for a failure; the probability of a murmur; whether the model is unsure."""


def write_side(folder: Path, rows: dict[str, Row], part: int = 0, generation: int = 0, model: str = "m@1") -> None:
    good = {name: row for name, row in rows.items() if row[0] is not None}
    bad = [name for name, row in rows.items() if row[0] is None]
    folder.mkdir(exist_ok=True)
    chances = [row[1] for row in good.values()]
    columns: dict[str, Any] = {"recording_id": list(good), "generation": [generation] * len(good)}
    write(
        folder,
        "predictions",
        part,
        **columns,
        relative_path=[f"{name}.wav" for name in good],
        predicted_label=[row[0] for row in good.values()],
        confidence=[max(chance, 1 - chance) for chance in chances],
        unsure=[row[2] for row in good.values()],
        prob_murmur=chances,
        model_id=[model] * len(good),
    )
    write(folder, "features", part, **columns, height=[10 * chance for chance in chances], name=["x"] * len(good))
    failed: dict[str, Any] = {"recording_id": bad, "generation": [generation] * len(bad)}
    write(folder, "failures", part, **failed, relative_path=[f"{name}.wav" for name in bad])


def row(chance: float | None, unsure: bool = False) -> Row:
    if chance is None:
        return (None, 0.0, False)
    return (LABELS[chance > 0.5], chance, unsure)


SIDES = st.dictionaries(
    st.sampled_from([f"r{n}" for n in range(8)]),
    st.builds(row, st.one_of(st.none(), st.integers(0, 64).map(lambda n: n / 64)), st.booleans()),
    max_size=8,
)
SOME = {"s": row(0.25), "t": row(None)}
"""Both sides have them, so that no table is without a type."""


@settings(max_examples=25, deadline=None)
@given(before=SIDES, after=SIDES)
def test_counts_flips_and_shifts_are_those_of_the_loops(
    before: dict[str, Row], after: dict[str, Row], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("sides")
    before, after = {**before, **SOME}, {**after, **SOME}
    write_side(folder / "a", before)
    write_side(folder / "b", after, model="m@2")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(comparison, "N_SHOWN", 3)
        found = compare_results(str(folder / "a"), str(folder / "b"))
    common = before.keys() & after.keys()
    assert (found.n_common, found.n_only_before, found.n_only_after) == (
        *(len(common), len(before.keys() - common), len(after.keys() - common)),
    )
    pairs = {name: (before[name], after[name]) for name in common}
    changes = Counter((a[0] or "failed", b[0] or "failed") for a, b in pairs.values() if a[0] != b[0])
    assert {(one.before, one.after): one.count for one in found.changes} == changes
    predicted = {name: (a, b) for name, (a, b) in pairs.items() if a[0] and b[0]}
    flipped = {name: (a, b) for name, (a, b) in predicted.items() if a[0] != b[0]}
    assert (found.n_predicted, found.n_changed) == (len(predicted), len(flipped))
    certain = sorted(flipped, key=lambda name: (-min(max(p, 1 - p) for _, p, _ in flipped[name]), name))
    assert [one.relative_path for one in found.flips] == [f"{name}.wav" for name in certain[:3]]
    for side, rows in enumerate((before, after)):
        assert found.unsure[side] == pytest.approx(fmean(one[2] for one in rows.values() if one[0]))
    ours, theirs = ([one[1] for one in rows.values() if one[0]] for rows in (before, after))
    [shift] = found.probabilities
    assert (shift.before, shift.after) == (pytest.approx(fmean(ours)), pytest.approx(fmean(theirs)))
    if pstdev(ours) == 0:
        assert shift.shift is None
    else:
        assert shift.shift == pytest.approx((fmean(theirs) - fmean(ours)) / pstdev(ours))
        if abs(shift.shift) > 1e-3:
            assert [(one.column, one.shift) for one in found.features] == [("height", pytest.approx(shift.shift))]
    assert found.models == ("m@1", "m@2")


def test_generations_are_states_of_the_folder(tmp_path: Path) -> None:
    write_side(tmp_path, {"a": row(0.1), "b": row(0.2), "c": row(None), "d": row(0.9)})
    write_side(tmp_path, {"a": row(0.8), "c": row(0.7), "d": row(None)}, part=1, generation=1)
    write_side(tmp_path, {"a": row(0.3), "e": row(0.4)}, part=2, generation=2)
    assert last_generation(str(tmp_path)) == 2
    first = compare_generations(str(tmp_path), 0, 1)
    assert {(one.before, one.after): one.count for one in first.changes} == {
        ("normal", "murmur"): 1,
        ("failed", "murmur"): 1,
        ("murmur", "failed"): 1,
    }
    assert [one.relative_path for one in first.flips] == ["a.wav"]
    assert (first.n_common, first.n_predicted, first.n_changed) == (4, 2, 1)
    both = compare_generations(str(tmp_path), 0, 2)
    assert (both.n_common, both.n_only_after, both.n_changed) == (4, 1, 0)
    # The other way round, too.
    assert compare_generations(str(tmp_path), 2, 0).n_only_before == 1


def test_results_without_a_common_recording_have_a_drift_alone(tmp_path: Path) -> None:
    write_side(tmp_path / "a", {"a": row(0.1), "b": row(0.3)})
    write_side(tmp_path / "b", {"c": row(0.6), "d": row(0.8)})
    found = compare_results(str(tmp_path / "a"), str(tmp_path / "b"))
    assert (found.n_common, found.n_predicted, found.changes, found.flips) == (0, 0, [], [])
    assert found.probabilities[0].shift == pytest.approx(5.0)


def test_a_column_that_is_constant_but_for_rounding_has_no_shift(tmp_path: Path) -> None:
    write_side(tmp_path / "a", {"a": row(1e-15), "b": row(2e-15)})
    write_side(tmp_path / "b", {"a": row(0.004), "b": row(0.004)})
    [found] = compare_results(str(tmp_path / "a"), str(tmp_path / "b")).probabilities
    assert (found.after, found.shift) == (pytest.approx(0.004), None)


def test_what_are_no_results_is_told(tmp_path: Path) -> None:
    write_side(tmp_path / "a", SOME)
    write(tmp_path, "recordings", 0, recording_id=["a"])
    with pytest.raises(InputError, match="has no table 'predictions': name the output of 'heartbeat classify'"):
        compare_results(str(tmp_path / "a"), str(tmp_path))
