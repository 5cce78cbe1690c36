"""What a task tells of its work beside the rows: the part of a commit record that reports and metrics read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heartbeat_core.bundles.drift import Drift


@dataclass(frozen=True, slots=True)
class Notes:
    """How one shard was processed.

    Attributes
    ----------
    worker : str
        Host and process.
    started_at : float
        Seconds since 1970.
    seconds : Mapping[str, float]
        How long each stage has taken, by name.
    drift : Drift | None
        How far the recordings lie from the model's training data; None where nothing was measured.
    size_bytes : int
        Of the recordings that have rows.
    """

    worker: str
    started_at: float
    seconds: Mapping[str, float]
    drift: Drift | None = None
    size_bytes: int = 0

    def stored(self, store_s: float) -> dict[str, Any]:
        """Return the notes as JSON holds them, with the seconds that storing the parts has taken."""
        return {
            "worker": self.worker,
            "started_at": self.started_at,
            "seconds": {**self.seconds, "store": round(store_s, 3)},
            "size_bytes": self.size_bytes,
            "drift": None if self.drift is None else self.drift.stored(),
        }
