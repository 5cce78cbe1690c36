"""Pseudonyms for patients and paths, which may tell who somebody is (``--salt-env``).

The secret comes from an environment variable of each process, and is sent and stored nowhere. A pseudonym is an
HMAC-SHA256 (RFC 2104) of what it stands for: with the secret, the same always gets the same one. The plan needs the
path itself, since workers open it. There it is encrypted, by AES-SIV (RFC 5297) with a key that is derived from the
secret.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from heartbeat_core.errors import ConfigError, JobError, StorageError, UsageError
from heartbeat_core.formats.audio_names import AUDIO_SUFFIXES
from heartbeat_core.recordings.recording import Recording
from jobs.listing.listing import reveal

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

MIN_SECRET_CHARACTERS = 16
"""Patient numbers are few: with a short secret, all of them could be tried."""
PREFIX = "salted:"
"""Begins a pseudonym in place of a URI."""
_DIGITS = 32
_PATIENT_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Names in place of patients and paths.

    Attributes
    ----------
    secret : str
        ``pseudonyms`` takes it from an environment variable and checks its length.

    Examples
    --------
    >>> names = Pseudonyms("correct horse battery staple")
    >>> hidden = names.hide(Recording("file:///ward/P0042/a.wav", "P0042/a.wav", patient_id="P0042"))
    >>> hidden.uri, hidden.patient_id
    ('salted:b47ecea14c8c35398f30d3e8ddde7d82.wav', 'bb5af0208b98e046')
    >>> names.reveal(hidden, None, "").location
    'file:///ward/P0042/a.wav'
    """

    secret: str

    @property
    def digest(self) -> str:
        """16 hex digits that tell one secret from another."""
        return self._hash("digest", "")[:16]

    def name(self, kind: str, text: str) -> str:
        """Return 32 hex digits that stand for a text.

        Parameters
        ----------
        kind : str
            What the text is, such as ``path``: the same text of another kind gets other digits.
        text : str
        """
        return self._hash(kind, text)[:_DIGITS]

    def patient(self, patient_id: str) -> str:
        """Return 16 hex digits that stand for a patient."""
        return self._hash("patient", patient_id)[:_PATIENT_DIGITS]

    def hide(
        self, recording: Recording, patient_cells: Collection[int] = (), path_cells: Collection[int] = ()
    ) -> Recording:
        """Return a recording without what its path, its patient or its manifest could tell.

        Parameters
        ----------
        recording : Recording
        patient_cells, path_cells : Collection[int]
            Places among the kept cells of those that hold patients and paths. An address is hidden in any cell.
        """
        path = recording.relative_path.lower()
        suffix = next((one for one in AUDIO_SUFFIXES if path.endswith(one)), "")
        name = self.name("recording", recording.identity_sha256) + suffix
        place = [recording.uri, recording.manifest, recording.manifest_row, recording.query_digest]
        return replace(
            recording,
            uri=PREFIX + name,
            relative_path=name,
            patient_id=None if recording.patient_id is None else self.patient(recording.patient_id),
            manifest=None,
            manifest_row=None,
            query_digest=None,
            kept=tuple(
                self._cell(cell, is_patient=number in patient_cells, is_path=number in path_cells)
                for number, cell in enumerate(recording.kept)
            ),
            sealed=base64.b64encode(self._cipher().encrypt(json.dumps(place).encode(), None)).decode(),
        )

    def reveal(self, recording: Recording, path_column: str | None, driver: str) -> Recording:
        """Return a hidden recording with its ``location``; parameters as those of ``listing.reveal``.

        Raises
        ------
        JobError
            It was hidden with another secret.
        StorageError
            Its manifest no longer contains the address.
        """
        if recording.sealed is None:
            return reveal(recording, path_column, driver)
        try:
            return replace(recording, location=reveal(self.unseal(recording), path_column, driver).uri)
        except StorageError:
            # The reason names the manifest.
            raise StorageError(f"{recording.uri}: its manifest changed, or cannot be read again") from None

    def unseal(self, recording: Recording) -> Recording:
        """Return a hidden recording as it was listed, with what ``listing.reveal`` needs, and no more.

        Raises
        ------
        JobError
            It was hidden with another secret.
        """
        from cryptography.exceptions import InvalidTag

        try:
            place = self._cipher().decrypt(base64.b64decode(recording.sealed or ""), None)
        except InvalidTag:
            raise JobError(f"{recording.uri}: the plan was made with another secret than this process has") from None
        uri, manifest, row, digest = json.loads(place)
        return Recording(uri, "", manifest=manifest, manifest_row=row, query_digest=digest)

    def _cell(self, cell: str | None, *, is_patient: bool, is_path: bool) -> str | None:
        if cell is None:
            return None
        if is_patient:
            return self.patient(cell)
        return self.name("path", cell) if is_path or "://" in cell else cell

    def _cipher(self) -> AESSIV:
        # Imported here, and above, because it is slow to load and most runs have no secret.
        from cryptography.hazmat.primitives.ciphers.aead import AESSIV

        return AESSIV(bytes.fromhex(self._hash("seal", "1") + self._hash("seal", "2")))

    def _hash(self, kind: str, text: str) -> str:
        return hmac.new(self.secret.encode(), f"{kind}\0{text}".encode(), "sha256").hexdigest()


def pseudonyms(variable: str) -> Pseudonyms:
    """Return the pseudonyms of the secret in an environment variable.

    Parameters
    ----------
    variable : str
        Its name.

    Raises
    ------
    ConfigError
        This process has no such variable, or it is too short.
    """
    secret = os.environ.get(variable, "")
    if len(secret) < MIN_SECRET_CHARACTERS:
        what = "is not set" if not secret else f"has fewer than {MIN_SECRET_CHARACTERS} characters"
        raise ConfigError(
            f"--salt-env: the environment variable {variable} {what}: put a long random secret in it, "
            "on workers as well"
        )
    return Pseudonyms(secret)


def check_salt(digest: str | None, variable: str | None) -> None:
    """Refuse to open recordings of results without the secret that these were made with.

    Parameters
    ----------
    digest : str | None
        What the identity of the results says of their secret, None if they have no pseudonyms.
    variable : str | None
        The environment variable that was named.

    Raises
    ------
    UsageError
        No variable was named, or that of another secret.
    ConfigError
        As of ``pseudonyms``.
    """
    if digest is not None and variable is None:
        raise UsageError("the results have pseudonyms: name the variable of their secret with --salt-env")
    if variable is not None and digest != pseudonyms(variable).digest:
        raise UsageError(f"--salt-env: the results were not made with the secret in {variable}")


def worker_digest(variable: str) -> str:
    """Return the digest of the secret that this process has.

    Parameters
    ----------
    variable : str
        The environment variable.

    Raises
    ------
    ConfigError
        As ``pseudonyms``.
    """
    return pseudonyms(variable).digest


def located(recordings: Iterable[Recording], variable: str | None) -> Iterator[Recording]:
    """Yield recordings of the plan with the places that their stores know.

    Parameters
    ----------
    recordings : Iterable[Recording]
    variable : str | None
        The environment variable of the secret; None if there are no pseudonyms, and the recordings stay as they are.

    Raises
    ------
    ConfigError
        As ``pseudonyms``.
    JobError
        A recording was hidden with another secret.
    """
    if variable is None:
        yield from recordings
        return
    names = pseudonyms(variable)
    for one in recordings:
        yield replace(one, location=names.unseal(one).uri)


def opened(
    recordings: Sequence[Recording], variable: str | None, path_column: str | None, driver: str
) -> list[Recording]:
    """Return recordings of the plan as they can be opened.

    Parameters
    ----------
    recordings : Sequence[Recording]
    variable : str | None
        The environment variable of the secret; None if there are no pseudonyms.
    path_column, driver
        As of ``listing.reveal``.

    Raises
    ------
    ConfigError
        As ``pseudonyms``.
    JobError
        A recording was hidden with another secret.
    StorageError
        A manifest no longer contains an address, or cannot be read again.
    """
    if variable is None:
        return [reveal(one, path_column, driver) for one in recordings]
    names = pseudonyms(variable)
    return [names.reveal(one, path_column, driver) for one in recordings]
