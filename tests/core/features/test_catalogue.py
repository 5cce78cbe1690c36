"""The registry of feature sets, and what is derived from it."""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from heartbeat_core import registry
from heartbeat_core.errors import ConfigError
from heartbeat_core.features.analysis import Analysis
from heartbeat_core.features.catalogue import (
    CYCLES,
    FEATURE_SETS,
    STATISTICS,
    columns_read,
    sets_read,
    sets_written,
    shape_read,
    vectors_read,
)
from heartbeat_core.features.feature_set import Column, FeatureSet, described
from heartbeat_core.registry import Registry
from tests.pages import pages

LOUDNESS = FeatureSet(
    "loudness",
    "loudness-v1",
    "vector",
    (Column("loudness", "root mean square"),),
    needs=("samples",),
    function=lambda samples: np.sqrt(np.mean(np.square(samples), keepdims=True)),
)


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_the_pages_of_the_columns_are_up_to_date(path: Path) -> None:
    assert path.read_text("utf-8") == pages()[path], "write the pages again: make pages"


@pytest.mark.parametrize("one", [one for one in FEATURE_SETS.all() if one.columns], ids=lambda one: one.name)
def test_a_page_names_every_column_with_its_unit(one: FeatureSet) -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| (.*) \| (.+) \|$", one.page(), re.MULTILINE)
    assert [(int(place), name) for place, name, _, _ in rows] == list(enumerate(c.name for c in one.stored))
    assert [(unit, text) for _, _, unit, text in rows] == [(c.unit or "", c.description) for c in one.stored]
    assert one.introduction


@pytest.mark.parametrize("one", FEATURE_SETS.all(), ids=lambda one: one.name)
def test_names_units_and_values_agree(one: FeatureSet) -> None:
    assert len({column.name for column in one.stored}) == len(one.stored)
    for column in one.stored:
        assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", column.name)
        if column.unit not in (None, "frames"):
            assert column.name.endswith(f"_{column.unit.lower()}")
    if one.shape != "frames":
        samples = np.random.default_rng(0).normal(size=9_000).astype(np.float32)
        values = one.compute(Analysis(samples, 4_000))
        assert values.dtype == np.float32
        assert values.ndim == (1 if one.shape == "vector" else 2)
        assert np.isfinite(values).all()


def test_a_unit_is_what_follows_the_last_comma_of_a_description() -> None:
    columns = described({"a_s": "mean, without the longest, s", "b": "share of x, and of y"}, {"a": "rhythm"})
    assert columns == (
        Column("a_s", "mean, without the longest", "s", part="rhythm"),
        Column("b", "share of x, and of y"),
    )


def test_what_a_recipe_reads() -> None:
    assert sets_read("statistics+cycles") == (STATISTICS, CYCLES)
    assert vectors_read("cycles+statistics") == ("cycles", "statistics")
    assert (shape_read("log-mel"), vectors_read("log-mel")) == ("sequence", ())
    for text, told in (
        ("statistics+aligned", "only feature sets of one vector a recording can be joined"),
        ("statistic", "unknown feature set 'statistic': there are aligned, statistics, cycles"),
        ("statistics+", "unknown feature set ''"),
    ):
        with pytest.raises(ConfigError, match=re.escape(told)):
            sets_read(text)


def test_what_is_written_is_in_the_registrys_order_and_has_columns() -> None:
    assert [one.name for one in sets_written(["cycles", "aligned", "cycles"])] == ["aligned", "cycles"]
    with pytest.raises(ConfigError, match="'log-mel' has no columns to write: those that have are aligned, statistics"):
        sets_written(["log-mel"])


def test_two_sets_with_one_column_cannot_be_written_together(monkeypatch: pytest.MonkeyPatch) -> None:
    twin = FeatureSet("twin", "twin-v1", "vector", (Column("mfcc_00_mean", "the same name"),))
    monkeypatch.setattr(FEATURE_SETS, "_known", {**FEATURE_SETS._known, "twin": twin})
    with pytest.raises(ConfigError, match="'statistics' and 'twin' both have a column 'mfcc_00_mean'"):
        sets_written(["twin", "statistics"])


def test_a_part_that_no_column_has_is_refused() -> None:
    with pytest.raises(ConfigError, match="no part 'pitch': there are all, statistics, rhythm, timbre"):
        columns_read("pitch", "statistics")
    with pytest.raises(ConfigError, match=r"no part 'timbre': there are all, mfcc$"):
        columns_read("timbre", "mfcc")


def test_a_set_whose_function_breaks_its_promise_is_a_defect() -> None:
    broken = FeatureSet("broken", "broken-v1", "vector", LOUDNESS.columns, ("samples",), lambda samples: samples[:2])
    with pytest.raises(ValueError, match=r"'broken' has 1 columns and gave \(2,\)"):
        broken.compute(Analysis(np.ones(4, np.float32), 4_000))
    assert LOUDNESS.compute(Analysis(np.full(4, 0.5, np.float32), 4_000)).tolist() == [0.5]


def test_a_registry_takes_what_this_process_adds_and_nothing_twice() -> None:
    sets = Registry("feature set", "heartbeat.nothing", (STATISTICS,))
    sets.add(LOUDNESS)
    sets.add(LOUDNESS)
    assert sets.all() == [STATISTICS, LOUDNESS]
    assert sets.ordered(["loudness", "statistics"]) == [STATISTICS, LOUDNESS]
    twin = FeatureSet("loudness", "other-v1", "vector")
    with pytest.raises(ConfigError, match="two feature sets are called 'loudness'"):
        sets.add(twin)


def test_entry_points_are_read_once_and_only_for_names_that_are_not_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def points(group: str) -> list[EntryPoint]:
        asked.append(group)
        return [EntryPoint("loudness", "tests.core.features.test_catalogue:LOUDNESS", group)]

    monkeypatch.setattr(registry, "entry_points", points)
    sets = Registry("feature set", "a.group", (STATISTICS,))
    assert sets.get("statistics") is STATISTICS
    assert asked == []
    assert sets.get("loudness").version == "loudness-v1"
    assert [one.name for one in sets.all()] == ["statistics", "loudness"]
    assert asked == ["a.group"]


def test_an_entry_point_that_cannot_be_loaded_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, told in (("no_such_package:X", "No module named"), ("tests.pages:NOTHING", "has no attribute")):
        point = EntryPoint("mine", value, "a.group")
        monkeypatch.setattr(registry, "entry_points", lambda group, point=point: [point])
        with pytest.raises(ConfigError, match=rf"feature set 'mine' \({value}\) cannot be loaded: .*{told}"):
            Registry("feature set", "a.group", (STATISTICS,)).get("mine")
