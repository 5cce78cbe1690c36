"""A live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io

from rich.console import Console

from jobs.progress import meter


def test_elsewhere_the_end_is_a_plain_line() -> None:
    console = Console(file=io.StringIO(), width=200)
    with meter(console, "classify", 10, done=4, failed=1) as shown:
        shown.advance(3)
        shown.advance(3, 1)
    assert console.file.getvalue().startswith("classify: 10/10 recordings, ")
    assert ", 2 failures, 0:00:00 left\n" in console.file.getvalue()
    assert console.file.getvalue().count("\n") == 1


def test_what_cannot_fail_shows_no_failures() -> None:
    console = Console(file=io.StringIO(), width=200)
    with meter(console, "train", 1, "epochs") as shown:
        shown.advance()
    assert "train: 1/1 epochs, " in console.file.getvalue()
    assert "failure" not in console.file.getvalue()


def test_a_terminal_gets_a_bar_with_counts() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with meter(console, "classify", 8) as shown:
        shown.advance(8, 1)
    shown_text = console.file.getvalue()
    assert "8/8" in shown_text
    assert "1 failure" in shown_text
