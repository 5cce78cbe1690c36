"""Files and objects: created whole and once, read in order, listed whatever their names."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from heartbeat_core import storage
from heartbeat_core.errors import InputError, RecordingNotFound, RecordingUnreadable, StorageError
from heartbeat_core.recordings import fetch
from heartbeat_core.recordings.recording import Recording
from heartbeat_core.settings import Limits
from heartbeat_core.storage.stores import Entry, FsspecStore

ODD_NAMES = [
    *("with space.wav", " lead", "trail ", "ünïcödé.wav", "心音.wav", "line\nbreak.wav", "tab\t.wav"),
    *("100%.wav", "a%20b.wav", "what?.wav", "hash#1.wav", "star*.wav", "[set].wav", "{a,b}.wav", "~tilde", "~"),
    *("back\\slash", "colon:x", "chain::x.wav", "s3::http.wav", "-dash", "quote'\".wav", "&;|$(x)`", "a=b"),
]


@pytest.fixture(params=["file", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place, on disk and in memory."""
    if request.param == "file":
        return f"file://{tmp_path}"
    return f"memory:/{tmp_path}"


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("/a/b.wav", "file:///a/b.wav"),
        ("/a/../b/./c//d", "file:///b/c/d"),
        ("/a/b/", "file:///a/b"),
        ("file:///a/b/", "file:///a/b"),
        ("local:///a", "file:///a"),
        ("/a b/100%?#.wav", "file:///a b/100%?#.wav"),
        ("s3://bucket/key/../x?y#z/", "s3://bucket/key/../x?y#z/"),
        ("https://host/a?b", "https://host/a?b"),
        ("memory://x", "memory://x"),
    ],
)
def test_to_uri(text: str, uri: str) -> None:
    assert storage.to_uri(text) == uri
    assert storage.to_uri(uri) == uri


def test_to_uri_of_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert storage.to_uri("a/b.wav") == f"file://{tmp_path}/a/b.wav"
    assert storage.to_uri("./a") == f"file://{tmp_path}/a"
    assert storage.to_uri(".") == f"file://{tmp_path}"
    for nothing in ("", "  ", "file://", "s3://", "s3:///"):
        with pytest.raises(InputError, match=f"^'{nothing}' names no place: give a file, a folder or a URL"):
            storage.to_uri(nothing)
    assert storage.to_uri("~/a") == "file:///home/someone/a"


def test_display_and_join() -> None:
    assert storage.display("file:///a b/c") == "/a b/c"
    assert storage.display("s3://b/k") == "s3://b/k"
    assert storage.join("file:///a/", "b", "c") == "file:///a/b/c"
    assert storage.join("s3://b", "k") == "s3://b/k"


def test_create_read_find_and_remove(root: str) -> None:
    uri = storage.join(root, "folder", "part.parquet")
    assert not storage.exists(uri)
    assert storage.create(uri, b"content")
    assert storage.read(uri) == b"content"
    found = storage.find(uri)
    assert found is not None
    assert (found.relative_path, found.size_bytes) == ("part.parquet", 7)
    assert storage.read(found.uri) == b"content"
    assert storage.exists(uri)
    assert not storage.is_folder(uri)
    assert storage.is_folder(storage.join(root, "folder"))
    assert storage.find(storage.join(root, "folder")) is None
    assert storage.exists(storage.join(root, "folder"))
    storage.remove(uri)
    assert not storage.exists(uri)
    assert storage.find(uri) is None
    storage.remove(uri)


def test_the_first_writer_wins_and_the_second_is_told(root: str) -> None:
    uri = storage.join(root, "x")
    assert storage.create(uri, b"first") is True
    assert storage.create(uri, b"second, and longer") is False
    assert storage.read(uri) == b"first"
    assert storage.list_names(root) == ["x"]


def test_an_empty_file_is_a_file(root: str) -> None:
    uri = storage.join(root, "_SUCCESS")
    assert storage.create(uri, b"")
    assert not storage.create(uri, b"later")
    assert storage.read(uri) == b""


def test_threads_that_race_have_one_winner(root: str) -> None:
    for number in range(20):
        uri = storage.join(root, f"{number}", "x")
        start = threading.Barrier(8)

        def write(writer: int, uri: str = uri, start: threading.Barrier = start) -> bool:
            start.wait()
            return storage.create(uri, bytes([writer]) * 50_000)

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(write, range(8)))
        if root.startswith("memory"):
            # Memory's own check and write are two steps; what is there is whole all the same.
            assert any(won)
            assert len(set(storage.read(uri))) == 1
        else:
            assert won.count(True) == 1
            assert storage.read(uri) == bytes([won.index(True)]) * 50_000
        assert storage.list_names(storage.join(root, f"{number}")) == ["x"]


def _write_many(root: str, writer: int, start: object) -> list[bool]:
    start.wait()  # type: ignore[attr-defined]
    return [storage.create(f"{root}/part-{i:06d}", bytes([writer]) * 20_000) for i in range(30)]


def test_processes_that_race_have_one_winner_a_file(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    root = f"file://{tmp_path}/out"
    with context.Manager() as manager, context.Pool(3) as pool:
        start = manager.Barrier(3)
        won = pool.starmap(_write_many, [(root, writer, start) for writer in range(3)], chunksize=1)
    assert storage.list_names(root) == [f"part-{i:06d}" for i in range(30)]
    for number, results in enumerate(zip(*won, strict=True)):
        assert results.count(True) == 1
        assert storage.read(f"{root}/part-{number:06d}") == bytes([results.index(True)]) * 20_000


def test_a_file_is_synced_before_it_appears_and_its_folder_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out" / "x"
    events: list[str] = []

    def fsync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        events.append(f"sync {'folder' if is_folder else 'file'}, there: {path.exists()}")
        if not is_folder:
            [temporary] = path.parent.iterdir()
            assert temporary.read_bytes() == b"content"
            assert temporary.name.startswith(".x.")
        real(descriptor)

    real = os.fsync
    monkeypatch.setattr(os, "fsync", fsync)
    assert storage.create(f"file://{path}", b"content")
    assert events == ["sync file, there: False", "sync folder, there: True"]


@pytest.mark.parametrize("step", ["fsync", "link"])
def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(StorageError, match=r"/x: cannot be written: No space left on device$"):
            storage.create(f"file://{tmp_path}/x", b"content")
    assert list(tmp_path.iterdir()) == []
    assert storage.create(f"file://{tmp_path}/x", b"content")


def test_a_loser_of_the_race_at_the_link_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(source: Path, target: Path) -> None:
        Path(target).write_bytes(b"the other's")
        real(source, target)

    real = os.link
    monkeypatch.setattr(os, "link", link)
    assert not storage.create(f"file://{tmp_path}/x", b"ours")
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_bytes() == b"the other's"


def test_a_file_in_the_place_of_a_folder_is_no_first_writer(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"")
    for name in ("out/x", "out/sub/x"):
        with pytest.raises(StorageError, match=rf"/{name}: cannot be written: Not a directory$"):
            storage.create(f"file://{tmp_path}/{name}", b"content")


class _Refusing:
    """A filesystem that answers a conditional write with an error of one's choice."""

    def __init__(self, error: Exception, is_there: bool) -> None:
        self.error, self.is_there = error, is_there

    def _strip_protocol(self, uri: str) -> str:
        return uri.removeprefix("s3://")

    def unstrip_protocol(self, path: str) -> str:
        return f"s3://{path}"

    def invalidate_cache(self) -> None:
        """It keeps no listings."""

    def pipe_file(self, path: str, data: bytes, mode: str) -> None:
        assert (path, data, mode) == ("b/k", b"x", "create")
        raise self.error

    def info(self, path: str) -> dict[str, object]:
        if not self.is_there:
            raise FileNotFoundError(path)
        return {"name": path, "size": 1, "type": "file"}

    def isdir(self, path: str) -> bool:
        return False


@pytest.mark.parametrize(
    ("error", "is_there", "outcome"),
    [
        (FileExistsError("there"), True, False),
        (FileExistsError("there"), False, "the store says that it exists, and there is no such file"),
        (OSError(errno.EINVAL, "Invalid argument"), True, False),
        (OSError(errno.EINVAL, "Invalid argument"), False, "Invalid argument"),
        (PermissionError("Access Denied"), True, "Access Denied"),
        (OSError(errno.EIO, "io"), True, "Input/output error"),
    ],
)
def test_what_stores_answer_to_a_conditional_write(
    monkeypatch: pytest.MonkeyPatch, error: Exception, is_there: bool, outcome: bool | str
) -> None:
    store = FsspecStore(_Refusing(error, is_there), "refusing")
    monkeypatch.setattr("heartbeat_core.storage.access.store_of", lambda uri: store)
    if isinstance(outcome, str):
        with pytest.raises(StorageError, match=f"^s3://b/k: cannot be written: {outcome}$"):
            storage.create("s3://b/k", b"x")
    else:
        assert storage.create("s3://b/k", b"x") is outcome


def test_a_file_that_is_removed_between_two_looks_is_created(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another driver gives its folder back at this moment."""
    store = FsspecStore(_Refusing(FileExistsError("there"), is_there=False), "refusing")
    answers = iter([FileExistsError("there"), True])

    def create(uri: str, data: bytes) -> bool:
        answer = next(answers)
        if isinstance(answer, FileExistsError):
            raise answer
        return answer

    monkeypatch.setattr(store, "create", create)
    monkeypatch.setattr("heartbeat_core.storage.access.store_of", lambda uri: store)
    assert storage.create("s3://b/k", b"x") is True


def test_a_link_that_leads_nowhere_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "x").symlink_to(tmp_path / "nothing")
    with pytest.raises(StorageError, match=r"/x: cannot be written: the store says that it exists, and there is no"):
        storage.create(f"file://{tmp_path}/x", b"content")


def test_reading_what_is_not_there(root: str) -> None:
    uri = storage.join(root, "nothing")
    with pytest.raises(FileNotFoundError, match=r"nothing$"):
        storage.read(uri)
    with pytest.raises(StorageError, match="cannot be read back: "):
        storage.read_tail(uri, 8)
    assert storage.list_names(uri) == []


def test_reading_a_folder(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be read: Is a directory"):
        storage.read(f"file://{tmp_path}")


@pytest.mark.parametrize(("n_bytes", "tail"), [(3, b"789"), (10, b"0123456789"), (11, b"0123456789"), (1, b"9")])
def test_read_tail(root: str, n_bytes: int, tail: bytes) -> None:
    uri = storage.join(root, "x")
    storage.create(uri, b"0123456789")
    assert storage.read_tail(uri, n_bytes) == tail


def test_list_names_are_sorted_and_of_one_level(root: str) -> None:
    for name in ("b", "a", "sub/c", "10", "9"):
        storage.create(storage.join(root, name), b"x")
    assert storage.list_names(root) == ["10", "9", "a", "b", "sub"]


def test_an_unknown_scheme_is_named_without_its_secrets() -> None:
    with pytest.raises(InputError, match=r"^gopher://host/x: .*schemes that fsspec knows: .*memory") as caught:
        storage.read("gopher://user:hunter2@host/x")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names(tmp_path: Path, name: str) -> None:
    uri = storage.to_uri(f"{tmp_path}/folder/{name}")
    assert storage.create(uri, name.encode())
    assert storage.exists(uri)
    assert storage.read(uri) == name.encode()
    assert storage.read_tail(uri, 1) == name.encode()[-1:]
    assert storage.list_names(f"file://{tmp_path}/folder") == [name]
    status = os.stat(f"{tmp_path}/folder/{name}")
    modified = datetime.fromtimestamp(status.st_mtime, UTC)
    entry = Entry(uri, name, len(name.encode()), f"{status.st_size}-{status.st_mtime_ns}", modified)
    assert list(storage.walk(f"file://{tmp_path}/folder")) == [entry]
    assert storage.find(uri) == entry
    assert fetch.read_recording(Recording(uri, name, entry.size_bytes, entry.version), Limits()) == name.encode()
    storage.remove(uri)
    assert not storage.exists(uri)


def test_walk_lists_all_files_in_order_with_their_sizes(tmp_path: Path) -> None:
    for number, name in enumerate(["b.wav", "a/z.wav", "a/b/c.wav", "a.wav", ".hidden", *ODD_NAMES]):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * number)
    (tmp_path / "empty").mkdir()
    found = list(storage.walk(f"file://{tmp_path}"))
    assert {entry.relative_path for entry in found} == {
        *("b.wav", "a/z.wav", "a/b/c.wav", "a.wav", ".hidden"),
        *ODD_NAMES,
    }
    for entry in found:
        assert entry.uri == f"file://{tmp_path}/{entry.relative_path}"
        assert entry.size_bytes == (tmp_path / entry.relative_path).stat().st_size
    assert list(storage.walk(f"file://{tmp_path}")) == found
    assert list(storage.walk(f"file://{tmp_path}/empty")) == []


def test_walk_is_sorted(root: str) -> None:
    names = ["a/1", "a/10", "a/2", "a0", "b", "c/1", "d"]
    for name in reversed(names):
        storage.create(storage.join(root, name), b"x")
    assert [entry.relative_path for entry in storage.walk(root)] == names
    assert [entry.relative_path for entry in storage.walk(storage.join(root, "a"))] == ["1", "10", "2"]
    for entry in storage.walk(root):
        assert storage.read(entry.uri) == b"x"
        assert entry.size_bytes == 1


def test_links(tmp_path: Path) -> None:
    (tmp_path / "real.wav").write_bytes(b"abc")
    (tmp_path / "link.wav").symlink_to("real.wav")
    (tmp_path / "dangling.wav").symlink_to("nowhere.wav")
    (tmp_path / "itself.wav").symlink_to("itself.wav")
    found = {entry.relative_path: entry.size_bytes for entry in storage.walk(f"file://{tmp_path}")}
    assert found == {"real.wav": 3, "link.wav": 3, "dangling.wav": None, "itself.wav": None}
    limits = Limits()
    assert fetch.read_recording(Recording(f"file://{tmp_path}/link.wav", ""), limits) == b"abc"
    with pytest.raises(RecordingNotFound, match=r"dangling\.wav: not found$"):
        fetch.read_recording(Recording(f"file://{tmp_path}/dangling.wav", ""), limits)
    with pytest.raises(RecordingUnreadable, match=r"itself\.wav: Too many levels of symbolic links$"):
        fetch.read_recording(Recording(f"file://{tmp_path}/itself.wav", ""), limits)


def test_a_folder_that_may_not_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Told by the system call and not by chmod, which does not stop root.
    closed = tmp_path / "open" / "closed"
    closed.mkdir(parents=True)

    def scandir(path: str) -> Iterator[os.DirEntry[str]]:
        if Path(path) == closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path)

    real = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match=rf"^{closed}: cannot be listed: Permission denied$"):
        list(storage.walk(f"file://{tmp_path}"))


def test_a_folder_that_is_not_there_cannot_be_walked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing: cannot be listed: No such file or directory$"):
        list(storage.walk(f"file://{tmp_path}/nothing"))


def test_globs_give_paths_below_the_part_without_wildcards(root: str) -> None:
    for name in ("set/a/1.wav", "set/a/2.txt", "set/b/1.wav", "set/b/c/1.wav", "other/1.wav"):
        storage.create(storage.join(root, name), b"abc")

    def found(pattern: str) -> list[str]:
        return [entry.relative_path for entry in storage.expand_glob(storage.join(root, pattern))]

    assert found("set/*/1.wav") == ["a/1.wav", "b/1.wav"]
    assert found("set/a/?.*") == ["1.wav", "2.txt"]
    assert found("set/**/1.wav") == ["a/1.wav", "b/1.wav", "b/c/1.wav"]
    assert found("set/[b]/1.wav") == ["b/1.wav"]
    assert found("set/*") == []
    assert found("nothing/*") == []
    [entry] = storage.expand_glob(storage.join(root, "oth*/1.wav"))
    assert storage.read(entry.uri) == b"abc"
    assert entry.size_bytes == 3


def test_a_large_file_survives(root: str) -> None:
    data = os.urandom(3_000_000)
    uri = storage.join(root, "large")
    storage.create(uri, data)
    assert hashlib.sha256(storage.read(uri)).digest() == hashlib.sha256(data).digest()


def test_special_files_are_marked(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "heart.wav").write_bytes(b"x")
    (tmp_path / "to_pipe.wav").symlink_to("pipe.wav")
    (tmp_path / "nowhere.wav").symlink_to("missing")
    expected = {"heart.wav": False, "nowhere.wav": False, "pipe.wav": True, "to_pipe.wav": True}
    for found in (storage.walk(f"file://{tmp_path}"), storage.expand_glob(f"file://{tmp_path}/*.wav")):
        assert {entry.relative_path: entry.is_special for entry in found} == expected


def test_a_glob_that_is_no_glob_is_refused_in_one_line(root: str) -> None:
    with pytest.raises(InputError, match=r"/a\*\*: .*'\*\*' can only be an entire path component"):
        list(storage.expand_glob(f"{root}/a**"))


def test_the_check_for_writing_leaves_nothing_behind(tmp_path: Path) -> None:
    storage.check_writable(f"file://{tmp_path}/new")
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match="cannot be written"):
        storage.check_writable(f"file://{tmp_path}/file/below")
