"""The verdicts of people in an output folder.

On disk, or under any URL::

    OUT/reviews/part-000002.parquet    one row for each judged recording, as of the second import
    OUT/_schemas/reviews.json          its columns

Each import that changes something writes the whole table under the next number, and removes the one before. If two
import at the same time, the second finds the number taken, and is told. The highest number counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from heartbeat_core import storage
from heartbeat_core.errors import InputError, OutputError
from heartbeat_core.formats.parquet import from_parquet, to_parquet
from heartbeat_core.results.reviews import REVIEWS, Review, read_table, reviews_table
from jobs.output.places import part_name
from jobs.output.schemas import write_schema

REVIEWS_FOLDER = "reviews"


class ReviewFolder:
    """The table ``reviews`` of one output folder.

    Parameters
    ----------
    out : str
        URI of the output folder. Which table is the last is looked up at once.
    """

    def __init__(self, out: str) -> None:
        self._out = out
        self._folder = storage.join(out, REVIEWS_FOLDER)
        self._names = storage.list_parts(self._folder)

    def read(self) -> dict[str, Review]:
        """Return the reviews by recording_id.

        Raises
        ------
        InputError
            The table is damaged.
        """
        if not self._names:
            return {}
        uri = storage.join(self._folder, self._names[-1])
        try:
            return {one.recording_id: one for one in read_table(from_parquet(storage.read(uri)))}
        except InputError as error:
            raise InputError(f"{storage.display(uri)}: {error}") from None

    def replace(self, reviews: Sequence[Review], provenance: Mapping[str, str]) -> None:
        """Store the whole table in place of the one that was read.

        Parameters
        ----------
        reviews : Sequence[Review]
            All of them, not only those that are new.
        provenance : Mapping[str, str]
            Goes into the metadata of the file.

        Raises
        ------
        OutputError
            Another import was first.
        """
        number = int(self._names[-1].removesuffix(".parquet").rpartition("-")[2]) if self._names else 0
        name = f"{part_name(number + 1)}.parquet"
        if not storage.create(storage.join(self._folder, name), to_parquet(reviews_table(reviews, provenance))):
            raise OutputError("another import wrote reviews at the same time: import these verdicts again")
        write_schema(self._out, REVIEWS_FOLDER, REVIEWS)
        for old in self._names:
            storage.remove(storage.join(self._folder, old))
        self._names = [name]
