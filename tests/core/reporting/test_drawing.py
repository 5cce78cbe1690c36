"""Charts as SVG: what is drawn has the sizes and places of the values."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat_core.reporting.drawing import draw, ticks
from heartbeat_core.reporting.page import Bars, Chart, Figure, Histogram, Line, Ranges

SVG = "{http://www.w3.org/2000/svg}"
COUNTS = st.integers(0, 10**7)
VALUES = st.floats(0, 1e6)
NAMES = st.lists(st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), max_size=40), max_size=6)


def figure_of(chart: Chart) -> Figure:
    return Figure("one", "One", "A line of help.", {}, chart, alt='Which "labels" < 3')


def elements(svg: str, name: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(svg).iter(SVG + name))


def texts(svg: str) -> list[str]:
    return [one.text or "" for one in elements(svg, "text")]


def bars(svg: str, colour: str) -> list[tuple[float, float, float, float]]:
    """Return x, y, width and height of the rectangles of a colour, without those of the legend."""
    found = [one for one in elements(svg, "rect") if one.get("fill") == f"var(--{colour})" and one.get("x") != "-6"]
    x, y, width, height = ([float(one.get(key, "")) for one in found] for key in ("x", "y", "width", "height"))
    return list(zip(x, y, width, height, strict=True))


def assert_texts_lie_within(svg: str) -> None:
    width, height = map(float, ElementTree.fromstring(svg).get("viewBox", "").split()[2:])
    assert texts(svg)
    for one in elements(svg, "text"):
        if one.get("text-anchor") == "middle":
            continue
        # A letter of 9 units takes 5 of them on average.
        x, y, length = float(one.get("x", "")), float(one.get("y", "")), 5 * len(one.text or "")
        left = x if one.get("text-anchor") == "start" else x - length
        assert 0 <= left <= left + length <= width, one.text
        assert 0 < y <= height, one.text


def test_a_figure_without_a_chart_is_refused() -> None:
    with pytest.raises(ValueError, match="'one' has no chart"):
        draw(Figure("one", "One", "Help.", {}))


def test_bars_are_as_long_as_their_values() -> None:
    svg = draw(figure_of(Bars("recordings", ["normal", "murmur"], {"run": [40, 10], "training": [20, 0]})))
    first, second = bars(svg, "series-1"), bars(svg, "series-2")
    assert first[0][2] == pytest.approx(4 * first[1][2], abs=0.5) == pytest.approx(2 * second[0][2], abs=0.5)
    assert second[1][2] == 0
    assert first[0][1] < second[0][1] < first[1][1] < second[1][1], "row by row, one series below the other"
    assert first[0][1] + first[0][3] <= second[0][1], "bars do not overlap"
    assert {"normal", "murmur", "run", "training", "recordings", "0", "10", "20", "30", "40"} == set(texts(svg))


def test_marks_stand_at_their_values() -> None:
    svg = draw(figure_of(Bars("shift", ["all"], {"shift": [0.5]}, marks={"somewhat unlike": 0.5, "unlike": 1.0})))
    [(left, _, width, _)] = bars(svg, "series-1")
    lines = [one.get("d", "") for one in elements(svg, "path") if one.get("stroke") == "var(--mark)"]
    places = [float(line[1:].split()[0]) for line in lines if "L7" not in line]
    assert places == pytest.approx([left + width, left + 2 * width], abs=0.3)
    assert {"somewhat unlike", "unlike"} <= set(texts(svg))


def test_a_histogram_stacks_its_series() -> None:
    svg = draw(figure_of(Histogram("s", [0.0, 1.0, 3.0], {"sure": [3, 1], "unsure": [1, 0]})))
    sure, unsure = bars(svg, "series-1"), bars(svg, "series-2")
    assert sure[1][2] == pytest.approx(2 * sure[0][2], abs=0.2), "a bin is as wide as its edges are apart"
    assert sure[0][3] == pytest.approx(3 * sure[1][3], abs=0.2)
    [(x, y, _, height)] = unsure
    assert x == sure[0][0]
    assert y + height == pytest.approx(sure[0][1], abs=0.2), "it stands on the series before"


def test_a_line_goes_through_its_points() -> None:
    svg = draw(figure_of(Line("min", "recordings / s", [0, 1, 2], [10, 30, 20], marks={"mean": 20})))
    [line] = elements(svg, "polyline")
    (x0, y0), (x1, y1), (x2, y2) = (map(float, one.split(",")) for one in line.get("points", "").split())
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 - y1 == pytest.approx(2 * (y2 - y1), abs=0.3), "upwards is more"
    assert len(elements(svg, "circle")) == 3
    [mark] = [one.get("d", "") for one in elements(svg, "path") if one.get("stroke") == "var(--mark)" and "L7" not in (
        one.get("d", ""))]  # fmt: skip
    assert float(mark.split()[1].split("L")[0]) == y2


def test_ranges_go_from_percentile_to_percentile() -> None:
    svg = draw(figure_of(Ranges("deviations", ["all"], [(1, 2, 3, 4, 5)], {"training rows": 1.0})))
    lines = [
        one for one in elements(svg, "path") if one.get("stroke") == "var(--series-1)" and "L7" not in one.get("d", "")
    ]
    ends = [[float(point.split()[0]) for point in one.get("d", "")[1:].split("L")] for one in lines]
    [median] = [float(one.get("cx", "")) for one in elements(svg, "circle") if one.get("cx") != "0"]
    (p10, p90), (p25, p75) = ends
    steps = [p25 - p10, median - p25, p75 - median, p90 - p75]
    assert steps == pytest.approx([steps[0]] * 4, abs=0.3)


def test_names_are_escaped_and_shortened() -> None:
    svg = draw(figure_of(Bars("recordings", ["<b>&\"'", "x" * 31], {"one": [1, 2]})))
    assert "<b>" not in svg
    assert {"<b>&\"'", "x" * 29 + "…"} <= set(texts(svg))
    assert ElementTree.fromstring(svg).get("aria-label") == 'Which "labels" < 3'


def test_nothing_in_a_chart_has_an_id() -> None:
    assert " id=" not in draw(figure_of(Line("x", "y", [0, 1], [0, 1])))


@given(NAMES, st.lists(VALUES, min_size=6, max_size=6), st.integers(1, 3))
def test_bars_of_any_values_are_drawn(names: list[str], values: list[float], n_series: int) -> None:
    series = {f"series {number}": values[: len(names)] for number in range(n_series)}
    for marks in ({"limit": 3.0}, None):
        assert_texts_lie_within(draw(figure_of(Bars("%", names, series, marks))))


@given(st.floats(-1e5, 1e5), st.lists(COUNTS, min_size=1, max_size=30))
def test_histograms_of_any_counts_are_drawn(start: float, counts: list[int]) -> None:
    edges = [start + k for k in range(len(counts) + 1)]
    svg = draw(figure_of(Histogram("s", edges, {"recordings": counts})))
    assert_texts_lie_within(svg)
    assert len(bars(svg, "series-1")) == sum(count > 0 for count in counts)


@given(st.lists(st.tuples(VALUES, VALUES), max_size=50))
def test_lines_of_any_values_are_drawn(points: list[tuple[float, float]]) -> None:
    x, y = sorted(x for x, _ in points), [y for _, y in points]
    assert_texts_lie_within(draw(figure_of(Line("shard", "shift", x, y))))


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(5, 8), st.booleans())
def test_ticks_are_round_and_within_the_range(low: float, width: float, about: int, whole: bool) -> None:
    high = low + width
    found = ticks(low, high, about, whole=whole)
    assert len(found) <= about + 1
    assert all(low - 1e-6 * width <= one <= high + 1e-6 * width for one in found)
    steps = [after - before for before, after in pairwise(found)]
    if steps:
        assert f"{steps[0]:.0e}"[0] in "125"
        assert steps == pytest.approx([steps[0]] * len(steps), rel=1e-3)
    if whole:
        assert all(one == round(one) for one in found)
    else:
        assert len(found) >= 2
