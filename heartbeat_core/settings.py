"""Frozen settings: how a recording is processed, and within which limits.

``Recipe`` holds everything that changes the results of a model (frames, alignment, network, training). ``Limits``
holds how many resources a recording may use. ``S3Settings`` says how to reach a bucket and never holds a secret. An
unknown key is refused, and the error names it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from heartbeat_core.errors import ConfigError

DEFAULT_MODEL = "cycle-spectrum"
"""The shipped model that is used where none is named."""

Device = Literal["auto", "cpu", "cuda"]
""""auto" takes a GPU if there is one."""

PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def text_like(pattern: str, expected: str) -> AfterValidator:
    """Return a check of a text against a pattern, for a field of ``Settings``.

    Parameters
    ----------
    pattern : str
        A regular expression that matches the whole text.
    expected : str
        What the error says in place of the text: "expected ...".
    """

    def check(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            # The error does not show the text that was found, because an address may hold a password.
            raise PydanticCustomError("text", "expected {expected}", {"expected": expected})
        return text

    return AfterValidator(check)


class Settings(BaseModel):
    """Base of all settings models: frozen, with known keys and finite numbers only."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Limits(Settings):
    """How many resources one recording may use."""

    max_object_bytes: PositiveInt = 256 * 2**20
    max_channels: PositiveInt = 16
    min_sample_rate_hz: PositiveInt = 1_000
    max_sample_rate_hz: PositiveInt = 384_000
    max_duration_s: PositiveFloat = 1_800.0
    deadline_s: PositiveFloat = 120.0
    """For reading a recording from a remote store, including all retries, and for processing it."""
    max_memory_bytes: PositiveInt = 3 * 2**30
    """For processing a recording in a separate process, after such a recording ended a worker."""


_ENDPOINT = text_like(
    r"https?://[^@?#]+", "an address such as 'https://s3.example.org:9000', without user, password or query"
)
_ROLE = text_like(r"arn:[^:]+:iam::\d+:role/.+", "a role such as 'arn:aws:iam::123456789012:role/reader'")


class S3Settings(Settings):
    """How to reach ``s3://``, in addition to the standard AWS variables; only names, which may be sent to workers."""

    endpoint_url: Annotated[str, _ENDPOINT] | None = None
    region: str | None = None
    profile: str | None = None
    """A profile in the AWS configuration files of each process."""
    role_arn: Annotated[str, _ROLE] | None = None
    """A role to assume with the credentials that the process has."""
    requester_pays: bool = False
    anonymous: bool = False
    """Sign no requests: for public buckets, without credentials."""

    @model_validator(mode="after")
    def _check_identity(self) -> Self:
        if self.anonymous and (self.profile or self.role_arn):
            raise PydanticCustomError("identity", "anonymous access cannot have a profile or a role")
        return self


def fingerprint(content: Any) -> str:
    """Return the SHA-256 (hex) of the canonical JSON of ``content``; raises as ``canonical_json``."""
    return hashlib.sha256(canonical_json(content)).hexdigest()


def canonical_json(content: Any) -> bytes:
    """Return UTF-8 JSON with sorted keys and no extra white space, so that equal content gives equal bytes.

    Parameters
    ----------
    content : Any
        Dictionaries with text keys, lists, tuples, texts, numbers, booleans and None.

    Raises
    ------
    TypeError
        JSON has no such value.
    ValueError
        A number is NaN or infinite, or a text cannot be encoded in UTF-8.
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


SettingsT = TypeVar("SettingsT", bound=Settings)

_SIZE = "expected a size such as '4kB', '1MiB', or a number of bytes"
_TIME = "expected a time such as '2026-11-01' or '2026-11-01T12:00:00Z'"
_MERGE = "tag:yaml.org,2002:merge"
_LIST = "expected a list, such as [a, b]"
_EXPECTED = {
    "byte_size": _SIZE,
    "byte_size_unit": _SIZE,
    "datetime_parsing": _TIME,
    "datetime_from_date_parsing": _TIME,
    "tuple_type": _LIST,
    "list_type": _LIST,
    "model_type": "expected a mapping of settings, such as {key: value}",
}
"""What is said in place of pydantic's own text, by its type of error."""


def parse_settings(model: type[SettingsT], content: Any, source: str) -> SettingsT:
    """Validate ``content`` as ``model``.

    Parameters
    ----------
    model : type[SettingsT]
    content : Any
        What JSON or YAML holds: a mapping, or the message says what else.
    source : str
        Where it comes from, for messages.

    Returns
    -------
    SettingsT
        An instance of ``model``, with its defaults for keys that are missing.

    Raises
    ------
    ConfigError
        The message is one line with ``source``, the wrong key, and the allowed keys or values.
    """
    if not isinstance(content, dict):
        raise ConfigError(f"{source}: expected a mapping of settings, found {type(content).__name__}")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        found = error.errors()
        # Of a key that is misspelt, another error says that it is missing.
        first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            allowed = ", ".join(_allowed_keys(model, first["loc"]))
            raise ConfigError(f"{source}: unknown key '{key}'; allowed here: {allowed}") from None
        told = _EXPECTED.get(first["type"], first["msg"])
        raise ConfigError(f"{source}: {key or 'settings'}: {told}") from None


def parse_yaml(model: type[SettingsT], text: str, source: str) -> SettingsT:
    """Read YAML ``text`` as ``model``; raises ConfigError as ``parse_settings`` does."""
    return parse_settings(model, parse_mapping(text, source), source)


def parse_mapping(text: str, source: str) -> dict[str, Any]:
    """Read YAML ``text`` as a mapping; an empty text gives an empty mapping.

    Parameters
    ----------
    text : str
    source : str
        Where it comes from, for messages.

    Raises
    ------
    ConfigError
        The text is not YAML, it is not a mapping, or a mapping in it has a key twice.
    """
    import yaml  # Loaded here because most commands read none.

    class Loader(yaml.SafeLoader):
        """Refuses a key that a mapping has twice; YAML itself takes the last one."""

        def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Any, Any]:
            if not isinstance(node, yaml.MappingNode):
                raise ConfigError(f"{source}: not valid YAML: what has the tag '!!map' is no mapping")
            keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag != _MERGE]
            twice = {key for key, count in Counter(map(repr, keys)).items() if count > 1}
            if twice:
                raise ConfigError(f"{source}: the key {min(twice)} is given twice: keep one of them")
            found: dict[Any, Any] = super().construct_mapping(node, deep)
            return found

    try:
        content = yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError) as error:  # An invalid date raises ValueError.
        reason = " ".join(str(error).split())
        raise ConfigError(f"{source}: not valid YAML: {reason}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{source}: expected a mapping of settings, found {type(content).__name__}")
    return content


def _allowed_keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    current: type[BaseModel] = model
    for part in location[:-1]:
        field = current.model_fields.get(str(part))
        annotation = None if field is None else field.annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        current = annotation
    return sorted(current.model_fields)
