"""The registry of feature sets, and what is derived from it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from heartbeat_core import registry
from heartbeat_core.errors import ConfigError, FeaturesFailed, TooShort
from heartbeat_core.features.analysis import Analysis
from heartbeat_core.features.catalogue import (
    ALIGNED,
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


def _too_short(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    raise TooShort("4 samples")


def _out_of_memory(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    raise MemoryError("no room")


@pytest.mark.parametrize(
    ("function", "error", "told"),
    [
        (lambda samples: samples[:2], FeaturesFailed, r"'broken': ValueError: it has 1 columns and gave \(2,\)"),
        (lambda samples: samples[:1] * np.nan, FeaturesFailed, "'broken': it gave NaN or infinity"),
        (lambda samples: samples[99:][0], FeaturesFailed, "'broken': IndexError: index 0 is out of bounds"),
        (lambda samples: samples[:1].astype(np.float64) * 1e300, FeaturesFailed, "'broken': it gave NaN or infinity"),
        (_too_short, TooShort, "4 samples"),
        (_out_of_memory, MemoryError, "no room"),
    ],
)
def test_what_a_set_does_wrong_is_an_error_of_the_recording(
    function: Callable[[NDArray[np.float32]], NDArray[np.float32]], error: type[Exception], told: str
) -> None:
    broken = FeatureSet("broken", "broken-v1", "vector", LOUDNESS.columns, ("samples",), function)
    with pytest.raises(error, match=told):
        broken.compute(Analysis(np.ones(4, np.float32), 4_000))
    with pytest.raises(ValueError, match="'aligned' cannot be computed from a recording alone"):
        ALIGNED.compute(Analysis(np.ones(4, np.float32), 4_000))
    assert LOUDNESS.compute(Analysis(np.full(4, 0.5, np.float32), 4_000)).tolist() == [0.5]


def _misspelt(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    return samples + nothing_of_this_name  # type: ignore[name-defined]  # noqa: F821


def test_an_error_of_a_function_of_this_package_is_one_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a row of failures it would be found only after the run."""
    one, functions = Analysis(np.ones(4, np.float32), 4_000), "heartbeat_core.features.spectra"
    monkeypatch.setattr(f"{functions}.misspelt", _misspelt, raising=False)
    monkeypatch.setattr(f"{functions}.of_another_length", lambda samples: samples[:2], raising=False)
    columns, needs = LOUDNESS.columns, ("samples",)
    with pytest.raises(NameError, match="nothing_of_this_name"):
        FeatureSet("own", "v1", "vector", columns, needs, f"{functions}:misspelt").compute(one)
    with pytest.raises(ValueError, match=r"it has 1 columns and gave \(2,\)"):
        FeatureSet("own", "v1", "vector", columns, needs, f"{functions}:of_another_length").compute(one)
    lists = FeatureSet("own", "v1", "vector", lists=columns, needs=needs, lists_function=f"{functions}:misspelt")
    with pytest.raises(NameError, match="nothing_of_this_name"):
        lists.compute_lists(one)
    # A callable is told by its module, too.
    with pytest.raises(FeaturesFailed, match="'other': NameError"):
        FeatureSet("other", "v1", "vector", columns, needs, _misspelt).compute(one)
    monkeypatch.setattr(_misspelt, "__module__", functions)
    with pytest.raises(NameError, match="nothing_of_this_name"):
        FeatureSet("own", "v1", "vector", columns, needs, _misspelt).compute(one)


def test_values_of_a_set_of_this_package_that_are_not_finite_fail_the_recording(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    functions = "heartbeat_core.features.spectra"
    monkeypatch.setattr(f"{functions}.not_finite", lambda samples: samples[:1] * np.nan, raising=False)
    own = FeatureSet("own", "v1", "vector", LOUDNESS.columns, ("samples",), f"{functions}:not_finite")
    with pytest.raises(FeaturesFailed, match="'own': it gave NaN or infinity"):
        own.compute(Analysis(np.ones(4, np.float32), 4_000))


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
    for value, told in (
        ("no_such_package:X", "ModuleNotFoundError: No module named"),
        ("tests.pages:NOTHING", "AttributeError: .*has no attribute"),
        ("tests.pages:pages", "AttributeError: 'function' object has no attribute 'name'"),
        ("tests.core.features.broken_module:X", "RuntimeError: on purpose"),
    ):
        point = EntryPoint("mine", value, "a.group")
        monkeypatch.setattr(registry, "entry_points", lambda group, point=point: [point])
        with_it = Registry("feature set", "a.group", (STATISTICS,))
        for _ in range(2):  # Not the first time alone.
            with pytest.raises(ConfigError, match=rf"feature set 'mine' \({value}\) cannot be loaded: .*{told}"):
                with_it.get("mine")


def test_a_set_that_could_never_be_computed_ends_the_job() -> None:
    one = Analysis(np.ones(4, np.float32), 4_000)
    misspelt = FeatureSet("mine", "v1", "vector", LOUDNESS.columns, ("sample_rate",), len)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="'mine' needs 'sample_rate', which is none of samples, sample_rate_hz, "):
        misspelt.compute(one)
    for name, told in (
        ("no_such_package:f", "No module named"),
        ("math:nothing", "has no attribute"),
        ("tests.core.features.broken_module:f", "RuntimeError: on purpose"),
        ("not a name", "ValueError: invalid format"),
    ):
        absent = FeatureSet("mine", "v1", "vector", LOUDNESS.columns, ("samples",), name)
        with pytest.raises(ConfigError, match=f"function of a feature set, {name}, cannot be loaded: .*{told}"):
            absent.compute(one)
    # A defect of this package is no fault of the user, and keeps its traceback.
    with pytest.raises(ModuleNotFoundError):
        FeatureSet("mine", "v1", "vector", LOUDNESS.columns, ("samples",), "heartbeat_core.nothing:f").compute(one)


def test_lists_are_finite_too() -> None:
    times = Column("times", "times", "s", "floats")
    for value in (1.0, np.nan):
        found = FeatureSet(
            *("mine", "v1", "vector", LOUDNESS.columns, ("samples",), LOUDNESS.function),
            lists=(times,),
            lists_function=lambda samples, value=value: (np.full(3, value),),
        )
        one = Analysis(np.ones(4, np.float32), 4_000)
        if np.isnan(value):
            with pytest.raises(FeaturesFailed, match="'mine': it gave NaN or infinity"):
                found.compute_lists(one)
        else:
            assert found.compute_lists(one)["times"].tolist() == [1.0] * 3


def test_a_function_may_be_any_callable() -> None:
    @dataclass
    class Mean:
        power: int

        def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.mean(samples**self.power, keepdims=True)

    one = FeatureSet("mine", "v1", "vector", LOUDNESS.columns, ("samples",), Mean(2))
    assert one.compute(Analysis(np.full(4, 3.0, np.float32), 4_000)).tolist() == [9.0]


def test_the_package_of_an_entry_point_that_cannot_be_loaded_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> None:
        raise SyntaxError("bad")

    point = SimpleNamespace(name="mine", value="a:B", dist=SimpleNamespace(name="my-package"), load=load)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    with pytest.raises(
        ConfigError, match=r"'mine' \(a:B\) of the package 'my-package' cannot be loaded: SyntaxError: bad"
    ):
        Registry("feature set", "a.group", (STATISTICS,)).get("mine")
