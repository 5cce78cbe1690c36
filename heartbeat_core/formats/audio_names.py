"""The endings of audio files."""

from __future__ import annotations

AUDIO_SUFFIXES = (
    *(".wav", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3"),
    *(".aif", ".aiff", ".au", ".snd", ".caf"),
)


def without_ending(path: str) -> str:
    """Return a path without its audio ending; any other path stays as it is.

    Examples
    --------
    >>> without_ending("ward/a.1.WAV"), without_ending("ward/a.1.hea")
    ('ward/a.1', 'ward/a.1.hea')
    """
    ending = next((ending for ending in AUDIO_SUFFIXES if path.lower().endswith(ending)), "")
    return path[: len(path) - len(ending)]
