"""Stored scales: rounding, the guards at both ends of each number format, powers of two."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tersor.errors import SchemeError
from tersor.grids import ScaleFormat, StoredScale
from tersor.grids.scales import global_scale_for, store_e4m3, store_e8m0, store_float

DTYPES = [torch.bfloat16, torch.float16, torch.float32]
positive = st.floats(2.0**-13, 2.0**15, width=32)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(DTYPES), positive, st.booleans())
def test_a_float_scale_is_rounded_once(dtype: torch.dtype, value: float, negative: bool) -> None:
    scale = torch.tensor([[-value if negative else value]])
    stored = store_float(scale, dtype)
    assert stored.data.dtype == dtype
    assert torch.equal(stored.value(), scale.to(dtype).float())
    assert ((stored.value() - scale).abs() <= torch.finfo(dtype).eps / 2 * scale.abs()).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_empty_range_is_stored_as_one(dtype: torch.dtype) -> None:
    assert store_float(torch.tensor([[0.0, -0.0]]), dtype).value().tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_scale_too_small_becomes_the_smallest_normal_number(dtype: torch.dtype) -> None:
    tiny = torch.finfo(dtype).tiny
    scale = torch.tensor([[tiny / 2, -tiny / 2, tiny, 1e-45, -1e-45]])
    assert store_float(scale, dtype).value().tolist() == [[tiny, -tiny, tiny, tiny, -tiny]]


@pytest.mark.parametrize("sign", [1, -1])
def test_float16_holds_what_it_has_eight_significant_bits_for(sign: int) -> None:
    """Subnormal numbers among it: processors do not flush those of float16."""
    held = torch.tensor([[2.0**-17, 1.01 * 2.0**-17, 2.0**-14, 65504.0]]) * sign
    stored = store_float(held, torch.float16)
    assert stored.data.dtype == torch.float16
    assert ((stored.value() - held).abs() <= 2.0**-8 * held.abs()).all()


@pytest.mark.parametrize("value", [0.99 * 2.0**-17, 1e-9, 1e-37, 65536.0, 1e20])
def test_what_float16_cannot_hold_is_stored_in_float32(value: float) -> None:
    scale = torch.tensor([[1.0, value, -value, 0.0]])
    stored = store_float(scale, torch.float16)
    assert stored.data.dtype == torch.float32
    assert torch.equal(stored.value()[:, :3], scale[:, :3])
    assert stored.value()[0, 3] == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_scale_too_large_is_an_error(dtype: torch.dtype) -> None:
    largest = torch.finfo(dtype).max
    assert store_float(torch.tensor([[largest]]), dtype).value().item() == largest
    beyond = torch.tensor([[largest]]) * 1.01
    with pytest.raises(SchemeError, match=rf"does not fit {dtype}"):
        store_float(beyond, dtype)
    with pytest.raises(SchemeError, match="a scale of nan"):
        store_float(torch.tensor([[math.nan]]), dtype)


@settings(max_examples=100, deadline=None)
@given(st.floats(2.0**-140, 2.0**127, width=32, exclude_min=True))
def test_e8m0_is_the_power_of_two_of_the_specification(amax: float) -> None:
    scale = store_e8m0(torch.tensor([[amax]]))
    exponent = max(math.floor(math.log2(amax)) - 2, -127)
    # math.log2 may round up to the next whole number just below a power of two.
    exponent -= 1 if exponent > -127 and 2.0 ** (exponent + 2) > amax else 0
    assert scale.data.dtype == torch.uint8
    assert scale.data.item() == exponent + 127
    assert scale.value().item() == 2.0**exponent


def test_e8m0_brings_amax_between_four_and_eight() -> None:
    amax = torch.tensor([[4.0, 5.99, 6.0, 7.99, 8.0, 1e-3, 3e38]])
    relative = amax / store_e8m0(amax).value()
    assert ((relative >= 4) & (relative < 8)).all()


def test_e8m0_of_nothing() -> None:
    assert store_e8m0(torch.tensor([[0.0, -0.0]])).value().tolist() == [[1.0, 1.0]]


def test_e8m0_of_denormal_numbers_is_the_smallest_power() -> None:
    assert store_e8m0(torch.tensor([[1e-45]])).value().item() == 2.0**-127


@settings(max_examples=60, deadline=None)
@given(st.floats(2.0**-100, 2.0**100, width=32), st.floats(2.0**-12, 1, width=32))
def test_e4m3_scales_are_relative_to_the_global_one(amax: float, share: float) -> None:
    global_scale = global_scale_for(torch.tensor(amax))
    scale = torch.tensor([[amax / 6, amax / 6 * share]])
    stored = store_e4m3(scale, global_scale)
    assert stored.data.dtype == torch.float8_e4m3fn
    # The largest group sits at FP8's largest value; the others keep three mantissa bits, or what
    # is left of them where FP8 is subnormal (steps of 2^-9, in units of 1/448 of the largest).
    error = (stored.value() - scale).abs()
    assert (error <= torch.maximum(scale / 16, scale[:, :1] * (2.0**-10 / 448)) * 1.0001).all()


def test_e4m3_scales_are_never_zero_and_never_overflow() -> None:
    global_scale = global_scale_for(torch.tensor(1.0))
    stored = store_e4m3(torch.tensor([[0.0, 1e-30, 1e30]]), global_scale)
    assert stored.data.float().tolist() == [[2.0**-9, 2.0**-9, 448.0]]


@pytest.mark.parametrize("amax", [0.0, 1e-45, 1e-38, 1e-20, 1.0, 3e38])
def test_the_global_scale_is_finite_and_so_are_its_quotients(amax: float) -> None:
    global_scale = global_scale_for(torch.tensor(amax))
    assert global_scale.shape == (1,)
    assert global_scale.dtype == torch.float32
    value = store_e4m3(torch.tensor([[0.0, amax / 6]]), global_scale).value()
    assert value.isfinite().all()
    assert (value >= torch.finfo(torch.float32).tiny).all()


def test_a_stored_scale_means_its_data() -> None:
    powers = StoredScale(torch.tensor([[0, 127, 254]], dtype=torch.uint8), ScaleFormat.E8M0)
    assert powers.value().tolist() == [[2.0**-127, 1.0, 2.0**127]]
    small = torch.tensor([[448.0, 0.5]]).to(torch.float8_e4m3fn)
    divided = StoredScale(small, ScaleFormat.E4M3, torch.tensor([4.0]))
    assert divided.value().tolist() == [[112.0, 0.125]]
