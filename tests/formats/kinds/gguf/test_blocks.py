"""Every type of blocks, of random bytes, against the gguf package's own values: the same bits."""

import gguf
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tersor.errors import FormatError
from tersor.formats.kinds.gguf import FORMAT
from tersor.formats.kinds.gguf.types import TYPES
from tersor.grids import QuantizedTensor

ROWS, BLOCKS = 5, 3


def rows_of(name: str, seed: int = 0) -> NDArray[np.uint8]:
    """Rows whose numbers are random, and whose float16 numbers are finite and of usual size."""
    kind = gguf.GGMLQuantizationType[name]
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 256, (ROWS * BLOCKS, gguf.GGML_QUANT_SIZES[kind][1]), np.uint8)
    for first in _HALVES[name]:
        numbers = random.normal(size=(len(blocks), 1)).astype(np.float16)
        blocks[:, first : first + 2] = numbers.view(np.uint8)
    if name == "MXFP4":
        blocks[:, 0] = random.integers(0, 255, len(blocks))
    return blocks.reshape(ROWS, -1)


# Where the float16 numbers of a block begin.
_HALVES = {
    **dict.fromkeys(("Q4_0", "Q5_0", "Q8_0", "IQ4_NL", "IQ4_XS"), (0,)),
    **dict.fromkeys(("Q4_1", "Q5_1", "Q4_K", "Q5_K"), (0, 2)),
    **{"Q2_K": (80, 82), "Q3_K": (108,), "Q6_K": (208,), "MXFP4": ()},
}


def decoded(name: str, rows: NDArray[np.uint8]) -> QuantizedTensor:
    tensors = {name: torch.from_numpy(rows)}
    return FORMAT.linear(tensors, TYPES[name].scheme, "proj").weight


def test_every_type_is_tried() -> None:
    assert _HALVES.keys() == TYPES.keys()


@pytest.mark.parametrize("name", TYPES)
def test_values_have_the_bits_of_the_gguf_package(name: str) -> None:
    rows = rows_of(name)
    weight = decoded(name, rows)
    expected = gguf.dequantize(rows, gguf.GGMLQuantizationType[name])
    values = weight.dequantize().numpy()
    assert values.shape == expected.shape
    assert np.array_equal(values, expected)
    assert len(np.unique(values)) > 50


@pytest.mark.parametrize("name", TYPES)
def test_codes_are_those_of_the_grid(name: str) -> None:
    weight = decoded(name, rows_of(name))
    assert weight.codes.dtype is weight.grid.code_dtype
    codes = weight.grid.integers
    if codes is not None:
        assert codes.lowest <= int(weight.codes.min())
        assert int(weight.codes.max()) <= codes.highest
    assert weight.scale.data.shape == (ROWS, weight.shape[1] // weight.scheme.group_size)


@pytest.mark.parametrize("name", TYPES)
def test_a_scale_that_is_no_number_is_refused(name: str) -> None:
    rows = rows_of(name)
    if name == "MXFP4":
        rows[2, 0] = 255
    else:
        first = _HALVES[name][-1]
        rows[2, first : first + 2] = np.array([np.nan], np.float16).view(np.uint8)
    with pytest.raises(FormatError, match=r"proj \(.*\) holds NaN or infinity"):
        decoded(name, rows)


def test_bytes_that_are_no_blocks_are_refused() -> None:
    with pytest.raises(FormatError, match=r"proj: \(5, 53\) bytes are no blocks of Q4_0"):
        decoded("Q4_0", rows_of("Q4_0")[:, :-1])
