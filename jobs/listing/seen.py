"""The recordings that were listed, with their versions, in a temporary file, so that memory does not grow with them."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable
from tempfile import NamedTemporaryFile
from types import TracebackType
from typing import Self

from heartbeat_core.recordings.recording import Recording

CACHE_KIB = 16 * 1024


class KnownRecordings:
    """A set of recordings by their identity. Each has the version that was stored last, and what a table said of it.

    It exists while a ``with`` block runs; nothing works before or after it.
    """

    def __enter__(self) -> Self:
        self._file = NamedTemporaryFile(prefix="heartbeat-", suffix=".sqlite")
        # A listing may begin in one thread and go on in another, but never runs in two at the same time.
        self._database = sqlite3.connect(self._file.name, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        self._database.execute("CREATE TABLE known (id BLOB PRIMARY KEY, version TEXT, facts BLOB) WITHOUT ROWID")
        self._database.execute("BEGIN")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()
        self._file.close()

    def add(self, recording: Recording) -> bool:
        """Add a recording unless it is known. Tells whether it was added."""
        row = _row(recording)
        return self._database.execute("INSERT OR IGNORE INTO known VALUES (?, ?, ?)", row).rowcount == 1

    def contradicts(self, recording: Recording) -> bool:
        """Tell whether a table says something of a known recording that was not said when it was added."""
        facts = _row(recording)[2]
        query = "SELECT 1 FROM known WHERE id = ? AND facts IS NOT ?"
        return facts is not None and self._database.execute(query, (_key(recording), facts)).fetchone() is not None

    def update(self, recordings: Iterable[Recording]) -> None:
        """Add recordings, and replace the versions of those that are known. What a table said of them is forgotten."""
        rows = ((*_row(recording)[:2], None) for recording in recordings)
        self._database.executemany("INSERT OR REPLACE INTO known VALUES (?, ?, ?)", rows)

    def holds(self, recording: Recording) -> bool:
        """Tell whether a recording is known, with whatever version."""
        return self._version(recording) is not None

    def is_current(self, recording: Recording) -> bool:
        """Tell whether a recording is known with this version, or with any version where it has none."""
        found = self._version(recording)
        return found is not None and (recording.version is None or found[0] == recording.version)

    def _version(self, recording: Recording) -> tuple[str | None] | None:
        """Return the version of a known recording in a tuple, None where it is not known."""
        row: tuple[str | None] | None = self._database.execute(
            "SELECT version FROM known WHERE id = ?", (_key(recording),)
        ).fetchone()
        return row


def _row(recording: Recording) -> tuple[bytes, str | None, bytes | None]:
    """Return the identity, the version, and a digest of the patient and the kept cells if there are any.

    What they say is not written to the disk, where it may stay after a process was killed.
    """
    facts = (recording.patient_id, *recording.kept)
    digest = hashlib.sha256(json.dumps(facts).encode()).digest()[:16]
    return _key(recording), recording.version, digest if any(facts) else None


def _key(recording: Recording) -> bytes:
    return bytes.fromhex(recording.identity_sha256[:32])
