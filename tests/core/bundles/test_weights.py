"""The file of a bundle's weights, and the zeros that it leaves out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from heartbeat_core.bundles.bundle import load
from heartbeat_core.bundles.weights import from_bytes, to_bytes
from heartbeat_core.learning.network import stored_bytes
from heartbeat_core.recipe import CompressionSettings

floats = st.sampled_from([np.float16, np.float32, np.float64])


def sparse_matrices(dtype: Any) -> st.SearchStrategy[NDArray[Any]]:
    """Return matrices that are mostly zero, with empty ones among them."""
    shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=20)
    return hnp.arrays(dtype, shapes, elements=hnp.from_dtype(np.dtype(dtype)), fill=st.just(0))


@given(floats.flatmap(sparse_matrices), st.booleans())
def test_arrays_come_back_as_they_were(matrix: NDArray[Any], transposed: bool) -> None:
    arrays = {"a.weight": matrix.T if transposed else matrix, "a.bias": np.zeros(3), "n": np.array(0)}
    found = from_bytes(to_bytes(arrays))
    assert found.keys() == arrays.keys()
    for name, value in arrays.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
        np.testing.assert_array_equal(found[name], value)


def test_zeros_take_a_bit_and_other_values_their_size() -> None:
    matrix = np.zeros((30, 7), np.float32)
    matrix[[0, 3, 29], [0, 5, 6]] = 1.5, -2.0, np.nan
    stored = safetensors.numpy.load(to_bytes({"w": matrix}))
    assert stored["w.shape"].tolist() == [30, 7]
    np.testing.assert_array_equal(stored["w.values"], np.array([1.5, -2.0, np.nan], np.float32))
    bits = "".join(f"{byte:08b}" for byte in stored["w.kept"])
    assert [place for place, bit in enumerate(bits) if bit == "1"] == [0, 3 * 7 + 5, 29 * 7 + 6]
    assert len(bits) == 216


def test_a_matrix_with_few_zeros_and_a_vector_of_zeros_are_stored_whole() -> None:
    dense = np.ones((8, 8), np.float32)
    dense[0, :2] = 0.0
    assert safetensors.numpy.load(to_bytes({"w": dense, "b": np.zeros(100)})).keys() == {"w", "b"}
    dense[0, :3] = 0.0
    assert "w" not in safetensors.numpy.load(to_bytes({"w": dense}))


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("w.shape", np.array([9, 9], np.int64), r"w is \[9, 9\], which 8 bytes of bits do not fit"),
        ("w.shape", np.array([-8, -8], np.int64), "no shape of two numbers"),
        ("w.shape", np.array([8, 8.5]), "no shape of two numbers"),
        ("w.values", np.ones(2, np.float32), "w has 2 values, not 1"),
        ("w.kept", np.zeros(8, np.uint8), "w has 1 values, not 0"),
        ("w.shape", np.array(64, np.int64), "no shape of two numbers"),
        ("w.kept", np.zeros(8, np.float32), "no bits"),
        ("w.values", np.ones((1, 1), np.float32), "w has 1 values"),
        ("w.kept", None, "w.kept"),
        ("w.values", None, "w.values"),
    ],
)
def test_a_matrix_that_is_not_whole_is_named(part: str, value: NDArray[Any] | None, message: str) -> None:
    matrix = np.zeros((8, 8), np.float32)
    matrix[1, 1] = 1.0
    stored = safetensors.numpy.load(to_bytes({"w": matrix}))
    damaged = {k: v for k, v in stored.items() if k != part} | ({} if value is None else {part: value})
    with pytest.raises((KeyError, ValueError), match=message):
        from_bytes(safetensors.numpy.save(damaged))


def test_the_size_of_a_network_is_that_of_its_file() -> None:
    form = load("cycle-spectrum").model.form()
    assert form is not None
    file = to_bytes(form.network.state)
    n_header = 8 + int.from_bytes(file[:8], "little")
    n_shapes = sum(name.endswith(".shape") for name in safetensors.numpy.load(file))
    assert n_shapes > 0
    assert len(file) - n_header - 16 * n_shapes == stored_bytes(form.network, CompressionSettings())


@pytest.mark.parametrize("name", ["x.shape", "x.kept", "x.values"])
def test_a_name_that_stands_for_a_part_of_a_matrix_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"an array may not be called {name}"):
        to_bytes({name: np.zeros(3)})
