"""The S3 store: exact keys, listing by pages, whole objects with their ETag, conditional create.

The requests go through s3fs's own call, so that its client, credentials and errors are used, but by bucket and key:
a key may hold ``//``, ``?`` or ``::``, which a URL's path would lose. Nothing is retried below ``retry``, since layers
of retries multiply (an endless 503 took 25 requests).
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import aiohttp
import s3fs
from aiobotocore.credentials import AioAssumeRoleCredentialFetcher, AioDeferredRefreshableCredentials
from aiobotocore.session import AioSession
from botocore.exceptions import (
    ClientError,
    CredentialRetrievalError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.exceptions import ConnectionError as NoConnectionError
from botocore.parsers import ResponseParserError
from fsspec.asyn import sync
from fsspec.utils import glob_translate

from heartbeat_core.errors import InputError
from heartbeat_core.settings import S3Settings
from heartbeat_core.storage.retry import MAX_CONCURRENT, ask, submit
from heartbeat_core.storage.stores import Blob, Entry, check_size, gate, glob_root

SCHEME = "s3://"

PREFIXES_AT_ONCE = 8
"""Prefixes that are listed side by side, one page of each in memory."""

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 20

_PASSING_CODES = frozenset(
    {
        *("SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "RequestTimeTooSkewed"),
        *("Throttling", "ThrottlingException", "TooManyRequests", "RequestLimitExceeded", "BandwidthLimitExceeded"),
        *("BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"),
        *("OperationAborted", "ConditionalRequestConflict"),
    }
)
T = TypeVar("T")

_REFUSED = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError)
_REFUSED_CODES = frozenset({"ExpiredToken", "InvalidToken", "InvalidAccessKeyId", "SignatureDoesNotMatch"})

_MD5 = re.compile("[0-9a-f]{32}")


class DamagedInTransit(OSError):
    """What arrived is not what the store has."""


_PASSING = (
    *(HTTPClientError, NoConnectionError, IncompleteReadError, ResponseParserError),
    *(FlexibleChecksumError, DamagedInTransit),
    *(aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, TimeoutError, ConnectionError),
)


def is_transient(error: BaseException) -> bool:
    """Tell whether the same request may succeed later."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ClientError):
            status = cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return status >= 500 or status == 429 or cause.response.get("Error", {}).get("Code") in _PASSING_CODES
        if isinstance(cause, _PASSING):
            return True
        cause = cause.__cause__
    return False


class S3Store:
    """Buckets, as one process reaches them with its own credentials."""

    def __init__(self, settings: S3Settings) -> None:
        self._filesystem = s3fs.S3FileSystem(
            session=_session(settings),
            anon=settings.anonymous,
            endpoint_url=settings.endpoint_url,
            requester_pays=settings.requester_pays,
            use_listings_cache=False,
            skip_instance_cache=True,
            config_kwargs={
                "retries": {"mode": "standard", "total_max_attempts": 1},
                "connect_timeout": CONNECT_TIMEOUT_S,
                "read_timeout": READ_TIMEOUT_S,
                "max_pool_connections": MAX_CONCURRENT,
            },
        )
        self._filesystem.retries = 1
        self._gate = gate(f"s3 {settings.endpoint_url}")

    def walk(self, folder: str) -> Iterator[Entry]:
        bucket, prefix = _split(folder)
        prefix = _as_folder(prefix)
        for page in self._pages(bucket, prefix):
            for found in page:
                if not found["Key"].endswith("/"):  # What consoles create for a folder.
                    yield _entry(bucket, found, prefix)

    def glob(self, pattern: str) -> Iterator[Entry]:
        bucket, key = _split(pattern)
        if any(sign in bucket for sign in "*?["):
            raise InputError(f"{pattern}: a bucket's name takes no wildcard")
        root = glob_root(key)
        matches = re.compile(glob_translate(key)).match
        for page in self._pages(bucket, f"{root}/" if root else ""):
            for found in page:
                if matches(found["Key"]):
                    yield _entry(bucket, found, f"{root}/" if root else "")

    def find(self, uri: str) -> Entry | None:
        bucket, key = _split(uri)
        if not key:
            return None
        try:
            answer = self._ask("head_object", Bucket=bucket, Key=key)
        except FileNotFoundError:
            return None
        found = {**answer, "Key": key, "Size": answer["ContentLength"]}
        return _entry(bucket, found, key.rpartition("/")[0])

    def is_folder(self, uri: str) -> bool:
        bucket, prefix = _split(uri)
        try:
            return bool(self._ask("list_objects_v2", Bucket=bucket, Prefix=_as_folder(prefix), MaxKeys=1)["KeyCount"])
        except FileNotFoundError:
            return False

    def names(self, folder: str) -> list[str]:
        bucket, prefix = _split(folder)
        prefix = _as_folder(prefix)
        names: list[str] = []
        page: dict[str, Any] = {"IsTruncated": True}
        while page["IsTruncated"]:
            page = self._page(bucket, prefix, page.get("NextContinuationToken"), "/")
            names += [found["Key"][len(prefix) :] for found in page.get("Contents", ()) if found["Key"] != prefix]
            names += [found["Prefix"][len(prefix) : -1] for found in page.get("CommonPrefixes", ())]
        return names

    def get(self, uri: str, max_bytes: int | None, *, versioned: bool) -> Blob:
        bucket, key = _split(uri)

        async def fetch() -> tuple[Blob, bool]:
            answer = await self._filesystem._call_s3("get_object", Bucket=bucket, Key=key)
            async with answer["Body"] as body:
                check_size(answer["ContentLength"], max_bytes)
                data: bytes = await body.read()
            if len(data) != answer["ContentLength"] or "ETag" not in answer:
                raise DamagedInTransit(f"{len(data)} bytes of {answer['ContentLength']} arrived")
            return Blob(data, answer["ETag"].strip('"')), _has_its_md5(answer, data)

        async def fetch_checked() -> Blob:
            blob, is_right = await fetch()
            if not is_right:
                again, is_right = await fetch()
                # The same twice was not damaged on its way: this store's ETags are no MD5.
                if not is_right and again != blob:
                    raise DamagedInTransit("the bytes that arrived do not have the object's MD5")
                blob = again
            return blob

        return self._run(fetch_checked)

    def tail(self, uri: str, n_bytes: int) -> bytes:
        bucket, key = _split(uri)

        async def fetch() -> bytes:
            answer = await self._filesystem._call_s3("get_object", Bucket=bucket, Key=key, Range=f"bytes=-{n_bytes}")
            async with answer["Body"] as body:
                data: bytes = await body.read()
            if len(data) != answer["ContentLength"]:
                raise DamagedInTransit(f"{len(data)} bytes of {answer['ContentLength']} arrived")
            return data

        return self._run(fetch)

    def create(self, uri: str, data: bytes) -> bool:
        bucket, key = _split(uri)
        try:
            self._ask("put_object", Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")
        except OSError as error:
            if _code(error) in ("PreconditionFailed", "412"):
                return False
            raise
        return True

    def put(self, uri: str, data: bytes) -> None:
        bucket, key = _split(uri)
        self._ask("put_object", Bucket=bucket, Key=key, Body=data)

    def remove(self, uri: str) -> None:
        bucket, key = _split(uri)
        self._ask("delete_object", Bucket=bucket, Key=key)

    def may_pass(self, error: BaseException) -> bool:
        return is_transient(error)

    def refuses_us(self, error: BaseException) -> bool:
        return isinstance(error, _REFUSED) or _code(error) in _REFUSED_CODES

    def _pages(self, bucket: str, prefix: str) -> Iterator[list[dict[str, Any]]]:
        """Yield all objects below a prefix, a page at a time.

        Where the prefix divides, its parts are listed side by side, a page of each in turn: the order depends on what
        is there and not on who answers first.
        """
        parts = [prefix]
        while True:
            first = self._page(bucket, parts[0], None, "/")
            below = [found["Prefix"] for found in first.get("CommonPrefixes", ())]
            if len(below) != 1 or first.get("Contents"):
                break
            parts = below
        # More than a page of parts: they are small, and each would cost a request of its own.
        if below and not first["IsTruncated"]:
            yield first.get("Contents", [])
            parts = below
        waiting = deque((part, None) for part in parts)
        running: deque[tuple[str, Any]] = deque()
        with ThreadPoolExecutor(PREFIXES_AT_ONCE, thread_name_prefix="list") as pool:
            while waiting or running:
                while waiting and len(running) < PREFIXES_AT_ONCE:
                    part, _ = waiting.popleft()
                    running.append((part, submit(pool, self._page, bucket, part, None)))
                part, future = running.popleft()
                page = future.result()
                if page["IsTruncated"]:
                    token = page["NextContinuationToken"]
                    running.append((part, submit(pool, self._page, bucket, part, token)))
                yield page.get("Contents", [])

    def _page(self, bucket: str, prefix: str, token: str | None, delimiter: str = "") -> dict[str, Any]:
        more = {"ContinuationToken": token} if token else {}
        page: dict[str, Any] = self._ask("list_objects_v2", Bucket=bucket, Prefix=prefix, Delimiter=delimiter, **more)
        return page

    def _ask(self, method: str, **arguments: Any) -> Any:
        async def call() -> Any:
            return await self._filesystem._call_s3(method, **arguments)

        return self._run(call)

    def _run(self, call: Callable[[], Awaitable[T]]) -> T:
        # The time limit is for an answer that drips: a silence has the client's own.
        loop = self._filesystem.loop
        answer: T = ask(self._gate, lambda seconds: sync(loop, call, timeout=seconds), is_transient)
        return answer


class _RoleProvider:
    """Credentials of a role, assumed with those that a session finds."""

    METHOD = CANONICAL_NAME = "heartbeat-role"

    def __init__(self, source: AioSession, role_arn: str) -> None:
        self._source = source
        self._role_arn = role_arn

    async def load(self) -> AioDeferredRefreshableCredentials:
        return AioDeferredRefreshableCredentials(self._fetch, self.METHOD)

    async def _fetch(self) -> dict[str, Any]:
        credentials = await self._source.get_credentials()
        if credentials is None:
            raise NoCredentialsError
        fetcher = AioAssumeRoleCredentialFetcher(
            self._source.create_client, credentials, self._role_arn, extra_args={"RoleSessionName": "heartbeat"}
        )
        found: dict[str, Any] = await fetcher.fetch_credentials()
        return found


def _session(settings: S3Settings) -> AioSession:
    session = _plain_session(settings)
    if settings.role_arn is not None:
        provider = _RoleProvider(_plain_session(settings), settings.role_arn)
        session.get_component("credential_provider").providers.insert(0, provider)
    return session


def _plain_session(settings: S3Settings) -> AioSession:
    session = AioSession(profile=settings.profile)
    if settings.region is not None:
        session.set_config_variable("region", settings.region)
    return session


def _split(uri: str) -> tuple[str, str]:
    """Return bucket and key; nothing of the key is changed."""
    bucket, _, key = uri.removeprefix(SCHEME).partition("/")
    return bucket, key


def _as_folder(prefix: str) -> str:
    return prefix if not prefix or prefix.endswith("/") else f"{prefix}/"


def _entry(bucket: str, found: dict[str, Any], root: str) -> Entry:
    relative_path = found["Key"][len(root) :].lstrip("/")
    version = found.get("ETag", "").strip('"') or None
    return Entry(f"{SCHEME}{bucket}/{found['Key']}", relative_path, found["Size"], version, found.get("LastModified"))


def _has_its_md5(answer: dict[str, Any], data: bytes) -> bool:
    """Tell whether a whole object has the MD5 that its ETag is, unless it was encrypted or came in parts."""
    etag: str = answer["ETag"].strip('"')
    is_encrypted = answer.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in answer
    if is_encrypted or not _MD5.fullmatch(etag):
        return True
    return hashlib.md5(data, usedforsecurity=False).hexdigest() == etag


def _code(error: BaseException) -> str:
    cause = error.__cause__
    return str(cause.response.get("Error", {}).get("Code")) if isinstance(cause, ClientError) else ""
