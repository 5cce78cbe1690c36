"""Which tables an output folder holds, and the files of each."""

from __future__ import annotations

import pyarrow as pa

from heartbeat_core import storage
from heartbeat_core.errors import InputError
from heartbeat_core.results.duplicates import DUPLICATES
from heartbeat_core.results.files import read_schema
from heartbeat_core.results.notes import Description, describe
from heartbeat_core.storage.uris import PLAN_FOLDER, TABLES, join, to_uri

_PARQUET = ".parquet"


def find_tables(out: str) -> dict[str, tuple[str, ...]]:
    """Return the URIs of the Parquet files of each table in an output folder, the main tables first.

    A table is a folder of parts (``OUT/predictions/``) or one file (``OUT/segments.parquet``). Names that begin with
    ``_`` or ``.`` are no tables.

    Parameters
    ----------
    out : str
        A path or any fsspec URL.

    Returns
    -------
    dict[str, tuple[str, ...]]
        By table, the URIs of its files in order: at least one.

    Raises
    ------
    InputError
        The folder holds no table.
    StorageError
        It cannot be listed.
    """
    uri = to_uri(out)
    found: dict[str, tuple[str, ...]] = {}
    for name in storage.list_names(uri):
        if name.startswith(("_", ".")):
            continue
        if name.endswith(_PARQUET):
            found[name.removesuffix(_PARQUET)] = (join(uri, name),)
        elif "." not in name and (parts := storage.list_parts(join(uri, name))):
            found[name] = tuple(join(uri, name, part) for part in parts)
    if not found:
        raise InputError(
            f"{storage.display(uri)} holds no tables: name the output folder of a job that has written rows"
        )
    return dict(sorted(found.items(), key=lambda item: TABLES.index(item[0]) if item[0] in TABLES else len(TABLES)))


def describe_tables(out: str, table: str | None = None) -> dict[str, list[Description]]:
    """Describe the columns of each table in an output folder, or of one, from the first file of each.

    The last one of ``features`` is ``duplicate_of``, which only its view has.

    Parameters
    ----------
    out : str
        A path or any fsspec URL.
    table : str | None
        The name of a table; None for all.

    Returns
    -------
    dict[str, list[Description]]
        By table, its columns in order.

    Raises
    ------
    InputError
        As ``find_tables``. Also if there is no such table, or its first file is damaged.
    FileNotFoundError, StorageError
        As ``storage.read``.
    """
    tables = find_tables(out)
    if table is not None and table not in tables:
        raise InputError(
            f"there is no table '{table}' in {storage.display(to_uri(out))}: there are {', '.join(tables)}"
        )
    found = {name: describe(read_schema(tables[name][0])) for name in ([table] if table else tables)}
    if "features" in found:  # Its view has one column more than its files.
        found["features"] += describe(pa.schema([DUPLICATES.field("duplicate_of").with_nullable(True)]))
    return found


def has_one_generation(out: str) -> bool:
    """Tell whether the plan says that nothing in an output folder was updated or retried."""
    plan = join(to_uri(out), PLAN_FOLDER)
    return storage.find(join(plan, "000000.json")) is not None and storage.find(join(plan, "000001.json")) is None
