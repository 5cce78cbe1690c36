"""The table of patients, from the newest committed rows.

On disk, or under any URL: ``OUT/patients.parquet``, one file, which each update replaces as a whole. It holds nothing
that the other tables do not say, so that it can be made again at any time.
"""

from __future__ import annotations

from collections.abc import Mapping

from heartbeat_core import storage
from heartbeat_core.bundles.manifest import BundleManifest
from heartbeat_core.formats.kept import KeptColumn
from heartbeat_core.formats.parquet import to_parquet
from heartbeat_core.results.patients import RULE, PatientPool, find_site_column
from heartbeat_core.results.schema import with_metadata
from heartbeat_core.storage.uris import FAILURES, PATIENTS_NAME
from jobs.output.newest import read_newest
from jobs.output.plans import PlanFolder


def names_patients(out: str) -> bool:
    """Tell whether the plan of an output folder names any patient."""
    plans = PlanFolder(out)
    return any(map(plans.names_patients, plans.generations()))


def store_patients(
    out: str, manifest: BundleManifest, kept: tuple[KeptColumn, ...], run_id: str, provenance: Mapping[str, str]
) -> str:
    """Pool the rows of each patient and store the table, over an earlier one; return what was stored in one line.

    Parameters
    ----------
    out : str
        URI of an output folder in which every planned shard is committed.
    manifest : BundleManifest
        Of the model.
    kept : tuple[KeptColumn, ...]
        The kept columns; one of them may hold the site on the chest.
    run_id : str
    provenance : Mapping[str, str]
        Goes into the metadata of the file.

    Raises
    ------
    JobError, InputError
        As ``read_newest``.
    """
    pool = PatientPool(manifest, find_site_column([one.column for one in kept]))
    for part in read_newest(out, "predictions", pool.columns):
        pool.add(part)
    for part in read_newest(out, FAILURES, pool.failed_columns):
        pool.add_failed(part)
    table = with_metadata(pool.finish(run_id), {**provenance, "patient_rule": RULE})
    storage.put(storage.join(out, PATIENTS_NAME), to_parquet(table))
    told = "1 patient" if table.num_rows == 1 else f"{table.num_rows} patients"
    return f"{told}, {pool.n_without} recordings without one" if pool.n_without else told
