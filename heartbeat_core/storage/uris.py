"""URIs: made, joined, shown, and without what is secret."""

from __future__ import annotations

import os
import re


def public_uri(uri: str) -> str:
    """Return ``uri`` without what may be secret or local to one reader.

    Of web addresses, user, password, query and fragment are dropped; of others only ``user:password@`` before the
    host, since there ``?``, ``#`` and ``@`` are part of a key. Each link of an fsspec chain (``::``) is treated so.
    """
    return "::".join(_public_link(link) for link in re.split("::(?=[a-z0-9]+://)", uri))


def _public_link(uri: str) -> str:
    scheme, separator, rest = uri.partition("://")
    is_web = scheme.lower() in ("http", "https")
    if is_web:
        rest = re.split("[?#]", rest, maxsplit=1)[0]
    authority, slash, path = rest.partition("/")
    user, _, host = authority.rpartition("@")
    if is_web or ":" in user:
        authority = host
    return f"{scheme}{separator}{authority}{slash}{path}"


LOCAL = "file://"
SUCCESS_NAME = "_SUCCESS"
"""The file that is written last into a folder: without it the folder is not finished."""


def to_uri(text: str) -> str:
    """Return ``text`` as a URI: local paths become absolute ``file://`` ones, the rest stays."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        return LOCAL + os.path.abspath(os.path.expanduser(text))
    return LOCAL + os.path.abspath(rest) if scheme in ("file", "local") else text


def join(folder: str, *names: str) -> str:
    """Return the URI of a name below a folder's URI."""
    return "/".join([folder.rstrip("/"), *names])


def display(uri: str) -> str:
    """Return a URI as a person would type it: local files as paths."""
    return uri.removeprefix(LOCAL)


def is_local(uri: str) -> bool:
    """Tell whether a URI names this machine's own files."""
    return uri.startswith(LOCAL)
