"""A real S3 server (SeaweedFS) on loopback, and a prefix of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.s3.server import KEY, SECRET, NoServerError, Store, running_store

__all__ = ["KEY", "SECRET", "Store"]


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Start the server."""
    try:
        with running_store(tmp_path_factory.mktemp("seaweedfs")) as store:
            yield store
    except NoServerError as error:
        pytest.skip(str(error))


@pytest.fixture
def s3(seaweedfs: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Return the server; the standard variables of this process point at it."""
    for name, value in seaweedfs.variables().items():
        monkeypatch.setenv(name, value)
    return seaweedfs


@pytest.fixture
def bucket(s3: Store, request: pytest.FixtureRequest) -> str:
    """Return the URL of a new prefix of a test's own."""
    return f"s3://hearts/{request.node.name}"
