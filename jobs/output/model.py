"""The facts of the model, beside the results that it made: they are needed when the model is no longer there."""

from __future__ import annotations

from heartbeat_core import storage
from heartbeat_core.bundles.manifest import (
    MANIFEST_NAME,
    BundleManifest,
    parse_manifest,
    read_manifest,
    shipped_models,
)
from heartbeat_core.errors import BundleError
from heartbeat_core.settings import canonical_json
from jobs.output.places import REPORT_FOLDER


def keep_manifest(out: str, manifest: BundleManifest) -> None:
    """Keep the facts of a model in the folder of its results."""
    storage.create(_place(out), canonical_json(manifest.model_dump(mode="json")))


def find_manifest(out: str, model_id: str) -> BundleManifest | None:
    """Return the facts of the model of some results, kept beside them or shipped; None if they are nowhere.

    Parameters
    ----------
    out : str
        URI of the folder of the results.
    model_id : str
        The name of the model and its digest, ``name@digest``. A shipped model counts only if it has the same one.
    """
    uri = _place(out)
    try:
        return parse_manifest(storage.read(uri), storage.display(uri))
    except (FileNotFoundError, BundleError):
        name = model_id.partition("@")[0]
        if name not in shipped_models():
            return None
        found = read_manifest(name)
        return found if found.model_id == model_id else None


def _place(out: str) -> str:
    return storage.join(out, REPORT_FOLDER, MANIFEST_NAME)
