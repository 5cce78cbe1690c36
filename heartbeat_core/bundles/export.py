"""Export a bundle's network to formats that other programs read: ONNX to run it on a phone, HDF5 for its weights.

The ONNX model takes the same inputs as the bundle's network, before scaling, and gives the same outputs as
``Bundle.classify``. All fixed operations are folded in float64 and rounded once: the scaler of frames into the first
layer, as in ``scorer.Scorer``, and each BatchNorm, which follows a ReLU, into the next layer. The scaler of statistics
is kept, because its values are clipped before the network reads them. Dropout has no effect when serving.

With 8 bits, each large matrix is stored as int8, with a float32 scale per output and an int8 exponent of two per input.
Without the exponents, the division by the scaler makes the weights of frequencies a thousandth of those of magnitudes.
8 bits can then hold only the weights of magnitudes, and 61 % of 832 recordings of PASCAL get another label. Activations
stay in float32, so nothing needs calibration.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import h5py
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from heartbeat_core import __version__
from heartbeat_core.arrays import Values
from heartbeat_core.bundles.bundle import Bundle
from heartbeat_core.errors import BundleError
from heartbeat_core.features.catalogue import sets_read
from heartbeat_core.learning.fcnn import FCNN, as_modules
from heartbeat_core.learning.model import NetworkForm
from heartbeat_core.learning.network import Network
from heartbeat_core.learning.training import label_mask

OPSET = 17
"""Opset of ONNX 1.12 (2022), and the IR version of that time; onnxruntime of that time reads both, also on phones."""
_IR_VERSION = 8

NOTICE = "Not a medical device."

_WORTH_INT8 = 1_024
"""In a matrix with fewer weights, 8 bits would save hardly a kilobyte and add an error."""
_INT8_MAX = 127
_EXPONENTS = (-126.0, 126.0)
"""Exponents of two that float32 holds as normal numbers."""

_Array = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class _Layer:
    """``weight @ (x - centre) + bias``.

    The constant is computed after the weights are rounded. The effect of rounding then grows with the distance from the
    centre and not with the raw Hz.

    Attributes
    ----------
    weight : ndarray, [n_outputs, n_inputs] float64
    bias : ndarray, [n_outputs] float64
    centre : ndarray, [n_inputs] float64
    """

    weight: Values
    bias: Values
    centre: Values

    def constant(self, rounded: Values) -> NDArray[np.float32]:
        """Return [n_outputs] float32: the constant that is added to ``rounded @ x``."""
        constant: NDArray[np.float32] = (self.bias - rounded @ self.centre).astype(np.float32)
        return constant


class _Graph:
    """The nodes and constants of the graph, in the order of computation."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, values: _Array) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output


def to_onnx(bundle: Bundle, int8: bool = False) -> bytes:
    """Write a bundle's network as an ONNX model; the same bundle gives the same bytes.

    Input, one of:
        ``frames``: [batch, L, 2] float32: Hz, linear magnitude; aligned, with zeros outside the recording.
        ``statistics``: [batch, n_values] float32: the feature sets that the recipe names, side by side.

    Outputs:
        ``probabilities``: [batch, n_labels] float32, ``softmax(logits / temperature)`` over the trained labels, 0 for
            others.
        ``logits``: [batch, n_labels] float32, the outputs of the network; those of untrained labels have no meaning.

    Metadata properties, lists as JSON: ``model_id``, ``labels``, ``trained_labels``, ``thresholds`` (the predicted
    label has the largest probability / threshold), ``temperature``, ``weights`` (float32 or int8), ``notice``; for
    frames also ``frames`` (how they are computed and placed); for statistics also ``feature_version`` and
    ``feature_names``.

    Parameters
    ----------
    bundle : Bundle
    int8 : bool
        Store matrices in 8 bits: a quarter of the size. Outputs change because the weights are rounded.

    Returns
    -------
    bytes
        The file.

    Raises
    ------
    BundleError
        The model cannot be written as one network.
    """
    form = _form(bundle)
    graph = _Graph()
    layers = _layers(form.network)
    name = "statistics" if bundle.vectors else "frames"
    if form.clip is not None:
        value = _scale(graph, name, form, form.clip)
    else:
        value = graph.add("Flatten", [name], "inputs", axis=1)
        layers[0] = _Layer(layers[0].weight / form.scale.reshape(-1), layers[0].bias, form.mean.reshape(-1))
    for number, layer in enumerate(layers):
        is_last = number == len(layers) - 1
        value = _dense(graph, value, layer, "logits" if is_last else f"layer_{number}", int8)
        if not is_last:
            value = graph.add("Relu", [value], f"activations_{number}")
    temperature = np.array(bundle.manifest.decision.temperature, np.float32)
    value = graph.add("Div", [value, graph.constant("temperature", temperature)], "calibrated")
    mask = label_mask(bundle.manifest.trained_codes, len(bundle.manifest.labels)).numpy()
    value = graph.add("Add", [value, graph.constant("trained_labels", mask)], "masked")
    graph.add("Softmax", [value], "probabilities", axis=1)

    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            bundle.manifest.name,
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *form.mean.shape])],
            [
                helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", len(bundle.manifest.labels)])
                for output in ("probabilities", "logits")
            ],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=_IR_VERSION,
        producer_name="heartbeat",
        producer_version=__version__,
        doc_string=f"{NOTICE} The predicted label is that of the largest probability / threshold.",
    )
    helper.set_model_props(model, _metadata(bundle, "int8" if int8 else "float32"))
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def to_hdf5(bundle: Bundle) -> bytes:
    """Write a bundle's weights as an HDF5 file; the same bundle gives the same bytes.

    Like ``pth_to_h5.py`` of the original project, this writes one dataset at the root for each entry of the network's
    state dict, named by its key: ``layers.0.weight`` [n_outputs, n_inputs] float32 (float16 in a bundle that holds it
    so), ``layers.0.bias``, and for a BatchNorm1d also ``running_mean``, ``running_var`` and ``num_batches_tracked``
    (int64). Nothing is folded.

    The file also holds entries that the original project did not write. Datasets: ``scaler.mean`` and ``scaler.scale``
    ([L, 2] or [n_values] float64) and ``reference.frames`` [L, 2] float32. Attributes: ``model_id``, ``input`` (the
    recipe's), ``labels`` and ``trained_labels`` (texts, in the order of their codes), ``thresholds`` ([n_labels]
    float64), ``temperature`` (float64), ``notice``, and for statistics ``feature_version`` and ``feature_names``.

    Parameters
    ----------
    bundle : Bundle

    Returns
    -------
    bytes
        The file.
    """
    manifest = bundle.manifest
    attributes: dict[str, object] = {
        "model_id": bundle.model_id,
        "input": manifest.recipe.input,
        "labels": manifest.labels,
        "trained_labels": manifest.trained_labels,
        "thresholds": manifest.decision.thresholds,
        "temperature": manifest.decision.temperature,
        "notice": NOTICE,
    }
    if bundle.vectors:
        version, names = _features(bundle)
        attributes |= {"feature_version": version, "feature_names": names}
    with h5py.File("bundle.h5", "w", driver="core", backing_store=False) as file:
        for name, value in bundle.model.tensors().items():
            file.create_dataset(name.removeprefix("network."), data=value)
        file.create_dataset("reference.frames", data=bundle.reference.frames)
        file.attrs.update(attributes)
        file.flush()
        data: bytes = file.id.get_file_image()
    return data


def _features(bundle: Bundle) -> tuple[str, tuple[str, ...]]:
    """Return the version and the names of the values that the network reads."""
    sets = sets_read(bundle.manifest.recipe.input)
    return "+".join(one.version for one in sets), tuple(name for one in sets for name in one.names)


def plausible_inputs(bundle: Bundle, n_rows: int, seed: int) -> NDArray[np.float32]:
    """Make random inputs of a bundle's network, with the size and spread of real ones.

    Parameters
    ----------
    bundle : Bundle
    n_rows : int
    seed : int
        The same seed gives the same inputs.

    Returns
    -------
    ndarray, [n_rows, L, 2] float32
        Pieces of the reference at random places, changed by up to a half, with zeros around them. Or [n_rows, n_values]
        float32: normally distributed, with the mean of the training rows and twice their deviation.

    Raises
    ------
    BundleError
        As ``to_onnx``, for a model that reads vectors.
    """
    rng = np.random.default_rng(seed)
    if bundle.vectors:
        form = _form(bundle)
        return (form.mean + 2.0 * form.scale * rng.standard_normal((n_rows, form.mean.size))).astype(np.float32)
    frames = bundle.reference.frames
    rows = np.zeros((n_rows, *frames.shape), np.float32)
    for row in rows:
        n_frames = int(rng.integers(1, len(frames) + 1))
        source, place = rng.integers(0, len(frames) - n_frames + 1, 2)
        factors = rng.uniform(0.5, 1.5, (n_frames, 2))
        row[place : place + n_frames] = frames[source : source + n_frames] * factors
    return rows


def torch_outputs(bundle: Bundle, inputs: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the outputs of the bundle's own network for the inputs of an ONNX model, on one thread of torch.

    Parameters
    ----------
    bundle : Bundle
    inputs : ndarray, [n, L, 2] or [n, n_values] float32
        As ``to_onnx`` describes them, before scaling.

    Returns
    -------
    tuple[ndarray of float64, ndarray of float64]
        Probabilities [n, n_labels] and logits [n, n_labels].

    Raises
    ------
    BundleError
        As ``to_onnx``.
    """
    form = _form(bundle)
    scaled = (inputs - form.mean) / form.scale
    if form.clip is not None:
        scaled = np.clip(scaled, -form.clip, form.clip)
    rows = torch.from_numpy(scaled.reshape(len(inputs), -1).astype(np.float32))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            logits: NDArray[np.float64] = _in_torch(form.network)(rows).double().numpy()
    finally:
        torch.set_num_threads(threads)
    return bundle.manifest.decision.probabilities(logits, bundle.manifest.trained_codes), logits


@lru_cache(maxsize=1)
def _in_torch(network: Network) -> FCNN:
    return as_modules(network)


def _form(bundle: Bundle) -> NetworkForm:
    form = bundle.model.form()
    if form is None:
        kind = bundle.manifest.recipe.model
        raise BundleError(f"a model of the kind '{kind}' cannot be exported: it is not a network")
    return form


def _layers(network: Network) -> list[_Layer]:
    return [_Layer(layer.weight, layer.bias, np.zeros(layer.weight.shape[1])) for layer in network.layers]


def _scale(graph: _Graph, value: str, form: NetworkForm, clip: float) -> str:
    """Add nodes that compute what ``VectorScaler.transform`` computes."""
    value = graph.add("Sub", [value, graph.constant("mean", form.mean.astype(np.float32))], "centred")
    value = graph.add("Div", [value, graph.constant("scale", form.scale.astype(np.float32))], "scaled")
    lowest = graph.constant("lowest", np.array(-clip, np.float32))
    highest = graph.constant("highest", np.array(clip, np.float32))
    return graph.add("Clip", [value, lowest, highest], "clipped")


def _dense(graph: _Graph, value: str, layer: _Layer, output: str, int8: bool) -> str:
    """Add a layer, with weights in the layout of torch, [n_outputs, n_inputs]."""
    weight = f"{output}.weight"
    if int8 and layer.weight.size >= _WORTH_INT8:
        codes, scale, exponents = _to_int8(layer.weight)
        rounded = codes * scale.astype(np.float64)[:, np.newaxis] * np.exp2(exponents.astype(np.float64))
        exponent = graph.constant(f"{output}.exponent_int8", exponents)
        exponent = graph.add("Cast", [exponent], f"{output}.exponent", to=TensorProto.FLOAT)
        base = graph.constant(f"{output}.base", np.array(2, np.float32))
        power = graph.add("Pow", [base, exponent], f"{output}.power")
        value = graph.add("Mul", [value, power], f"{output}.inputs")
        stored = [graph.constant(f"{weight}_int8", codes), graph.constant(f"{weight}_scale", scale)]
        graph.add("DequantizeLinear", stored, weight, axis=0)
    else:
        single = layer.weight.astype(np.float32)
        rounded = single.astype(np.float64)
        graph.constant(weight, single)
    bias = graph.constant(f"{output}.bias", layer.constant(rounded))
    return graph.add("Gemm", [value, weight, bias], output, transB=1)


def _to_int8(weight: Values) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.int8]]:
    """Round weights so that ``codes[o, i] * scale[o] * 2 ** exponents[i]`` is close to ``weight[o, i]``.

    Parameters
    ----------
    weight : ndarray, [n_outputs, n_inputs] float64

    Returns
    -------
    tuple[ndarray of int8, ndarray of float32, ndarray of int8]
        Codes [n_outputs, n_inputs] int8, -127 to 127; scale [n_outputs] float32; exponents [n_inputs] int8.
    """
    largest = np.abs(weight).max(axis=0)
    exponents = np.ceil(np.log2(largest, out=np.zeros_like(largest), where=largest > 0)).clip(*_EXPONENTS)
    levelled = weight / np.exp2(exponents)
    largest = np.abs(levelled).max(axis=1)
    scale = np.where(largest > 0, largest / _INT8_MAX, 1.0).astype(np.float32)
    codes = np.rint(levelled / scale[:, np.newaxis]).clip(-_INT8_MAX, _INT8_MAX)
    return codes.astype(np.int8), scale, exponents.astype(np.int8)


def _metadata(bundle: Bundle, weights: str) -> dict[str, str]:
    manifest, recipe = bundle.manifest, bundle.manifest.recipe
    facts = {
        "model_id": bundle.model_id,
        "labels": json.dumps(manifest.labels),
        "trained_labels": json.dumps(manifest.trained_labels),
        "thresholds": json.dumps(manifest.decision.thresholds),
        "temperature": json.dumps(manifest.decision.temperature),
        "weights": weights,
        "notice": NOTICE,
    }
    if bundle.vectors:
        version, names = _features(bundle)
        return facts | {"feature_version": version, "feature_names": json.dumps(names)}
    frames = recipe.frames.model_dump(mode="json") | recipe.alignment.model_dump(mode="json")
    return facts | {"frames": json.dumps(frames)}
