"""Which recordings a model was trained on: the first bytes of the SHA-256 of each one's audio, kept in its bundle."""

from __future__ import annotations

import base64
from collections.abc import Iterable

DIGEST_BYTES = 6
"""Enough to tell recordings apart: none of a million others is taken for one of 3,000, but once in 90,000 times."""


def short_digests(audio_sha256: Iterable[str]) -> str:
    """Return the first bytes of digests (hex) as Base64: each digest once, in ascending order.

    Examples
    --------
    >>> short_digests(["ff" * 32, "00" * 32, "ff" * 32])
    'AAAAAAAA////////'
    """
    return base64.b64encode(b"".join(sorted(set(map(_first_bytes, audio_sha256))))).decode()


def count_known(digests: str, audio_sha256: Iterable[str]) -> int:
    """Return how many of some recordings are among those of ``short_digests``.

    Parameters
    ----------
    digests : str
        As ``short_digests`` returns them.
    audio_sha256 : Iterable[str]
        The SHA-256 (hex) of the audio of each recording.

    Examples
    --------
    >>> count_known("AAAAAAAA////////", ["ff" * 32, "0f" * 32, "ff" * 32])
    2
    """
    stored = base64.b64decode(digests)
    known = {stored[start : start + DIGEST_BYTES] for start in range(0, len(stored), DIGEST_BYTES)}
    return sum(_first_bytes(one) in known for one in audio_sha256)


def _first_bytes(sha256: str) -> bytes:
    return bytes.fromhex(sha256[: 2 * DIGEST_BYTES])
