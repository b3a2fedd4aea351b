"""Every type of blocks, of random bytes, against the gguf package's own values: the same bits."""

import gguf
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tersor.errors import FormatError, SchemeError
from tersor.formats.kinds.gguf import FORMAT
from tersor.formats.kinds.gguf.block_type import Parameters
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


def there_and_back(name: str, blocks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    kind = TYPES[name]
    return kind.encode(kind.parameters(blocks), kind.codes(blocks))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", TYPES)
def test_what_is_encoded_again_has_the_same_values(name: str, seed: int) -> None:
    blocks = TYPES[name].blocks(rows_of(name, seed))
    again = there_and_back(name, blocks)
    values, expected = (
        gguf.dequantize(b, gguf.GGMLQuantizationType[name]) for b in (again, blocks)
    )
    assert np.array_equal(values.view(np.int32), expected.view(np.int32))
    assert np.array_equal(there_and_back(name, again), again)


PRODUCTS = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS")


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("d", [6e-8, 65504.0, -3.0e-5, 0.0, -0.0])
def test_products_at_the_ends_of_float16_are_factored(name: str, d: float) -> None:
    blocks = TYPES[name].blocks(rows_of(name))
    for first in _HALVES[name]:
        blocks[:, first : first + 2] = np.array([d], np.float16).view(np.uint8)
    kind = TYPES[name]
    again = there_and_back(name, blocks)
    for one, two in zip(kind.parameters(again), kind.parameters(blocks), strict=True):
        assert np.array_equal(one, two) if one is not None else two is None


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_that_do_not_factor_are_refused(name: str) -> None:
    kind, blocks = TYPES[name], TYPES[name].blocks(rows_of(name))
    scales, minima = kind.parameters(blocks)
    for wrong in (scales * np.float32(1 + 2**-20), scales + np.float32(2**-30)):
        with pytest.raises(SchemeError, match="float16 number"):
            kind.encode(Parameters(wrong, minima), kind.codes(blocks))
    scales[1, 0] *= 300  # no integer that is stored is as large
    scales[1, 1] += (scales[1, 1] == 0) * scales[1].max()
    with pytest.raises(SchemeError, match="are not integers from"):
        kind.encode(Parameters(scales, minima), kind.codes(blocks))


@pytest.mark.parametrize("name", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL"])
@pytest.mark.parametrize("scale", [1 + 2**-11, 1e5, 1e-9])
def test_a_scale_that_float16_does_not_hold_is_refused(name: str, scale: float) -> None:
    kind, blocks = TYPES[name], TYPES[name].blocks(rows_of(name))
    scales, minima = kind.parameters(blocks)
    wrong = scales.astype(np.float32)
    wrong[3, 0] = scale
    with pytest.raises(
        SchemeError, match=f"float16 does not hold a scale or minimum of {scale:.6g}"
    ):
        kind.encode(Parameters(wrong, minima), kind.codes(blocks))
    if minima is not None:
        minima[2, 0] = -scale
        with pytest.raises(SchemeError, match="float16 does not hold"):
            kind.encode(Parameters(scales, minima), kind.codes(blocks))


def test_integers_that_are_no_level_are_refused() -> None:
    kind, blocks = TYPES["IQ4_NL"], TYPES["IQ4_NL"].blocks(rows_of("IQ4_NL"))
    codes = kind.codes(blocks)
    codes[0, 5] = 127
    with pytest.raises(SchemeError, match="levels"):
        kind.encode(kind.parameters(blocks), codes)
