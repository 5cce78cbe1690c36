"""Errors: the types that a failure row may have."""

from __future__ import annotations

import re
from pathlib import Path

from heartbeat_core.errors import error_types

PAGE = Path(__file__).parents[2] / "jobs" / "README.md"


def test_the_error_types_are_those_of_the_documentation() -> None:
    table = PAGE.read_text("utf-8").partition("| `error_type` | meaning |")[2].partition("\n\n")[0]
    assert error_types() == sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
