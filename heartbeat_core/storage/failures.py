"""The errors that clients of stores raise: which of them are transient, and what they say in one line without secrets.

The packages of the clients are loaded when something has failed, since every process would pay for them.
"""

from __future__ import annotations

import errno
import os

_TRANSIENT_S3_CODES = frozenset(
    {
        *("SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "RequestTimeTooSkewed"),
        *("Throttling", "ThrottlingException", "TooManyRequests", "RequestLimitExceeded", "BandwidthLimitExceeded"),
        *("BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"),
        *("OperationAborted", "ConditionalRequestConflict"),
    }
)
_NO_CREDENTIALS = (
    "no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give --config a file with "
    "'s3: {profile: NAME}' or, for a public bucket, 's3: {anonymous: true}'"
)


class DamagedInTransit(OSError):
    """The bytes that arrived are not those that the store has."""


def store_errors(*more: type[Exception]) -> tuple[type[Exception], ...]:
    """Return the errors that a store's client raises, and ``more``.

    s3fs turns the answers of the service into OSError, but not the errors of its own client.
    """
    import aiohttp
    from botocore.exceptions import BotoCoreError

    return OSError, BotoCoreError, aiohttp.ClientError, *more


def is_transient(error: BaseException) -> bool:
    """Tell whether the same request to a remote store may succeed later.

    The error and then its causes are looked at, until one of them decides.
    """
    import aiohttp
    from botocore import exceptions as boto
    from botocore.parsers import ResponseParserError

    transient = (
        *(boto.HTTPClientError, boto.ConnectionError, boto.IncompleteReadError, boto.FlexibleChecksumError),
        *(ResponseParserError, DamagedInTransit, TimeoutError, ConnectionError),
        *(aiohttp.ClientPayloadError, aiohttp.ClientConnectionError),
    )
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, boto.ClientError):
            status = cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return status >= 500 or status == 429 or s3_code(cause) in _TRANSIENT_S3_CODES
        if isinstance(cause, aiohttp.ClientResponseError):
            return cause.status >= 500 or cause.status in (408, 429)
        if isinstance(cause, transient):
            return True
        cause = cause.__cause__
    return False


def s3_code(error: BaseException | None) -> str:
    """Return the code of an answer of S3, such as ``SlowDown``; empty for any other error."""
    from botocore.exceptions import ClientError

    return str(error.response.get("Error", {}).get("Code")) if isinstance(error, ClientError) else ""


def reason(error: BaseException) -> str:
    """Return why a store's client failed, in one line and without what may be secret."""
    import aiohttp
    from botocore.exceptions import NoCredentialsError

    if isinstance(error, NoCredentialsError):
        return _NO_CREDENTIALS
    # The texts of aiohttp's errors contain the URL with its query, which may be secret.
    if isinstance(error, aiohttp.ClientResponseError):
        return f"HTTP status {error.status}"
    if isinstance(error, aiohttp.InvalidURL):
        return "not a valid URL"
    # fsspec's text for a missing file contains the URL, too.
    if isinstance(error, FileNotFoundError):
        return os.strerror(errno.ENOENT)
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer in time"
    text = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    return " ".join(text.split()) or type(error).__name__
