"""A proxy in front of a real S3 server that breaks some of the requests, and counts them all.

It runs in a thread of its own, or as a process, where the benchmark's own work must not slow it:
``python -m tests.s3.proxy --upstream URL --port N``. Bodies are held whole, so a torn upload is not forwarded.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import random
import signal
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from types import TracebackType

import aiohttp
from aiohttp import web
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from multidict import CIMultiDict
from yarl import URL


class Fault(StrEnum):
    """What is done to a request in place of a plain answer."""

    SLOW_DOWN = "slow_down"
    """503, with S3's code for it; not forwarded."""

    TOO_MANY = "too_many"
    """429; not forwarded."""

    INTERNAL = "internal"
    """500; not forwarded."""

    RESET = "reset"
    """The connection is reset; not forwarded."""

    LOST_RESPONSE = "lost_response"
    """PUT, POST, DELETE: the store does it, then the connection is reset without an answer."""

    TRUNCATE = "truncate"
    """GET of an object: half of the body, then the connection is closed."""

    STALL = "stall"
    """GET of an object: half of the body, then nothing for ``stall_s``, then the connection is closed."""

    HANG = "hang"
    """No answer for ``stall_s``, then the connection is closed; not forwarded."""

    FLIP = "flip"
    """GET of an object: one bit of the body is another; the headers are the store's."""

    ERROR_BODY = "error_body"
    """GET of an object: 200 with S3's XML of an error; not forwarded."""


_WRITES = frozenset({Fault.LOST_RESPONSE})
_READS = frozenset({Fault.TRUNCATE, Fault.STALL, Fault.FLIP, Fault.ERROR_BODY})
_DAMAGE = frozenset({Fault.TRUNCATE, Fault.STALL, Fault.FLIP})
_ERRORS = {
    Fault.SLOW_DOWN: (503, "SlowDown"),
    Fault.TOO_MANY: (429, "TooManyRequests"),
    Fault.INTERNAL: (500, "InternalError"),
    Fault.ERROR_BODY: (200, "InternalError"),
}
_HOP_BY_HOP = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"),
        *("te", "trailer", "transfer-encoding", "upgrade"),
    }
)


@dataclass(eq=False)
class Request:
    """One request as it came; ``status`` is what the client was told, None where it was told nothing (yet)."""

    time_monotonic: float
    method: str
    path: str
    """The path and the query as the client sent them."""
    client: str
    fault: Fault | None = None
    status: int | None = None


class FaultProxy:
    """Forwards all requests to ``upstream`` and breaks a share of them.

    The settings may be changed at any time, from any thread. Where the chances of several faults are together more
    than 1, the later ones in the order of ``Fault`` are drawn less often, or never.
    """

    def __init__(self, upstream: str, seed: int = 0, port: int = 0, host: str = "127.0.0.1") -> None:
        self.rates: dict[Fault, float] = {}
        """Chance of each fault, for a request that it can happen to."""
        self.only: Callable[[str, str], bool] = lambda method, path: True
        """Faults happen to these requests alone, by method, and by path and query as they were sent."""
        self.latency_s = 0.0
        """Each request waits so long first; those that come at once wait at once."""
        self.stall_s = 30.0
        self.away = False
        """While True every connection is reset as soon as it asks for something."""
        self.ignore_conditions: tuple[str, str] | None = None
        """A key and its secret: writes lose their If-None-Match, and are signed again with these."""
        self.requests: list[Request] = []
        """All requests in the order they came. A list's append and copy are atomic: it needs no lock."""
        self.endpoint = ""
        self._upstream = upstream.rstrip("/")
        self._address = (host, port)
        self._random = random.Random(seed)
        self._session: aiohttp.ClientSession
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._started = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        self._started.wait()
        if self._error is not None:
            raise self._error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)

    def count(self, method: str | None = None, fault: Fault | None = None) -> int:
        """Return how many requests came, of one method, or with one fault."""
        return sum(method in (None, one.method) and fault in (None, one.fault) for one in list(self.requests))

    def share_faulted(self) -> float:
        """Return the share of the requests that a fault happened to."""
        requests = list(self.requests)
        return sum(one.fault is not None for one in requests) / len(requests) if requests else 0.0

    def busiest_second(self, client: str | None = None) -> int:
        """Return the most requests that came within one second, wherever it begins, of one client's address or all."""
        window: deque[float] = deque()
        most = 0
        for one in list(self.requests):
            if client in (None, one.client):
                window.append(one.time_monotonic)
                while window[-1] - window[0] >= 1:
                    window.popleft()
                most = max(most, len(window))
        return most

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._error = error
            self._started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        # What the store sends is passed on as it is: neither side unpacks a body, follows a redirect or keeps cookies.
        server = web.Server(self._handle, access_log=None, auto_decompress=False)
        runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await runner.setup()
        try:
            async with aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            ) as self._session:
                host, port = self._address
                await web.TCPSite(runner, host, port, backlog=1024).start()
                self.endpoint = f"http://{host}:{runner.addresses[0][1]}"
                self._started.set()
                await self._stop.wait()
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        record = Request(time.monotonic(), request.method, request.raw_path, request.remote or "")
        self.requests.append(record)
        if self.away:
            return _reset(request)
        try:
            if request.headers.get("Expect", "").lower() == "100-continue":
                await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            # Not request.read(), which takes 1 MiB at most.
            body = await request.content.read()
        except ConnectionError:
            return _reset(request)
        fault = self._draw(record)
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        if fault not in _DAMAGE:
            record.fault = fault
        if fault is Fault.RESET:
            return _reset(request)
        if fault is Fault.HANG:
            await asyncio.sleep(self.stall_s)
            return _close(request)
        if fault in _ERRORS:
            record.status, code = _ERRORS[fault]
            return _error(record.status, code)
        try:
            status, headers, content = await self._ask(request, body)
        except (aiohttp.ClientError, OSError):
            # The store itself is gone: the client meets what it would have met there.
            return _reset(request)
        if fault is Fault.LOST_RESPONSE:
            return _reset(request)
        record.status = status
        # What is not there, or too short to halve, is not damaged.
        if fault in _DAMAGE and status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT) and len(content) > 1:
            record.fault = fault
            if fault is Fault.FLIP:
                content = self._flipped(content)
            else:
                pause_s = self.stall_s if fault is Fault.STALL else 0.0
                return await _half(request, status, headers, content, pause_s)
        return web.Response(status=status, headers=headers, body=content)

    def _draw(self, record: Request) -> Fault | None:
        """Choose what happens to a request; the same requests in the same order meet the same."""
        drawn = self._random.random()
        if not self.only(record.method, record.path):
            return None
        for fault in Fault:
            if _applies(fault, record.method, record.path):
                drawn -= self.rates.get(fault, 0.0)
                if drawn < 0:
                    return fault
        return None

    async def _ask(self, request: web.BaseRequest, body: bytes) -> tuple[int, CIMultiDict[str], bytes]:
        """Return the store's answer: status, headers and body."""
        # Expect was met here, with the body.
        headers = _end_to_end(CIMultiDict(request.headers), "expect")
        if self.ignore_conditions and request.method in ("PUT", "POST") and "If-None-Match" in headers:
            del headers["If-None-Match"]
            _sign_again(request.method, f"{self._upstream}{request.raw_path}", headers, *self.ignore_conditions)
        async with self._session.request(
            request.method,
            # The client signed the path and the query byte for byte.
            URL(f"{self._upstream}{request.raw_path}", encoded=True),
            headers=headers,
            data=io.BytesIO(body) if body else None,
            allow_redirects=False,
        ) as answer:
            return answer.status, _end_to_end(CIMultiDict(answer.headers)), await answer.read()

    def _flipped(self, content: bytes) -> bytes:
        damaged = bytearray(content)
        bit = self._random.randrange(8 * len(content))
        damaged[bit // 8] ^= 1 << bit % 8
        return bytes(damaged)


def _applies(fault: Fault, method: str, path: str) -> bool:
    """Tell whether a fault can happen to a request."""
    if fault in _WRITES:
        return method in ("PUT", "POST", "DELETE")
    if fault in _READS:
        path, _, query = path.partition("?")
        _, _, key = path.lstrip("/").partition("/")
        return method == "GET" and key != "" and "list-type=" not in query
    return True


def _end_to_end(headers: CIMultiDict[str], *dropped: str) -> CIMultiDict[str]:
    """Return the headers without those that are meant for the next hop."""
    named = (name.strip().lower() for value in headers.getall("Connection", ()) for name in value.split(","))
    for name in {*_HOP_BY_HOP, *named, *dropped}:
        headers.popall(name, None)
    return headers


def _sign_again(method: str, url: str, headers: CIMultiDict[str], key: str, secret: str) -> None:
    """Replace a request's signature by one over the headers that are still there.

    The payload's digest stays as the client stated it. Chunks that carry signatures of their own
    (STREAMING-AWS4-HMAC-SHA256-PAYLOAD) would not fit any more; no AWS client for Python sends them.
    """
    # AWS4-HMAC-SHA256 Credential=KEY/20250102/us-east-1/s3/aws4_request, SignedHeaders=host;..., Signature=...
    old = dict(field.strip().split("=", 1) for field in headers["Authorization"].partition(" ")[2].split(","))
    _, _, region, service, _ = old["Credential"].rsplit("/", 4)
    signed = {name: headers[name] for name in old["SignedHeaders"].split(";") if name in headers}
    request = AWSRequest(method=method, url=url, headers=signed)
    signer = S3SigV4Auth(Credentials(key, secret), service, region)
    signer.payload = lambda _: headers["X-Amz-Content-SHA256"]
    signer.add_auth(request)
    for name in ("Authorization", "X-Amz-Date"):
        headers[name] = request.headers[name]


def _error(status: int, code: str) -> web.Response:
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>made by the fault proxy</Message><RequestId>0</RequestId></Error>"
    )
    return web.Response(status=status, body=body.encode(), content_type="application/xml")


async def _half(
    request: web.BaseRequest, status: int, headers: CIMultiDict[str], content: bytes, pause_s: float
) -> web.StreamResponse:
    """Promise the whole body, send half of it, and close the connection after a pause."""
    headers["Content-Length"] = str(len(content))
    response = web.StreamResponse(status=status, headers=headers)
    await response.prepare(request)
    await response.write(content[: len(content) // 2])
    await asyncio.sleep(pause_s)
    _close(request)
    return response


def _close(request: web.BaseRequest) -> web.Response:
    if request.transport is not None:
        request.transport.close()
    return web.Response()  # There is nobody to send it to.


def _reset(request: web.BaseRequest) -> web.Response:
    """Close the connection so that its peer is sent RST instead of FIN."""
    if request.transport is not None:
        linger = struct.pack("ii", 1, 0)
        request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        request.transport.abort()
    return web.Response()


def main() -> None:
    """Run until SIGTERM; the first line names the endpoint, the last one tells what came."""
    parser = argparse.ArgumentParser(description="A proxy in front of an S3 server that breaks some of the requests.")
    parser.add_argument("--upstream", required=True, help="URL of the S3 server")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at")
    parser.add_argument("--port", type=int, default=0, help="port to listen at; 0: any that is free")
    parser.add_argument("--rates", default="{}", help='JSON, as {"slow_down": 0.01, "flip": 0.001}')
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that each request waits")
    parser.add_argument("--stall", type=float, default=30.0, help="seconds of a stall or a hang")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    # Before the thread starts, which inherits it: only sigwait below takes the signals.
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    proxy = FaultProxy(options.upstream, options.seed, options.port, options.host)
    proxy.rates.update({Fault(name): float(rate) for name, rate in json.loads(options.rates).items()})
    proxy.latency_s = options.latency
    proxy.stall_s = options.stall
    with proxy:
        print(proxy.endpoint, flush=True)
        signal.sigwait(ends)
    told = {"requests": proxy.count(), "busiest_second": proxy.busiest_second()}
    told |= {fault.value: proxy.count(fault=fault) for fault in Fault if proxy.rates.get(fault)}
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
