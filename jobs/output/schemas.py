"""The Frictionless Table Schemas beside the tables: ``OUT/_schemas/TABLE.json``, on disk or under any URL."""

from __future__ import annotations

import json

from heartbeat_core import storage
from heartbeat_core.results.notes import Schema, frictionless
from heartbeat_core.storage.uris import SCHEMAS_FOLDER


def write_schema(out: str, name: str, schema: Schema) -> None:
    """Write the schema of one table, unless it is there."""
    text = json.dumps(frictionless(schema), indent=1, ensure_ascii=False) + "\n"
    storage.create(storage.join(out, SCHEMAS_FOLDER, f"{name}.json"), text.encode())
