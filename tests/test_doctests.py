"""The examples in the docstrings: each module that has one is run."""

from __future__ import annotations

import doctest
import inspect
from importlib import import_module
from pathlib import Path

import pytest

import heartbeat_core

ROOT = Path(__file__).parents[1]
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in ("heartbeat_core", "jobs")
    for path in (ROOT / package).rglob("*.py")
    if ">>> " in path.read_text("utf-8")
)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_give_what_they_say(name: str) -> None:
    found = doctest.testmod(import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize("name", heartbeat_core.__all__)
def test_every_public_name_is_documented_with_an_example(name: str) -> None:
    text = inspect.getdoc(getattr(heartbeat_core, name)) or ""
    assert "Examples\n--------" in text, f"{name} has no example"
    assert ">>> " in text
    assert "Parameters\n----------" in text or "Attributes\n----------" in text, f"{name} does not say what it takes"


def test_the_public_names_are_all_there_and_no_others() -> None:
    assert set(heartbeat_core.__all__) <= set(dir(heartbeat_core))
    assert set(heartbeat_core.__all__) == set(heartbeat_core._PLACES)
    with pytest.raises(AttributeError, match="no attribute 'decoder'"):
        _ = heartbeat_core.decoder
