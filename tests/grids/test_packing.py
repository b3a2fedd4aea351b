"""Packing: native against the bit-by-bit reference and against compressed-tensors."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tersor import _native
from tersor.errors import FormatError
from tersor.grids import pack, unpack
from tersor.grids.packing import pack_reference, packed_columns

WIDTHS = range(1, 9)


def codes(rows: int, columns: int, bits: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 1 << bits, (rows, columns), generator=generator, dtype=torch.uint8)


shapes = st.tuples(st.integers(0, 5), st.integers(0, 150), st.sampled_from(WIDTHS))


@settings(max_examples=200, deadline=None)
@given(shapes, st.integers(0, 10**6))
def test_round_trip_and_reference(shape: tuple[int, int, int], seed: int) -> None:
    rows, columns, bits = shape
    original = codes(rows, columns, bits, seed)
    words = pack(original, bits)
    assert words.dtype == torch.int32
    assert words.shape == (rows, packed_columns(columns, bits))
    assert torch.equal(words, pack_reference(original, bits))
    assert torch.equal(unpack(words, bits, columns), original)


@pytest.mark.parametrize("bits", WIDTHS)
def test_large_enough_for_several_threads(bits: int) -> None:
    original = codes(8, (1 << 17) + 5, bits)
    assert torch.equal(unpack(pack(original, bits), bits, original.shape[1]), original)


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("columns", [1, 31, 32, 33, 96, 100])
def test_same_words_as_compressed_tensors_along_both_dimensions(bits: int, columns: int) -> None:
    from compressed_tensors.compressors.pack_quantized.helpers import (
        pack_to_int32,
        unpack_from_int32,
    )

    unsigned = codes(3, columns, bits)
    signed = (unsigned.int() - (1 << (bits - 1))).to(torch.int8)
    words = pack(unsigned, bits)
    assert torch.equal(words, pack_to_int32(signed, bits))
    assert torch.equal(unpack_from_int32(words, bits, signed.shape), signed)
    standing = pack(unsigned, bits).T
    assert torch.equal(standing, pack_to_int32(signed.T.contiguous(), bits, packed_dim=0))
    assert torch.equal(unpack_from_int32(standing, bits, signed.T.shape, packed_dim=0), signed.T)


def test_first_code_is_in_the_lowest_bits() -> None:
    assert pack(torch.tensor([[1, 2, 15]], dtype=torch.uint8), 4).tolist() == [[0xF21]]
    # Code 10 of 3 bits occupies bits 30 to 32: two in the first word, one in the second.
    row = torch.zeros(1, 11, dtype=torch.uint8)
    row[0, 10] = 0b101
    assert pack(row, 3).tolist() == [[0b01 << 30, 1]]


def test_views_pack_like_copies() -> None:
    wide = codes(6, 40, 3)
    assert torch.equal(pack(wide[::2, 3:20], 3), pack(wide[::2, 3:20].clone(), 3))
    words = pack(wide, 3)
    standing = words.T.contiguous().T
    assert torch.equal(unpack(standing, 3, 40), wide)


@pytest.mark.parametrize("columns", [7, 9, 17])
def test_words_that_do_not_fit_are_refused(columns: int) -> None:
    words = pack(codes(2, 8, 4), 4)
    if packed_columns(columns, 4) == words.shape[1]:
        assert unpack(words, 4, columns).shape == (2, columns)
        return
    with pytest.raises(FormatError, match=f"{columns} columns of 4 bits"):
        unpack(words, 4, columns)


def test_words_that_are_no_matrix_are_refused() -> None:
    with pytest.raises(FormatError, match="do not hold 8 columns"):
        unpack(torch.zeros(1, dtype=torch.int32), 4, 8)


@pytest.mark.parametrize("bits", [0, 9, 64])
def test_the_native_functions_check_their_arguments(bits: int) -> None:
    bytes_, words = np.zeros((1, 8), np.uint8), np.zeros((1, 1), np.uint32)
    with pytest.raises(ValueError, match="bits must be"):
        _native.pack(bytes_, words, bits)
    with pytest.raises(ValueError, match="bits must be"):
        _native.unpack(words, bytes_, bits)


def test_the_native_functions_check_shapes() -> None:
    with pytest.raises(ValueError, match="differ in rows"):
        _native.pack(np.zeros((2, 8), np.uint8), np.zeros((1, 1), np.uint32), 4)
    with pytest.raises(ValueError, match="words per row"):
        _native.unpack(np.zeros((1, 2), np.uint32), np.zeros((1, 8), np.uint8), 4)
