"""The endings of tables that users give; ``records`` reads them."""

from __future__ import annotations

from heartbeat_core.errors import InputError

TABLE_SUFFIXES = (".csv", ".parquet", ".jsonl")
"""Endings of manifests and label files."""
_OTHER_SUFFIXES = (".xlsx", ".xls", ".ods", ".tsv", ".json")


def check_is_no_list(path: str, shown: str) -> None:
    """Refuse a file that is named as an input and is a list of recordings in another format.

    Parameters
    ----------
    path : str
    shown : str
        The path, for messages.

    Raises
    ------
    InputError
        Its name ends like that of a spreadsheet, tabbed text or JSON.
    """
    if path.lower().endswith(_OTHER_SUFFIXES):
        raise InputError(
            f"{shown}: no recording, and lists of recordings are {', '.join(TABLE_SUFFIXES)} tables: save it as "
            "one of these"
        )
