"""Every grid and scheme, and matrices that are hard to quantize, for the tests of numbers."""

import torch
from hypothesis import strategies as st
from torch import Tensor

from tersor.grids import (
    ActivationScheme,
    CodebookGrid,
    FloatGrid,
    Granularity,
    Grid,
    IntegerGrid,
    ScaleFormat,
    Scheme,
    Symmetry,
    TensorScheme,
    fp4,
    kmeans,
    log2,
    nf4,
)
from tersor.grids.kinds.integer import WIDTHS

INTEGERS = [
    IntegerGrid(bits, symmetry, signed)
    for bits in WIDTHS
    for symmetry in Symmetry
    for signed in (True, False)
]
CODEBOOKS = [nf4(), fp4(), *map(log2, (2, 3, 4, 5, 6))]
FLOATS = [FloatGrid("fp8_e4m3"), FloatGrid("fp8_e5m2")]
FIXED_GRIDS: list[Grid] = [*INTEGERS, *CODEBOOKS, *FLOATS]
FITTED = [kmeans(2), kmeans(4)]

MXFP4 = TensorScheme(fp4(), Granularity.GROUP, 32, ScaleFormat.E8M0)
NVFP4 = TensorScheme(fp4(), Granularity.GROUP, 16, ScaleFormat.E4M3)
BLOCK_FORMATS = [MXFP4, NVFP4]


def granularities(grid: Grid, group_size: int = 32) -> list[TensorScheme]:
    """The grid per tensor, per channel and per group."""
    return [
        TensorScheme(grid, Granularity.TENSOR),
        TensorScheme(grid, Granularity.CHANNEL),
        TensorScheme(grid, Granularity.GROUP, group_size),
    ]


SCHEMES = [s for grid in (*FIXED_GRIDS, *FITTED) for s in granularities(grid)] + BLOCK_FORMATS
# One of each kind, granularities in turn.
SAMPLE = [
    granularities(grid)[number % 3]
    for number, grid in enumerate(
        [
            *(
                IntegerGrid(4, symmetry, signed)
                for symmetry in Symmetry
                for signed in (True, False)
            ),
            IntegerGrid(2, Symmetry.NONE),
            IntegerGrid(8, Symmetry.FULL),
            *CODEBOOKS[:4],
            *FLOATS,
            *FITTED,
        ]
    )
] + BLOCK_FORMATS

INT8_TOKEN = ActivationScheme(TensorScheme(IntegerGrid(8), Granularity.TOKEN), dynamic=True)
FP8_TOKEN = ActivationScheme(TensorScheme(FLOATS[0], Granularity.TOKEN), dynamic=True)
INT8_GROUP = ActivationScheme(TensorScheme(IntegerGrid(8), Granularity.GROUP, 32), dynamic=True)
STATIC = ActivationScheme(TensorScheme(IntegerGrid(8), Granularity.TENSOR), dynamic=False)
STATIC_ASYMMETRIC = ActivationScheme(
    TensorScheme(IntegerGrid(8, Symmetry.NONE), Granularity.TENSOR), dynamic=False
)
# Linears as they are stored: every weight scheme (a few of those with unsigned codes), then
# weights with activations.
LINEARS = [
    Scheme(weights)
    for weights in SCHEMES
    if getattr(weights.grid, "signed", True) or weights.grid.bits == 4
] + [
    Scheme(weights, activations)
    for bits in (4, 8)
    for symmetry in (Symmetry.RESTRICTED, Symmetry.NONE)
    for weights in granularities(IntegerGrid(bits, symmetry))
    for activations in (INT8_TOKEN, INT8_GROUP, STATIC, STATIC_ASYMMETRIC)
]
LINEARS += [Scheme(TensorScheme(FLOATS[0], Granularity.CHANNEL), FP8_TOKEN)]
LINEARS += [Scheme(TensorScheme(IntegerGrid(4), Granularity.GROUP, 32), FP8_TOKEN)]
LINEARS += [Scheme(MXFP4, FP8_TOKEN), Scheme(NVFP4, STATIC_ASYMMETRIC)]


def label(value: object) -> str:
    """A short test id for a grid or scheme."""
    if isinstance(value, Scheme):
        activations = value.activations
        return label(value.weights) + ("" if activations is None else f"+{activations}")
    if isinstance(value, TensorScheme):
        size = value.group_size or ""
        scale = "" if value.scale_format is ScaleFormat.FLOAT else f"-{value.scale_format}"
        return f"{label(value.grid)}-{value.granularity}{size}{scale}"
    if isinstance(value, IntegerGrid):
        return f"{value.name}-{value.symmetry}-{'signed' if value.signed else 'unsigned'}"
    if isinstance(value, CodebookGrid):
        return f"{value.name}{value.bits}"
    return str(getattr(value, "name", value))


def gaussian(rows: int, columns: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Weights as they come: normal, rows of different size, a few outliers."""
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(rows, columns, generator=generator) * 0.02
    matrix *= torch.rand(rows, 1, generator=generator) * 4 + 0.1
    matrix[:, ::37] *= 6
    return matrix.to(dtype)


def hard(columns: int = 80, dtype: torch.dtype = torch.float32) -> Tensor:
    """Rows that broke quantizers before: constant, one-sided, nearly empty, of extreme size."""
    ramp = torch.linspace(-1, 1, columns)
    rows = [
        torch.zeros(columns),
        torch.full((columns,), 0.3),
        torch.full((columns,), -0.7),
        -torch.zeros(columns),
        ramp * 0.2 + 5,
        ramp * 0.2 - 5,
        ramp.abs(),
        -ramp.abs(),
        torch.zeros(columns).index_fill(0, torch.tensor([columns // 2]), 1e-3),
        ramp * 1e-7,
        ramp * 3e4,
        torch.cat([ramp[: columns // 2] * 1e-6, ramp[columns // 2 :] * 100]),
    ]
    return torch.stack(rows).to(dtype)


def matrices(max_rows: int = 4, max_columns: int = 70) -> st.SearchStrategy[Tensor]:
    """Random float32 matrices: any magnitude from 1e-12 to 1e12, zeros and repetitions likely."""

    def build(
        rows: int, columns: int, seed: int, exponent: int, coarse: bool, shift: int
    ) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        values = torch.randn(rows, columns, generator=generator) + shift
        if coarse:
            values = (values * 2).round() / 2
        return values * 10.0**exponent

    return st.builds(
        build,
        st.integers(1, max_rows),
        st.integers(1, max_columns),
        st.integers(0, 10**6),
        st.integers(-12, 12),
        st.booleans(),
        st.sampled_from([0, 0, 0, 3, -3]),
    )
