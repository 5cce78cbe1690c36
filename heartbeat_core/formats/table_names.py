"""The endings of tables that users give; ``records`` reads them."""

from __future__ import annotations

TABLE_SUFFIXES = (".csv", ".parquet", ".jsonl")
"""Endings of manifests and label files."""
