"""One feature set: its names and the page that documents them."""

from __future__ import annotations

from collections.abc import Mapping


def names_page(version: str, introduction: str, descriptions: Mapping[str, str]) -> str:
    """Return Markdown with a row for each name, in order: its place from 0, name and description."""
    rows = [f"| {place} | `{name}` | {text} |" for place, (name, text) in enumerate(descriptions.items())]
    return "\n".join([f"# {version}", "", introduction, "| place | name | what it is |", "|---|---|---|", *rows, ""])
