"""The plan: what was listed, divided into shards, and stored in pieces while the listing goes on.

On disk, or under any URL::

    OUT/_plan/000000.json                   settles the plan of one generation: which pieces count, and how many
    OUT/_plan/000000-TOKEN/000042.parquet   a piece of whole shards

Invariants: a generation is listed once. Each driver writes its pieces under a token of its own. The first to create the
generation's record settles which pieces count, and the others remove theirs. The numbers of shards go on from one
generation to the next. All generations have the same kept columns with the same types.
"""

from __future__ import annotations

import hashlib
import json
import threading
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from itertools import chain
from typing import Any

from heartbeat_core import storage
from heartbeat_core.errors import InputError, JobError
from heartbeat_core.formats.kept import KeptColumn, KeptTypes
from heartbeat_core.formats.parquet import Table, from_parquet, to_parquet
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.results.plan import plan_rows, plan_shards, plan_table
from heartbeat_core.settings import Limits, canonical_json
from heartbeat_core.storage.uris import PLAN_FOLDER
from jobs.listing.shards import RECORDING_BYTES, Shard

RECORDINGS_A_PIECE = 8192
PIECES_KEPT = 2
"""How many pieces a worker keeps: of those that it has read last."""


@dataclass(slots=True)
class Replaced:
    """The earlier rows of recordings that a generation takes again: they no longer count.

    Attributes
    ----------
    rows : int
        Predictions.
    errors : dict[str, int]
        Failures by ``error_type``.
    """

    rows: int = 0
    errors: dict[str, int] = field(default_factory=dict)

    @property
    def failures(self) -> int:
        """Failures of all types."""
        return sum(self.errors.values())

    def add(self, error_type: str | None) -> None:
        """Take in a recording that had failed with ``error_type``, or had a prediction where it is None."""
        if error_type is None:
            self.rows += 1
        else:
            self.errors[error_type] = self.errors.get(error_type, 0) + 1


@dataclass(frozen=True, slots=True)
class Generation:
    """The settled plan of one listing, or of a retry; each update and each retry is a further generation.

    Attributes
    ----------
    number : int
        0 for the first listing.
    token : str
        Names the folder of its pieces.
    first_shard : int
        Number of its first shard.
    n_shards, n_recordings, n_pieces : int
        Of this generation alone.
    limits : Limits | None
        Those of a retry, which holds recordings that had failed. None for all other generations: the limits of the run
        count.
    kept : tuple[KeptColumn, ...]
        The columns of the inputs that are kept.
    replaced : Replaced
        The earlier rows of its recordings.
    n_bytes : int
        Of the recordings whose size is known.
    listing_sha256 : str
        SHA-256 (hex) over a line for each recording in the order of the listing: ``recording_id size version``, ``-``
        where the store does not tell.
    """

    number: int
    token: str
    first_shard: int
    n_shards: int
    n_recordings: int
    n_pieces: int
    limits: Limits | None = None
    kept: tuple[KeptColumn, ...] = ()
    replaced: Replaced = field(default_factory=Replaced)
    n_bytes: int = 0
    listing_sha256: str = ""

    @property
    def end_shard(self) -> int:
        """The number that the next generation's first shard has."""
        return self.first_shard + self.n_shards


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """Where a shard stands in the plan: what a task carries in place of the recordings.

    Attributes
    ----------
    index : int
        Number of the shard.
    piece : str
        URI of the piece of the plan, whose rows ``first_row`` to ``first_row + n_recordings - 1`` are the shard's.
    expected_bytes : int
        Of all its recordings.
    generation, isolated, limits
        As those of ``Shard``.
    """

    index: int
    piece: str
    first_row: int
    n_recordings: int
    expected_bytes: int
    generation: int = 0
    isolated: bool = False
    limits: Limits | None = None

    @property
    def expected_cost(self) -> int:
        """What the shard costs to read and process, in bytes of audio."""
        return self.n_recordings * RECORDING_BYTES + self.expected_bytes


def read_shard(planned: PlannedShard) -> Shard:
    """Read the recordings of a shard from the plan; a process keeps the pieces that it has read last.

    Parameters
    ----------
    planned : PlannedShard
        As ``PlanFolder.planned`` yields it.

    Raises
    ------
    JobError
        The piece is damaged or missing.
    """
    # A worker's threads mostly work on shards of one piece: the first of them reads it for all.
    with _reading:
        piece = _read_piece(planned.piece)
    found = plan_shards(piece.slice(planned.first_row, planned.n_recordings))
    recordings = tuple(found.get(planned.index, ()))
    if len(recordings) != planned.n_recordings:
        raise JobError(f"{storage.display(planned.piece)}: the plan cannot be read: it lacks shard {planned.index}")
    return Shard(planned.index, recordings, planned.generation, planned.isolated, planned.limits)


_reading = threading.Lock()


# A piece never changes: each listing writes its own, and under names that no other has.
@lru_cache(maxsize=PIECES_KEPT)
def _read_piece(uri: str) -> Table:
    return _piece_table(uri)


def _piece_table(uri: str, columns: list[str] | None = None) -> Table:
    try:
        return from_parquet(storage.read(uri), columns)
    except (InputError, FileNotFoundError) as error:
        raise JobError(f"{storage.display(uri)}: the plan cannot be read: {error}") from None


def count_retried(generations: Iterable[Generation]) -> int:
    """Return how many recordings retries have taken again: each of them replaces a failure."""
    return sum(one.n_recordings for one in generations if one.limits is not None)


def sum_replaced(generations: Iterable[Generation]) -> Replaced:
    """Return the rows of all these generations that a later one replaces."""
    errors: Counter[str] = Counter()
    rows = 0
    for one in generations:
        rows += one.replaced.rows
        errors.update(one.replaced.errors)
    return Replaced(rows, dict(errors))


class PlanFolder:
    """The plans in one output folder.

    Parameters
    ----------
    out : str
        URI of the output folder.
    """

    def __init__(self, out: str) -> None:
        self._folder = storage.join(out, PLAN_FOLDER)

    def generations(self) -> list[Generation]:
        """Return the settled generations, in order.

        Raises
        ------
        JobError
            A record is damaged.
        """
        found: list[Generation] = []
        while True:
            uri = self._record_uri(len(found))
            try:
                found.append(_parse(storage.read(uri)))
            except FileNotFoundError:
                return found
            except (ValueError, TypeError) as error:
                told = " ".join(str(error).split())
                raise JobError(f"{storage.display(uri)}: not a record of a plan: {told}") from None

    def settle(
        self,
        number: int,
        first_shard: int,
        shards: Iterable[Sequence[Recording]],
        types: KeptTypes | None = None,
        limits: Limits | None = None,
        replaced: Replaced | None = None,
    ) -> Generation:
        """Store a generation's plan and return the one that is stored: another driver's, if that was first.

        Parameters
        ----------
        number : int
            How many generations there are already.
        first_shard : int
            Number of its first shard.
        shards : Iterable[Sequence[Recording]]
            The recordings of each shard. It is consumed as it comes; no more than one piece of it is held in memory.
        types : KeptTypes | None
            Takes in the kept cells meanwhile and so settles the types of the columns. None keeps no column.
        limits : Limits | None
            Those of a retry; None for any other generation.
        replaced : Replaced | None
            The earlier rows of the recordings. It is read after ``shards``, which may fill it. None: there are none.

        Raises
        ------
        InputError
            The type of a kept column was settled before and cannot hold a value, or a value is not valid Unicode.
        JobError
            The stored record of a generation is damaged.
        """
        types = types or KeptTypes(())
        ours = Generation(number, uuid.uuid4().hex, first_shard, 0, 0, 0, limits)
        try:
            ours = replace(self._write_pieces(ours, shards, types), replaced=replaced or Replaced())
        except BaseException:
            self._remove_pieces(ours)
            raise
        storage.create(self._record_uri(number), canonical_json(_record(ours)))
        settled = self.generations()[number]
        if settled != ours:
            self._remove_pieces(ours)
        return settled

    def shards(self, generation: Generation) -> Iterator[Shard]:
        """Yield the shards of a generation, in order; raises as ``pieces``."""
        return chain.from_iterable(self.pieces(generation))

    def pieces(self, generation: Generation) -> Iterator[list[Shard]]:
        """Yield the shards of a generation, in order, a piece at a time.

        Raises
        ------
        JobError
            A piece is damaged or missing.
        """
        for piece in range(generation.n_pieces):
            table = _piece_table(self._piece_uri(generation, piece))
            yield [
                Shard(index, tuple(recordings), generation.number, limits=generation.limits)
                for index, recordings in plan_shards(table).items()
            ]

    def names_patients(self, generation: Generation) -> bool:
        """Tell whether any recording of a generation has a patient; raises as ``pieces``."""
        tables = (
            _piece_table(self._piece_uri(generation, piece), ["patient_id"]) for piece in range(generation.n_pieces)
        )
        return any(table.column("patient_id").null_count < table.num_rows for table in tables)

    def planned(self, generation: Generation) -> Iterator[list[PlannedShard]]:
        """Yield where the shards of a generation stand, in order, a piece at a time; raises as ``pieces``."""
        for piece in range(generation.n_pieces):
            uri = self._piece_uri(generation, piece)
            yield [
                PlannedShard(index, uri, first_row, n_rows, n_bytes, generation.number, limits=generation.limits)
                for index, first_row, n_rows, n_bytes in plan_rows(_piece_table(uri, ["shard", "size_bytes"]))
            ]

    def _write_pieces(self, ours: Generation, shards: Iterable[Sequence[Recording]], types: KeptTypes) -> Generation:
        n_shards = n_recordings = n_pieces = n_bytes = 0
        listing = hashlib.sha256()
        piece: list[tuple[int, Sequence[Recording]]] = []

        def write() -> None:
            storage.create(self._piece_uri(ours, n_pieces), to_parquet(plan_table(piece)))

        held = 0
        for recordings in shards:
            for recording in recordings:
                if types.names:
                    types.add(recording.kept, storage.display(recording.public_uri))
                n_bytes += recording.size_bytes or 0
                size = "-" if recording.size_bytes is None else recording.size_bytes
                listing.update(f"{recording.recording_id} {size} {recording.version or '-'}\n".encode())
            piece.append((ours.first_shard + n_shards, recordings))
            held += len(recordings)
            n_shards += 1
            n_recordings += len(recordings)
            if held >= RECORDINGS_A_PIECE:
                write()
                n_pieces += 1
                piece.clear()
                held = 0
        if piece:
            write()
            n_pieces += 1
        return replace(
            ours,
            n_shards=n_shards,
            n_recordings=n_recordings,
            n_pieces=n_pieces,
            kept=types.columns(),
            n_bytes=n_bytes,
            listing_sha256=listing.hexdigest(),
        )

    def _remove_pieces(self, ours: Generation) -> None:
        folder = self._pieces_folder(ours)
        for name in storage.list_names(folder):
            storage.remove(storage.join(folder, name))

    def _record_uri(self, number: int) -> str:
        return storage.join(self._folder, f"{number:06d}.json")

    def _pieces_folder(self, generation: Generation) -> str:
        return storage.join(self._folder, f"{generation.number:06d}-{generation.token}")

    def _piece_uri(self, generation: Generation, piece: int) -> str:
        return storage.join(self._pieces_folder(generation), f"{piece:06d}.parquet")


def _record(generation: Generation) -> dict[str, Any]:
    limits = generation.limits
    return {**asdict(generation), "limits": None if limits is None else limits.model_dump(mode="json")}


def _parse(text: bytes) -> Generation:
    """Return a stored record; raises ValueError or TypeError if it is damaged."""
    record = dict(json.loads(text))
    limits = record.pop("limits", None)
    kept = tuple(KeptColumn(**one) for one in record.pop("kept", ()))
    replaced = Replaced(**record.pop("replaced", {}))
    return Generation(
        **record, limits=None if limits is None else Limits.model_validate(limits), kept=kept, replaced=replaced
    )
