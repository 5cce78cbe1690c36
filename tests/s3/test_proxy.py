"""The fault proxy itself: what it passes on, what it breaks, and what it counts."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import s3fs
from aiohttp import ClientPayloadError
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    FlexibleChecksumError,
    ReadTimeoutError,
)

from tests.s3.conftest import KEY, SECRET, Store
from tests.s3.proxy import Fault, FaultProxy, Request

DATA = bytes(range(256)) * 40
LISTING = "/hearts?list-type=2&prefix=a"
METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE")


@dataclass
class Upstream:
    """A plain store over HTTP/1.1 that keeps what it was asked."""

    endpoint: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str, Message, bytes]] = field(default_factory=list)
    answers: dict[str, dict[str, str]] = field(default_factory=dict)
    """Headers of the answer for a path."""


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """Serve a plain store with one object and one listing."""
    store = Upstream(objects={"/hearts/a": DATA, LISTING: b"<listing/>", "/": b"<buckets/>"})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            store.asked.append((self.command, self.path, self.headers, body))
            if self.command == "PUT":
                store.objects[self.path] = body
            if self.command == "DELETE":
                store.objects.pop(self.path, None)
            found = store.objects.get(self.path)
            content = b"no such key" if found is None else found
            self.send_response(404 if found is None else 200)
            for name, value in store.answers.get(self.path, {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    for method in METHODS:
        setattr(Handler, f"do_{method}", Handler.handle_any)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    store.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    yield store
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def proxy(upstream: Upstream) -> Iterator[FaultProxy]:
    """Stand before the plain store."""
    with FaultProxy(upstream.endpoint) as proxy:
        proxy.stall_s = 0.5
        yield proxy


def ask(
    endpoint: str, method: str, path: str, body: bytes | None = None, **more: Any
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Send one request over a connection of its own; nothing is tried twice."""
    connection = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=20, **more)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def differing_bits(left: bytes, right: bytes) -> int:
    """Return in how many bits two equally long strings differ."""
    assert len(left) == len(right)
    return (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).bit_count()


def test_request_is_passed_on_byte_for_byte(upstream: Upstream, proxy: FaultProxy) -> None:
    path = "/hearts/a%20b+%C3%BC/../x//%2F%7E~'(!)?prefix=%2Fa+b&z=&a=%e2&list-type=2&x=a%26b"
    connection = http.client.HTTPConnection(urlsplit(proxy.endpoint).netloc, timeout=20)
    connection.putrequest("PUT", path, skip_host=True, skip_accept_encoding=True)
    headers = [("Host", "hearts.s3.example:81"), ("X-Amz-Meta-A", "1"), ("X-Amz-Meta-A", "2"), ("Content-Length", "3")]
    for name, value in [*headers, ("Connection", "keep-alive, x-hop"), ("X-Hop", "1"), ("TE", "trailers")]:
        connection.putheader(name, value)
    connection.endheaders(b"abc")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"abc")
    connection.close()
    ((method, arrived_path, arrived, body),) = upstream.asked
    assert (method, arrived_path, body) == ("PUT", path, b"abc")
    assert sorted(arrived.items()) == sorted(headers)
    assert [(one.method, one.path, one.fault, one.status) for one in proxy.requests] == [("PUT", path, None, 200)]


def test_chunks_of_aws_arrive_as_they_were_sent(upstream: Upstream, proxy: FaultProxy) -> None:
    body = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"
    head = (
        "PUT /hearts/chunked HTTP/1.1\r\nHost: x\r\nContent-Encoding: aws-chunked\r\nExpect: 100-continue\r\n"
        "Transfer-Encoding: chunked\r\nX-Amz-Trailer: x-amz-checksum-crc32\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", urlsplit(proxy.endpoint).port or 0), timeout=20) as client:
        client.sendall(head.encode())
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        answer = b"".join(iter(lambda: client.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 200")
    ((_, _, arrived, arrived_body),) = upstream.asked
    assert arrived_body == body
    assert arrived["Content-Encoding"] == "aws-chunked"
    assert arrived["X-Amz-Trailer"] == "x-amz-checksum-crc32"
    assert arrived["Content-Length"] == str(len(body))
    assert arrived["Expect"] is None
    assert arrived["Transfer-Encoding"] is None


def test_answer_is_passed_on_as_it_is(upstream: Upstream, proxy: FaultProxy) -> None:
    packed = gzip.compress(DATA)
    upstream.objects["/hearts/a.gz"] = packed
    told = {"Content-Encoding": "gzip", "ETag": '"abc"', "Content-Type": "audio/x-wav"}
    upstream.answers["/hearts/a.gz"] = {**told, "Connection": "x-hop", "X-Hop": "1"}
    for method, body in (("GET", packed), ("HEAD", b"")):
        status, headers, content = ask(proxy.endpoint, method, "/hearts/a.gz")
        assert (status, content) == (200, body)
        assert {name: headers[name] for name in told} == told
        assert headers["Content-Length"] == str(len(packed))
        assert headers["X-Hop"] is None
    assert ask(proxy.endpoint, "GET", "/hearts/none")[::2] == (404, b"no such key")
    assert [one.status for one in proxy.requests] == [200, 200, 404]


def test_packed_body_stays_packed(upstream: Upstream, proxy: FaultProxy) -> None:
    connection = http.client.HTTPConnection(urlsplit(proxy.endpoint).netloc, timeout=20)
    connection.request("PUT", "/hearts/a.gz", gzip.compress(DATA, mtime=0), {"Content-Encoding": "gzip"})
    assert connection.getresponse().status == 200
    connection.close()
    assert upstream.objects["/hearts/a.gz"] == gzip.compress(DATA, mtime=0)


@pytest.mark.parametrize("size", [0, 5_000_000])
def test_body_of_any_size_passes(upstream: Upstream, proxy: FaultProxy, size: int) -> None:
    body = os.urandom(size)
    assert ask(proxy.endpoint, "PUT", "/hearts/b", body)[2] == body
    assert upstream.objects["/hearts/b"] == body
    assert upstream.asked[0][2]["Content-Length"] == str(size)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (Fault.SLOW_DOWN, 503, b"<Code>SlowDown</Code>"),
        (Fault.TOO_MANY, 429, b"<Code>TooManyRequests</Code>"),
        (Fault.INTERNAL, 500, b"<Code>InternalError</Code>"),
        (Fault.ERROR_BODY, 200, b"<Code>InternalError</Code>"),
    ],
)
def test_error_in_place_of_an_answer(
    upstream: Upstream, proxy: FaultProxy, fault: Fault, status: int, code: bytes
) -> None:
    proxy.rates[fault] = 1
    found, headers, body = ask(proxy.endpoint, "GET", "/hearts/a")
    assert (found, headers["Content-Type"]) == (status, "application/xml")
    assert code in body
    assert not upstream.asked
    assert [(one.fault, one.status) for one in proxy.requests] == [(fault, status)]


def test_reset_and_lost_response(upstream: Upstream, proxy: FaultProxy) -> None:
    for fault, is_done in ((Fault.RESET, False), (Fault.LOST_RESPONSE, True)):
        proxy.rates = {fault: 1}
        with pytest.raises(ConnectionResetError) as caught:
            ask(proxy.endpoint, "PUT", "/hearts/b", b"new")
        # A connection that is only closed is RemoteDisconnected, a child of this error.
        assert caught.type is ConnectionResetError
        assert ("/hearts/b" in upstream.objects) is is_done
    assert [(one.fault, one.status) for one in proxy.requests] == [(Fault.RESET, None), (Fault.LOST_RESPONSE, None)]


@pytest.mark.parametrize(("fault", "pause_s"), [(Fault.TRUNCATE, 0.0), (Fault.STALL, 0.5)])
def test_half_of_a_body(proxy: FaultProxy, fault: Fault, pause_s: float) -> None:
    proxy.rates[fault] = 1
    proxy.stall_s = pause_s or 30
    start = time.monotonic()
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(proxy.endpoint, "GET", "/hearts/a")
    assert caught.value.partial == DATA[: len(DATA) // 2]
    assert caught.value.expected == len(DATA) // 2  # What was promised and did not come.
    assert pause_s <= time.monotonic() - start < 25
    assert [(one.fault, one.status) for one in proxy.requests] == [(fault, 200)]


def test_hang(upstream: Upstream, proxy: FaultProxy) -> None:
    proxy.rates[Fault.HANG] = 1
    start = time.monotonic()
    with pytest.raises(http.client.RemoteDisconnected):
        ask(proxy.endpoint, "PUT", "/hearts/b", b"new")
    assert 0.5 <= time.monotonic() - start < 10
    assert not upstream.asked


def test_flip_of_one_bit(upstream: Upstream, proxy: FaultProxy) -> None:
    upstream.answers["/hearts/a"] = {"ETag": "whole"}
    proxy.rates[Fault.FLIP] = 1
    answers = [ask(proxy.endpoint, "GET", "/hearts/a") for _ in range(4)]
    assert [differing_bits(body, DATA) for _, _, body in answers] == [1] * 4
    assert len({body for _, _, body in answers}) > 1
    assert {(status, headers["ETag"]) for status, headers, _ in answers} == {(200, "whole")}


@pytest.mark.parametrize("fault", Fault)
def test_fault_happens_only_where_it_fits(upstream: Upstream, proxy: FaultProxy, fault: Fault) -> None:
    proxy.stall_s = 0
    proxy.rates[fault] = 1
    paths = ("/hearts/a", "/hearts/none", LISTING, "/hearts/a?list-type=2", "/", "/hearts", "/hearts/")
    for method in METHODS:
        for path in paths:
            upstream.objects = {name: DATA for name in paths if name != "/hearts/none"}
            try:
                ask(proxy.endpoint, method, path, b"body" if method in ("PUT", "POST") else None)
            except (http.client.HTTPException, ConnectionError):
                assert proxy.requests[-1].fault is fault
    met = {(one.method, one.path) for one in proxy.requests if one.fault is fault}
    if fault is Fault.LOST_RESPONSE:
        assert met == {(method, path) for method in ("PUT", "POST", "DELETE") for path in paths}
    elif fault is Fault.ERROR_BODY:
        assert met == {("GET", "/hearts/a"), ("GET", "/hearts/none")}
    elif fault in (Fault.TRUNCATE, Fault.STALL, Fault.FLIP):
        assert met == {("GET", "/hearts/a")}
    else:
        assert met == {(method, path) for method in METHODS for path in paths}


def test_same_seed_chooses_the_same_faults(upstream: Upstream) -> None:
    met = []
    for seed in (1, 1, 2):
        with FaultProxy(upstream.endpoint, seed=seed) as proxy:
            proxy.rates = {Fault.SLOW_DOWN: 0.2, Fault.FLIP: 0.3, Fault.LOST_RESPONSE: 0.5}
            bodies = [ask(proxy.endpoint, "GET", "/hearts/a")[2] for _ in range(200)]
            met.append(([one.fault for one in proxy.requests], bodies))
    assert met[0] == met[1]
    assert met[0][0] != met[2][0]
    # Five standard deviations of 200 draws; nothing is left for the fault that happens to writes alone.
    assert met[0][0].count(Fault.SLOW_DOWN) == pytest.approx(40, abs=29)
    assert met[0][0].count(Fault.FLIP) == pytest.approx(60, abs=33)
    assert met[0][0].count(None) == pytest.approx(100, abs=36)
    assert proxy.share_faulted() == (proxy.count(fault=Fault.SLOW_DOWN) + proxy.count(fault=Fault.FLIP)) / 200


def test_only_some_requests_meet_faults(proxy: FaultProxy) -> None:
    proxy.rates[Fault.INTERNAL] = 1
    proxy.only = lambda method, path: method == "GET" and "list-type" in path
    assert ask(proxy.endpoint, "GET", "/hearts/a")[0] == 200
    assert ask(proxy.endpoint, "PUT", LISTING, b"x")[0] == 200
    assert ask(proxy.endpoint, "GET", LISTING)[0] == 500


def test_latencies_of_concurrent_requests_overlap(proxy: FaultProxy) -> None:
    proxy.latency_s = 0.5
    start = time.monotonic()
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda _: ask(proxy.endpoint, "GET", "/hearts/a"), range(40)))
    assert 0.5 <= time.monotonic() - start < 40 * 0.5 / 2
    assert {status for status, _, _ in answers} == {200}


def test_store_that_is_away_resets_connections(upstream: Upstream, proxy: FaultProxy) -> None:
    proxy.away = True
    with pytest.raises(ConnectionResetError) as caught:
        ask(proxy.endpoint, "PUT", "/hearts/b", bytes(3_000_000))
    assert caught.type in (ConnectionResetError, BrokenPipeError)
    assert not upstream.asked
    proxy.away = False
    assert ask(proxy.endpoint, "GET", "/hearts/a")[2] == DATA
    assert [(one.method, one.fault, one.status) for one in proxy.requests] == [("PUT", None, None), ("GET", None, 200)]


def test_store_that_is_gone_resets_connections(upstream: Upstream) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with FaultProxy(f"http://127.0.0.1:{closed.getsockname()[1]}") as proxy:
            with pytest.raises(ConnectionResetError) as caught:
                ask(proxy.endpoint, "GET", "/hearts/a")
            assert caught.type is ConnectionResetError
            assert [(one.fault, one.status) for one in proxy.requests] == [(None, None)]


def test_counts(upstream: Upstream) -> None:
    proxy = FaultProxy(upstream.endpoint)
    assert (proxy.count(), proxy.busiest_second(), proxy.share_faulted()) == (0, 0, 0)
    times = (0.0, 0.9, 1.0, 1.5, 1.8, 1.99, 2.0, 5.0)
    proxy.requests += [Request(at, "GET", "/b/k", "10.0.0.1", Fault.FLIP if at == 5 else None) for at in times]
    proxy.requests.append(Request(5.1, "PUT", "/b/k", "10.0.0.2", Fault.RESET))
    assert (proxy.count(), proxy.count("GET"), proxy.count("PUT"), proxy.count("HEAD")) == (9, 8, 1, 0)
    assert (proxy.count(fault=Fault.FLIP), proxy.count("PUT", Fault.FLIP)) == (1, 0)
    # From 1.0 to 1.99: the one at 2.0 is a second later.
    assert (proxy.busiest_second(), proxy.busiest_second("10.0.0.2"), proxy.busiest_second("10.0.0.3")) == (4, 1, 0)
    proxy.requests.append(Request(5.2, "PUT", "/b/k", "10.0.0.1"))
    proxy.requests += [Request(5.3, "PUT", "/b/k", "10.0.0.2")] * 2
    assert (proxy.busiest_second(), proxy.busiest_second("10.0.0.1")) == (5, 4)
    assert proxy.share_faulted() == 2 / 12


def test_clients_are_told_apart_by_their_address(proxy: FaultProxy) -> None:
    for number in (2, 3, 3):
        ask(proxy.endpoint, "GET", "/hearts/a", source_address=(f"127.0.0.{number}", 0))
    assert [one.client for one in proxy.requests] == ["127.0.0.2", "127.0.0.3", "127.0.0.3"]


def test_end_does_not_wait_for_what_hangs(upstream: Upstream) -> None:
    with FaultProxy(upstream.endpoint) as proxy, ThreadPoolExecutor(2) as pool:
        proxy.rates = {Fault.HANG: 0.5, Fault.STALL: 0.5}
        asked = [pool.submit(ask, proxy.endpoint, "GET", "/hearts/a") for _ in range(2)]
        while proxy.count() < 2:
            time.sleep(0.01)
        start = time.monotonic()
        proxy.__exit__(None, None, None)
        assert time.monotonic() - start < 20
        assert all(isinstance(one.exception(5), (http.client.HTTPException, ConnectionError)) for one in asked)


def test_port_that_is_taken_is_an_error(upstream: Upstream, proxy: FaultProxy) -> None:
    with pytest.raises(OSError, match="in use"), FaultProxy(upstream.endpoint, port=urlsplit(proxy.endpoint).port or 0):
        pass


def test_process_of_its_own(upstream: Upstream) -> None:
    command = [sys.executable, "-m", "tests.s3.proxy", "--upstream", upstream.endpoint, "--port", "0"]
    options = ["--rates", '{"slow_down": 0.5}', "--latency", "0.05", "--seed", "3"]
    root = Path(__file__).parents[2]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        endpoint = process.stdout.readline().strip()
        start = time.monotonic()
        found = [ask(endpoint, "GET", "/hearts/a")[0] for _ in range(20)]
        assert time.monotonic() - start >= 20 * 0.05
        assert {200, 503} == set(found)
        process.send_signal(signal.SIGTERM)
        told = json.loads(process.stdout.read())
        assert process.wait(60) == 0
    assert told == {"requests": 20, "busiest_second": told["busiest_second"], "slow_down": found.count(503)}


@pytest.fixture
def s3_proxy(s3: Store) -> Iterator[FaultProxy]:
    """Stand before SeaweedFS."""
    with FaultProxy(s3.endpoint) as proxy:
        proxy.stall_s = 3.0
        yield proxy


def client_of(proxy: FaultProxy, **config: Any) -> s3fs.S3FileSystem:
    """Return a client that asks once."""
    retries = {"mode": "standard", "total_max_attempts": 1}
    client = s3fs.S3FileSystem(
        key=KEY,
        secret=SECRET,
        endpoint_url=proxy.endpoint,
        skip_instance_cache=True,
        use_listings_cache=False,
        config_kwargs={"retries": retries, **config},
    )
    client.retries = 1
    return client


def get(client: s3fs.S3FileSystem, path: str) -> bytes:
    """Return an object by one request alone: ``cat_file`` asks for its head first."""
    bucket, key = path.removeprefix("s3://").split("/", 1)

    async def call() -> bytes:
        answer = await client._call_s3("get_object", Bucket=bucket, Key=key)
        async with answer["Body"] as body:
            data: bytes = await body.read()
        return data

    found: bytes = s3fs.core.sync(client.loop, call)
    return found


def is_error(code: str) -> Callable[[Exception], bool]:
    """Return a check of the code that the store gave."""

    def check(error: Exception) -> bool:
        cause = error.__cause__
        return isinstance(cause, ClientError) and cause.response["Error"]["Code"] == code

    return check


def test_signatures_hold_through_the_proxy(s3_proxy: FaultProxy, bucket: str, s3: Store) -> None:
    client = client_of(s3_proxy)
    names = ("a b+ü%20.wav", "x//y", "q?x=1&y", "h#1", "it's~(1)*!")
    for name in names:
        client.pipe_file(f"{bucket}/{name}", name.encode())
        assert get(client, f"{bucket}/{name}") == name.encode()
    large = os.urandom(11_000_000)
    client.pipe_file(f"{bucket}/large", large, chunksize=5 * 2**20)
    assert client.cat_file(f"{bucket}/large", start=5_000_000, end=6_000_000) == large[5_000_000:6_000_000]
    assert hashlib.md5(s3.client().cat_file(f"{bucket}/large")).digest() == hashlib.md5(large).digest()
    assert client.info(f"{bucket}/large")["size"] == len(large)
    assert len(client.find(bucket)) == len(names) + 1
    client.rm(bucket, recursive=True)
    # The folder stays in this store's listings, without an object in it.
    prefix = bucket.removeprefix("s3://hearts/")
    assert s3.client().call_s3("list_objects_v2", Bucket="hearts", Prefix=f"{prefix}/")["KeyCount"] == 0
    assert s3_proxy.count("POST") >= 2
    assert s3_proxy.share_faulted() == 0
    with pytest.raises(PermissionError):
        s3fs.S3FileSystem(key=KEY, secret="wrong", endpoint_url=s3_proxy.endpoint, skip_instance_cache=True).ls(bucket)


@pytest.mark.parametrize(
    ("fault", "error", "check"),
    [
        (Fault.SLOW_DOWN, OSError, is_error("SlowDown")),
        (Fault.TOO_MANY, OSError, is_error("TooManyRequests")),
        (Fault.INTERNAL, OSError, is_error("InternalError")),
        (Fault.RESET, EndpointConnectionError, bool),
        (Fault.HANG, ReadTimeoutError, bool),
        (Fault.TRUNCATE, ClientPayloadError, bool),
        (Fault.STALL, TimeoutError, bool),
        (Fault.FLIP, FlexibleChecksumError, bool),
    ],
)
def test_client_of_s3_sees_the_fault(
    s3_proxy: FaultProxy, bucket: str, fault: Fault, error: type[Exception], check: Callable[[Exception], bool]
) -> None:
    client = client_of(s3_proxy, read_timeout=1 if fault in (Fault.HANG, Fault.STALL) else 60)
    client.pipe_file(f"{bucket}/a", DATA)
    s3_proxy.requests.clear()
    s3_proxy.rates[fault] = 1
    with pytest.raises(error, check=check):
        get(client, f"{bucket}/a")
    # After a reset, aiohttp below the client asks once more by itself.
    assert {one.fault for one in s3_proxy.requests} == {fault}
    s3_proxy.rates.clear()
    assert get(client, f"{bucket}/a") == DATA


def test_client_of_s3_does_not_see_an_error_in_a_body(s3_proxy: FaultProxy, bucket: str) -> None:
    client = client_of(s3_proxy)
    client.pipe_file(f"{bucket}/a", DATA)
    s3_proxy.rates[Fault.ERROR_BODY] = 1
    assert b"<Code>InternalError</Code>" in get(client, f"{bucket}/a")


def test_object_stored_without_a_checksum_hides_a_flip(s3_proxy: FaultProxy, bucket: str) -> None:
    client_of(s3_proxy, request_checksum_calculation="when_required").pipe_file(f"{bucket}/a", DATA)
    s3_proxy.rates[Fault.FLIP] = 1
    client = client_of(s3_proxy)
    assert differing_bits(get(client, f"{bucket}/a"), DATA) == 1
    assert client.info(f"{bucket}/a")["ETag"].strip('"') == hashlib.md5(DATA).hexdigest()


def test_lost_response_of_a_put_leaves_the_object(s3_proxy: FaultProxy, bucket: str, s3: Store) -> None:
    s3_proxy.rates[Fault.LOST_RESPONSE] = 1
    with pytest.raises(EndpointConnectionError):
        client_of(s3_proxy).pipe_file(f"{bucket}/a", DATA, mode="create")
    assert s3.client().cat_file(f"{bucket}/a") == DATA
    assert {(one.method, one.fault) for one in s3_proxy.requests} == {("PUT", Fault.LOST_RESPONSE)}


def test_store_that_ignores_conditions(s3_proxy: FaultProxy, bucket: str, s3: Store) -> None:
    client = client_of(s3_proxy)
    path = f"{bucket}/a b+ü~"
    client.pipe_file(path, b"first", mode="create")
    with pytest.raises(OSError, check=is_error("PreconditionFailed")):
        client.pipe_file(path, b"second", mode="create")
    assert s3.client().cat_file(path) == b"first"
    s3_proxy.ignore_conditions = (KEY, SECRET)
    client.pipe_file(path, b"third", mode="create")
    assert s3.client().cat_file(path) == b"third"
    # The store checks the new signature.
    s3_proxy.ignore_conditions = (KEY, "wrong")
    with pytest.raises(PermissionError, check=is_error("SignatureDoesNotMatch")):
        client.pipe_file(path, b"fourth", mode="create")
    s3_proxy.ignore_conditions = None
    with pytest.raises(OSError, check=is_error("PreconditionFailed")):
        client.pipe_file(path, b"fifth", mode="create")
    assert s3.client().cat_file(path) == b"third"


def test_store_that_ignores_conditions_takes_a_body_in_parts(s3_proxy: FaultProxy, bucket: str, s3: Store) -> None:
    client = client_of(s3_proxy)
    path = f"{bucket}/large"

    def create(data: bytes) -> None:
        with client.open(path, "xb", block_size=5 * 2**20) as file:
            file.write(data)

    create(bytes(11_000_000))
    with pytest.raises(OSError, check=is_error("PreconditionFailed")):
        create(b"1" * 11_000_000)
    s3_proxy.ignore_conditions = (KEY, SECRET)
    create(b"2" * 11_000_000)
    assert s3.client().cat_file(path, start=0, end=2) == b"22"
