"""A prefix of its own on the S3 server for each test."""

from __future__ import annotations

from hashlib import sha256

import pytest

from tests.s3.server import KEY, SECRET, Store

__all__ = ["KEY", "SECRET", "Store"]


@pytest.fixture
def bucket(s3: Store, request: pytest.FixtureRequest) -> str:
    """Return the URL of a new prefix of a test's own.

    It has a digest in place of the test's parameters: a message that a test looks for must not be found in its place.
    """
    name, _, parameters = request.node.name.partition("[")
    place = f"[{sha256(parameters.encode()).hexdigest()[:8]}]" if parameters else ""
    return f"s3://hearts/{name}{place}"
