"""The tables that follow from the others, at the end of ``classify`` and ``reclassify``, before the success mark."""

from __future__ import annotations

from rich.console import Console

from heartbeat_core import storage
from heartbeat_core.bundles.manifest import BundleManifest
from heartbeat_core.results.patients import patients_schema
from heartbeat_core.storage.uris import DUPLICATES_NAME, PATIENTS_NAME
from jobs.drivers.run import Run
from jobs.output.duplicates import store_duplicates
from jobs.output.patients import names_patients, store_patients
from jobs.output.provenance import claim_entries, inputs_entry
from jobs.output.schemas import write_schema


def keep_derived(run: Run, manifest: BundleManifest, console: Console) -> None:
    """Store the tables of patients and of duplicates where they are not current; that of patients if there are any."""
    out, is_finished = run.ledger.out, run.is_finished

    def is_current(name: str) -> bool:
        return is_finished and storage.find(storage.join(out, name)) is not None

    provenance = {**claim_entries(out, inputs_entry(run.generations)), **manifest.provenance}
    if not is_current(PATIENTS_NAME) and names_patients(out):
        console.print(store_patients(out, manifest, run.kept, run.run_id, provenance))
        write_schema(out, "patients", patients_schema(manifest.labels))
    if not is_current(DUPLICATES_NAME):
        count = store_duplicates(out, provenance)
        if count:
            told = "1 recording has" if count == 1 else f"{count} recordings have"
            console.print(f"{told} the same audio as an earlier one: see the table 'duplicates'")
