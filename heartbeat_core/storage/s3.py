"""The S3 store: exact keys, listing by pages, whole objects with their ETag, conditional create.

The requests use s3fs's client, credentials and errors, but name a bucket and a key, because a key may contain ``//``,
``?`` or ``::``, which the path of a URL would lose. Only ``retry`` repeats requests: two layers of retries multiply (an
endless 503 took 25 requests).
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from mimetypes import guess_type
from typing import Any, TypeVar

import s3fs
from aiobotocore.credentials import AioAssumeRoleCredentialFetcher, AioDeferredRefreshableCredentials
from aiobotocore.session import AioSession
from botocore.exceptions import CredentialRetrievalError, NoCredentialsError, PartialCredentialsError
from fsspec.asyn import sync

from heartbeat_core.errors import InputError
from heartbeat_core.settings import S3Settings
from heartbeat_core.storage.failures import DamagedInTransit, is_transient, s3_code
from heartbeat_core.storage.retry import MAX_CONCURRENT, ask, submit
from heartbeat_core.storage.stores import Blob, Entry, check_size, gate, glob_matcher, glob_root

SCHEME = "s3://"

PREFIXES_AT_ONCE = 8
"""Prefixes that are listed at the same time, with one page of each in memory."""

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 20

T = TypeVar("T")

_CREDENTIAL_ERRORS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError)
_CREDENTIAL_CODES = frozenset({"ExpiredToken", "InvalidToken", "InvalidAccessKeyId", "SignatureDoesNotMatch"})

_MD5 = re.compile("[0-9a-f]{32}")


def make_filesystem(settings: S3Settings, attempts: int) -> s3fs.S3FileSystem:
    """Return s3fs's filesystem, which asks again until a request was sent ``attempts`` times."""
    filesystem = s3fs.S3FileSystem(
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
    filesystem.retries = attempts
    return filesystem


class S3Store:
    """The buckets that one process reaches with its own credentials."""

    def __init__(self, settings: S3Settings) -> None:
        self._filesystem = make_filesystem(settings, attempts=1)
        self._gate = gate(f"s3 {settings.endpoint_url}")

    def walk(self, folder: str) -> Iterator[Entry]:
        bucket, prefix = _split(folder)
        prefix = _as_folder(prefix)
        for page in self._pages(bucket, prefix):
            for found in page:
                if not found["Key"].endswith("/"):  # Web consoles create such an object for a folder.
                    yield _entry(bucket, found, prefix)

    def glob(self, pattern: str) -> Iterator[Entry]:
        bucket, key = _split(pattern)
        if any(sign in bucket for sign in "*?["):
            raise InputError(f"{pattern}: a bucket's name takes no wildcard")
        root = glob_root(key)
        matches = glob_matcher(key)
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
                # Equal bytes twice were not damaged on the way: the ETags of this store are not MD5 digests.
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
            if s3_code(error.__cause__) in ("PreconditionFailed", "412"):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), uri) from None
            raise
        return True

    def put(self, uri: str, data: bytes) -> None:
        bucket, key = _split(uri)
        # A browser shows a page only if the store calls it one.
        kind = guess_type(key)[0] or "application/octet-stream"
        self._ask("put_object", Bucket=bucket, Key=key, Body=data, ContentType=kind)

    def remove(self, uri: str) -> None:
        bucket, key = _split(uri)
        self._ask("delete_object", Bucket=bucket, Key=key)

    def is_transient(self, error: BaseException) -> bool:
        return is_transient(error)

    def is_about_credentials(self, error: BaseException) -> bool:
        return isinstance(error, _CREDENTIAL_ERRORS) or s3_code(error.__cause__) in _CREDENTIAL_CODES

    def _pages(self, bucket: str, prefix: str) -> Iterator[list[dict[str, Any]]]:
        """Yield all objects below a prefix, a page at a time.

        Where the prefix has subfolders, they are listed side by side, a page of each in turn. So the order depends on
        the objects, and not on which answer comes first.
        """
        parts = [prefix]
        while True:
            first = self._page(bucket, parts[0], None, "/")
            below = [found["Prefix"] for found in first.get("CommonPrefixes", ())]
            # A truncated page may hide the siblings of its only subfolder: descending would lose them.
            if len(below) != 1 or first.get("Contents") or first["IsTruncated"]:
                break
            parts = below
        # More subfolders than a page holds are listed as one: each would cost a request of its own for few objects.
        if below and not first["IsTruncated"]:
            yield first.get("Contents", [])
            parts = below
        waiting = deque(parts)
        running: deque[tuple[str, Any]] = deque()
        with ThreadPoolExecutor(PREFIXES_AT_ONCE, thread_name_prefix="list") as pool:
            while waiting or running:
                while waiting and len(running) < PREFIXES_AT_ONCE:
                    part = waiting.popleft()
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
        # This time limit is for an answer that comes slowly. For one that stops, the client has a limit of its own.
        loop = self._filesystem.loop
        answer: T = ask(self._gate, lambda seconds: sync(loop, call, timeout=seconds), is_transient)
        return answer


class _RoleProvider:
    """Gives the credentials of a role, which it assumes with the credentials that a session finds."""

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
    """Return the bucket and the key; the key stays as it is."""
    bucket, _, key = uri.removeprefix(SCHEME).partition("/")
    return bucket, key


def _as_folder(prefix: str) -> str:
    return prefix if not prefix or prefix.endswith("/") else f"{prefix}/"


def _entry(bucket: str, found: dict[str, Any], root: str) -> Entry:
    relative_path = found["Key"][len(root) :].lstrip("/")
    version = found.get("ETag", "").strip('"') or None
    return Entry(f"{SCHEME}{bucket}/{found['Key']}", relative_path, found["Size"], version, found.get("LastModified"))


def _has_its_md5(answer: dict[str, Any], data: bytes) -> bool:
    """Tell whether the MD5 of an object is its ETag, or the ETag is no MD5 (encrypted, or uploaded in parts)."""
    etag: str = answer["ETag"].strip('"')
    is_encrypted = answer.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in answer
    if is_encrypted or not _MD5.fullmatch(etag):
        return True
    return hashlib.md5(data, usedforsecurity=False).hexdigest() == etag
