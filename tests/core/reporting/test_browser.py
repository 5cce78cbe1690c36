"""The report in a real browser, where there is one: no error, no request, no sideways scroll, readable by all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from heartbeat_core.bundles.manifest import read_manifest
from heartbeat_core.reporting.render import render
from heartbeat_core.reporting.report import build_report
from tests.core.reporting.test_report import drifted, facts_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as engine:
        flags = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a page with every section, whose names are as long and hostile as they can be."""
    facts = facts_of(read_manifest("cycles"), drift=drifted(0.8), left=3)
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(build_report(facts), "now", "heartbeat"), "utf-8")
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_in_a_browser(browser: playwright.Browser, report: Path, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    told: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(report.as_uri())
    for details in page.locator("details").all():
        details.evaluate("one => { one.open = true }")
    assert told == []
    assert requests == [report.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    violations = axe.Axe().run(page).response["violations"]
    assert [
        (one["id"], one["nodes"][0]["html"]) for one in violations if one["impact"] in ("serious", "critical")
    ] == []
    # The first screen says that the bucket is foreign.
    first = page.locator(".findings .bad").first
    assert "unlike the training data" in first.inner_text()
    assert first.bounding_box()["y"] < 844 / 2
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) < 384) == (scheme == "dark")
    # Nothing is drawn outside its figure.
    boxes = page.evaluate(
        """[...document.querySelectorAll('svg')].flatMap(svg => {
            const outer = svg.getBoundingClientRect();
            return [...svg.querySelectorAll('text')].map(text => {
                const inner = text.getBoundingClientRect();
                return Math.max(outer.left - inner.left, inner.right - outer.right,
                                outer.top - inner.top, inner.bottom - outer.bottom);
            });
        })"""
    )
    assert max(boxes) < 4
    context.close()


def test_the_check_finds_what_is_wrong(browser: playwright.Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.set_content("<html><body><img src='data:,'><p style='color:#ccc;background:#fff'>pale</p></body></html>")
    found = {one["id"] for one in axe.Axe().run(page).response["violations"]}
    assert {"image-alt", "color-contrast"} <= found
    context.close()
