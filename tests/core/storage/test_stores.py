"""The stores themselves: the order of a walk, files written whole, versions, and stores that ignore a condition."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry
from hypothesis import given, settings
from hypothesis import strategies as st

from heartbeat_core import storage
from heartbeat_core.errors import StorageError, StoreUnavailable
from heartbeat_core.settings import S3Settings
from heartbeat_core.storage import retry, stores
from heartbeat_core.storage.access import Access
from heartbeat_core.storage.local import LocalStore
from heartbeat_core.storage.stores import FsspecStore

NAMES = st.text(st.sampled_from("ab.- !0é~%#"), min_size=1, max_size=3).filter(lambda name: name not in (".", ".."))
"""Names that sort before, at and behind the slash."""


@st.composite
def trees(draw: st.DrawFn) -> list[str]:
    """Return paths of files, none of which is a folder of another."""
    paths = draw(st.lists(st.lists(NAMES, min_size=1, max_size=4).map("/".join), max_size=12, unique=True))
    return [path for path in paths if not any(other.startswith(f"{path}/") for other in paths)]


def plain_walk(root: str) -> list[str]:
    """Return the paths of all files, sorted."""
    return sorted(
        os.path.join(folder, name).removeprefix(f"{root}/") for folder, _, names in os.walk(root) for name in names
    )


@given(trees())
@settings(max_examples=60)
def test_a_walk_is_in_the_order_of_the_paths(paths: list[str]) -> None:
    memory = f"memory://{uuid4()}"
    with TemporaryDirectory() as root:
        for path in paths:
            Path(root, path).parent.mkdir(parents=True, exist_ok=True)
            Path(root, path).write_bytes(path.encode())
            storage.put(f"{memory}/{path}", path.encode())
        expected = plain_walk(root)
        assert expected == sorted(paths)
        local = list(LocalStore().walk(f"file://{root}"))
        assert [entry.relative_path for entry in local] == expected
        assert [entry.uri for entry in local] == [f"file://{root}/{path}" for path in expected]
        assert [entry.size_bytes for entry in local] == [len(path.encode()) for path in expected]
    if paths:
        remote = list(storage.store_of(memory).walk(memory))
        assert [entry.relative_path for entry in remote] == expected
        assert [storage.read(entry.uri).decode() for entry in remote] == expected
        fsspec.filesystem("memory").rm(memory, recursive=True)


def test_a_walk_holds_the_open_folders_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in "abc":
        storage.put(f"file://{tmp_path}/{folder}/1", b"")
    opened: list[str] = []
    real = os.scandir

    def scandir(path: str) -> object:
        opened.append(os.path.relpath(path, tmp_path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    walk = LocalStore().walk(f"file://{tmp_path}")
    assert next(walk).relative_path == "a/1"
    assert opened == [".", "a"]
    assert next(walk).relative_path == "b/1"
    assert opened == [".", "a", "b"]


def walked(folder: Path) -> list[str]:
    return [entry.relative_path for entry in LocalStore().walk(f"file://{folder}")]


def matched(pattern: str) -> list[str]:
    return [entry.relative_path for entry in LocalStore().glob(f"file://{pattern}")]


def test_a_link_to_a_folder_that_is_walked_anyway_is_not_followed(tmp_path: Path) -> None:
    storage.put(f"file://{tmp_path}/real/1", b"x")
    (tmp_path / "real" / "up").symlink_to("..")
    (tmp_path / "real" / "itself").symlink_to("itself")
    (tmp_path / "linked").symlink_to("real")
    assert walked(tmp_path) == ["real/1", "real/itself"]
    # An input that is a link itself is what it leads to.
    assert walked(tmp_path / "linked") == ["1", "itself"]


def test_a_link_to_a_folder_elsewhere_is_followed_once(tmp_path: Path) -> None:
    storage.put(f"file://{tmp_path}/in/own/1", b"x")
    storage.put(f"file://{tmp_path}/elsewhere/ward/2", b"xx")
    storage.put(f"file://{tmp_path}/elsewhere/3", b"xxx")
    (tmp_path / "in" / "a").symlink_to("../elsewhere/ward")
    (tmp_path / "in" / "b").symlink_to("../elsewhere/ward")
    (tmp_path / "in" / "c").symlink_to("../elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to("../in")
    (tmp_path / "elsewhere" / "round").symlink_to(".")
    assert walked(tmp_path / "in") == ["a/2", "c/3", "own/1"]
    found = {entry.relative_path: entry for entry in LocalStore().walk(f"file://{tmp_path}/in")}
    assert found["a/2"].uri == f"file://{tmp_path}/in/a/2"
    assert found["a/2"].size_bytes == 2
    assert matched(f"{tmp_path}/in/**") == ["a/2", "c/3", "own/1"]


def test_a_link_to_a_folder_whose_name_begins_like_the_inputs_is_followed(tmp_path: Path) -> None:
    storage.put(f"file://{tmp_path}/in/1", b"x")
    storage.put(f"file://{tmp_path}/in-2026/2", b"x")
    (tmp_path / "in" / "more").symlink_to("../in-2026")
    assert walked(tmp_path / "in") == ["1", "more/2"]


def test_a_link_to_a_folder_above_the_input_ends(tmp_path: Path) -> None:
    storage.put(f"file://{tmp_path}/in/1", b"x")
    storage.put(f"file://{tmp_path}/beside/2", b"x")
    (tmp_path / "in" / "up").symlink_to("..")
    assert walked(tmp_path / "in") == ["1", "up/beside/2"]


def test_a_glob_follows_links_to_folders_and_gives_each_file_once(tmp_path: Path) -> None:
    storage.put(f"file://{tmp_path}/set/real/1", b"x")
    storage.put(f"file://{tmp_path}/elsewhere/deep/2", b"x")
    (tmp_path / "set" / "far").symlink_to("../elsewhere")
    (tmp_path / "set" / "near").symlink_to("real")
    (tmp_path / "set" / "round").symlink_to(".")
    assert matched(f"{tmp_path}/set/far/*/2") == ["deep/2"]
    assert matched(f"{tmp_path}/set/f*/*/2") == ["far/deep/2"]
    # Both lead to one file: the path without a link is taken, where it matches.
    assert matched(f"{tmp_path}/set/*/1") == ["real/1"]
    assert matched(f"{tmp_path}/set/n*/1") == ["near/1"]
    assert matched(f"{tmp_path}/set/**/?") == ["far/deep/2", "real/1"]
    assert matched(f"{tmp_path}/set/*/**/2") == ["far/deep/2"]
    assert matched(f"{tmp_path}/set/*") == []


@given(trees())
@settings(max_examples=40)
def test_a_local_glob_matches_what_the_one_in_memory_does(paths: list[str]) -> None:
    memory = f"memory://{uuid4()}"
    with TemporaryDirectory() as root:
        for path in paths:
            storage.put(f"file://{root}/{path}", b"x")
            storage.put(f"{memory}/{path}", b"x")
        for pattern in ("*", "?", "**", "**/a*", "a*/*", "*/*/?", "[ab]*/**/*", "[!a]*", "a/**/b"):
            local = [entry.relative_path for entry in storage.expand_glob(f"file://{root}/{pattern}")]
            remote = [entry.relative_path for entry in storage.expand_glob(f"{memory}/{pattern}")] if paths else []
            assert sorted(local) == sorted(remote), pattern
    if paths:
        fsspec.filesystem("memory").rm(memory, recursive=True)


@pytest.fixture(params=["file", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place, on disk and in memory."""
    return f"file://{tmp_path}" if request.param == "file" else f"memory:/{tmp_path}"


def version(uri: str) -> str:
    """Return the version that is told of a file; the same by each way of asking."""
    found = storage.find(uri)
    assert found is not None
    assert found.version is not None
    [walked] = storage.walk(uri.rpartition("/")[0])
    [matched] = storage.expand_glob(uri[:-1] + "?")
    read = storage.store_of(uri).get(uri, None, versioned=True)
    assert walked.version == matched.version == read.version == found.version
    assert walked.modified == matched.modified == found.modified
    return found.version


def test_versions_change_with_the_content_and_with_nothing_else(root: str) -> None:
    uri = f"{root}/sub/a.wav"
    versions = []
    for data in (b"a", b"b", b"cc", b"a"):
        storage.put(uri, data)
        versions.append(version(uri))
        assert version(uri) == versions[-1]
        time.sleep(0.02)
    assert len(set(versions)) == 4


def test_the_time_is_told_in_utc(root: str) -> None:
    storage.put(f"{root}/a", b"x")
    found = storage.find(f"{root}/a")
    assert found is not None
    assert found.modified is not None
    assert found.modified.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - found.modified) < timedelta(minutes=1)


class Told(MemoryFileSystem):
    """A filesystem that tells of its files what it is told to."""

    protocol = "told"
    facts: dict[str, object] = {}  # noqa: RUF012

    def info(self, path: str, **_: object) -> dict[str, object]:
        return {"name": path, "size": 7, "type": "file", **self.facts}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"ETag": '"abc-2"', "LastModified": datetime(2024, 1, 1, tzinfo=UTC)}, "abc-2"),
        ({"etag": "abc", "mtime": 1}, "abc"),
        ({"md5Hash": "YWJj", "updated": "2024-01-01T00:00:00Z"}, "YWJj"),
        ({"mtime": 1_700_000_000.25}, "7-2023-11-14T22:13:20.250000+00:00"),
        ({"last_modified": datetime(2024, 1, 1)}, "7-2024-01-01T00:00:00+00:00"),
        ({"LastModified": "", "modified": datetime(2024, 1, 1, tzinfo=UTC)}, "7-2024-01-01T00:00:00+00:00"),
        ({"ETag": None}, None),
        ({}, None),
    ],
)
def test_the_version_comes_from_what_a_filesystem_says(
    monkeypatch: pytest.MonkeyPatch, facts: dict[str, object], expected: str | None
) -> None:
    monkeypatch.setattr(Told, "facts", facts)
    store = FsspecStore(Told(), "told")
    found = store.find("told://a")
    assert found is not None
    assert found.version == expected


def test_put_writes_over_what_is_there(root: str) -> None:
    uri = f"{root}/sub/x"
    storage.put(uri, b"first")
    storage.put(uri, b"2")
    assert storage.read(uri) == b"2"
    assert storage.list_names(f"{root}/sub") == ["x"]


def test_a_local_put_is_seen_whole_or_not_at_all(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/x"
    storage.put(uri, bytes([0]) * 300_000)
    ended = threading.Event()
    seen: list[bytes] = []

    def look() -> None:
        while not ended.is_set():
            seen.append(storage.read(uri))

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(look) for _ in range(2)]
        for number in range(1, 60):
            storage.put(uri, bytes([number]) * 300_000)
        ended.set()
        for reader in readers:
            reader.result()
    assert {len(data) for data in seen} == {300_000}
    assert all(data == data[:1] * 300_000 for data in seen)
    assert len({data[0] for data in seen}) > 2
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_put_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    uri = f"file://{tmp_path}/x"
    storage.put(uri, b"first")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(StorageError, match=r"/x: cannot be written: No space left on device$"):
            storage.put(uri, b"second")
    assert storage.read(uri) == b"first"
    assert os.listdir(tmp_path) == ["x"]


def test_a_put_in_the_place_of_a_folder_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(StorageError, match=r"/x: cannot be written: Is a directory$"):
        storage.put(f"file://{tmp_path}/x", b"content")
    assert os.listdir(tmp_path) == ["x"]


class Keeping(MemoryFileSystem):
    """A filesystem that looks for a file in the listing that it kept of the folder, as gcsfs does."""

    protocol = "keeping"
    store: dict[str, Any] = {}  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.removeprefix("keeping://").strip("/")

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        folder = self._strip_protocol(path)
        if folder not in self.dircache:
            self.dircache[folder] = super().ls(path, detail=True, **options)
        found: list[Any] = self.dircache[folder]
        return found if detail else [info["name"] for info in found]

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        kept = self._ls_from_cache(self._strip_protocol(path))
        if kept is None:
            found: dict[str, Any] = super().info(path, **options)
            return found
        if not kept:
            raise FileNotFoundError(path)
        return dict(kept[0])

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        if mode == "create" and self._strip_protocol(path) in self.store:
            raise FileExistsError(path)
        super().pipe_file(path, value)

    def invalidate_cache(self, path: str | None = None) -> None:
        self.dircache.clear()


def test_a_listing_from_before_does_not_hide_what_another_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_registry, "keeping", Keeping)
    monkeypatch.setattr(Keeping, "store", {})
    assert storage.create("keeping://out/mine", b"1")
    assert storage.list_names("keeping://out") == ["mine"]
    FsspecStore(Keeping(skip_instance_cache=True), "other").put("keeping://out/claim", b"other")
    assert not storage.create("keeping://out/claim", b"mine")
    assert storage.read("keeping://out/claim") == b"other"


class Careless(MemoryFileSystem):
    """A store that takes a conditional write and ignores the condition."""

    protocol = "careless"
    store: dict[str, object] = {}  # noqa: RUF012
    asked: list[str] = []  # noqa: RUF012

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: object) -> None:
        self.asked.append(f"pipe {mode}")
        super().pipe_file(path, value)

    def info(self, path: str, **options: object) -> dict[str, object]:
        self.asked.append("info")
        found: dict[str, object] = super().info(path, **options)
        return found


@pytest.fixture
def careless(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A careless store, empty; returns what it is asked."""
    monkeypatch.setitem(_registry, "careless", Careless)
    monkeypatch.setattr(Careless, "store", {})
    asked: list[str] = []
    monkeypatch.setattr(Careless, "asked", asked)
    return asked


def test_stores_that_obey_conditions_are_recognised(root: str) -> None:
    storage.put(f"{root}/mine", b"")
    assert storage.honours_conditions(root)
    assert storage.list_names(root) == ["mine"]
    assert storage.honours_conditions(f"{root}/new")


def test_a_store_that_ignores_the_condition_is_found_out(careless: list[str]) -> None:
    assert not storage.honours_conditions("careless://out")
    assert Careless.store == {}
    assert careless.count("pipe create") == 2
    # What is done about it is another's business.
    assert storage.create("careless://out/x", b"first")
    assert storage.create("careless://out/x", b"second")
    assert storage.read("careless://out/x") == b"second"


class Lying(Careless):
    """A store that says no, and writes all the same."""

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: object) -> None:
        was_there = path in self.store
        super().pipe_file(path, value)
        if was_there:
            raise FileExistsError(path)


def test_a_store_that_refuses_and_writes_all_the_same_is_found_out(
    careless: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_registry, "careless", Lying)
    assert not storage.honours_conditions("careless://out")
    assert Careless.store == {}


def test_the_probe_of_a_folder_that_cannot_be_written(careless: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(Careless, "pipe_file", fail)
    with pytest.raises(StorageError, match="cannot be written: Access Denied"):
        storage.honours_conditions("careless://out")


def test_create_looks_first_where_the_store_ignores_conditions(careless: list[str]) -> None:
    with storage.using(Access(looks_first=True), 5.0):
        assert storage.create("careless://out/x", b"first")
        assert careless == ["info", "pipe create"]
        careless.clear()
        assert not storage.create("careless://out/x", b"second")
        assert careless == ["info"]
    assert storage.read("careless://out/x") == b"first"
    # Outside of the block nobody looks.
    assert storage.create("careless://out/x", b"third")
    assert storage.read("careless://out/x") == b"third"


def test_access_nests_and_reaches_the_threads_of_a_pool(careless: list[str]) -> None:
    storage.put("careless://out/x", b"first")

    def create() -> bool:
        return storage.create("careless://out/x", b"second")

    with ThreadPoolExecutor(1) as pool, storage.using(Access(looks_first=True), 3.0):
        assert retry.patience_s() == 3.0
        with storage.using(Access(), 2.0):
            assert retry.patience_s() == 2.0
            assert create()
        assert retry.patience_s() == 3.0
        assert not create()
        assert not retry.submit(pool, create).result()
    assert retry.patience_s() == retry.DEFAULT_PATIENCE_S


def test_access_holds_names_only() -> None:
    assert Access() == storage.FROM_ENVIRONMENT == Access(S3Settings(), looks_first=False)
    assert hash(Access(S3Settings(profile="p"))) != hash(Access())


def test_an_s3_store_is_made_once_for_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[S3Settings] = []

    class Slow:
        def __init__(self, settings: S3Settings) -> None:
            made.append(settings)
            time.sleep(0.05)

    monkeypatch.setattr("heartbeat_core.storage.s3.S3Store", Slow)
    found = S3Settings(endpoint_url=f"http://{uuid4()}")
    with storage.using(Access(found), 1.0), ThreadPoolExecutor(8) as pool:
        all_found = [retry.submit(pool, storage.store_of, "s3://b/k") for _ in range(8)]
    assert len({id(one.result()) for one in all_found}) == 1
    assert made == [found]


@contextmanager
def failing(times: int, error: Exception, monkeypatch: pytest.MonkeyPatch, method: str) -> Iterator[list[str]]:
    """Let a method of the filesystem in memory fail a few times."""
    asked: list[str] = []
    real = getattr(MemoryFileSystem, method)

    def call(self: MemoryFileSystem, path: str, *arguments: object, **options: object) -> object:
        asked.append(path)
        if len(asked) <= times:
            raise error
        return real(self, path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(retry, "FIRST_WAIT_S", 0.01)
        patch.setattr(MemoryFileSystem, method, call)
        yield asked


@pytest.mark.parametrize("method", ["info", "cat_file", "pipe_file", "rm_file", "ls"])
def test_every_request_is_repeated_after_a_transient_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    root = f"memory:/{tmp_path}"
    storage.put(f"{root}/x", b"x")
    with failing(2, ConnectionResetError("reset"), monkeypatch, method) as asked:
        if method == "info":
            assert storage.find(f"{root}/x") is not None
        elif method == "cat_file":
            assert storage.read(f"{root}/x") == b"x"
        elif method == "pipe_file":
            assert storage.create(f"{root}/y", b"y")
        elif method == "rm_file":
            storage.remove(f"{root}/x")
        else:
            assert storage.list_names(root) == ["x"]
        assert len(asked) == 3
    with failing(1, PermissionError("Access Denied"), monkeypatch, "info") as asked:
        with pytest.raises(StorageError, match="Access Denied"):
            storage.find(f"{root}/x")
        assert len(asked) == 1


def test_messages_hold_no_secret_of_an_address() -> None:
    uri = "http://user:hunter2@127.0.0.1:9/a?token=hunter2"
    with storage.using(Access(), 0.0):
        for ask in (storage.read, storage.find, storage.is_folder, storage.list_names):
            with pytest.raises(StorageError, match=r"^http://127\.0\.0\.1:9/a: ") as caught:
                ask(uri)  # type: ignore[operator]
            assert "hunter2" not in str(caught.value)
        with pytest.raises(StorageError, match=r"^http://127\.0\.0\.1:9/a: ") as caught:
            storage.create(uri, b"")
        assert "hunter2" not in str(caught.value)
        with pytest.raises(StoreUnavailable, match=r"^http://127\.0\.0\.1:9/a: ") as listed:
            list(storage.walk(uri))
        assert "hunter2" not in str(listed.value)
    assert "hunter2" not in storage.reason(FileNotFoundError(uri))


def test_one_gate_a_store() -> None:
    assert stores.gate("a store") is stores.gate("a store")
    assert stores.gate("a store") is not stores.gate("another")
    first, second = (storage.store_of(f"http://host-{name}/x") for name in "ab")
    assert first._gate is not second._gate  # type: ignore[attr-defined]
    assert storage.store_of("http://host-a/y?z")._gate is first._gate  # type: ignore[attr-defined]
