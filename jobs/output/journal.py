"""All commit records of a finished job in one object, so that whoever comes later reads one and not one a shard.

On disk, or under any URL: ``OUT/_journal/HASH.json``, written before the success mark, which names it. A journal counts
only while its mark is there: a shard that is done again in an unfinished folder is never taken from it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from heartbeat_core import storage
from heartbeat_core.settings import canonical_json
from heartbeat_core.storage.uris import SUCCESS_NAME

JOURNAL_FOLDER = "_journal"


def store_journal(out: str, records: Sequence[dict[str, Any]]) -> str:
    """Store the records, and return the name of their journal for the success mark.

    Parameters
    ----------
    out : str
        URI of the output folder.
    records : Sequence[dict[str, Any]]
        Commit records as values that JSON can hold, in the order of the shards: the same records get the same name.
    """
    text = canonical_json(records)
    name = f"{hashlib.sha256(text).hexdigest()[:16]}.json"
    storage.create(journal_uri(out, name), text)
    return name


def journal_name(out: str) -> str | None:
    """Return the name of the journal, None without a success mark or with one of an earlier release."""
    try:
        name = json.loads(storage.read(storage.join(out, SUCCESS_NAME))).get("journal")
    except (FileNotFoundError, ValueError, AttributeError):
        return None
    return name if isinstance(name, str) else None


def read_journal(out: str) -> Any:
    """Return what the journal holds, as JSON reads it: a list of commit records unless it is damaged.

    The list is empty without a journal, and where it is lost or is no JSON.
    """
    name = journal_name(out)
    try:
        return [] if name is None else json.loads(storage.read(journal_uri(out, name)))
    except (FileNotFoundError, ValueError):
        return []  # The records themselves count.


def journal_uri(out: str, name: str) -> str:
    """Return the URI of a journal."""
    return storage.join(out, JOURNAL_FOLDER, name)
