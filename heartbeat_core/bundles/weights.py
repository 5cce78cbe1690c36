"""The file of a bundle's weights: arrays as safetensors, without the zeros of matrices that are mostly zero.

A member of a bagged FCNN reads only a part of the inputs, and a pruned layer only a part of the outputs before it. Such
a matrix is stored as three arrays: ``NAME.shape`` [2] int64, ``NAME.kept`` uint8, a bit for each value in rows, the
highest bit first, which says whether the value is other than zero, and ``NAME.values``, these values in the same order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from heartbeat_core.learning.network import Arrays, sparse_bytes

_SHAPE, _KEPT, _VALUES = ".shape", ".kept", ".values"


def to_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the file of the arrays; equal arrays give equal bytes.

    Parameters
    ----------
    arrays : Mapping[str, ndarray]
        By name, of any shape and of a dtype that safetensors knows.

    Raises
    ------
    ValueError
        The name of an array ends as those of the parts of a matrix do.

    Examples
    --------
    >>> weight = np.zeros((100, 100), np.float32)
    >>> weight[2, 3] = 0.5
    >>> file = to_bytes({"weight": weight})
    >>> len(file) < weight.nbytes, from_bytes(file)["weight"][2, 3]
    (True, np.float32(0.5))
    """
    for name in arrays:
        if name.endswith((_SHAPE, _KEPT, _VALUES)):
            raise ValueError(f"an array may not be called {name}")
    stored: Arrays = {}
    for name, array in arrays.items():
        value = np.asarray(array, order="C")
        if value.ndim == 2 and sparse_bytes(value, value.itemsize) < value.nbytes:
            kept = value != 0
            stored[name + _SHAPE] = np.array(value.shape, np.int64)
            stored[name + _KEPT] = np.packbits(kept)
            stored[name + _VALUES] = value[kept]
        else:
            stored[name] = value
    content: bytes = safetensors.numpy.save(stored)
    return content


def from_bytes(content: bytes) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file.

    Parameters
    ----------
    content : bytes
        What ``to_bytes`` returned.

    Returns
    -------
    dict[str, ndarray]
        By name, with the shapes and dtypes that were stored.

    Raises
    ------
    SafetensorError, KeyError, ValueError
        It is no such file, or a matrix in it is not whole.
    """
    arrays: dict[str, NDArray[Any]] = safetensors.numpy.load(content)
    for name in [one.removesuffix(_SHAPE) for one in arrays if one.endswith(_SHAPE)]:
        arrays[name] = _whole(name, *(arrays.pop(name + part) for part in (_SHAPE, _KEPT, _VALUES)))
    return arrays


def _whole(name: str, shape: NDArray[Any], kept: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
    """Return the matrix with its zeros."""
    if shape.dtype != np.int64 or shape.shape != (2,) or shape.min() < 0 or kept.dtype != np.uint8:
        raise ValueError(f"{name} has no shape of two numbers, or no bits")
    n_values = math.prod(shape.tolist())
    if kept.shape != (math.ceil(n_values / 8),):
        raise ValueError(f"{name} is {shape.tolist()}, which {kept.size} bytes of bits do not fit")
    is_kept = np.unpackbits(kept, count=n_values).view(np.bool_)
    if values.shape != (is_kept.sum(),):
        raise ValueError(f"{name} has {values.size} values, not {is_kept.sum()}")
    matrix = np.zeros(n_values, values.dtype)
    matrix[is_kept] = values
    return matrix.reshape(shape)
