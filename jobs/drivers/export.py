"""A bundle to one file that a phone or another program reads, checked against torch before it is written."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnxruntime

from heartbeat_core import storage
from heartbeat_core.bundles import bundle as bundles
from heartbeat_core.bundles.bundle import Bundle
from heartbeat_core.bundles.export import plausible_inputs, to_hdf5, to_onnx, torch_outputs
from heartbeat_core.errors import JobError, OutputError, UsageError
from heartbeat_core.storage.uris import public_uri

ExportFormat = Literal["onnx", "hdf5"]

TOLERANCE = 1e-5
N_ROWS = 64
_SEED = 0
_N_TIMED = 201


@dataclass(frozen=True, slots=True)
class Comparison:
    """onnxruntime beside torch, on made-up rows.

    Attributes
    ----------
    n_rows : int
        Number of rows.
    probability_difference : float
        The largest.
    logit_difference : float
        The largest, in parts of the row's largest logit where that is beyond 1: float32 is no finer.
    same_label : float
        Share of the rows with the same label by ``probability / threshold``.
    onnxruntime_ms, torch_ms : float
        Median time of one padded row to its probabilities, on one thread.
    """

    n_rows: int
    probability_difference: float
    logit_difference: float
    same_label: float
    onnxruntime_ms: float
    torch_ms: float


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes
    ----------
    place : str
        Where, as it is shown.
    model_id : str
    n_bytes : int
        Size of the file.
    comparison : Comparison | None
        None of weights that nothing here can run.
    """

    place: str
    model_id: str
    n_bytes: int
    comparison: Comparison | None


def export(source: str, out: str, export_format: ExportFormat, int8: bool = False) -> Exported:
    """Write a bundle's network as one file.

    Parameters
    ----------
    source : str
        Of the bundle, as ``bundle.load`` takes it.
    out : str
        Path or URL of the file.
    export_format : ExportFormat
        ``onnx`` or ``hdf5``.
    int8 : bool
        Store the weights of an ONNX model in 8 bits.

    Raises
    ------
    UsageError
        8 bits were asked for in HDF5, or the bundle cannot be used.
    OutputError
        The file is there already.
    JobError
        It cannot be written; or, with float32 weights, its outputs are not torch's within 1e-5.
    """
    if int8 and export_format != "onnx":
        raise UsageError("--int8 is for --format onnx: HDF5 holds the weights as they were trained")
    uri = storage.to_uri(out)
    if storage.exists(uri):
        raise _taken(uri)
    bundle = bundles.load(source)
    if export_format == "onnx":
        data = to_onnx(bundle, int8)
        comparison = _compare(bundle, data)
        if not int8:
            _check(comparison, bundle)
    else:
        data, comparison = to_hdf5(bundle), None
    if not storage.create(uri, data):
        raise _taken(uri)
    return Exported(_display(uri), bundle.model_id, len(data), comparison)


def _display(uri: str) -> str:
    return storage.display(public_uri(uri))


def _taken(uri: str) -> OutputError:
    return OutputError(f"{_display(uri)} is there already: name a new file")


def _compare(bundle: Bundle, data: bytes) -> Comparison:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    inputs = plausible_inputs(bundle, N_ROWS, _SEED)
    name = session.get_inputs()[0].name
    found, logits = session.run(["probabilities", "logits"], {name: inputs})
    expected, expected_logits = torch_outputs(bundle, inputs)
    largest = np.maximum(1.0, np.abs(expected_logits).max(axis=1, keepdims=True))
    decide = bundle.manifest.decision.codes
    row = inputs[:1]
    return Comparison(
        n_rows=len(inputs),
        probability_difference=float(np.abs(found - expected).max()),
        logit_difference=float((np.abs(logits - expected_logits) / largest).max()),
        same_label=float(np.mean(decide(found.astype(np.float64)) == decide(expected))),
        onnxruntime_ms=_median_ms(lambda: session.run(None, {name: row})),
        torch_ms=_median_ms(lambda: torch_outputs(bundle, row)),
    )


def _check(comparison: Comparison, bundle: Bundle) -> None:
    largest = max(comparison.probability_difference, comparison.logit_difference)
    # Put so that NaN is refused.
    if not largest <= TOLERANCE:
        raise JobError(
            f"nothing was written: the outputs of {bundle.manifest.name} in onnxruntime differ from torch's by "
            f"{largest:.1e}, and {TOLERANCE:g} is allowed"
        )


def _median_ms(run: Callable[[], object]) -> float:
    times = []
    for _ in range(_N_TIMED):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return 1e3 * float(np.median(times))
