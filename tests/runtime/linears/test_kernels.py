"""Native linears at every level that this machine has, against exact integer arithmetic."""

import os
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from calibrating import threads
from tersor import _native
from tersor.errors import MachineError, SchemeError
from tersor.grids import (
    AffineGrid,
    FloatGrid,
    Granularity,
    IntegerGrid,
    QuantizedTensor,
    ScaleFormat,
    Symmetry,
    TensorScheme,
    fp4,
    log2,
    nf4,
)
from tersor.machine.instructions import level, levels
from tersor.ranges import MinMax
from tersor.rounding import nearest
from tersor.runtime.linears.kernels import float_linear, linear
from tersor.runtime.linears.packing import pack_linear
from tersor.runtime.linears.panels import FixedInput, GroupNumbers, PackedLinear, panels

G, C, T = Granularity.GROUP, Granularity.CHANNEL, Granularity.TENSOR
SCHEMES = [
    TensorScheme(IntegerGrid(8, Symmetry.RESTRICTED), C),
    TensorScheme(IntegerGrid(8, Symmetry.NONE), C),
    TensorScheme(IntegerGrid(8, Symmetry.FULL), T),
    TensorScheme(IntegerGrid(8, Symmetry.NONE, signed=False), G, 32),
    TensorScheme(IntegerGrid(6, Symmetry.FULL), G, 64),
    TensorScheme(IntegerGrid(4, Symmetry.FULL), G, 64),
    TensorScheme(IntegerGrid(4, Symmetry.SIGNED_SCALE), G, 32),
    TensorScheme(IntegerGrid(4, Symmetry.NONE), G, 64),
    TensorScheme(IntegerGrid(4, Symmetry.NONE, signed=False), G, 20),
    TensorScheme(IntegerGrid(4, Symmetry.FULL), C),
    TensorScheme(IntegerGrid(3, Symmetry.NONE), G, 128),
    TensorScheme(IntegerGrid(3, Symmetry.SIGNED_SCALE), C),
    TensorScheme(IntegerGrid(3, Symmetry.FULL), G, 20),
    TensorScheme(IntegerGrid(2, Symmetry.SIGNED_SCALE), G, 16),
    TensorScheme(IntegerGrid(2, Symmetry.NONE), G, 20),
    TensorScheme(IntegerGrid(2, Symmetry.FULL), C),
    TensorScheme(AffineGrid(5), G, 64),
    TensorScheme(AffineGrid(4), G, 32),
    TensorScheme(AffineGrid(2), G, 16),
    TensorScheme(IntegerGrid(4, Symmetry.SIGNED_SCALE), G, 32, ScaleFormat.FLOAT16),
    TensorScheme(AffineGrid(5), G, 32, ScaleFormat.FLOAT16),
    TensorScheme(IntegerGrid(6, Symmetry.NONE), G, 32),
    TensorScheme(IntegerGrid(6, Symmetry.SIGNED_SCALE), C),
    TensorScheme(IntegerGrid(5, Symmetry.FULL), G, 20),
    TensorScheme(IntegerGrid(5, Symmetry.NONE), G, 64),
    TensorScheme(IntegerGrid(5, Symmetry.SIGNED_SCALE), G, 128),
]
# Of super-blocks of 256 columns.
STEPS = [
    TensorScheme(AffineGrid(2), G, 16, ScaleFormat.U4),
    TensorScheme(IntegerGrid(3, Symmetry.SIGNED_SCALE), G, 16, ScaleFormat.S6),
    TensorScheme(AffineGrid(4), G, 32, ScaleFormat.U6),
    TensorScheme(AffineGrid(5), G, 32, ScaleFormat.U6),
    TensorScheme(IntegerGrid(6, Symmetry.SIGNED_SCALE), G, 16, ScaleFormat.S8),
]
CODEBOOKS = [
    TensorScheme(nf4(), G, 64),
    TensorScheme(fp4(), G, 20),
    TensorScheme(log2(4), C),
    TensorScheme(log2(3), G, 32),
]
SHAPES = [(16, 128), (33, 200), (5, 24), (64, 576)]
OF_STEPS = [(scheme, rows, columns) for scheme in STEPS for rows, columns in ((33, 768), (5, 256))]
CASES = [(scheme, *shape) for scheme in SCHEMES for shape in SHAPES] + OF_STEPS
FLOAT_CASES = CASES + [(scheme, *shape) for scheme in CODEBOOKS for shape in SHAPES]
COUNTS = (1, 2, 3, 5, 8, 9, 40)


@pytest.fixture(params=levels())
def at_level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TERSOR_ISA", request.param)
    name: str = request.param
    return name


def quantized(scheme: TensorScheme, rows: int, columns: int, seed: int = 0) -> QuantizedTensor:
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    return nearest(weight, scheme, MinMax(), scale_dtype=torch.bfloat16).tensor


def tokens(count: int, columns: int, seed: int = 1) -> Tensor:
    x = torch.randn(count, columns, generator=torch.Generator().manual_seed(seed))
    return x * torch.logspace(-3, 3, count)[:, None]


def rounded(x: Tensor, group: int) -> Tensor:
    """What the kernels make of tokens: codes of 8 bits per token and group, float64."""
    parts = []
    for part in x.split(group, 1):
        scale = part.abs().amax(1, keepdim=True) / 127
        inverse = torch.where(scale > 0, 127 / part.abs().amax(1, keepdim=True), 0.0)
        parts.append((part * inverse).round().clamp(-127, 127).double() * scale.double())
    return torch.cat(parts, 1)


def expected(x: Tensor, weight: QuantizedTensor, packed: PackedLinear) -> Tensor:
    return rounded(x, packed.group) @ weight.dequantize().double().T


def assert_same(found: Tensor, exact: Tensor, x: Tensor, weight: QuantizedTensor) -> None:
    """Equal up to the rounding of float32 sums, whose terms are no larger than these."""
    terms = weight.dequantize().abs().double()
    if weight.zero_point is not None and weight.zero_point.is_floating_point():
        minima = weight.zero_point.double().repeat_interleave(weight.scheme.group_size, 1)
        minima = minima[:, : terms.shape[1]]
        terms = (weight.dequantize() - minima).abs() + minima.abs()
    size = x.abs().double() @ terms.T
    assert bool(((found.double() - exact).abs() <= 1e-6 * size + 1e-30).all())


@pytest.mark.parametrize(("scheme", "rows", "columns"), CASES, ids=str)
def test_it_is_the_product_of_what_was_rounded(
    at_level: str, scheme: TensorScheme, rows: int, columns: int
) -> None:
    weight = quantized(scheme, rows, columns)
    packed = pack_linear(weight)
    for count in COUNTS:
        x = tokens(count, columns)
        assert_same(linear(x, packed), expected(x, weight, packed), x, weight)


@pytest.mark.parametrize(("scheme", "rows", "columns"), CASES, ids=str)
def test_many_tokens_have_the_bits_of_each_alone(
    at_level: str, scheme: TensorScheme, rows: int, columns: int
) -> None:
    packed, x = pack_linear(quantized(scheme, rows, columns)), tokens(21, columns)
    alone = torch.cat([linear(token, packed) for token in x.split(1)])
    assert torch.equal(linear(x, packed), alone)


@pytest.mark.parametrize(("scheme", "rows", "columns"), FLOAT_CASES, ids=str)
def test_activations_stay_as_they_are(
    at_level: str, scheme: TensorScheme, rows: int, columns: int
) -> None:
    weight = quantized(scheme, rows, columns)
    packed = pack_linear(weight)
    for count in COUNTS:
        x = tokens(count, columns)
        exact = x.double() @ weight.dequantize().double().T
        assert_same(float_linear(x, packed), exact, x, weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_weights_that_are_not_quantized(
    at_level: str, dtype: torch.dtype, rows: int, columns: int
) -> None:
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(2)).to(dtype)
    narrow = dtype is torch.bfloat16
    packed = panels((weight.view(torch.uint16) if narrow else weight).numpy(), rows, columns)
    for count in COUNTS:
        x, y = tokens(count, columns), torch.empty(count, rows)
        _native.dense_linear(at_level, x.numpy(), packed, y.numpy(), 2)
        size = x.abs().double() @ weight.abs().double().T
        exact = x.double() @ weight.double().T
        assert bool(((y.double() - exact).abs() <= 1e-6 * size).all())


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_extremes_do_not_overflow(at_level: str, bits: int) -> None:
    scheme = TensorScheme(IntegerGrid(bits, Symmetry.NONE, signed=False), C)
    weight = quantized(scheme, 32, 4096)
    top = (1 << bits) - 1
    weight.codes.fill_(top)
    assert weight.zero_point is not None
    weight.zero_point.fill_(0)
    packed = pack_linear(weight)
    for sign in (1.0, -1.0):
        x = torch.full((9, 4096), sign)
        exact = sign * 4096 * top * weight.scale.value().T.expand(9, -1)
        torch.testing.assert_close(linear(x, packed), exact, rtol=1e-5, atol=0)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_codes_take_as_much_memory_as_they_have_bits(bits: int) -> None:
    packed = pack_linear(quantized(TensorScheme(IntegerGrid(bits, Symmetry.FULL), G, 64), 32, 128))
    assert packed.codes.nbytes * 8 == 32 * 128 * bits


def test_activations_in_smaller_groups_than_weights(at_level: str) -> None:
    weight = quantized(SCHEMES[9], 33, 200)
    packed = pack_linear(weight, group=64)
    assert packed.group == 64
    x = tokens(7, 200)
    assert_same(linear(x, packed), expected(x, weight, packed), x, weight)


def test_codes_that_were_fixed_beforehand(at_level: str) -> None:
    weight = quantized(SCHEMES[9], 33, 200)
    packed, fixed = pack_linear(weight, group=64), FixedInput(0.037, -19, -128)
    x = tokens(11, 200)
    codes = (x / fixed.scale).round().add(fixed.zero).clamp(-128, 127)
    exact = codes.double() * float(torch.tensor(fixed.scale)) @ weight.dequantize().double().T
    size = codes.abs().double() * fixed.scale @ weight.dequantize().abs().double().T
    found = linear(x, packed, fixed)
    assert bool(((found.double() - exact).abs() <= 1e-6 * size).all())
    assert (int(codes.min()), int(codes.max())) == (-128, 127)
    x[3, 7] = torch.nan
    assert not bool(linear(x, packed, fixed)[3].isfinite().any())
    for wrong in (FixedInput(0.0, 0, -127), FixedInput(1.0, 128, -127), FixedInput(1.0, 0, -129)):
        with pytest.raises(ValueError, match="fixed input"):
            linear(x, packed, wrong)


def test_levels_differ_in_the_last_digits_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = quantized(SCHEMES[5], 48, 512)
    packed, x = pack_linear(weight), tokens(11, 512)
    found = []
    for name in levels():
        monkeypatch.setenv("TERSOR_ISA", name)
        found.append(linear(x, packed))
    size = x.abs().double() @ weight.dequantize().abs().double().T
    for other in found[1:]:
        assert bool(((found[0] - other).double().abs() <= 1e-6 * size).all())


LONG_ROWS = (20, 4200)  # more columns than tiles unpack at once, and a last group of 40


def test_long_rows(at_level: str) -> None:
    weight = quantized(SCHEMES[5], *LONG_ROWS)
    packed, x = pack_linear(weight), tokens(40, LONG_ROWS[1])
    assert_same(linear(x, packed), expected(x, weight, packed), x, weight)


@pytest.mark.skipif("amx" not in levels(), reason="a processor without AMX")
@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize(("rows", "columns"), [*SHAPES, LONG_ROWS])
def test_tiles_change_no_bit(
    monkeypatch: pytest.MonkeyPatch, scheme: TensorScheme, rows: int, columns: int
) -> None:
    packed, x = pack_linear(quantized(scheme, rows, columns)), tokens(40, columns)
    monkeypatch.setenv("TERSOR_ISA", "avx512_vnni")
    without = linear(x, packed)
    monkeypatch.setenv("TERSOR_ISA", "amx")
    for count in (16, 17, 33, 40):
        assert torch.equal(linear(x[:count], packed), without[:count])


def test_scales_that_bfloat16_does_not_hold(at_level: str) -> None:
    weight = torch.randn(20, 128, generator=torch.Generator().manual_seed(3))
    whole = nearest(weight, SCHEMES[5], MinMax(), scale_dtype=torch.float32).tensor
    packed, x = pack_linear(whole), tokens(3, 128)
    assert packed.scales.values.dtype == np.float32
    assert pack_linear(quantized(SCHEMES[5], 20, 128)).scales.values.dtype == np.uint16
    assert_same(linear(x, packed), expected(x, whole, packed), x, whole)


def test_zeros_and_what_is_not_finite(at_level: str) -> None:
    packed = pack_linear(quantized(SCHEMES[5], 20, 128))
    x = tokens(6, 128)
    x[1], x[2, 70], x[3, 3], x[4, 5] = 0, torch.nan, torch.inf, -torch.inf
    y = linear(x, packed)
    assert not bool(y[1].any())
    assert not bool(y[2:5].isfinite().any())
    clean = linear(x[[0, 5]], packed)
    assert torch.equal(y[[0, 5]], clean)


def test_shapes_and_types_of_torch(at_level: str) -> None:
    packed = pack_linear(quantized(SCHEMES[5], 20, 128))
    x = tokens(6, 128).to(torch.bfloat16)
    y = linear(x.view(2, 3, 128), packed)
    assert (y.shape, y.dtype) == ((2, 3, 20), torch.float32)
    assert torch.equal(y.view(6, 20), linear(x.float(), packed))
    assert linear(x[:0], packed).shape == (0, 20)
    strided = tokens(6, 256)[:, ::2]
    assert torch.equal(linear(strided, packed), linear(strided.contiguous(), packed))


def test_any_number_of_threads_and_callers(at_level: str) -> None:
    packed, x = pack_linear(quantized(SCHEMES[5], 200, 512)), tokens(20, 512)
    with threads(1):
        alone = linear(x, packed)
    wrong = []

    def call() -> None:
        wrong.extend(i for i in range(50) if not torch.equal(linear(x, packed), alone))

    callers = [threading.Thread(target=call) for _ in range(4)]
    with threads(3):
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert not wrong


def test_a_forked_process_computes_too() -> None:
    packed, x = pack_linear(quantized(SCHEMES[5], 200, 512)), tokens(20, 512)
    with threads(2):
        here = linear(x, packed)
        child = os.fork()
        if child == 0:
            os._exit(0 if torch.equal(linear(x, packed), here) else 1)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_grids_without_kernels_are_named() -> None:
    weight = quantized(TensorScheme(FloatGrid("fp8_e4m3"), C), 16, 64)
    with pytest.raises(SchemeError, match="no kernel for weights on the grid fp8"):
        pack_linear(weight)
    packed = pack_linear(quantized(CODEBOOKS[0], 16, 64))
    with pytest.raises(SchemeError, match="a codebook has no kernel for int8 activations"):
        linear(tokens(2, 64), packed)


def test_levels_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TERSOR_ISA", raising=False)
    assert level() == levels()[0]
    monkeypatch.setenv("TERSOR_ISA", "portable")
    assert level() == "portable"
    monkeypatch.setenv("TERSOR_ISA", "avx9000")
    with pytest.raises(MachineError, match=r"TERSOR_ISA=avx9000: .*it has .*portable"):
        level()


def linear_arguments(x: Any, packed: Any, scales: Any, y: Any) -> dict[str, Any]:
    """What both kinds of linears take: 4 bits, groups of 64, one zero."""
    weight = {"packed": packed, "scales": scales, "zeros": None, "zero": 8, "group": 64, "bits": 4}
    return {"level": "", "x": x, **weight, "y": y, "threads": 1}


@pytest.mark.parametrize("scheme", STEPS, ids=str)
def test_steps_are_a_byte_for_each_group(scheme: TensorScheme) -> None:
    weight = quantized(scheme, 33, 512)
    packed, groups = pack_linear(weight), 512 // scheme.group_size
    found = [packed.scales, *([] if packed.minima is None else [packed.minima])]
    wanted = [weight.scale.value(), *([] if packed.minima is None else [weight.zero_point])]
    for numbers, products in zip(found, wanted, strict=True):
        assert numbers.steps is not None
        assert (numbers.values.dtype, numbers.values.shape) == (np.float16, (3, 2, 16))
        assert (numbers.steps.dtype, numbers.steps.shape) == (np.int8, (3, groups, 16))
        made = numbers.values.astype(np.float32).repeat(groups // 2, 1) * numbers.steps
        rows = torch.from_numpy(made.transpose(0, 2, 1).reshape(48, groups)[:33])
        assert torch.equal(rows, products)


def test_steps_that_fit_nothing_are_refused() -> None:
    packed = pack_linear(quantized(STEPS[2], 20, 512))
    x, y = torch.zeros(2, 512).numpy(), torch.zeros(2, 20).numpy()
    values, steps = packed.scales
    assert steps is not None
    good = linear_arguments(x, packed.codes, packed.scales, y) | {"fixed": None, "group": 32}
    _native.linear(**good | {"minima": packed.minima})
    wide = np.zeros((2, 6, 16), np.float16)
    for wrong in (
        (values.astype(np.float32), steps),
        (values[:, :1].repeat(3, 1), steps),
        (values[:, :0], steps),
        (wide, steps),
        (values, steps[:, :4].copy()),
        (values[:1], steps),
        (values, None),
    ):
        for name in ("scales", "minima"):
            with pytest.raises(ValueError, match=r"\w"):
                _native.linear(**good | {name: wrong})


def test_sizes_that_do_not_fit_are_refused() -> None:
    packed = pack_linear(quantized(SCHEMES[5], 20, 128))
    scales = packed.scales
    x, y = torch.zeros(2, 128).numpy(), torch.zeros(2, 20).numpy()
    good = linear_arguments(x, packed.codes, scales, y) | {"fixed": None}
    _native.linear(**good)
    for name, wrong in (
        ("x", torch.zeros(3, 128).numpy()),
        ("x", torch.zeros(2, 64).numpy()),
        ("packed", packed.codes[:-1]),
        ("scales", GroupNumbers(scales.values[:1])),
        ("zeros", torch.zeros(1, 2, 16, dtype=torch.uint8).numpy()),
        ("group", 0),
        ("group", 129),
        ("bits", 3),
        ("bits", 7),
        ("fixed", (0.0, 0, -127)),
        ("y", torch.zeros(2, 40).numpy()),
        ("threads", 0),
        ("level", "none"),
    ):
        with pytest.raises(ValueError, match=r"\w"):
            _native.linear(**good | {name: wrong})


def test_sizes_that_do_not_fit_float_activations_are_refused() -> None:
    packed = pack_linear(quantized(CODEBOOKS[0], 20, 128))
    assert packed.levels is not None
    scales, levels = packed.scales, packed.levels
    x, y = torch.zeros(2, 128).numpy(), torch.zeros(2, 20).numpy()
    good = linear_arguments(x, packed.codes, scales, y) | {"levels": levels}
    _native.float_linear(**good)
    panels = torch.zeros(2, 128, 16).numpy()
    dense: dict[str, Any] = {"level": "", "x": x, "panels": panels, "y": y, "threads": 1}
    _native.dense_linear(**dense)
    calls = [
        (_native.float_linear, good, "x", torch.zeros(3, 128).numpy()),
        (_native.float_linear, good, "packed", packed.codes[:-1]),
        (_native.float_linear, good, "scales", GroupNumbers(scales.values[:1])),
        (_native.float_linear, good, "bits", 8),
        (_native.float_linear, good, "levels", levels[:8]),
        (_native.float_linear, good, "threads", 0),
        (_native.dense_linear, dense, "x", torch.zeros(2, 64).numpy()),
        (_native.dense_linear, dense, "panels", torch.zeros(1, 128, 16).numpy()),
        (_native.dense_linear, dense, "y", torch.zeros(3, 20).numpy()),
        (_native.dense_linear, dense, "threads", 0),
    ]
    for function, given, name, wrong in calls:
        with pytest.raises(ValueError, match=r"\w"):
            function(**given | {name: wrong})


def test_importing_needs_no_particular_processor() -> None:
    code = "from tersor.runtime.linears.kernels import level; print(level())"
    for name in levels():
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "TERSOR_ISA": name},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == name


GUARDED = """
import ctypes, mmap
import numpy as np
import torch
from tersor import _native

def guarded(array):
    # The same values, with a page after them that nobody may touch.
    pages = -(-array.nbytes // mmap.PAGESIZE)
    memory = mmap.mmap(-1, (pages + 1) * mmap.PAGESIZE)
    view = np.frombuffer(memory, np.uint8)
    address = view.ctypes.data + pages * mmap.PAGESIZE
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(ctypes.c_void_p(address), mmap.PAGESIZE, 0) == 0
    end = pages * mmap.PAGESIZE
    kept = view[end - array.nbytes : end].view(array.dtype).reshape(array.shape)
    kept[...] = array
    return kept

for level in {levels!r}:
    for bits in (2, 3, 4, 5, 6, 8):
        for rows, columns, group in ((16, 64, 64), (17, 100, 32), (5, 9, 9), (33, 72, 20)):
            panels, groups = -(-rows // 16), -(-columns // group)
            size = _native.packed_bytes(rows, columns, group, bits)
            packed = guarded(np.zeros(size, np.uint8))
            codes = guarded(np.ones((rows, columns), np.uint8))
            _native.pack_panels(codes, packed, group, bits, 2)
            scales = (guarded(np.ones((panels, groups, 16), np.float32)), None)
            zeros = guarded(np.zeros((panels, groups, 16), np.uint8))
            weight = dict(packed=packed, scales=scales, zeros=zeros, zero=0, group=group, bits=bits)
            for tokens in (1, 3, 9):
                x = guarded(np.ones((tokens, columns), np.float32))
                y = guarded(np.zeros((tokens, rows), np.float32))
                _native.linear(level=level, x=x, **weight, fixed=None, y=y, threads=2)
                assert np.allclose(y, columns), (level, bits, rows, columns, tokens)
                y[...] = 0
                _native.float_linear(level=level, x=x, **weight, levels=None, y=y, threads=2)
                assert np.allclose(y, columns), (level, bits, rows, columns, tokens)
                for dtype, one in ((np.float32, 1), (np.uint16, 0x3F80)):
                    dense = guarded(np.full((panels, columns, 16), one, dtype))
                    y[...] = 0
                    _native.dense_linear(level, x, dense, y, 2)
                    assert np.allclose(y, columns), (level, dtype, rows, columns, tokens)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mprotect of Linux")
def test_nothing_beyond_the_arrays_is_touched() -> None:
    done = subprocess.run(
        [sys.executable, "-c", GUARDED.replace("{levels!r}", repr(levels()))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
