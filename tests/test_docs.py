"""The pages for people: their links lead somewhere, their examples compile, and the first page stays short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("configs", "deploy", "heartbeat_core", "jobs", "tests")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
MOST_LINES = 250

_FENCED = re.compile(r"^ *```([^\n]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def _text(page: Path) -> str:
    """Return a page without its blocks of code."""
    return _FENCED.sub("", page.read_text("utf-8"))


def _anchors(page: Path) -> set[str]:
    """Return what a link may name after ``#``, as GitHub makes it of the headings."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(_text(page))}


def test_each_folder_has_its_page() -> None:
    assert {ROOT / folder / "README.md" for folder in (".", *FOLDERS)} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(_text(page)):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


def test_the_first_page_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= MOST_LINES


def test_examples_that_are_marked_runnable_compile() -> None:
    """They are marked in their first line: ``python runnable``."""
    examples = [
        (page, code)
        for page in PAGES
        for kind, code in _FENCED.findall(page.read_text("utf-8"))
        if kind.split() == ["python", "runnable"]
    ]
    assert examples
    for page, code in examples:
        compile(code, str(page), "exec")
