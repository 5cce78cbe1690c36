"""Log lines as JSON, on request: one object a line, with the run, the shard and the recording that it is about."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import Any, TextIO

from rich.console import Console


class JsonLines(io.TextIOBase):
    """A text stream that turns each line that is written into a JSON object on another stream.

    An object has ``time`` (ISO 8601, UTC), ``level`` and ``message``, ``run`` once it is known, and further facts.

    Parameters
    ----------
    stream : TextIO
        Takes the objects, one a line.

    Attributes
    ----------
    run : str | None
        The run_id that each object names; None until it is known.

    Examples
    --------
    >>> import sys
    >>> log = JsonLines(sys.stdout)
    >>> log.event("shard committed", shard=3)
    {"time": "...", "level": "info", "message": "shard committed", "shard": 3}
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._line = ""
        self.run: str | None = None

    def writable(self) -> bool:
        """Return that it can be written to."""
        return True

    def write(self, text: str) -> int:
        """Take text, and write an object for each line that it completes."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if line.strip():
                self.event(line.strip())
        return len(text)

    def flush(self) -> None:
        """Flush the stream that the objects go to."""
        self._stream.flush()

    def event(self, message: str, level: str = "info", **facts: Any) -> None:
        """Write one object, and flush; parameters as for ``line``."""
        self._stream.write(self.line(message, level, **facts))
        self._stream.flush()

    def line(self, message: str, level: str = "info", **facts: Any) -> str:
        """Return one object as a line, with its line break.

        Parameters
        ----------
        message : str
        level : str
            ``info``, ``warning`` or ``error``.
        **facts : Any
            Further keys of the object; values that JSON knows.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        run = {} if self.run is None else {"run": self.run}
        record = {"time": now, "level": level, "message": message, **run, **facts}
        return json.dumps(record) + "\n"


def json_lines(console: Console) -> JsonLines | None:
    """Return where a console's log lines go as JSON; None where they are text."""
    return console.file if isinstance(console.file, JsonLines) else None
