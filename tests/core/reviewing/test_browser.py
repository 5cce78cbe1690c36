"""The review in a real browser, where there is one: judged by keys and buttons, saved, and taken back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heartbeat_core.audio.encode import wav_bytes
from heartbeat_core.reviewing.choosing import Chosen, Predicted
from heartbeat_core.reviewing.exports import Item
from heartbeat_core.reviewing.page import render_review
from heartbeat_core.reviewing.picture import hear
from heartbeat_core.reviewing.verdicts import read_verdicts
from heartbeat_core.settings import Limits
from tests.helpers import heart_bytes

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")

LABELS = ("normal", "murmur", 'hostile "label" <b>')
# Of one pixel: this is not about what is drawn.
PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
)
N = 5


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as engine:
        flags = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


def write_page(folder: Path, *, with_audio: bool = False) -> Path:
    heard = hear(heart_bytes("normal", 1, 2.0), Limits())
    items = []
    for number in range(N):
        one = f"{number:016x}"
        path = f"</script><script>alert(1)</script>/{'very_long_name' * 8}_{number}.wav"
        predicted = Predicted(one, one * 4, path, LABELS[number % 3], 0.5, "low_margin,short", 0.4)
        reasons = "random" if number % 2 else "uncertain|quality"
        audio = f"audio/{one}.wav" if with_audio else None
        items.append(Item(Chosen(predicted, reasons), 2.0, (0.0, 2.0), heard.sounds, PICTURE, audio))
        if audio is not None:
            (folder / "audio").mkdir(exist_ok=True)
            (folder / audio).write_bytes(wav_bytes(heard.samples, heard.sample_rate_hz))
    page = folder / "review.html"
    page.write_bytes(render_review(items, LABELS, folder="s3://bucket/out", run_id="run", review_id=folder.name))
    return page


def open_page(context: Any, page: Path) -> tuple[Any, list[str], list[str]]:
    """Return the page, what the console is told, and what is requested."""
    shown = context.new_page()
    told: list[str] = []
    requests: list[str] = []
    shown.on("console", lambda message: told.append(message.text))
    shown.on("pageerror", lambda error: told.append(str(error)))
    shown.on("request", lambda request: requests.append(request.url))
    shown.goto(page.as_uri())
    return shown, told, requests


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_readable_and_asks_for_nothing(
    browser: playwright.Browser, tmp_path: Path, width: int, scheme: str
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    shown, told, requests = open_page(context, write_page(tmp_path))
    shown.keyboard.press("2")
    for details in shown.locator("details").all():
        details.evaluate("one => { one.open = true }")
    assert told == []
    assert [one for one in requests if not one.startswith("data:")] == [(tmp_path / "review.html").as_uri()]
    assert shown.evaluate("document.documentElement.scrollWidth") == width
    violations = axe.Axe().run(shown).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in violations] == []
    context.close()


def save(shown: Any, to: Path, press: Any) -> list[dict[str, str]]:
    with shown.expect_download() as download:
        press()
    download.value.save_as(to)
    rows: list[dict[str, str]] = json.loads(to.read_text())["verdicts"]
    return rows


def test_verdicts_by_keys_and_buttons_are_saved_and_read(browser: playwright.Browser, tmp_path: Path) -> None:
    context = browser.new_context()
    shown, told, _ = open_page(context, write_page(tmp_path))
    for key in ("1", "3", "0"):
        shown.keyboard.press(key)  # Each goes on to the next recording.
    shown.locator("article").nth(4).get_by_role("button", name="2murmur").click()
    shown.keyboard.press("k")
    shown.keyboard.press("4")  # No label has this key.
    assert shown.inner_text("#count") == "4 of 5 judged, not saved"
    rows = save(shown, tmp_path / "a.json", lambda: shown.keyboard.press("s"))
    assert shown.inner_text("#count") == "4 of 5 judged"
    expected = {0: "normal", 1: LABELS[2], 2: "cannot tell", 4: "murmur"}
    assert {int(row["recording_id"], 16): row["verdict"] for row in rows} == expected
    found = read_verdicts((tmp_path / "a.json").read_bytes(), ".json", "a.json")
    assert [(one.recording_id, one.verdict, one.audio_sha256, one.reasons) for one in found] == [
        (row["recording_id"], row["verdict"], row["recording_id"] * 4, row["chosen"]) for row in rows
    ]
    assert all(one.judged_at is not None for one in found)
    # The same key takes a verdict back.
    shown.keyboard.press("j")
    shown.keyboard.press("2")
    assert shown.inner_text("#count") == "3 of 5 judged, not saved"
    # What was judged is there after the page was closed.
    shown.close(run_before_unload=False)
    again, told_again, _ = open_page(context, tmp_path / "review.html")
    assert again.inner_text("#count") == "3 of 5 judged, not saved"
    rows = save(again, tmp_path / "b.json", again.get_by_role("button", name="Save verdicts").click)
    assert len(rows) == 3
    assert told == told_again == []
    context.close()


def test_a_part_of_the_list_can_be_shown(browser: playwright.Browser, tmp_path: Path) -> None:
    context = browser.new_context()
    shown, _, _ = open_page(context, write_page(tmp_path))
    shown.select_option("#filter", "random")
    assert shown.locator("article:visible").count() == 2
    shown.locator("h1").click()
    shown.keyboard.press("1")
    shown.keyboard.press("1")
    shown.select_option("#filter", "open")
    assert shown.locator("article:visible").count() == 3
    context.close()


def test_the_player_plays_and_the_line_follows(browser: playwright.Browser, tmp_path: Path) -> None:
    context = browser.new_context()
    shown, told, requests = open_page(context, write_page(tmp_path, with_audio=True))
    assert not [one for one in requests if one.endswith(".wav")]  # Nothing is loaded before it is wanted.
    shown.keyboard.press(" ")
    shown.wait_for_function("document.querySelector('audio').currentTime > 0.2")
    assert shown.locator(".head").first.is_visible()
    shown.keyboard.press("j")
    assert shown.evaluate("document.querySelector('audio').paused")
    assert told == []
    context.close()
