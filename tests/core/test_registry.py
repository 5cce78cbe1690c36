"""Named items of other packages: what a registry does when several threads ask it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from heartbeat_core import registry
from heartbeat_core.errors import ConfigError


def test_a_name_in_other_letters_is_told_as_it_is_spelt() -> None:
    found = registry.Registry("thing", "a.group", [SimpleNamespace(name="cinc2016"), SimpleNamespace(name="pascal")])
    with pytest.raises(ConfigError, match="unknown thing 'CinC2016': it is spelt 'cinc2016'"):
        found.get("CinC2016")
    with pytest.raises(ConfigError, match="unknown thing 'cinc': there are cinc2016, pascal"):
        found.get("cinc")


def test_threads_wait_for_the_items_of_other_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> SimpleNamespace:
        time.sleep(0.2)
        return SimpleNamespace(name="late")

    point = SimpleNamespace(name="late", value="a:B", load=load)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    found: registry.Registry[SimpleNamespace] = registry.Registry("thing", "a.group", ())
    with ThreadPoolExecutor(4) as pool:
        assert [one.name for one in pool.map(found.get, ["late"] * 4)] == ["late"] * 4
