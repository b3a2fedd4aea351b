"""The search for the range of least squared error."""

import pytest
import torch
from torch import Tensor

from every_scheme import BLOCK_FORMATS, FIXED_GRIDS, gaussian, granularities, hard, label
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

LEVELS = kmeans(3).with_levels((-0.9, -0.5, -0.2, 0.0, 0.1, 0.3, 0.6, 0.8))
FIXED = [
    scheme
    for grid in (*FIXED_GRIDS, LEVELS)
    for scheme in granularities(grid)
    if scheme.granularity is Granularity.GROUP
] + BLOCK_FORMATS


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
