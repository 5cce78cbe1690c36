"""A prefix of its own on the S3 server for each test."""

from __future__ import annotations

import pytest

from tests.s3.server import KEY, SECRET, Store

__all__ = ["KEY", "SECRET", "Store"]


@pytest.fixture
def bucket(s3: Store, request: pytest.FixtureRequest) -> str:
    """Return the URL of a new prefix of a test's own."""
    return f"s3://hearts/{request.node.name}"
