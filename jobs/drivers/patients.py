"""The table of patients at the end of ``classify`` and ``reclassify``, before the success mark."""

from __future__ import annotations

import json
from collections.abc import Mapping

from rich.console import Console

from heartbeat_core import storage
from heartbeat_core.bundles.manifest import BundleManifest
from heartbeat_core.results.notes import frictionless
from heartbeat_core.results.patients import patients_schema
from heartbeat_core.storage.uris import PATIENTS_NAME, SCHEMAS_FOLDER
from jobs.drivers.run import Run
from jobs.output.patients import names_patients, store_patients


def keep_patients(run: Run, manifest: BundleManifest, provenance: Mapping[str, str], console: Console) -> None:
    """Store the table of patients and its schema, if there are patients and the table is not current."""
    out = run.ledger.out
    is_current = run.is_finished and storage.find(storage.join(out, PATIENTS_NAME)) is not None
    if is_current or not names_patients(out):
        return
    console.print(store_patients(out, manifest, run.kept, run.run_id, provenance))
    text = json.dumps(frictionless(patients_schema(manifest.labels)), indent=1, ensure_ascii=False) + "\n"
    storage.create(storage.join(out, SCHEMAS_FOLDER, "patients.json"), text.encode())
