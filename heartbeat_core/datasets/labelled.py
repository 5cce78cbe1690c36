"""The labelled recordings of one or several datasets, without their frames."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from heartbeat_core.labels import Targets
from heartbeat_core.settings import fingerprint


@dataclass(frozen=True, slots=True)
class Labelled:
    """The labelled recordings of one or several datasets without their frames, in the order of the parts.

    A recording that may have every label is left out: that says nothing.

    Attributes
    ----------
    recording_id, uri, audio_sha256 : [n] text
    targets : Targets
    groups, devices, databases : [n] text
        As in ``Rows``.
    traits : dict[str, list[str]]
        The cells of those of ``TRAITS`` that the dataset kept, [n] text each; empty where a cell is.
    """

    recording_id: list[str]
    uri: list[str]
    audio_sha256: list[str]
    targets: Targets
    groups: list[str]
    devices: list[str]
    databases: list[str]
    traits: dict[str, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.recording_id)

    @property
    def codes(self) -> NDArray[np.int64]:
        """[n] int64: the code of each row's label; -1 where several are possible."""
        return self.targets.codes

    def fingerprint(self) -> str:
        """Return a SHA-256 (hex) over content, labels, patients, devices and, if there are several, databases.

        It ignores paths and order.
        """
        return fingerprint(sorted(self._known()))

    def ordered_fingerprint(self) -> str:
        """Return a SHA-256 (hex) over the same data in row order, for files that identify rows by number."""
        return fingerprint(self._known())

    def content_fingerprint(self) -> str:
        """Return a SHA-256 (hex) over content and labels; order, paths and patients do not count."""
        return content_fingerprint(self.audio_sha256, self.targets)

    def _known(self) -> list[tuple[str, ...]]:
        columns = [self.audio_sha256, list(map(str, self.targets.cells())), self.groups, self.devices]
        if len(set(self.databases)) > 1:
            columns.append(self.databases)
        return list(zip(*columns, strict=True))


def content_fingerprint(audio_sha256: list[str], targets: Targets) -> str:
    """Return a SHA-256 (hex) over the content and labels of rows, in any order.

    Parameters
    ----------
    audio_sha256 : [n] text
    targets : Targets
        The labels of the n rows.
    """
    return fingerprint(sorted(zip(audio_sha256, map(str, targets.cells()), strict=True)))
