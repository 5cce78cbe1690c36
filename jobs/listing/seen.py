"""Recordings that were seen, with their versions, in a temporary file: memory does not grow with their number."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable
from tempfile import NamedTemporaryFile
from types import TracebackType
from typing import Self

from heartbeat_core.recordings.recording import Recording

CACHE_KIB = 16 * 1024


class KnownRecordings:
    """A set of recordings by their URI; each keeps the version that was put last."""

    def __enter__(self) -> Self:
        self._file = NamedTemporaryFile(prefix="heartbeat-", suffix=".sqlite")
        # Listing may go on in another thread than it began in, never in two at once.
        self._database = sqlite3.connect(self._file.name, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        self._database.execute("CREATE TABLE known (id BLOB PRIMARY KEY, version TEXT) WITHOUT ROWID")
        self._database.execute("BEGIN")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()
        self._file.close()

    def add(self, recording: Recording) -> bool:
        """Add a recording unless it is known; tells whether it was added."""
        row = (_key(recording), recording.version)
        return self._database.execute("INSERT OR IGNORE INTO known VALUES (?, ?)", row).rowcount == 1

    def update(self, recordings: Iterable[Recording]) -> None:
        """Put recordings in, over what is known of them."""
        rows = ((_key(recording), recording.version) for recording in recordings)
        self._database.executemany("INSERT OR REPLACE INTO known VALUES (?, ?)", rows)

    def is_current(self, recording: Recording) -> bool:
        """Tell whether a recording is known with its version; one without a version is, once it is known."""
        found = self._database.execute("SELECT version FROM known WHERE id = ?", (_key(recording),)).fetchone()
        return found is not None and (recording.version is None or found[0] == recording.version)


def _key(recording: Recording) -> bytes:
    return hashlib.sha256(recording.public_uri.encode()).digest()[:16]
