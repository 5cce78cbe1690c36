"""The table ``reviews``: one row for each recording that a person has judged, its last verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime

from heartbeat_core.formats.columns import TEXT, TIME, make_schema, make_table, times
from heartbeat_core.formats.parquet import Table
from heartbeat_core.results.schema import with_metadata

REVIEWS = make_schema(
    recording_id=TEXT,
    audio_sha256=TEXT,
    verdict=TEXT,
    chosen_=TEXT,
    way=TEXT,
    judged_at_=TIME,
    imported_at=TIME,
)
"""``chosen`` says why the recording was in the review, ``way`` in what the verdict was written down."""


@dataclass(frozen=True, slots=True)
class Review:
    """A row of the table ``reviews``.

    Attributes
    ----------
    recording_id : str
    audio_sha256 : str
        Of the audio that was judged.
    verdict : str
        A label, or ``cannot tell``.
    chosen : str | None
        Why the recording was in the review, reasons joined by ``|``.
    way : str
        In what the verdict was written down: page, label-studio, audacity or csv.
    judged_at : datetime | None
        When the verdict was given, in UTC; None where its file does not say so.
    imported_at : datetime
        When the verdict was imported, in UTC.
    """

    recording_id: str
    audio_sha256: str
    verdict: str
    chosen: str | None
    way: str
    judged_at: datetime | None
    imported_at: datetime


def reviews_table(reviews: Sequence[Review], provenance: Mapping[str, str]) -> Table:
    """Return the table, in the order of the ids.

    Parameters
    ----------
    reviews : Sequence[Review]
        At most one of each recording.
    provenance : Mapping[str, str]
        What is said of the run, as in ``schema.with_metadata``.

    Returns
    -------
    pa.Table
        With the columns ``REVIEWS``.
    """
    rows = sorted(reviews, key=lambda one: one.recording_id)
    columns = {field.name: [getattr(one, field.name) for one in rows] for field in fields(Review)}
    return with_metadata(make_table(columns, REVIEWS), provenance)


def read_table(table: Table) -> list[Review]:
    """Return the rows of a stored table; other columns than ``REVIEWS`` are passed over."""
    columns = [
        times(table.column(field.name)) if field.type == TIME else table.column(field.name).to_pylist()
        for field in REVIEWS
    ]
    return [Review(*row) for row in zip(*columns, strict=True)]
