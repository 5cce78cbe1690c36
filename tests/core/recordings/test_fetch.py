"""Recordings' bytes: in order, ahead of the computing, within the limits, and each failure by its name."""

from __future__ import annotations

import asyncio
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest
from fsspec.asyn import AsyncFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry

from heartbeat_core import storage
from heartbeat_core.errors import (
    ChangedSinceListed,
    ObjectTooLarge,
    ReadTimeout,
    RecordingNotFound,
    RecordingUnreadable,
    StorageError,
    StoreUnavailable,
)
from heartbeat_core.recordings import fetch
from heartbeat_core.recordings.fetch import READ_AHEAD
from heartbeat_core.recordings.recording import UNKNOWN_SIZE_BYTES, Recording
from heartbeat_core.settings import Limits
from heartbeat_core.storage import retry


@pytest.fixture(params=["file", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place, on disk and in memory."""
    return f"file://{tmp_path}" if request.param == "file" else f"memory:/{tmp_path}"


ENDLESS_S = 40.0
"""What hangs here does so for a minute; who waits this long has not kept a deadline."""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask again after a moment."""
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(retry, "LONGEST_WAIT_S", 0.05)


def recordings(root: str, n: int) -> list[Recording]:
    for number in range(n):
        storage.create(storage.join(root, f"{number:03d}"), str(number).encode())
    return [Recording(storage.join(root, f"{number:03d}"), f"{number:03d}") for number in range(n)]


def listed(uri: str) -> Recording:
    """Return a recording as it is listed now."""
    found = storage.find(uri)
    assert found is not None
    assert found.version is not None
    return Recording(uri, found.relative_path, found.size_bytes, found.version)


def test_recordings_come_in_order(root: str) -> None:
    wanted = recordings(root, 50)[::-1]
    found = list(fetch.read_recordings(iter(wanted), Limits()))
    assert [recording for recording, _ in found] == wanted
    assert [data for _, data in found] == [str(number).encode() for number in range(49, -1, -1)]
    assert list(fetch.read_recordings([], Limits())) == []


def test_a_slow_first_recording_keeps_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    second_was_read = threading.Event()

    def read(recording: Recording, _: Limits) -> bytes:
        if recording.uri == "memory://0":
            assert second_was_read.wait(30)
        if recording.uri == "memory://1":
            second_was_read.set()
        return recording.uri.encode()

    monkeypatch.setattr(fetch, "read_recording", read)
    wanted = [Recording(f"memory://{number}", "") for number in range(3)]
    assert [data for _, data in fetch.read_recordings(wanted, Limits())] == [
        b"memory://0",
        b"memory://1",
        b"memory://2",
    ]


def test_local_files_are_read_one_by_one_in_the_thread_that_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[str, int]] = []

    def read(recording: Recording, _: Limits) -> bytes:
        begun.append((recording.relative_path, threading.get_ident()))
        if recording.relative_path == "b":
            raise RecordingNotFound("b: not found")
        return recording.relative_path.encode()

    monkeypatch.setattr(fetch, "read_recording", read)
    reading = fetch.read_recordings([Recording(storage.to_uri(str(tmp_path / one)), one) for one in "abc"], Limits())
    assert next(reading)[1] == b"a"
    assert begun == [("a", threading.get_ident())]
    found = [data for _, data in reading]
    assert isinstance(found[0], RecordingNotFound)
    assert found[1] == b"c"
    assert {thread for _, thread in begun} == {threading.get_ident()}


class Reads:
    """Stands for ``read_recording`` and counts what was begun and not yet handed over."""

    def __init__(self, opened: bool = True) -> None:
        self.opened = threading.Event()
        if opened:
            self.opened.set()
        self.begun: list[Recording] = []
        self._held: list[int] = []
        self.most_bytes = self.most = self.n_ended = 0
        self._lock = threading.Condition()

    def __call__(self, recording: Recording, _: Limits) -> bytes:
        with self._lock:
            self.begun.append(recording)
            self._held.append(recording.size_bytes or 0)
            self.most = max(self.most, len(self._held))
            if len(self._held) > 1:
                self.most_bytes = max(self.most_bytes, sum(self._held))
            self._lock.notify_all()
        if recording is not self.begun[0]:
            assert self.opened.wait(30)
        with self._lock:
            self.n_ended += 1
        return b"read"

    def taken(self, recording: Recording) -> None:
        with self._lock:
            self._held.remove(recording.size_bytes or 0)

    def wait_for(self, n: int) -> None:
        with self._lock:
            assert self._lock.wait_for(lambda: len(self.begun) >= n, 60)


def test_only_a_few_recordings_are_read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = Reads()
    monkeypatch.setattr(fetch, "read_recording", reads)
    reading = fetch.read_recordings([Recording("memory://x", "", 1)] * 60, Limits())
    for taken in range(1, 41):
        next(reading)
        reads.wait_for(min(60, taken + READ_AHEAD - 1))
        time.sleep(0.002)
        assert len(reads.begun) == min(60, taken + READ_AHEAD - 1)
    reading.close()
    assert len(reads.begun) == 55


@pytest.mark.parametrize(
    "sizes", [[300] * 12, [999, 1, 1, 1_000, 1, 999], [400, 600, 700, 1, 299, 400, 400, 1_000, 200, 500, 500]]
)
def test_no_more_bytes_than_the_budget_are_held(monkeypatch: pytest.MonkeyPatch, sizes: list[int]) -> None:
    reads = Reads()
    monkeypatch.setattr(fetch, "read_recording", reads)
    monkeypatch.setattr(fetch, "READ_AHEAD_BYTES", 1_000)
    wanted = [Recording(f"memory://{number}", "", size) for number, size in enumerate(sizes)]
    found = []
    for recording, _ in fetch.read_recordings(wanted, Limits()):
        time.sleep(0.02)
        reads.taken(recording)
        found.append(recording)
        if len(found) == 4:
            assert 900 <= reads.most_bytes <= 1_000
            reads.most_bytes = 0
    assert found == wanted
    # Filled as far as it goes, and no further, and again by who comes later.
    assert 900 <= reads.most_bytes <= 1_000


def test_all_threads_of_a_process_share_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = Reads(opened=False)
    monkeypatch.setattr(fetch, "read_recording", reads)
    monkeypatch.setattr(fetch, "READ_AHEAD_BYTES", 1_000)
    wanted = [Recording(f"memory://{number}", "", 250) for number in range(12)]
    with ThreadPoolExecutor(3) as pool:
        readings = [pool.submit(lambda: list(fetch.read_recordings(wanted, Limits()))) for _ in range(3)]
        reads.wait_for(4)
        time.sleep(0.2)
        # They fill it together, and who comes to a full one has one all the same; each first one is handed over.
        # Alone, each of the three would hold four.
        assert 4 <= len(reads.begun) <= 6 + 3
        reads.opened.set()
        assert [[recording for recording, _ in reading.result(60)] for reading in readings] == [wanted] * 3
    # What was taken was given back, also by who stopped in the middle.
    reading = fetch.read_recordings(wanted, Limits())
    next(reading)
    reading.close()
    assert fetch._budget._held == 0


def test_one_recording_over_the_whole_budget_is_read_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = Reads()
    monkeypatch.setattr(fetch, "read_recording", reads)
    monkeypatch.setattr(fetch, "READ_AHEAD_BYTES", 1_000)
    huge = [Recording(f"memory://{number}", "", 5_000) for number in range(3)]
    for recording, data in fetch.read_recordings(huge, Limits()):
        assert data == b"read"
        time.sleep(0.02)
        reads.taken(recording)
    assert reads.begun == huge
    assert reads.most == 1


def test_unknown_sizes_count_as_a_mebibyte_each(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = Reads(opened=False)
    monkeypatch.setattr(fetch, "read_recording", reads)
    monkeypatch.setattr(fetch, "READ_AHEAD_BYTES", 3 * UNKNOWN_SIZE_BYTES)
    reading = fetch.read_recordings([Recording(f"memory://{number}", "") for number in range(10)], Limits())
    next(reading)
    time.sleep(0.05)
    assert len(reads.begun) == 3
    reads.opened.set()
    assert len(list(reading)) == 9


def test_a_caller_that_stops_early_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = Reads(opened=False)
    monkeypatch.setattr(fetch, "read_recording", reads)
    reading = fetch.read_recordings([Recording(f"memory://{number}", "", 1) for number in range(100)], Limits())
    try:
        next(reading)
        reads.wait_for(READ_AHEAD)
        reading.close()  # A caller that waited would see the reads fail, which wait for what follows.
        assert reads.n_ended == 1
    finally:
        reads.opened.set()
    time.sleep(0.05)
    assert len(reads.begun) == READ_AHEAD


def test_each_error_stands_in_its_recordings_place(tmp_path: Path) -> None:
    (tmp_path / "good.wav").write_bytes(b"ok")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "large.wav").write_bytes(b"x" * 1_000_001)
    (tmp_path / "limit.wav").write_bytes(b"x" * 1_000_000)
    os.mkfifo(tmp_path / "pipe.wav")
    names = ["good.wav", "missing.wav", "folder.wav", "large.wav", "limit.wav", "good.wav/x", "n" * 300, "nul\0.wav"]
    wanted = [Recording(f"file://{tmp_path}/{name}", name) for name in [*names, "pipe.wav"]]
    wanted.append(Recording("gopher://user:hunter2@host/x.wav", "x.wav"))
    wanted.append(wanted[0])
    found = list(fetch.read_recordings(wanted, Limits(max_object_bytes=1_000_000)))
    assert [recording for recording, _ in found] == wanted
    told = [data if isinstance(data, bytes) else (type(data), data.stage, data.error_type) for _, data in found]
    unreadable = (RecordingUnreadable, "read", "unreadable")
    assert told == [
        b"ok",
        (RecordingNotFound, "read", "not_found"),
        unreadable,
        (ObjectTooLarge, "read", "too_large"),
        b"x" * 1_000_000,
        unreadable,
        unreadable,
        unreadable,
        unreadable,
        unreadable,
        b"ok",
    ]
    for _, data in found:
        assert isinstance(data, bytes) or ("\n" not in str(data) and "hunter2" not in str(data))


def test_too_large_is_told_without_reading(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = storage.join(root, "large")
    storage.create(uri, b"x" * 101)
    filesystem = type(fsspec.filesystem("memory"))
    monkeypatch.setattr(filesystem, "cat_file", lambda *_, **__: pytest.fail("it was read"))
    limits = Limits(max_object_bytes=100)
    for size_bytes in (None, 101):
        with pytest.raises(ObjectTooLarge, match="101 bytes are over the limit of 100"):
            fetch.read_recording(Recording(uri, "", size_bytes), limits)
    # A size that the listing told is believed: nothing is asked of the store.
    with pytest.raises(ObjectTooLarge, match="999 bytes"):
        fetch.read_recording(Recording(storage.join(root, "not there"), "", 999), limits)


def test_errors_of_the_program_stay_loud(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise AssertionError("a defect")

    monkeypatch.setattr(fetch, "read_recording", fail)
    with pytest.raises(AssertionError, match="a defect"):
        list(fetch.read_recordings([Recording("memory://x", "x")], Limits()))


def test_a_recording_that_changed_after_it_was_listed_is_a_failure(root: str) -> None:
    uri = storage.join(root, "a.wav")
    storage.put(uri, b"first")
    one = listed(uri)
    assert fetch.read_recording(one, Limits()) == b"first"
    time.sleep(0.02)
    storage.put(uri, b"other")
    with pytest.raises(ChangedSinceListed, match=r"a\.wav: changed after it was listed$") as caught:
        fetch.read_recording(one, Limits())
    assert (caught.value.stage, caught.value.error_type) == ("read", "changed_since_listed")
    assert fetch.read_recording(listed(uri), Limits()) == b"other"
    # Where the listing said nothing, nothing is held against it.
    assert fetch.read_recording(Recording(uri, "a.wav", 5), Limits()) == b"other"
    storage.remove(uri)
    with pytest.raises(RecordingNotFound):
        fetch.read_recording(one, Limits())


def test_a_local_file_of_the_same_size_and_another_time_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"x")
    one = listed(f"file://{path}")
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000))
    with pytest.raises(ChangedSinceListed):
        fetch.read_recording(one, Limits())
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert fetch.read_recording(one, Limits()) == b"x"


def test_what_grew_over_the_limit_after_it_was_listed_is_not_read(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = storage.join(root, "a.wav")
    storage.put(uri, b"x")
    one = listed(uri)
    storage.put(uri, b"x" * 101)
    monkeypatch.setattr(MemoryFileSystem, "cat_file", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(ObjectTooLarge, match="101 bytes"):
        fetch.read_recording(one, Limits(max_object_bytes=100))


@dataclass
class Web:
    """What a small web server was asked, and how it answers."""

    address: str = ""
    requests: list[tuple[str, str]] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    """How often a path has yet to fail."""
    etag: str = '"1"'
    ended: threading.Event = field(default_factory=threading.Event)

    def uri(self, name: str) -> str:
        return f"{self.address}/{name}?token=hunter2"


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, web: Web, *arguments: object) -> None:
        self.web = web
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].strip("/")
        self.web.requests.append((self.command, self.path))
        kind = path.partition(".")[0]
        if self.command == "GET" and self.web.failures[path] > 0:
            self.web.failures[path] -= 1
        elif self.web.failures[path] <= 0 and path in self.web.failures:
            kind = "good"
        try:
            self.answer(kind)
        except ConnectionError:
            self.close_connection = True

    do_HEAD = do_GET  # noqa: N815

    def answer(self, kind: str) -> None:
        is_get = self.command == "GET"
        if kind == "hung" or (kind == "hangs_later" and is_get):
            self.web.ended.wait(60)
            self.close_connection = True
        elif kind == "reset" and is_get:
            self.close_connection = True
        elif kind == "drip":
            self.head(200, 100)
            while is_get and not self.web.ended.wait(1):
                self.wfile.write(b"x")
        elif kind == "short":
            self.head(200, 4)
            self.wfile.write(b"da" * is_get)
            self.close_connection = is_get
        elif kind == "endless":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x" * 101 * is_get)
            self.close_connection = True
        else:
            statuses = {"good": 200, "hangs_later": 200, "reset": 200, "missing": 404, "closed": 403}
            self.head(int(kind) if kind.isdigit() else statuses[kind], 4)
            self.wfile.write(b"data" * is_get)

    def head(self, status: int, n_bytes: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(n_bytes))
        self.send_header("ETag", self.web.etag)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def web_server() -> Iterator[Web]:
    web = Web()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, web)) as server:
        server.daemon_threads = True
        web.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.02))
        thread.start()
        try:
            yield web
        finally:
            web.ended.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def web() -> Iterator[Web]:
    with web_server() as server:
        yield server


def test_the_web(web: Web) -> None:
    wanted = [Recording(web.uri(name), name) for name in ("good.wav", "missing.wav", "closed.wav")]
    good, missing, closed = (data for _, data in fetch.read_recordings(wanted, Limits()))
    assert good == b"data"
    assert ("GET", "/good.wav?token=hunter2") in web.requests
    assert isinstance(missing, RecordingNotFound)
    assert str(missing) == f"{web.address}/missing.wav: not found"
    assert isinstance(closed, RecordingUnreadable)
    assert str(closed) == f"{web.address}/closed.wav: HTTP status 403"


def test_a_refusal_is_final(web: Web) -> None:
    with pytest.raises(RecordingUnreadable):
        fetch.read_recording(Recording(web.uri("closed.wav"), "", 4), Limits())
    assert [method for method, _ in web.requests] == ["GET"]


def elapsed_s(recording: Recording, limits: Limits, error: type[Exception], match: str) -> float:
    """Read what cannot be read; returns how long that took."""
    started_at = time.monotonic()
    with pytest.raises(error, match=match) as caught:
        fetch.read_recording(recording, limits)
    assert "hunter2" not in str(caught.value)
    return time.monotonic() - started_at


@pytest.mark.parametrize(
    ("name", "size_bytes", "reason"),
    [
        ("503.wav", None, "HTTP status 503"),
        ("reset.wav", 4, "Server disconnected"),
        ("hung.wav", 4, "no answer in time"),
        ("hung.wav", None, "no answer in time"),
        ("hangs_later.wav", None, "no answer in time"),
        ("drip.wav", 100, "no answer in time"),
    ],
)
def test_an_address_that_does_not_answer_is_a_row_within_the_deadline(
    web: Web, name: str, size_bytes: int | None, reason: str
) -> None:
    one = Recording(web.uri(name), name, size_bytes)
    match = rf"^{web.address}/{name}: not read within 1\.1 s: {reason}$"
    took_s = elapsed_s(one, Limits(deadline_s=1.1), ReadTimeout, match)
    assert took_s < ENDLESS_S
    # What hangs is waited for until the deadline; what answers is asked again.
    if reason == "no answer in time":
        assert took_s > 1.0
    else:
        assert len(web.requests) > 2
    assert (ReadTimeout.stage, ReadTimeout.error_type) == ("read", "timeout")


def test_asking_for_the_size_and_reading_have_one_deadline_together(web: Web) -> None:
    store = storage.store_of(web.uri("x"))
    patiences: list[float] = []
    real = store._ask  # type: ignore[attr-defined]

    def ask(method: str, *arguments: object, **options: object) -> object:
        patiences.append(retry.patience_s())
        time.sleep(0.2)
        return real(method, *arguments, **options)

    store._ask = ask  # type: ignore[attr-defined]
    with retry.patience(10.0):
        assert store.get(web.uri("good.wav"), 10, versioned=True).data == b"data"
    assert patiences[0] == 10.0
    assert patiences[1] < 9.81


def test_an_address_where_nobody_listens_is_a_row_within_the_deadline() -> None:
    with web_server() as web:
        pass
    one = Recording(web.uri("a.wav"), "")
    assert elapsed_s(one, Limits(deadline_s=1.0), ReadTimeout, r"/a\.wav: not read within 1 s: Conn") < ENDLESS_S


@pytest.mark.parametrize("name", ["503.wav", "500.wav", "429.wav", "408.wav", "reset.wav", "short.wav"])
def test_transient_errors_are_repeated(web: Web, quick: None, name: str) -> None:
    web.failures[name] = 3
    assert fetch.read_recording(Recording(web.uri(name), name, 4), Limits(deadline_s=20)) == b"data"
    assert [method for method, _ in web.requests] == ["GET"] * 4


def test_a_shard_of_addresses_goes_on_past_those_that_hang(web: Web, quick: None) -> None:
    names = ["good.wav", "hung.wav", "good.wav", "503.wav", "hung.wav", "good.wav"]
    wanted = [Recording(web.uri(name), name, 4) for name in names]
    found = [data for _, data in fetch.read_recordings(wanted, Limits(deadline_s=2.0))]
    # They wait side by side: the good ones have come before the one that fails is given up.
    asked = [path.partition("?")[0] for _, path in web.requests]
    assert asked[-1] == "/503.wav"
    assert asked.count("/503.wav") > 2
    told = [data if isinstance(data, bytes) else data.error_type for data in found]
    assert told == [b"data", "timeout", b"data", "timeout", "timeout", b"data"]


def test_a_web_object_over_the_limit_is_never_fetched(web: Web) -> None:
    limits = Limits(max_object_bytes=3)
    with pytest.raises(ObjectTooLarge, match=r"^http://.*/good\.wav: 4 bytes are over the limit of 3$"):
        fetch.read_recording(Recording(web.uri("good.wav"), ""), limits)
    assert [method for method, _ in web.requests] == ["HEAD"]
    with pytest.raises(ObjectTooLarge):
        fetch.read_recording(Recording(web.uri("good.wav"), "", 4), limits)
    assert len(web.requests) == 1


def test_an_object_of_unknown_size_over_the_limit_is_not_handed_on(web: Web) -> None:
    one = Recording(web.uri("endless.wav"), "")
    assert fetch.read_recording(one, Limits(max_object_bytes=101)) == b"x" * 101
    with pytest.raises(ObjectTooLarge, match="101 bytes are over the limit of 100"):
        fetch.read_recording(one, Limits(max_object_bytes=100))


def test_a_web_object_with_another_etag_has_changed(web: Web) -> None:
    one = listed(web.uri("good.wav"))
    assert one.version == "1"
    assert fetch.read_recording(one, Limits()) == b"data"
    web.etag = '"2"'
    with pytest.raises(ChangedSinceListed) as caught:
        fetch.read_recording(one, Limits())
    assert "hunter2" not in str(caught.value)


class Away(MemoryFileSystem):
    """A store that does not answer at all."""

    protocol = "away"

    def info(self, path: str, **_: object) -> dict[str, object]:
        raise ConnectionResetError("connection lost")

    def cat_file(self, path: str, *_: object, **__: object) -> bytes:
        raise ConnectionResetError("connection lost")


class NeverMade(MemoryFileSystem):
    """A store whose client connects when it is made, and cannot."""

    protocol = "nevermade"
    cachable = False

    def __init__(self, **_: object) -> None:
        raise ConnectionRefusedError("refused")


def test_a_store_that_cannot_be_reached_tells_no_salted_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_registry, "nevermade", NeverMade)
    plain = Recording("nevermade://host/Ana/1.wav", "Ana/1.wav")
    with pytest.raises(StoreUnavailable, match=r"^nevermade://host/Ana/1\.wav: "):
        fetch.read_recording(plain, Limits())
    salted = Recording("salted/12.wav", "12.wav", location=plain.uri)
    with pytest.raises(StoreUnavailable) as caught:
        fetch.read_recording(salted, Limits())
    assert "12.wav" in str(caught.value)
    assert "Ana" not in str(caught.value)


class OneIsAway(Away):
    """A store that answers for all objects but one."""

    protocol = "oneisaway"

    def info(self, path: str, **_: object) -> dict[str, object]:
        return {"name": path, "size": 4, "type": "file"}

    def cat_file(self, path: str, *arguments: object, **options: object) -> bytes:
        return super().cat_file(path) if "bad" in path else b"data"


class OneHangs(AsyncFileSystem):
    """The same over an event loop, where one object's bytes never come."""

    protocol = "onehangs"

    async def _info(self, path: str, **_: object) -> dict[str, object]:
        return {"name": path, "size": 4, "type": "file"}

    async def _cat_file(self, path: str, *_: object, **__: object) -> bytes:
        await asyncio.sleep(60 * ("bad" in path))
        return b"data"


class AllHang(OneHangs):
    """A store that takes requests and never answers."""

    protocol = "allhang"

    async def _info(self, path: str, **_: object) -> dict[str, object]:
        await asyncio.sleep(60)
        raise AssertionError


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    """Make the stores above known by their schemes."""
    for store in (Away, OneIsAway, OneHangs, AllHang):
        monkeypatch.setitem(_registry, store.protocol, store)
    monkeypatch.setattr(fetch, "PROBE_PATIENCE_S", 0.5)


@pytest.mark.parametrize(("scheme", "reason"), [("away", "connection lost"), ("allhang", "no answer in time")])
def test_a_store_that_does_not_answer_ends_the_work(stores: None, scheme: str, reason: str) -> None:
    limits = Limits(deadline_s=1.0)
    one = Recording(f"{scheme}://bucket/bad.wav", "", 4)
    match = rf"^{scheme}://bucket/bad\.wav: the store does not answer: {reason}$"
    started_at = time.monotonic()
    with pytest.raises(StorageError, match=match):
        list(fetch.read_recordings([one], limits))
    assert time.monotonic() - started_at < ENDLESS_S


@pytest.mark.parametrize(("scheme", "reason"), [("oneisaway", "connection lost"), ("onehangs", "no answer in time")])
def test_an_object_that_cannot_be_had_from_a_store_that_answers_is_a_failure(
    stores: None, scheme: str, reason: str
) -> None:
    limits = Limits(deadline_s=2.0)
    wanted = [Recording(f"{scheme}://bucket/{name}.wav", "", 4) for name in ("a", "bad", "c")]
    match = rf"^{scheme}://bucket/bad\.wav: not read within 2 s: {reason}$"
    started_at = time.monotonic()
    first, second, third = (data for _, data in fetch.read_recordings(wanted, limits))
    assert time.monotonic() - started_at < ENDLESS_S
    assert first == third == b"data"
    assert isinstance(second, ReadTimeout)
    assert re.match(match, str(second))
