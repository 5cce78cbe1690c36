"""What the tests of the databases share: files that are damaged, and the message that tells of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from heartbeat_core.databases.database import Database, DatabaseTable
from heartbeat_core.errors import InputError

Damage = Callable[[Path], object]


def edit(name: str, old: str, new: str) -> Damage:
    """Return a damage that replaces a text in a file, where it occurs for the first time."""

    def damage(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return damage


def write(name: str, content: bytes) -> Damage:
    """Return a damage that writes a file."""
    return lambda folder: (folder / name).write_bytes(content)


def remove(name: str) -> Damage:
    """Return a damage that removes a file."""
    return lambda folder: (folder / name).unlink()


def check_refused(database: Database, folder: Path, told: str) -> None:
    """Check that the message is one line: the file's path with all of ``told``."""
    with pytest.raises(InputError) as caught:
        database.read(str(folder))
    message = str(caught.value)
    assert message.startswith(f"{folder}/{told}"), message
    assert "\n" not in message


def rows(table: DatabaseTable, *names: str) -> list[tuple[str | None, ...]]:
    """Return the rows of a table with these columns alone."""
    return list(zip(*(table.columns[name] for name in names), strict=True))
