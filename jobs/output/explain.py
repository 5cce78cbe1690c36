"""What an output folder, a bundle, a dataset or a part is, and where it comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from heartbeat_core import storage
from heartbeat_core.bundles.manifest import MANIFEST_NAME, BundleManifest, read_manifest, resolve, shipped_models
from heartbeat_core.datasets.dataset import FACTS_NAME
from heartbeat_core.errors import InputError
from heartbeat_core.formats.parquet import FOOTER_TAIL_BYTES, footer_facts, footer_length
from heartbeat_core.storage.uris import public_uri
from jobs.output.places import RUN_NAME
from jobs.output.plans import Generation, PlanFolder
from jobs.output.provenance import describe_inputs, read_history
from jobs.output.status import Status, read_status

PREFIX = "heartbeat."
"""Begins the names of our entries in a part's metadata."""
_NOT_TOLD = ("limits", "shards")
"""Keys of a job's identity that its configuration holds as well."""


def explain(place: str) -> dict[str, Any]:
    """Return what ``place`` is and where it comes from, as nested facts that JSON can hold.

    Parameters
    ----------
    place : str
        The name of a shipped model, or the path or URL of an output folder, a bundle, a dataset or a Parquet file.

    Returns
    -------
    dict[str, Any]
        ``is`` names the kind: ``bundle``, ``part``, ``dataset``, or the ``output of`` a job.

    Raises
    ------
    InputError
        It is none of these.
    """
    if place in shipped_models():
        return _explain_bundle(place)
    uri = storage.to_uri(place)
    if uri.endswith(".parquet"):
        return _explain_part(uri)
    if storage.find(storage.join(uri, MANIFEST_NAME)) is not None:
        return _explain_bundle(place)
    if storage.find(storage.join(uri, RUN_NAME)) is not None:
        return _explain_output(uri)
    raise InputError(
        f"{_shown(uri)} is neither the output of a job, nor a bundle, nor a part (.parquet), nor a shipped model "
        f"({', '.join(shipped_models())})"
    )


def _explain_bundle(source: str) -> dict[str, Any]:
    manifest: BundleManifest = read_manifest(source)
    trained = manifest.training_data
    return {
        "is": "bundle",
        "place": _shown(resolve(source)),
        "model": manifest.model_id,
        "recipe": manifest.recipe.name,
        "reads": manifest.recipe.input,
        "labels": list(manifest.labels),
        "thresholds": list(manifest.decision.thresholds),
        "trained on": {
            "data": trained.description,
            "rows": trained.n_rows,
            "rows by label": dict(trained.rows_by_label),
            "fingerprint": trained.fingerprint,
        },
        "figures": [one.protocol for one in manifest.evaluations] or "on held-out rows",
        "packages": dict(manifest.packages),
        "weights_sha256": manifest.weights_sha256,
    }


def _explain_part(uri: str) -> dict[str, Any]:
    found = storage.find(uri)
    if found is None:
        raise InputError(f"{_shown(uri)}: no such file")
    tail = storage.read_tail(uri, FOOTER_TAIL_BYTES)
    try:
        length = footer_length(tail)
        facts = footer_facts(tail if length <= len(tail) else storage.read_tail(uri, length))
    except InputError as error:
        raise InputError(f"{_shown(uri)}: {error}") from None
    ours = {key: value for key, value in facts.metadata.items() if key.startswith(PREFIX)}
    parsed = {key.removeprefix(PREFIX): _parsed(value) for key, value in ours.items()}
    return {
        "is": "part",
        "place": _shown(uri),
        "bytes": found.size_bytes,
        "rows": facts.n_rows,
        "columns": facts.n_columns,
        **(dict(sorted(parsed.items(), key=_texts_first)) or {"written by": "another program"}),
    }


def _explain_output(uri: str) -> dict[str, Any]:
    status = read_status(uri)
    record = json.loads(storage.read(storage.join(uri, RUN_NAME)))
    identity = record["identity"]
    told: dict[str, Any] = {
        "is": "dataset" if status.job == "build-dataset" else f"output of {status.job}",
        "place": _shown(uri),
        "state": "finished" if status.finished else "running" if status.drivers else "not finished",
        "run_id": status.run_id,
        **_counts(status),
        "job": {key: value for key, value in identity.items() if key not in ("job", *_NOT_TOLD) and value},
    }
    with suppress(FileNotFoundError):
        facts = json.loads(storage.read(storage.join(uri, FACTS_NAME)))
        told["dataset"] = {
            key: facts[key] for key in ("labels", "layout", "length_frames", "rows_by_label", "reference_recording_id")
        }
    told["listings"] = [_listing(one) for one in PlanFolder(uri).generations()]
    if "origin" in record:
        told["origin"] = record["origin"]
    told["drivers"] = [
        {key: value for key, value in one.items() if key not in ("configuration", "packages")}
        for one in read_history(uri)
    ]
    return {key: value for key, value in told.items() if value not in ([], {})}


def _counts(status: Status) -> dict[str, Any]:
    if status.steps:
        return {"steps": {name: f"{step.stored} of {step.total}" for name, step in status.steps.items()}}
    return {
        "recordings": {"listed": status.listed, "done": status.done, "failed": status.failed, "left": status.left},
        "failures by reason": status.errors,
        "shards": f"{status.committed} of {status.shards} committed",
    }


def _listing(generation: Generation) -> dict[str, Any]:
    kind = "retry" if generation.limits is not None else "update" if generation.number else "first listing"
    return {"generation": generation.number, "kind": kind, **describe_inputs(generation)}


def _parsed(value: str) -> Any:
    """Return an object or list that was stored as JSON, and any other text as it is."""
    if value.startswith(("{", "[")):
        with suppress(ValueError):
            return json.loads(value)
    return value


def _texts_first(entry: tuple[str, Any]) -> tuple[bool, str]:
    return _is_nested(entry[1]), entry[0]


def _shown(uri: str) -> str:
    return storage.display(public_uri(uri))


def lines_of(facts: Mapping[str, Any], indent: str = "") -> list[str]:
    """Return nested facts as lines for people: one a fact, and those of an inner mapping below its name.

    What is not set is left out.

    Parameters
    ----------
    facts : Mapping[str, Any]
        As ``explain`` returns them.
    indent : str
        Begins each line.

    Examples
    --------
    >>> for line in lines_of({"is": "part", "rows": 3, "labels": ["normal", "murmur"], "origin": {"commit": "abc"}}):
    ...     print(line)
    is      part
    rows    3
    labels  normal, murmur
    origin:
      commit  abc
    """
    lines = []
    facts = {key: value for key, value in facts.items() if value is not None and value not in ([], {}, ())}
    width = max((len(key) for key, value in facts.items() if not _is_nested(value)), default=0)
    for key, value in facts.items():
        if isinstance(value, Mapping):
            inner = lines_of(value, indent + "  ")
            lines += [f"{indent}{key}:", *inner] if inner else []
        elif _is_nested(value):
            for number, one in enumerate(value, 1):
                lines += [f"{indent}{key} {number}:", *lines_of(one, indent + "  ")]
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            lines.append(f"{indent}{key.ljust(width)}  {text}")
    return lines


def _is_nested(value: Any) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list) and any(isinstance(one, Mapping) for one in value))
