"""What a task tells of its work beside the rows: the part of a commit record that only the report reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Notes:
    """What a task says of its work beside the rows.

    Attributes
    ----------
    worker : str
        Host and process.
    started_at : float
        Seconds since 1970.
    seconds : dict[str, float]
        How long each stage has taken, by name.
    drift : dict[str, Any] | None
        As ``bundles.drift.Drift.stored`` returns it; None where nothing was measured.
    """

    worker: str
    started_at: float
    seconds: dict[str, float]
    drift: dict[str, Any] | None = None
