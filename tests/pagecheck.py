"""What every page must keep to, checked without a browser."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from xml.etree import ElementTree

_VOID = {"meta", "link", "br", "img", "input", "hr"}
_LOADING = {"src", "srcset", "data", "poster", "action", "background"}


@dataclass
class Page(HTMLParser):
    """A parsed page.

    Attributes
    ----------
    loaded : list[str]
        What a browser would fetch: every ``src``, ``href`` of links that are not anchors, and URL of the styles.
    headings : list[int]
        The levels, in order.
    ids, anchors : list[str]
        All ids, and where links inside the page lead.
    tables : dict[str, list[list[str]]]
        The rows of each table, the head first, by the id of what holds it.
    """

    loaded: list[str] = field(default_factory=list)
    headings: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    anchors: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    text: str = ""
    _open: list[str] = field(default_factory=list)
    _holder: str = ""

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in _VOID:
            self._open.append(tag)
        given = {name: value or "" for name, value in attrs}
        self.ids += [given["id"]] if "id" in given else []
        if given.get("id", "").startswith("figure-"):
            self._holder = given["id"].removeprefix("figure-")
        href = given.get("href", given.get("xlink:href", ""))
        if href.startswith("#"):
            self.anchors.append(href[1:])
        elif href:
            self.loaded.append(href)
        self.loaded += [given[name] for name in _LOADING & given.keys()]
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "table":
            self.tables[self._holder] = []
        elif tag == "tr":
            self.tables[self._holder].append([])
        elif tag in ("th", "td"):
            self.tables[self._holder][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            self.loaded += re.findall(r"url\(|@import", data)
            return
        self.text += data
        if self._open and self._open[-1] in ("th", "td"):
            self.tables[self._holder][-1][-1] += data


def read_page(html: str) -> Page:
    """Parse a page, and check what holds for every report."""
    page = Page()
    page.feed(html)
    page.close()
    assert not page._open
    assert page.loaded == ["data:,"], "the page loads something"
    assert not {"script", "iframe", "object", "embed", "img", "form"} & set(page.tags)
    assert len(page.ids) == len(set(page.ids))
    assert set(page.anchors) <= set(page.ids)
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(page.headings, page.headings[1:], strict=False))
    for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL):
        root = ElementTree.fromstring(svg)
        assert root.get("role") == "img"
        assert root.get("aria-label")
        assert not re.search(r"#0[1-6]0[1-6]0[1-6]", svg), "a colour is not one of the page's"
    return page
