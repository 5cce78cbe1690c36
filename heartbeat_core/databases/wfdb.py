"""Headers of WFDB records (``.hea``), as PhysioNet writes them.

A header is text: a record line, a line for each signal, and comments that begin with ``#``. Format:
https://physionet.org/physiotools/wag/header-5.htm. Only what says something of a whole recording is read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from heartbeat_core.databases.folder import quoted
from heartbeat_core.errors import InputError

_DESCRIPTION = 8
"""The place of the description in a signal's line; all before it are words without a space."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal of a record: the file that holds it, and its description (``PCG``), None where there is none."""

    file_name: str
    description: str | None


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a record.

    Attributes
    ----------
    record : str
        The record's name.
    sample_rate_hz : float
        Samples a second of each signal.
    n_samples : int
        Samples of each signal.
    signals : tuple[Signal, ...]
        At least one.
    comments : tuple[str, ...]
        Comment lines without ``#`` and without spaces around them.
    """

    record: str
    sample_rate_hz: float
    n_samples: int
    signals: tuple[Signal, ...]
    comments: tuple[str, ...]


def parse_header(text: str, where: str) -> Header:
    r"""Return a header from its text.

    Parameters
    ----------
    text : str
        The content of the file.
    where : str
        Its path, for messages.

    Raises
    ------
    InputError
        The text is not a header with a rate and a length, or it lacks signals that its first line counts.

    Examples
    --------
    >>> text = "a0001 1 2000 71332\na0001.wav 16+44 1 16 0 0 0 0 PCG\n# Abnormal\n"
    >>> header = parse_header(text, "a0001.hea")
    >>> header.record, header.sample_rate_hz, header.n_samples, header.signals[0].description, header.comments
    ('a0001', 2000.0, 71332, 'PCG', ('Abnormal',))
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    comments = tuple(line[1:].strip() for line in lines if line.startswith("#"))
    record_line, *signal_lines = [line for line in lines if not line.startswith("#")] or [""]
    words = record_line.split()
    try:
        # The format allows '/' and the rate of a counter after the rate (4000/1000), and '/' and the number of segments
        # after the record's name.
        n_signals, rate, n_samples = int(words[1]), float(words[2].partition("/")[0]), int(words[3])
    except (IndexError, ValueError):
        n_signals, rate, n_samples = 0, math.nan, 0
    if not (n_signals > 0 and 0 < rate < math.inf and n_samples > 0):
        raise InputError(
            f"{where}: expected a first line 'record signals rate samples', such as 'a0001 1 2000 71332', found "
            f"{quoted(record_line)}"
        )
    if len(signal_lines) != n_signals:
        raise InputError(f"{where}: expected {n_signals} signals, as its first line says, found {len(signal_lines)}")
    return Header(words[0].partition("/")[0], rate, n_samples, tuple(map(_signal, signal_lines)), comments)


def _signal(line: str) -> Signal:
    words = line.split(maxsplit=_DESCRIPTION)
    return Signal(words[0], words[_DESCRIPTION] if len(words) > _DESCRIPTION else None)
