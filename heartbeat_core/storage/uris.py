"""URIs: made, joined, shown, and without what is secret."""

from __future__ import annotations

import hashlib
import os
import re
from urllib.parse import quote

from heartbeat_core.errors import InputError

LOCAL = "file://"
_LOCAL_SCHEMES = ("file", "local")
SUCCESS_NAME = "_SUCCESS"
"""The file that is written last into a folder: without it the folder is not finished."""
PLAN_FOLDER = "_plan"
"""The folder below the output of a job that holds what was listed, as one ``000000.json`` for each generation."""
COMPACT_PREFIX = "compact-"
"""Of the names of the parts that ``compact`` writes."""
ROWS_FOLDER = "recordings"
"""The folder below a dataset that holds its rows."""
FAILURES = "failures"
SCHEMAS_FOLDER = "_schemas"
"""Holds TABLE.json for each table: its columns, for people and for other tools."""
PATIENTS_NAME = "patients.parquet"
"""The file of the table of patients below the results of ``classify``."""
DUPLICATES_NAME = "duplicates.parquet"
"""The file of the table of duplicates below the results of ``classify``."""
TABLES = ("predictions", "features", FAILURES)
"""The folders below the results of ``classify``; a dataset has ``failures``, too."""

_WEB_SCHEMES = ("http", "https")
_CHAIN = re.compile("::(?=[a-z0-9]+://)")
"""What divides the links of an fsspec chain, such as ``simplecache::https://host/a.wav``."""

_IN_A_PATH = "/:@!$&'()*+,;="
"""Characters that need no encoding in a path, beside those that never need it."""
_SIGNATURES = frozenset({"signature", "sig"})
"""Parameters, in lower case, that hold the signature of a signed address."""
_SIGNED_WITH = frozenset(
    {
        *("expires", "awsaccesskeyid", "googleaccessid", "ossaccesskeyid", "security-token"),  # AWS, Google, Alibaba
        *("policy", "key-pair-id", "hash-algorithm"),  # CloudFront
        *("sv", "ss", "srt", "sp", "st", "se", "sr", "si", "sip", "spr", "sdd"),  # Azure
        *("skoid", "sktid", "skt", "ske", "sks", "skv", "saoid", "suoid", "scid"),
    }
)
"""Parameters that belong to a signature, in an address that has one."""
_SIGNING_PREFIXES = ("x-amz-", "x-goog-", "x-oss-")
"""Beginnings of parameters that always belong to a signature."""


def public_uri(uri: str) -> str:
    """Return ``uri`` without what may be secret or local to one reader.

    A web address loses its user, password, query and fragment. Any other URI loses only ``user:password@`` before the
    host, since ``?``, ``#`` and ``@`` may be part of its key. Each link of an fsspec chain (``::``) is treated so.

    Examples
    --------
    >>> public_uri("https://host/a.wav?token=1"), public_uri("s3://bucket/a?.wav")
    ('https://host/a.wav', 's3://bucket/a?.wav')
    """
    return "::".join(_public_link(link) for link in _CHAIN.split(uri))


def encode_uri(uri: str) -> str:
    """Return ``uri`` percent-encoded, as RFC 3986 has it.

    A ``%`` in a web address is taken to begin an encoded character. In any other URI it is part of the name.

    Examples
    --------
    >>> encode_uri("s3://bucket/50 % off?/Äste.wav")
    's3://bucket/50%20%25%20off%3F/%C3%84ste.wav'
    """
    return "::".join(_encode_link(link) for link in _CHAIN.split(uri))


def query_digest(uri: str) -> str | None:
    """Return 16 hex digits that stand for the query of a web address; None where the query names nothing.

    Two addresses that differ by their query alone may be two files (``/get?id=1`` and ``/get?id=2``). The digest tells
    them apart and does not reveal the query. Parameters of a signature do not count, because they change whenever the
    same address is signed again.
    """
    parameters: list[str] = []
    for link in _CHAIN.split(uri):
        if _is_web(link):
            query = link.partition("#")[0].partition("?")[2]
            parameters += _unsigned([parameter for parameter in query.split("&") if parameter])
    if not parameters:
        return None
    return hashlib.sha256("&".join(parameters).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def without_query(uri: str) -> str:
    """Return a web address without its query and fragment, and any other URI as it is."""
    return re.split("[?#]", uri, maxsplit=1)[0] if _is_web(uri) else uri


def to_uri(place: str | os.PathLike[str]) -> str:
    """Return a place as a URI: a local path becomes an absolute ``file://`` URI, and any other URI stays as it is.

    Parameters
    ----------
    place : str | os.PathLike
        A local path (``~`` is the home folder) or any URL.

    Raises
    ------
    InputError
        The text is empty, as that of a variable of the shell that is not set: it would mean the current folder.
    """
    text = os.fspath(place)
    scheme, separator, rest = text.partition("://")
    # Only of a local path is "/" a place.
    named = rest if scheme in _LOCAL_SCHEMES else rest.strip("/")
    if not (named if separator else text).strip():
        raise InputError(f"'{text}' names no place: give a file, a folder or a URL ('.' is the current folder)")
    if not separator:
        return LOCAL + os.path.abspath(os.path.expanduser(text))
    return LOCAL + os.path.abspath(rest) if scheme in _LOCAL_SCHEMES else text


def join(folder: str, *names: str) -> str:
    """Return the URI of a name below a folder's URI."""
    return "/".join([folder.rstrip("/"), *names])


def display(uri: str) -> str:
    """Return a URI as a person would type it: local files as paths."""
    return uri.removeprefix(LOCAL) if uri != "file:" else "/"  # The root of the file system, less its slash.


def is_local(uri: str) -> bool:
    """Tell whether a URI names a file of this machine."""
    return uri.startswith(LOCAL)


def _public_link(uri: str) -> str:
    scheme, separator, rest = without_query(uri).partition("://")
    authority, slash, path = rest.partition("/")
    user, _, host = authority.rpartition("@")
    if _is_web(uri) or ":" in user:
        authority = host
    return f"{scheme}{separator}{authority}{slash}{path}"


def _encode_link(uri: str) -> str:
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return quote(uri, _IN_A_PATH)
    authority, slash, path = rest.partition("/")
    return scheme + separator + authority + slash + quote(path, _IN_A_PATH + "%" * _is_web(uri))


def _is_web(uri: str) -> bool:
    scheme, separator, _ = uri.partition("://")
    return bool(separator) and scheme.lower() in _WEB_SCHEMES


def _unsigned(parameters: list[str]) -> list[str]:
    """Return the parameters that are no part of a signature."""
    named = [(parameter.partition("=")[0].lower(), parameter) for parameter in parameters]
    signing = _SIGNATURES | _SIGNED_WITH if any(name in _SIGNATURES for name, _ in named) else frozenset()
    return [text for name, text in named if name not in signing and not name.startswith(_SIGNING_PREFIXES)]
