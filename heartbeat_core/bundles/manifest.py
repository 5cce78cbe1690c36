"""``bundle.json``: the facts about a model bundle, which can be read without loading the model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from heartbeat_core import storage
from heartbeat_core.arrays import Codes
from heartbeat_core.bundles.predictions import Sureness
from heartbeat_core.errors import BundleError, ConfigError
from heartbeat_core.evaluation.figures import Evaluation, HoldoutReport
from heartbeat_core.labels import Labels
from heartbeat_core.learning.decision import Decision
from heartbeat_core.learning.kinds import check_recipe
from heartbeat_core.recipe import Recipe
from heartbeat_core.settings import Settings, canonical_json, parse_settings

FORMAT_VERSION = 2
MANIFEST_NAME = "bundle.json"
WEIGHTS_NAME = "weights.safetensors"
CARD_NAME = "MODEL_CARD.md"
HOLDOUT_NAME = "holdout.parquet"


class ReferenceFacts(Settings):
    """The recording that is the reference, identified by its content."""

    audio_sha256: str
    n_frames: int
    sample_rate_hz: int


class TrainingData(Settings):
    """The data that a model was trained on.

    Attributes
    ----------
    description : str | None
        What the user says of it.
    fingerprint : str
        Of the content and labels of the training rows; paths are not included.
    n_rows : int
    rows_by_label : dict[str, int]
    recordings : str
        The training rows as ``digests.short_digests``; empty in bundles of earlier versions.
    """

    description: str | None
    fingerprint: str
    n_rows: int
    rows_by_label: dict[str, int]
    recordings: Annotated[str, Field(exclude_if=lambda digests: not digests)] = ""


class BundleManifest(Settings):
    """The content of ``bundle.json``."""

    format: Literal["heartbeat-bundle"] = "heartbeat-bundle"
    format_version: Literal[2] = 2
    name: str
    recipe: Recipe
    labels: Labels
    trained_labels: Labels
    reference: ReferenceFacts
    training_data: TrainingData
    decision: Decision
    sureness: Sureness = Sureness()
    holdout: HoldoutReport | None = None
    """Figures on the held-out rows, of a model that was trained on the other rows."""
    cross_validation: Evaluation | None = None
    """Figures of the same recipe on the same data, from ``evaluate``; this model was trained on all rows."""
    left_out: Annotated[tuple[Evaluation, ...], Field(exclude_if=lambda evaluations: not evaluations)] = ()
    """The same by other protocols, where ``cross_validation`` is not all: each leaves databases or devices out."""
    packages: dict[str, str]
    weights_sha256: str
    digest: str

    @model_validator(mode="after")
    def _check_labels(self) -> Self:
        least = self.sureness.min_confidence
        of_labels = (self.decision.thresholds, *([] if isinstance(least, float) else [least]))
        if not set(self.trained_labels) <= set(self.labels) or any(len(one) != len(self.labels) for one in of_labels):
            raise PydanticCustomError("labels", "the trained labels, thresholds or limits do not fit the labels")
        return self

    @property
    def model_id(self) -> str:
        """Name and digest; every prediction row carries it."""
        return f"{self.name}@{self.digest}"

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """The figures by each protocol: ``cross_validation`` and ``left_out``."""
        return () if self.cross_validation is None else (self.cross_validation, *self.left_out)

    @property
    def trained_codes(self) -> Codes:
        """Codes of the labels that the model was trained on, ascending."""
        return np.array([self.labels.index(label) for label in self.trained_labels], np.int64)

    @property
    def provenance(self) -> dict[str, str]:
        """What the metadata of every part of a job's results say of the model; lists and mappings are JSON."""
        return {
            "model_id": self.model_id,
            "recipe": self.recipe.name,
            "frames": json.dumps(self.recipe.frames.model_dump(mode="json")),
            "labels": json.dumps(self.labels),
            "thresholds": json.dumps(self.decision.thresholds),
        }

    def expected_digest(self) -> str:
        """Return the digest that this content must have."""
        return _digest(self.model_dump(mode="json"))


def _digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 (hex) of the content of ``bundle.json`` without the digest itself."""
    return hashlib.sha256(canonical_json({name: content[name] for name in content if name != "digest"})).hexdigest()


def resolve(source: str) -> str:
    """Return the URI of a bundle from the name of a shipped bundle, a path or any fsspec URL.

    Raises
    ------
    InputError
        The text is empty.
    """
    if source in shipped_models():
        return storage.to_uri(str(files("heartbeat_core") / "models" / source))
    return storage.to_uri(source)


def shipped_models() -> list[str]:
    """Return the names of the bundles that the package ships."""
    return sorted(entry.name for entry in (files("heartbeat_core") / "models").iterdir() if entry.is_dir())


def read_manifest(source: str) -> BundleManifest:
    """Read and check ``bundle.json`` of a bundle.

    Parameters
    ----------
    source : str
        As ``resolve`` takes it.

    Raises
    ------
    BundleError
        There is no bundle, it is damaged or cannot be read, or this program does not read its version.
    InputError
        The text is empty.
    StoreUnavailable
        The store does not answer.
    """
    uri = resolve(source)
    return parse_manifest(read_file(uri, MANIFEST_NAME, source), source)


def read_weights(source: str, manifest: BundleManifest) -> bytes:
    """Read the weights that belong to a manifest.

    Parameters
    ----------
    source : str
        As ``resolve`` takes it.
    manifest : BundleManifest
        What ``read_manifest`` returned.

    Returns
    -------
    bytes
        The file, as ``weights.from_bytes`` reads it.

    Raises
    ------
    BundleError
        They cannot be read, or they are not the ones that were packed.
    InputError, StoreUnavailable
        As ``read_manifest``.
    """
    weights = read_file(resolve(source), WEIGHTS_NAME, source)
    if hashlib.sha256(weights).hexdigest() != manifest.weights_sha256:
        raise BundleError(f"{source}: {WEIGHTS_NAME} does not match its digest: copy the bundle again")
    return weights


def manifest_bytes(manifest: BundleManifest) -> bytes:
    """Return the bytes of ``bundle.json``."""
    return (json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n").encode()


def parse_manifest(data: bytes, source: str) -> BundleManifest:
    """Read ``bundle.json`` and check its digest.

    Parameters
    ----------
    data : bytes
        The content of the file.
    source : str
        The bundle's place, for messages.

    Raises
    ------
    BundleError
        It is not a bundle, has another version than this program reads, or was changed after it was packed.
    """
    try:
        content = json.loads(data)
    except ValueError:
        raise BundleError(f"{source}: {MANIFEST_NAME} is not valid JSON") from None
    if not isinstance(content, dict) or content.get("format") != "heartbeat-bundle":
        raise BundleError(f"{source}: {MANIFEST_NAME} does not describe a heartbeat bundle")
    version = content.get("format_version")
    if version != FORMAT_VERSION:
        raise BundleError(
            f"{source}: bundle format {version} is not the one this program reads ({FORMAT_VERSION}): "
            "install the release that made it, or train it again"
        )
    try:
        manifest = parse_settings(BundleManifest, content, f"{source}/{MANIFEST_NAME}")
        check_recipe(manifest.recipe)
    except ConfigError as error:
        raise BundleError(str(error)) from None
    # Of what is stored, because a field that a later version adds is not in it.
    if manifest.digest != _digest(content):
        raise BundleError(
            f"{source}: {MANIFEST_NAME} does not match its digest {manifest.digest[:12]}…: copy the bundle again"
        )
    return manifest


def read_file(uri: str, name: str, source: str) -> bytes:
    """Read one file of a bundle.

    Parameters
    ----------
    uri : str
        The folder of the bundle, as ``resolve`` returns it.
    name : str
        The name of the file.
    source : str
        The bundle's place as the user named it, for messages.

    Raises
    ------
    BundleError
        There is no such file, or its store refuses it.
    StoreUnavailable
        The store does not answer.
    """
    try:
        with storage.refusals_as(BundleError):
            return storage.read(storage.join(uri, name))
    except FileNotFoundError:
        raise BundleError(
            f"{source}: no model bundle there ({name} is missing); shipped models: {', '.join(shipped_models())}"
        ) from None
