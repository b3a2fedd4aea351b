"""Encoding and decoding: nothing is lost, the layout is kept, damaged tensors are refused."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from every_scheme import (
    FLOATS,
    FP8_TOKEN,
    INT8_TOKEN,
    LINEARS,
    MXFP4,
    NVFP4,
    STATIC_ASYMMETRIC,
    gaussian,
    label,
)
from tersor.errors import FormatError
from tersor.formats import Entry, InputParameters, QuantizedLinear
from tersor.formats.kinds.own import FORMAT
from tersor.formats.storage.codec import encode, layout
from tersor.formats.storage.known import MXFP4 as MXFP4_STORAGE
from tersor.formats.storage.known import NVFP4 as NVFP4_STORAGE
from tersor.formats.storage.known import storage_for
from tersor.grids import (
    ActivationScheme,
    Granularity,
    IntegerGrid,
    Scheme,
    Symmetry,
    TensorScheme,
    kmeans,
)
from tersor.ranges import MinMax
from tersor.rounding import nearest

Tensors = dict[str, Tensor]


def decode(tensors: Tensors, scheme: Scheme, module: str) -> QuantizedLinear:
    return FORMAT.linear(tensors, scheme, module)


def kinds(entries: dict[str, Entry]) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """Type and shape of every tensor."""
    return {suffix: (entry.dtype, entry.shape) for suffix, entry in entries.items()}


def stored(tensors: Tensors) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    return {suffix: (tensor.dtype, tuple(tensor.shape)) for suffix, tensor in tensors.items()}


def linear(
    scheme: Scheme, rows: int = 5, columns: int = 80, dtype: torch.dtype = torch.bfloat16
) -> QuantizedLinear:
    weight = gaussian(rows, columns, dtype=dtype)
    rounded = nearest(weight, scheme.weights, MinMax(), scale_dtype=dtype)
    given = None
    if scheme.activations is not None and not scheme.activations.dynamic:
        symmetric = scheme.activations.tensor.grid.symmetric
        zero_point = None if symmetric else torch.tensor([-7], dtype=torch.int8)
        given = InputParameters(torch.tensor([0.25], dtype=dtype), zero_point)
    return QuantizedLinear(rounded.tensor, scheme, given)


def same(first: Tensor | None, second: Tensor | None) -> bool:
    """Equal bit for bit, type and shape included."""
    if first is None or second is None:
        return first is second
    if first.dtype != second.dtype or first.shape != second.shape:
        return False
    return torch.equal(first.flatten().view(torch.uint8), second.flatten().view(torch.uint8))


def assert_same(first: QuantizedLinear, second: QuantizedLinear) -> None:
    one, other = first.weight, second.weight
    assert first.scheme == second.scheme
    assert one.scheme == other.scheme
    assert same(one.codes, other.codes)
    assert same(one.scale.data, other.scale.data)
    assert one.scale.format is other.scale.format
    assert same(one.scale.global_scale, other.scale.global_scale)
    assert same(one.zero_point, other.zero_point)
    assert same(one.codebook, other.codebook)
    assert (first.input is None) == (second.input is None)
    if first.input is not None and second.input is not None:
        assert same(first.input.scale, second.input.scale)
        assert same(first.input.zero_point, second.input.zero_point)


# 79 columns: two groups of 32, a ragged one, and half a byte of FP4.
@pytest.mark.parametrize("columns", [64, 79])
@pytest.mark.parametrize("scheme", LINEARS, ids=label)
def test_round_trip_and_layout(scheme: Scheme, columns: int) -> None:
    original = linear(scheme, columns=columns)
    tensors = encode(original)
    described = layout(scheme, (5, columns), torch.bfloat16)
    assert stored(tensors) == kinds(described)
    assert all(tensor.is_contiguous() for tensor in tensors.values())
    assert_same(decode(tensors, scheme, "m"), original)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("scheme", LINEARS[::9], ids=label)
def test_every_model_type(scheme: Scheme, dtype: torch.dtype) -> None:
    original = linear(scheme, dtype=dtype)
    tensors = encode(original)
    described = layout(scheme, (5, 80), dtype)
    assert stored(tensors) == kinds(described)
    assert_same(decode(tensors, scheme, "m"), original)


@pytest.mark.parametrize("scheme", LINEARS[::9], ids=label)
def test_a_single_value(scheme: Scheme) -> None:
    original = linear(scheme, rows=1, columns=1)
    assert_same(decode(encode(original), scheme, "m"), original)


# Damage

PACKED = Scheme(TensorScheme(IntegerGrid(4, Symmetry.NONE), Granularity.GROUP, 32))
PER_TENSOR = Scheme(TensorScheme(IntegerGrid(4, Symmetry.NONE), Granularity.TENSOR))
INT8 = Scheme(TensorScheme(IntegerGrid(8), Granularity.CHANNEL), INT8_TOKEN)
STATIC = Scheme(TensorScheme(IntegerGrid(8), Granularity.CHANNEL), STATIC_ASYMMETRIC)
FP8 = Scheme(TensorScheme(FLOATS[0], Granularity.CHANNEL), FP8_TOKEN)
FITTED = Scheme(TensorScheme(kmeans(3), Granularity.CHANNEL))
VICTIMS = [PACKED, PER_TENSOR, INT8, STATIC, FP8, FITTED, Scheme(MXFP4), Scheme(NVFP4)]

EVERY_TENSOR = [
    (scheme, suffix) for scheme in VICTIMS for suffix in layout(scheme, (5, 80), torch.bfloat16)
]
tensor_of = pytest.mark.parametrize(("scheme", "suffix"), EVERY_TENSOR)


@tensor_of
def test_a_missing_tensor_is_named(scheme: Scheme, suffix: str) -> None:
    tensors = encode(linear(scheme))
    del tensors[suffix]
    with pytest.raises(FormatError, match=rf"layers\.3\.{suffix} is missing"):
        decode(tensors, scheme, "layers.3")


@tensor_of
@pytest.mark.parametrize(
    "damage",
    [
        lambda t: t.double(),
        lambda t: t.to(torch.int16),
        lambda t: t.bool(),
        lambda t: t.reshape(-1)[:-1],
        lambda t: t.reshape(1, 1, *t.shape),
        lambda t: torch.cat([t.view(torch.uint8)] * 2).view(t.dtype),
        lambda t: t.reshape(-1)[:0],
    ],
    ids=["float64", "int16", "bool", "short", "4-d", "twice", "empty"],
)
def test_another_type_or_shape_is_named(
    scheme: Scheme, suffix: str, damage: Callable[[Tensor], Tensor]
) -> None:
    tensors = encode(linear(scheme))
    tensors[suffix] = damage(tensors[suffix])
    with pytest.raises(FormatError, match=r"layers\.3\.(weight|input)"):
        decode(tensors, scheme, "layers.3")


@pytest.mark.parametrize(
    "shape",
    [
        [5, -80],
        [-5, 80],
        [0, 80],
        [5, 0],
        [5, 2**31],
        [2**62, 2**62],
        [5],
        [5, 80, 1],
        [],
        [[5, 80]],
    ],
    ids=str,
)
def test_a_shape_that_is_none(shape: list[int]) -> None:
    tensors = encode(linear(PACKED))
    tensors["weight_shape"] = torch.tensor(shape, dtype=torch.int64)
    with pytest.raises(FormatError, match=r"m\.weight_shape is .* not two positive int64 numbers"):
        decode(tensors, PACKED, "m")


@pytest.mark.parametrize("shape", [[5, 79 * 99], [6, 80], [2**31 - 1, 2**31 - 1], [80, 5]], ids=str)
def test_a_shape_that_the_other_tensors_contradict(shape: list[int]) -> None:
    tensors = encode(linear(PACKED))
    tensors["weight_shape"] = torch.tensor(shape, dtype=torch.int64)
    with pytest.raises(FormatError, match=r"m\.weight_packed is torch.int32 \(5, 10\)"):
        decode(tensors, PACKED, "m")


def test_a_shape_of_floats_or_nan() -> None:
    for values in ([5.0, 80.0], [float("nan"), 80.0]):
        tensors = encode(linear(PACKED)) | {"weight_shape": torch.tensor(values)}
        with pytest.raises(FormatError, match=r"m\.weight_shape"):
            decode(tensors, PACKED, "m")


def test_too_few_words() -> None:
    tensors = encode(linear(PACKED))
    tensors["weight_packed"] = tensors["weight_packed"][:, :-1].contiguous()
    with pytest.raises(FormatError, match=r"m\.weight_packed .* needs torch.int32 \(5, 10\)"):
        decode(tensors, PACKED, "m")


@pytest.mark.parametrize("suffix", ["weight_zero_point", "weight_g_idx", "weight_codebook", "bias"])
def test_a_tensor_too_many_is_named(suffix: str) -> None:
    # Ignoring one would change what the codes mean.
    scheme = Scheme(TensorScheme(IntegerGrid(4), Granularity.GROUP, 32))
    tensors = encode(linear(scheme)) | {suffix: torch.zeros(3)}
    with pytest.raises(FormatError, match=rf"m\.{suffix} does not belong"):
        decode(tensors, scheme, "m")


def test_the_input_scale_may_have_another_float_type_than_the_model() -> None:
    scheme = Scheme(MXFP4, STATIC_ASYMMETRIC)
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        original = linear(scheme, dtype=dtype)
        assert_same(decode(encode(original), scheme, "m"), original)


@pytest.mark.parametrize("symmetry", Symmetry)
@pytest.mark.parametrize(("bits", "activations"), [(5, None), (8, None), (8, INT8_TOKEN)])
def test_unsigned_codes_are_stored_like_signed_ones(
    symmetry: Symmetry, bits: int, activations: ActivationScheme | None
) -> None:
    for granularity in (Granularity.TENSOR, Granularity.CHANNEL):
        signed, unsigned = (
            Scheme(TensorScheme(IntegerGrid(bits, symmetry, signed), granularity), activations)
            for signed in (True, False)
        )
        these, others = encode(linear(signed)), encode(linear(unsigned))
        assert these.keys() == others.keys()
        assert all(same(these[suffix], others[suffix]) for suffix in these)
        assert_same(decode(others, unsigned, "m"), linear(unsigned))


def test_odd_columns_survive_two_codes_a_byte() -> None:
    for weights in (MXFP4, NVFP4):
        original = linear(Scheme(weights), columns=33)
        assert storage_for(Scheme(weights)) in (MXFP4_STORAGE, NVFP4_STORAGE)
        assert decode(encode(original), Scheme(weights), "m").weight.shape == (5, 33)
