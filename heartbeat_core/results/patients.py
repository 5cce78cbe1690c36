"""Predictions by patient: the recordings of each are pooled, part by part, so that memory grows with patients alone.

The rule: a patient's probabilities are the means over its recordings that are not unsure, or over all of them if all
are unsure. Its label has the largest ``probability / threshold``, by the thresholds of the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from heartbeat_core.bundles.manifest import BundleManifest
from heartbeat_core.bundles.reasons import LOW_CONFIDENCE
from heartbeat_core.formats.columns import TEXT, TEXTS, make_schema, make_table, text_list_column
from heartbeat_core.labels import PROBABILITY_PREFIX, Labels
from heartbeat_core.results.notes import with_notes

WORST_PREFIX = "worst_"
NO_SURE_RECORDING = "no_sure_recording"
NO_RECORDING = "no_recording"
UNSURE_DIFFER = "unsure_recordings_differ"
"""With the unsure recordings, the label would be another: a murmur may be heard at one place only."""
SITE_COLUMNS = ("site", "location", "auscultation_site", "recording_location")
"""Names of the kept column that says where on the chest a recording was made; the first that is there counts."""
RULE = (
    "probabilities: mean over the recordings that are not unsure, or over all if all are unsure; worst: the largest of "
    "all recordings; label: the largest probability / threshold"
)


def patients_schema(labels: Labels) -> pa.Schema:
    """Return the columns of the patients table of a model with these labels; it has one row per patient.

    ``n_recordings`` counts the listed recordings; ``n_failed`` of them could not be processed, and ``n_unsure`` were
    classified and are unsure. A patient all of whose recordings failed has no label.

    Parameters
    ----------
    labels : Labels
        By code; each has the columns ``prob_LABEL`` and ``worst_prob_LABEL`` (float32).
    """
    probabilities = [f"{PROBABILITY_PREFIX}{label}" for label in labels]
    return make_schema(
        patient_id=TEXT,
        n_recordings=pa.int32(),
        n_failed=pa.int32(),
        n_unsure=pa.int32(),
        sites=TEXTS,
        predicted_label_=TEXT,
        predicted_code_=pa.int8(),
        confidence_=pa.float32(),
        unsure=pa.bool_(),
        unsure_reason_=TEXT,
        **{f"{name}_": pa.float32() for name in probabilities},
        **{f"{WORST_PREFIX}{name}_": pa.float32() for name in probabilities},
        model_id=TEXT,
        run_id=TEXT,
    )


class PatientPool:
    """Takes the parts of predictions and failures, in any order, each recording once.

    Parameters
    ----------
    manifest : BundleManifest
        Of the model that predicted.
    site_column : str | None
        The kept column of sites; None leaves the sites empty.

    Attributes
    ----------
    columns, failed_columns : list[str]
        What ``add`` and ``add_failed`` need of a part.
    n_without : int
        Recordings whose patient is not known; they are in no row.
    """

    def __init__(self, manifest: BundleManifest, site_column: str | None = None) -> None:
        self._manifest = manifest
        self._site_column = site_column
        self._probabilities = [f"{PROBABILITY_PREFIX}{label}" for label in manifest.labels]
        self.failed_columns = ["patient_id", *([site_column] if site_column else [])]
        self.columns = [*self.failed_columns, "unsure", *self._probabilities]
        self.n_without = 0
        self._rows: dict[str, int] = {}
        self._sites: dict[str, int] = {}
        self._site_pairs: list[NDArray[np.int64]] = []
        self._n = np.zeros((0, 3), np.int64)  # sure, unsure, failed
        self._sums = np.zeros((0, 2, len(manifest.labels)))  # sure, unsure
        self._worst = np.zeros((0, len(manifest.labels)))

    def add(self, part: pa.Table) -> None:
        """Take a part of ``predictions``, of which it reads ``columns``."""
        known, rows = self._rows_of(part)
        unsure = np.array(part.column("unsure").to_pylist(), bool)[known].astype(int)
        values = np.array([part.column(name).to_pylist() for name in self._probabilities], np.float64).T[known]
        np.add.at(self._n, (rows, unsure), 1)
        np.add.at(self._sums, (rows, unsure), values)
        np.maximum.at(self._worst, rows, values)

    def add_failed(self, part: pa.Table) -> None:
        """Take a part of ``failures``, of which it reads ``failed_columns``."""
        _, rows = self._rows_of(part)
        np.add.at(self._n, (rows, np.full(len(rows), 2)), 1)

    def finish(self, run_id: str) -> pa.Table:
        """Return the table ``patients``, in the order of the patients.

        Parameters
        ----------
        run_id : str
            Of the run that writes the table.

        Returns
        -------
        pa.Table
            One row per patient, with the columns of ``patients_schema`` and their notes.
        """
        ids = sorted(self._rows)
        order = np.array([self._rows[one] for one in ids], np.int64)
        n, labels = self._n[order], self._manifest.labels
        # Sure recordings count; the unsure ones where there are no others.
        used = np.where(n[:, 0] > 0, 0, 1)
        n_used = n[np.arange(len(n)), used]
        there = n_used > 0
        pooled = self._sums[order, used] / np.maximum(n_used, 1)[:, None]
        worst = self._worst[order]
        codes = self._manifest.decision.codes(pooled)
        confidence = pooled[np.arange(len(n)), codes]
        of_all = self._sums[order].sum(axis=1) / np.maximum(n[:, :2].sum(axis=1), 1)[:, None]
        applies = {
            LOW_CONFIDENCE: self._manifest.sureness.are_unconfident(codes, confidence),
            NO_SURE_RECORDING: n[:, 0] == 0,
            UNSURE_DIFFER: self._manifest.decision.codes(of_all) != codes,
        }
        reasons = [_reason(classified, applies, row) for row, classified in enumerate(there.tolist())]
        columns: dict[str, Any] = {
            "patient_id": ids,
            "n_recordings": n.sum(axis=1),
            "n_failed": n[:, 2],
            "n_unsure": n[:, 1],
            "sites": text_list_column(self._sites_of(order)),
            "predicted_label": _where(there, [labels[code] for code in codes.tolist()]),
            "predicted_code": _where(there, codes),
            "confidence": _where(there, confidence),
            "unsure": [reason is not None for reason in reasons],
            "unsure_reason": reasons,
            **{name: _where(there, pooled[:, code]) for code, name in enumerate(self._probabilities)},
            **{f"{WORST_PREFIX}{name}": _where(there, worst[:, code]) for code, name in enumerate(self._probabilities)},
            "model_id": [self._manifest.model_id] * len(ids),
            "run_id": [run_id] * len(ids),
        }
        return make_table(columns, with_notes(patients_schema(labels)))

    def _rows_of(self, part: pa.Table) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Return which rows of a part have a patient, and the number of each one's patient."""
        ids = part.column("patient_id").to_pylist()
        known = np.array([one is not None for one in ids], bool)
        self.n_without += int((~known).sum())
        rows = np.array([self._rows.setdefault(one, len(self._rows)) for one in ids if one is not None], np.int64)
        lacking = len(self._rows) - len(self._n)
        if lacking > 0:
            more = max(lacking, len(self._n))  # twice as long, so that few parts make it grow
            self._n, self._sums, self._worst = (
                np.concatenate([old, np.zeros((more, *old.shape[1:]), old.dtype)])
                for old in (self._n, self._sums, self._worst)
            )
        if self._site_column:
            sites = part.column(self._site_column).to_pylist()
            pairs = [
                (row, self._sites.setdefault(str(site), len(self._sites)))
                for row, site in zip(
                    rows.tolist(), (site for site, is_known in zip(sites, known, strict=True) if is_known), strict=True
                )
                if site is not None
            ]
            self._site_pairs.append(np.unique(np.array(pairs, np.int64).reshape(-1, 2), axis=0))
        return known, rows

    def _sites_of(self, order: NDArray[np.int64]) -> list[list[str]]:
        if not self._site_pairs:
            return [[] for _ in order]
        pairs = np.unique(np.concatenate(self._site_pairs), axis=0)
        names = list(self._sites)
        bounds = np.searchsorted(pairs[:, 0], np.arange(len(self._rows) + 1)).tolist()
        found = [sorted(names[code] for code in pairs[a:b, 1].tolist()) for a, b in pairwise(bounds)]
        return [found[row] for row in order.tolist()]


def find_site_column(kept: Sequence[str]) -> str | None:
    """Return the column of sites among the kept columns, None if there is none.

    Parameters
    ----------
    kept : Sequence[str]
        Names of kept columns in the tables (lower_snake_case).
    """
    return next((name for name in SITE_COLUMNS if name in kept), None)


def _reason(is_classified: bool, applies: Mapping[str, NDArray[np.bool_]], row: int) -> str | None:
    if not is_classified:
        return NO_RECORDING
    return ",".join(reason for reason, of_rows in applies.items() if of_rows[row]) or None


def _where(there: NDArray[np.bool_], values: Sequence[Any] | NDArray[Any]) -> list[Any]:
    return [value if is_there else None for is_there, value in zip(there.tolist(), list(values), strict=True)]
