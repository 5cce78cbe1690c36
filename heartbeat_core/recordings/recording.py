"""A recording before its bytes are read, and the failure that stands for one that could not be processed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from heartbeat_core.errors import RecordingError
from heartbeat_core.storage.uris import public_uri, query_digest

UNKNOWN_SIZE_BYTES = 2**20
"""The memory that is kept free for a recording until it has been read, where nothing says how large it is."""
USUAL_SIZE_BYTES = 2**16
"""The size that such a recording is expected to have: that of a few seconds."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What is known of a recording before its bytes are read.

    An address in a manifest may contain a secret. Then ``uri`` is the address without it, ``manifest`` and
    ``manifest_row`` say where the whole address is, and ``query_digest`` stands for what its query names. If names are
    salted, ``uri`` and ``relative_path`` are pseudonyms.

    Attributes
    ----------
    uri : str
        It opens the recording, unless there is a ``location``.
    relative_path : str
        Its place below the input that it was found in.
    size_bytes : int | None
        None where only reading tells.
    version : str | None
        What the store said of its content when it was listed (an ETag, or size and time); None where it says nothing.
    label : str | None
        The labels that it may have, joined by ``|``, from a label file.
    patient_id : str | None
        From a label file or a manifest.
    device, database : str | None
        From a label file.
    manifest : str | None
    manifest_row : int | None
    query_digest : str | None
    modified : datetime | None
        When the store says that it was last modified; None where it says nothing.
    kept : tuple[str | None, ...]
        Its cells in the columns that the user keeps, as text, in the order in which they were named.
    stored_in : str | None
        The part of other results that holds its features; None where its audio has to be read.
    sealed : str | None
        Of a recording with a salted name: where it is, encrypted.
    location : str | None
        The same in plain, for the process that opens it; it is stored nowhere.

    Examples
    --------
    >>> recording = Recording("s3://clinic/a/1.wav", "a/1.wav")
    >>> recording.public_uri, recording.recording_id
    ('s3://clinic/a/1.wav', '183618afb7c1f995')
    """

    uri: str
    relative_path: str
    size_bytes: int | None = None
    version: str | None = None
    label: str | None = None
    patient_id: str | None = None
    device: str | None = None
    database: str | None = None
    manifest: str | None = None
    manifest_row: int | None = None
    query_digest: str | None = None
    modified: datetime | None = None
    kept: tuple[str | None, ...] = ()
    stored_in: str | None = None
    sealed: str | None = None
    location: str | None = field(default=None, repr=False)

    @property
    def opens(self) -> str:
        """The URI that opens it."""
        return self.uri if self.location is None else self.location

    @property
    def public_uri(self) -> str:
        """The URI as it may be stored: without credentials, query or endpoint."""
        return public_uri(self.uri)

    @property
    def identity_sha256(self) -> str:
        """SHA-256 (hex) of ``public_uri``, with ``?`` and the digest of the query behind it where there is one."""
        return _identity_sha256(self.uri, self.query_digest)

    @property
    def recording_id(self) -> str:
        """First 16 hex digits of ``identity_sha256``."""
        return self.identity_sha256[:16]

    @property
    def reserved_bytes(self) -> int:
        """``size_bytes``, or ``UNKNOWN_SIZE_BYTES`` where it is unknown."""
        return UNKNOWN_SIZE_BYTES if self.size_bytes is None else self.size_bytes

    @property
    def expected_bytes(self) -> int:
        """``size_bytes``, or ``USUAL_SIZE_BYTES`` where it is unknown."""
        return USUAL_SIZE_BYTES if self.size_bytes is None else self.size_bytes


# The recordings of a shard are asked for it a dozen times.
@lru_cache(maxsize=1024)
def _identity_sha256(uri: str, digest: str | None) -> str:
    public, digest = public_uri(uri), digest or query_digest(uri)
    return hashlib.sha256((public if digest is None else f"{public}?{digest}").encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Failure:
    """One recording that could not be processed, and why.

    Attributes
    ----------
    recording : Recording
    stage, error_type : str
        Those of the ``RecordingError``: the step that failed, and the stable name of the failure.
    message : str
        One line.
    """

    recording: Recording
    stage: str
    error_type: str
    message: str


def failure(recording: Recording, error: RecordingError) -> Failure:
    """Turn a named error into the row that stands for the recording."""
    return Failure(recording, error.stage, error.error_type, " ".join(str(error).split()))
