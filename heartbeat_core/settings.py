"""Frozen settings: what a recording is put through, and within which limits.

``Recipe`` holds everything that changes a model's results (frames, alignment, network, training);
``Limits`` holds what a recording may ask of the machine; ``S3Settings`` names how a bucket is reached, and never a
secret. Unknown keys are refused by name.
Each model has a ``fingerprint``: the SHA-256 of its canonical JSON without what is only a name.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from heartbeat_core.errors import ConfigError

Device = Literal["auto", "cpu", "cuda"]
""""auto" is a GPU where there is one."""

PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def text_like(pattern: str, expected: str) -> AfterValidator:
    """Return a check of a text against a pattern, whose error says in words what is ``expected``."""

    def check(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            # Not what was found: an address may hold a password.
            raise PydanticCustomError("text", "expected {expected}", {"expected": expected})
        return text

    return AfterValidator(check)


class Settings(BaseModel):
    """Base of every settings model: frozen, strict about keys, finite, fingerprinted."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Limits(Settings):
    """What one recording may ask of the machine."""

    max_object_bytes: PositiveInt = 256 * 2**20
    max_channels: PositiveInt = 16
    min_sample_rate_hz: PositiveInt = 1_000
    max_sample_rate_hz: PositiveInt = 384_000
    max_duration_s: PositiveFloat = 1_800.0
    deadline_s: PositiveFloat = 120.0
    """For reading it, with all retries; and for processing it."""
    max_memory_bytes: PositiveInt = 3 * 2**30
    """For processing it in a process of its own, after one like it ended a worker."""


_ENDPOINT = text_like(
    r"https?://[^@?#]+", "an address such as 'https://s3.example.org:9000', without user, password or query"
)
_ROLE = text_like(r"arn:[^:]+:iam::\d+:role/.+", "a role such as 'arn:aws:iam::123456789012:role/reader'")


class S3Settings(Settings):
    """How ``s3://`` is reached, beside the standard AWS variables; only names, which may travel to workers."""

    endpoint_url: Annotated[str, _ENDPOINT] | None = None
    region: str | None = None
    profile: str | None = None
    """A profile of each process's own AWS configuration files."""
    role_arn: Annotated[str, _ROLE] | None = None
    """A role to assume with the credentials that the process has."""
    requester_pays: bool = False
    anonymous: bool = False
    """Sign nothing: public buckets, without credentials."""

    @model_validator(mode="after")
    def _check_identity(self) -> Self:
        if self.anonymous and (self.profile or self.role_arn):
            raise PydanticCustomError("identity", "anonymous access has neither profile nor role")
        return self


def fingerprint(content: Any) -> str:
    """Return the SHA-256 (hex) of the canonical JSON of ``content``."""
    return hashlib.sha256(canonical_json(content)).hexdigest()


def canonical_json(content: Any) -> bytes:
    """Return UTF-8 JSON with sorted keys and no spare white space: equal content, equal bytes."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


SettingsT = TypeVar("SettingsT", bound=Settings)


def parse_settings(model: type[SettingsT], content: Any, source: str) -> SettingsT:
    """Validate ``content`` as ``model``.

    Raises
    ------
    ConfigError
        One line with ``source``, the offending key and the keys or values allowed.
    """
    if not isinstance(content, dict):
        raise ConfigError(f"{source}: expected a mapping of settings, found {type(content).__name__}")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            allowed = ", ".join(_allowed_keys(model, first["loc"]))
            raise ConfigError(f"{source}: unknown key '{key}'; allowed here: {allowed}") from None
        raise ConfigError(f"{source}: {key or 'settings'}: {first['msg']}") from None


def parse_yaml(model: type[SettingsT], text: str, source: str) -> SettingsT:
    """Read YAML ``text`` as ``model``; raises ConfigError as ``parse_settings`` does."""
    return parse_settings(model, parse_mapping(text, source), source)


def parse_mapping(text: str, source: str) -> dict[str, Any]:
    """Read YAML ``text`` as a mapping; nothing at all is an empty one.

    Raises
    ------
    ConfigError
        It is not YAML, or something else than a mapping.
    """
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # A date that is none is a ValueError.
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
