"""The search for the range of least squared error."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from every_scheme import BLOCK_FORMATS, FIXED_GRIDS, INTEGERS, gaussian, granularities, hard, label
from tersor.errors import RecipeError
from tersor.grids import (
    Granularity,
    IntegerGrid,
    ScaleFormat,
    ScaleStorage,
    Symmetry,
    TensorScheme,
    fit,
    kmeans,
)
from tersor.grids.scales import global_scale_for
from tersor.ranges import MeanSquaredError, MinMax
from tersor.ranges.mse import best_factors, best_factors_reference

LEVELS = kmeans(3).with_levels((-0.9, -0.5, -0.2, 0.0, 0.1, 0.3, 0.6, 0.8))
FIXED = [
    scheme
    for grid in (*FIXED_GRIDS, LEVELS)
    for scheme in granularities(grid)
    if scheme.granularity is Granularity.GROUP
] + BLOCK_FORMATS


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in the pipeline; small blocks are slower with more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def storage_for(scheme: TensorScheme, values: Tensor) -> ScaleStorage:
    if scheme.scale_format is ScaleFormat.E4M3:
        return ScaleStorage(torch.bfloat16, global_scale_for(values.abs().max()))
    return ScaleStorage(torch.bfloat16)


def errors(
    blocks: Tensor, scheme: TensorScheme, bounds: tuple[Tensor, Tensor], importance: Tensor | None
) -> Tensor:
    """Sum of squared errors of every block, float64."""
    parameters = fit(scheme, *bounds, storage_for(scheme, blocks))
    scale = parameters.scale.value().unsqueeze(-1)
    zero = None if parameters.zero_point is None else parameters.zero_point.unsqueeze(-1)
    restored = scheme.grid.decode(scheme.grid.encode(blocks, scale, zero), scale, zero)
    squared = (restored.double() - blocks.double()).square()
    return (squared if importance is None else squared * importance.double()).sum(-1)


@pytest.mark.parametrize("scheme", FIXED, ids=label)
def test_never_worse_than_min_max_in_any_group(scheme: TensorScheme) -> None:
    size = scheme.group_size or 0
    blocks = torch.cat([gaussian(4, size * 2), hard(size * 2)]).view(-1, 2, size)
    storage = storage_for(scheme, blocks)
    best = MeanSquaredError(steps=8).bounds(blocks, scheme, storage)
    plain = MinMax().bounds(blocks, scheme, storage)
    ours, theirs = errors(blocks, scheme, best, None), errors(blocks, scheme, plain, None)
    # The search adds float32 squares: equal errors may come out different in the last digits.
    assert (ours <= theirs * (1 + 1e-5)).all()


def losses(
    blocks: Tensor,
    scheme: TensorScheme,
    factor: Tensor,
    storage: ScaleStorage,
    importance: Tensor,
    norm: float,
) -> Tensor:
    """What blocks lose when their ranges shrink by ``factor (rows, groups)``, float64."""
    low, high = blocks.aminmax(dim=-1)
    parameters = fit(scheme, low * factor, high * factor, storage)
    scale = parameters.scale.value().unsqueeze(-1)
    zero = None if parameters.zero_point is None else parameters.zero_point.unsqueeze(-1)
    restored = scheme.grid.decode(scheme.grid.encode(blocks, scale, zero), scale, zero)
    return ((restored - blocks).double().abs().pow(norm) * importance.double()).sum(-1)


def check_native(
    blocks: Tensor,
    scheme: TensorScheme,
    dtype: torch.dtype = torch.bfloat16,
    importance: Tensor | None = None,
    norm: float = 2.0,
    steps: int = 40,
) -> float:
    """Hold the native search against the reference; returns the share of equal choices."""
    bounds, factors = blocks.aminmax(dim=-1), torch.linspace(1.0, 0.4, steps)
    given = (bounds, factors, scheme, ScaleStorage(dtype), importance, norm)
    ours, theirs = best_factors(blocks, *given), best_factors_reference(blocks, *given)
    weights = torch.ones(1) if importance is None else importance
    found, expected = (
        losses(blocks, scheme, factor, ScaleStorage(dtype), weights, norm)
        for factor in (ours, theirs)
    )
    # Sums in another order, and other last digits of a general power: only near-ties may differ.
    torch.testing.assert_close(found, expected, rtol=2e-6, atol=0.0)
    return float((ours == theirs).double().mean())


@pytest.mark.parametrize("grid", INTEGERS, ids=label)
def test_native_chooses_as_the_reference_does(grid: IntegerGrid) -> None:
    scheme = TensorScheme(grid, Granularity.GROUP, 64)
    blocks = gaussian(24, 192, seed=grid.bits).view(24, 3, 64)
    per_column = torch.rand(1, 3, 64, generator=torch.Generator().manual_seed(0))
    for norm in (2.0, 4.0, 2.4, 1.0):
        for importance in (None, per_column, per_column[0, 0], blocks.abs()):
            same = check_native(blocks, scheme, torch.bfloat16, importance, norm)
            # A sum of magnitudes stays the same while as many values are above as below theirs.
            assert same > (0.9 if norm == 1 else 0.98)
    for dtype in (torch.float16, torch.float32):
        assert check_native(blocks, scheme, dtype, per_column) > 0.98


@pytest.mark.parametrize("symmetry", Symmetry)
def test_native_takes_hard_blocks(symmetry: Symmetry) -> None:
    scheme = TensorScheme(IntegerGrid(4, symmetry), Granularity.GROUP, 40)
    for norm in (2.0, 4.0, 2.4):
        check_native(hard(80).view(-1, 2, 40), scheme, norm=norm)


@pytest.mark.parametrize("size", [1, 2, 3, 63, 64, 65, 1000])
def test_native_takes_any_shape(size: int) -> None:
    scheme = TensorScheme(IntegerGrid(3, Symmetry.NONE), Granularity.CHANNEL)
    for steps in (1, 3, 4, 5, 8, 16, 17, 31, 33):
        check_native(gaussian(3, 2 * size).view(3, 2, size), scheme, steps=steps)


def test_native_takes_blocks_that_are_not_contiguous() -> None:
    scheme = TensorScheme(IntegerGrid(4, Symmetry.FULL), Granularity.GROUP, 32)
    wide = gaussian(6, 200)
    importance = torch.rand(100, 2, generator=torch.Generator().manual_seed(0))
    for view in (wide[:, 4:132].view(6, 4, 32), wide[::2, :64].view(3, 2, 32)):
        check_native(view, scheme)
        check_native(view, scheme, importance=importance[:32, :1].expand(-1, 2)[:, 0])
    transposed = wide[:, :192].reshape(6, 32, 6).transpose(1, 2)
    check_native(transposed, scheme)
    check_native(transposed, scheme, importance=importance[:6, :1].expand(6, 32))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_blocks_whose_importance_is_no_number_keep_their_range(bad: float) -> None:
    blocks = gaussian(3, 64).view(3, 2, 32)
    importance = torch.ones(3, 2, 32)
    importance[1, 0, 5] = bad
    scheme = TensorScheme(IntegerGrid(2), Granularity.GROUP, 32)
    low, high = MeanSquaredError().bounds(blocks, scheme, ScaleStorage(torch.half), importance)
    assert (low[1, 0], high[1, 0]) == (blocks[1, 0].min(), blocks[1, 0].max())


def test_values_of_double_precision_take_the_reference() -> None:
    """Histograms of activations have centres of double precision and integer counts."""
    scheme = TensorScheme(IntegerGrid(8, Symmetry.NONE), Granularity.TENSOR)
    centres = torch.linspace(-1, 3, 100, dtype=torch.float64).view(1, 1, -1)
    counts = (1000 * (-((centres - 1) ** 2)).exp()).long().flatten()
    storage = ScaleStorage(torch.float32)
    low, high = MeanSquaredError().bounds(centres, scheme, storage, counts)
    assert low < 0 < high


def test_against_trying_every_factor() -> None:
    scheme = TensorScheme(IntegerGrid(3, Symmetry.NONE), Granularity.GROUP, 32)
    blocks = gaussian(3, 64).view(3, 2, 32)
    low, high = MeanSquaredError(steps=5, smallest=0.6).bounds(
        blocks, scheme, ScaleStorage(torch.bfloat16)
    )
    lowest, highest = blocks.aminmax(dim=-1)
    for row in range(3):
        for group in range(2):
            block = blocks[row : row + 1, group : group + 1]
            ends = lowest[row, group].reshape(1, 1), highest[row, group].reshape(1, 1)
            found = {
                factor: errors(block, scheme, (ends[0] * factor, ends[1] * factor), None).item()
                for factor in (1.0, 0.9, 0.8, 0.7, 0.6)
            }
            best = min(found, key=lambda factor: found[factor])
            assert low[row, group].item() == pytest.approx(ends[0].item() * best, rel=1e-6)
            assert high[row, group].item() == pytest.approx(ends[1].item() * best, rel=1e-6)


def test_it_helps_at_few_bits() -> None:
    blocks = gaussian(16, 1024).view(16, 16, 64)
    gains = []
    for bits in (2, 3, 4, 8):
        scheme = TensorScheme(IntegerGrid(bits, Symmetry.FULL), Granularity.GROUP, 64)
        storage = ScaleStorage(torch.bfloat16)
        best = errors(blocks, scheme, MeanSquaredError().bounds(blocks, scheme, storage), None)
        plain = errors(blocks, scheme, MinMax().bounds(blocks, scheme, storage), None)
        gains.append((plain.sum() / best.sum()).item())
    assert gains == sorted(gains, reverse=True)
    assert gains[0] > 1.3


def test_one_step_is_min_max() -> None:
    scheme = TensorScheme(IntegerGrid(4), Granularity.GROUP, 16)
    blocks = gaussian(2, 32).view(2, 2, 16)
    storage = ScaleStorage(torch.bfloat16)
    ours = MeanSquaredError(steps=1).bounds(blocks, scheme, storage)
    assert torch.equal(torch.stack(ours), torch.stack(MinMax().bounds(blocks, scheme, storage)))


@pytest.mark.parametrize(
    ("steps", "smallest"), [(0, 0.5), (-1, 0.5), (10, 0.0), (10, 1.5), (10, float("nan"))]
)
def test_searches_that_make_no_sense(steps: int, smallest: float) -> None:
    with pytest.raises(RecipeError, match="range mse"):
        MeanSquaredError(steps, smallest)


def test_a_higher_norm_clips_less() -> None:
    blocks = torch.randn(4, 3, 64, generator=torch.Generator().manual_seed(0))
    scheme = TensorScheme(IntegerGrid(3, Symmetry.NONE), Granularity.GROUP, 64)
    storage = ScaleStorage(torch.float32)

    def width(norm: float) -> float:
        low, high = MeanSquaredError(norm=norm).bounds(blocks, scheme, storage)
        return float((high - low).mean())

    assert width(2.0) < width(4.0)


def test_a_norm_below_one_is_refused() -> None:
    with pytest.raises(RecipeError, match="norm"):
        MeanSquaredError(norm=0.5)
