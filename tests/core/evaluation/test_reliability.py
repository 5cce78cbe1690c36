"""Whether a label's probability means what it says: against plain loops, within groups, and as a diagram."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat_core.evaluation import against_rest
from heartbeat_core.evaluation.against_rest import Scored, pool_ranks, rank, rank_figures
from heartbeat_core.evaluation.diagram import MIN_ROWS, reliability_panels, reliability_svg
from heartbeat_core.evaluation.rank_figures import LabelRanks, ReliabilityBin
from heartbeat_core.evaluation.reliability import merge_bins, reliability_bins
from heartbeat_core.evaluation.traits import in_order, values_of
from heartbeat_core.labels import Targets
from tests import naive

LABELS = ("AS", "MR")
SVG = "{http://www.w3.org/2000/svg}"


def scored(rows: list[tuple[float, bool]], persons: list[int] | None = None) -> Scored:
    n = len(rows)
    return Scored(
        np.array([score for score, _ in rows]),
        np.array([int(has_it) for _, has_it in rows]),
        np.arange(n) if persons is None else np.array(persons),
        np.array(["a"] * n),
    )


# The calibration error.

ROWS = st.lists(st.tuples(st.integers(0, 30).map(lambda part: part / 30), st.booleans()), min_size=2, max_size=25)


@given(ROWS)
def test_the_calibration_error_is_that_of_plain_loops(rows: list[tuple[float, bool]]) -> None:
    found = rank_figures(scored(rows)).calibration_error
    if len({has_it for _, has_it in rows}) < 2:
        assert found is None
        return
    assert found is not None
    assert found.value == pytest.approx(naive.calibration_error_of(rows), abs=1e-12)
    assert 0 <= found.low <= found.high <= 1


def test_its_interval_is_that_of_resampled_persons() -> None:
    rng = np.random.default_rng(4)
    rows = [(float(score), bool(rng.random() < score / 2)) for score in np.round(rng.random(30), 2)]
    persons = rng.integers(0, 9, 30).tolist()
    found = rank_figures(scored(rows, persons), 7).calibration_error
    [expected] = naive.rank_intervals(rows, persons, 7, lambda some: (naive.calibration_error_of(some),))
    assert found is not None
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-12)


def test_it_is_zero_where_the_probability_is_the_share() -> None:
    rows = [(0.25, True), (0.25, False), (0.25, False), (0.25, False), (1.0, True), (0.0, False)]
    found = rank_figures(scored(rows)).calibration_error
    assert found is not None
    assert found.value == pytest.approx(0)


# Reliability tables.


@given(ROWS)
def test_a_table_has_the_rows_of_each_bin(rows: list[tuple[float, bool]]) -> None:
    found = {one.number: one for one in reliability_bins(scored(rows).scores, scored(rows).outcomes == 1)}
    for number in range(15):
        here = [row for row in rows if number / 15 < row[0] <= (number + 1) / 15 or (number == 0 and row[0] == 0)]
        assert (number in found) == bool(here)
        if here:
            one = found[number]
            assert one.n == len(here)
            assert one.mean_probability == pytest.approx(sum(score for score, _ in here) / len(here))
            assert one.share_positive == pytest.approx(sum(has_it for _, has_it in here) / len(here))


@given(ROWS, ROWS)
def test_tables_are_merged_to_that_of_all_rows(some: list[tuple[float, bool]], more: list[tuple[float, bool]]) -> None:
    merged = merge_bins([reliability_bins(scored(rows).scores, scored(rows).outcomes == 1) for rows in (some, more)])
    whole = reliability_bins(scored(some + more).scores, scored(some + more).outcomes == 1)
    assert [(one.number, one.n) for one in merged] == [(one.number, one.n) for one in whole]
    for ours, theirs in zip(merged, whole, strict=True):
        assert ours.mean_probability == pytest.approx(theirs.mean_probability)
        assert ours.share_positive == pytest.approx(theirs.share_positive)


def ranked(shift: float = 0.0) -> list[LabelRanks]:
    cells = ["AS", "MR", "AS|MR", "MR", "AS", "AS", "MR", "MR"]
    first = np.array([0.9, 0.4, 0.5, 0.2, 0.3, 0.7, 0.6, 0.1]) + shift
    return rank(
        Targets.of_cells(cells, LABELS),
        np.stack([first, 1 - first], axis=1),
        list("abcdefgh"),
        ["x", "x", "x", "x", "y", "y", "y", "y"],
        ["phone"] * 8,
        traits={
            "age": ["1", "0.5", "30", "30", "1", "Child", "70", ""],
            "sex": ["f", "m", "f", "m", "f", "m", "m", ""],
        },
    )


def test_each_database_has_its_table_and_only_decided_rows_are_in_it() -> None:
    first = ranked()[0]
    assert {name: sum(one.n for one in bins) for name, bins in first.reliability.items()} == {"x": 3, "y": 4}
    assert sum(one.n for one in first.reliability_pooled) == 7
    assert [(one.number, one.share_positive) for one in first.reliability["x"]] == [(2, 0), (5, 0), (13, 1)]


def test_the_mean_over_databases_covers_calibration() -> None:
    first = ranked()[0]
    values = [within.calibration_error.value for within in first.databases.values() if within.calibration_error]
    mean = first.mean_over_databases.calibration_error
    assert mean is not None
    assert (mean.value, mean.n_databases) == (pytest.approx(np.mean(values)), 2)


def test_seeds_are_pooled_with_all_their_rows() -> None:
    one, other = ranked(), ranked(0.05)
    [pooled, _] = pool_ranks([one, other])
    assert sum(each.n for each in pooled.reliability_pooled) == 14
    assert pooled.reliability["y"] == merge_bins([each[0].reliability["y"] for each in (one, other)])
    values = [each[0].pooled.calibration_error.value for each in (one, other)]  # type: ignore[union-attr]
    assert pooled.pooled.calibration_error is not None
    assert pooled.pooled.calibration_error.value == pytest.approx(np.mean(values))
    assert (pooled.groups["sex"]["Male"].n_positive, pooled.groups["sex"]["Male"].n_negative) == (1, 3)


# Groups.


def test_a_label_is_judged_within_the_values_that_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(against_rest, "FEWEST_PATIENTS", 1)
    first = ranked()[0]
    counts = {
        name: {value: (one.n_positive, one.n_negative) for value, one in values.items()}
        for name, values in first.groups.items()
    }
    assert counts == {
        "age": {"0-1": (2, 1), "18-39": (0, 1), "65+": (0, 1), "Child": (1, 0)},
        "sex": {"Female": (2, 0), "Male": (1, 3)},
    }
    assert list(counts["age"]) == ["0-1", "18-39", "65+", "Child"]
    assert first.groups["sex"]["Female"].auroc is None
    found = first.groups["sex"]["Male"].auroc
    assert found is not None
    # Of 0.7 with the label, above 0.4, 0.2 and 0.6 without it.
    assert found.value == 1


@pytest.mark.parametrize(("n_with", "n_without", "is_judged"), [(5, 5, True), (4, 9, False), (9, 4, False)])
def test_a_group_of_few_patients_has_no_figures(n_with: int, n_without: int, is_judged: bool) -> None:
    """Two recordings of each patient: the patients count."""
    codes = np.repeat([2, 0], [2 * n_with, 2 * n_without])
    n = len(codes)
    groups = [str(row // 2) for row in range(n)]
    chances = np.random.default_rng(0).dirichlet(np.ones(5), n)
    [normal, _] = rank(Targets.of_codes(codes), chances, groups, ["x"] * n, ["y"] * n, traits={"site": ["AV"] * n})
    assert (normal.groups["site"]["AV"].auroc is not None) == is_judged
    # Devices and databases are judged all the same.
    assert normal.devices["y"].auroc is not None
    assert normal.databases["x"].auroc is not None


@pytest.mark.parametrize(
    ("years", "group"),
    [
        *(("0", "0-1"), ("1.99", "0-1"), ("2", "2-12"), ("12.9", "2-12"), ("13", "13-17"), ("17", "13-17")),
        *(("18.0", "18-39"), ("39", "18-39"), ("40", "40-64"), ("64", "40-64"), ("65", "65+"), ("101", "65+")),
        *(("Neonate", "Neonate"), ("", ""), ("nan", ""), ("-1", ""), ("131", ""), ("inf", "")),
    ],
)
def test_ages_in_years_go_into_groups(years: str, group: str) -> None:
    assert values_of("age", [years]) == [group]
    assert values_of("site", [years]) == [years]


def test_groups_of_ages_come_by_age() -> None:
    assert in_order({"65+", "0-1", "Infant", "13-17", "2-12"}) == ["0-1", "2-12", "13-17", "65+", "Infant"]


def test_figures_of_earlier_versions_are_read() -> None:
    stored = json.loads(ranked()[0].model_dump_json())
    for name in ("groups", "reliability", "reliability_pooled"):
        del stored[name]
    del stored["pooled"]["calibration_error"], stored["mean_over_databases"]["calibration_error"]
    found = LabelRanks.model_validate(stored)
    assert (found.groups, found.reliability, found.pooled.calibration_error) == ({}, {}, None)


# Diagrams.


def bins(*sizes: int) -> list[ReliabilityBin]:
    return [
        ReliabilityBin(number=number, n=n, mean_probability=(number + 0.5) / 15, share_positive=number / 30)
        for number, n in enumerate(sizes)
    ]


def test_a_diagram_has_a_line_a_database_and_a_point_a_bin_of_enough_rows() -> None:
    tables = {"circor": bins(MIN_ROWS, MIN_ROWS - 1, 40), "<pascal>": bins(7, 8), "small": bins(1)}
    root = ElementTree.fromstring(reliability_svg("murmur", tables))
    lines = root.findall(f"{SVG}g")
    assert [len(line.findall(f"{SVG}circle")) for line in lines] == [2, 2]
    # The square begins at 52, 40 and its side is 240.
    assert lines[0].find(f"{SVG}polyline").get("points") == "60.0,280.0 92.0,264.0"  # type: ignore[union-attr]
    texts = [text.text for text in root.iter(f"{SVG}text")]
    for text in ("murmur against the rest", "mean probability", "share with the label", "circor", "<pascal>"):
        assert text in texts
    assert "small: no bin of 5 rows" in texts
    assert len({line.get("fill") for line in lines}) == 2


def test_more_databases_than_colours_can_be_told_apart() -> None:
    root = ElementTree.fromstring(reliability_svg("murmur", {str(number): bins(7) for number in range(9)}))
    looks = [
        (line.get("fill"), line.get("stroke"), dict(line.find(f"{SVG}polyline").items()).get("stroke-dasharray"))  # type: ignore[union-attr]
        for line in root.findall(f"{SVG}g")
    ]
    assert len(looks) == len(set(looks)) == 9
    assert [dashes is None for *_, dashes in looks] == [True] * 6 + [False] * 3


def test_panels_stand_side_by_side() -> None:
    tables = {"circor": bins(9)}
    root = ElementTree.fromstring(
        reliability_panels("murmur", {"folds": tables, "left <out>": {**tables, "b": bins(8)}})
    )
    first, second = root.findall(f"{SVG}g")
    assert (first.get("transform"), second.get("transform")) == ("translate(0 0)", "translate(320 0)")
    assert [panel.findtext(f"{SVG}text") for panel in (first, second)] == ["murmur: folds", "murmur: left <out>"]
    assert [len(panel.findall(f"{SVG}g")) for panel in (first, second)] == [1, 2]
    # As wide as both, and as high as the panel with more databases.
    alone = ElementTree.fromstring(reliability_svg("murmur", {"a": bins(9), "b": bins(8)}))
    assert (root.get("width"), root.get("height")) == ("640", alone.get("height"))
