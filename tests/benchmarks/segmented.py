"""Recordings with segments of heart sounds, for the tools that train and judge the segmenter."""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.audio.decode import Waveform, decode
from heartbeat_core.datasets.dataset import Dataset, read_part
from heartbeat_core.settings import Limits


@dataclass(frozen=True, slots=True)
class Segmented:
    """One recording: its file, the person as datasets name them, and [n_segments, 3]: start, end (s), state 0 to 4."""

    path: Path
    person: str
    segments: NDArray[np.float64]

    def waveform(self) -> Waveform:
        """Decode the recording."""
        return decode(self.path.read_bytes(), Limits())


def read_segmented(dataset_uri: str, table: Path | None) -> list[Segmented]:
    """Return the recordings of a dataset on this machine that have segments.

    Parameters
    ----------
    dataset_uri : str
        Made by ``heartbeat build-dataset``.
    table : Path | None
        CSV with the columns path (below the table's folder), start_s, end_s and state; None takes the segments that the
        dataset holds.
    """
    dataset = Dataset(dataset_uri)
    rows = [row for uri in dataset.part_uris() for row in read_part(uri, ["recording_id", "uri"]).to_pylist()]
    paths = {row["recording_id"]: Path(row["uri"].removeprefix("file://")) for row in rows}
    of_table = dataset.segments() if table is None else _read_table(table)
    everyone = dataset.rows()
    people = dict(zip(everyone.recording_id, everyone.groups, strict=True))
    found = [
        Segmented(path, people[name], segments)
        for name, path in paths.items()
        if len(segments := of_table.get(name if table is None else str(path), np.zeros((0, 3))))
    ]
    if not found:
        raise SystemExit(f"{dataset_uri}: no recording has segments of heart sounds: name a table with --segments")
    return found


def _read_table(table: Path) -> dict[str, NDArray[np.float64]]:
    found: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    with table.open(newline="") as lines:
        for row in csv.DictReader(lines):
            path = str((table.parent / row["path"]).resolve())
            found[path].append((float(row["start_s"]), float(row["end_s"]), float(row["state"])))
    return {path: np.array(rows) for path, rows in found.items()}
