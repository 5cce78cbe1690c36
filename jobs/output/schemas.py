"""The Frictionless Table Schemas beside the tables: ``OUT/_schemas/TABLE.json``, on disk or under any URL."""

from __future__ import annotations

import json

from heartbeat_core import storage
from heartbeat_core.results.notes import Schema, frictionless
from heartbeat_core.storage.uris import SCHEMAS_FOLDER


def write_schema(out: str, name: str, schema: Schema) -> None:
    """Write the schema of one table, a column a line, unless it is there.

    Parameters
    ----------
    out : str
        URI of the output folder.
    name : str
        Of the table.
    schema : Schema
        The columns of its parts, as Arrow has them.
    """
    described = frictionless(schema)
    # Python's indentation would take a tenth of a second for a wide table.
    fields = ",\n".join(json.dumps(one, ensure_ascii=False) for one in described.pop("fields"))
    text = f'{json.dumps(described)[:-1]}, "fields": [\n{fields}\n]}}\n'
    storage.create(storage.join(out, SCHEMAS_FOLDER, f"{name}.json"), text.encode())
