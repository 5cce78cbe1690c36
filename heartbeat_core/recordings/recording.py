"""The composition for one recording: bytes to its facts, its frames and their place.

``process`` is the whole walk (decode, quality, frames, alignment), a plain function without any I/O.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from heartbeat_core.errors import RecordingError
from heartbeat_core.storage.uris import public_uri


@dataclass(frozen=True, slots=True)
class Recording:
    """What is known of a recording before its bytes are read.

    ``uri`` opens it, ``relative_path`` is its place below the input that it was found in, ``size_bytes`` is None
    where only reading tells. ``version`` is what the store said of its content when it was listed (an ETag, or size
    and time), None where it says nothing. ``label``, ``patient_id`` and ``device`` come from a label file. Where the
    address in a manifest holds a secret, ``uri`` goes without it, and ``manifest`` and ``manifest_row`` say where the
    whole one is.
    """

    uri: str
    relative_path: str
    size_bytes: int | None = None
    version: str | None = None
    label: str | None = None
    patient_id: str | None = None
    device: str | None = None
    manifest: str | None = None
    manifest_row: int | None = None

    @property
    def public_uri(self) -> str:
        """The URI as it may be stored: without credentials, query or endpoint."""
        return public_uri(self.uri)

    @property
    def recording_id(self) -> str:
        """First 16 hex digits of the SHA-256 of ``public_uri``."""
        return hashlib.sha256(self.public_uri.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Failure:
    """One recording that could not be processed, and why."""

    recording: Recording
    stage: str
    error_type: str
    message: str


def failure(recording: Recording, error: RecordingError) -> Failure:
    """Turn a named error into the row that stands for the recording."""
    return Failure(recording, error.stage, error.error_type, " ".join(str(error).split()))
