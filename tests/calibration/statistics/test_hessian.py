"""Second moments against float64, at every tail that tiles can have."""

import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tersor import _native
from tersor.calibration.statistics.hessian import (
    cross_moment,
    cross_moment_reference,
    second_moment,
    second_moment_reference,
)

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """As found, whatever a test does."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def inputs(tokens: int, width: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Correlated inputs of very different size."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.rand(width, generator=generator) * 9 + 0.1
    shared = torch.randn(tokens, 1, generator=generator)
    return ((torch.randn(tokens, width, generator=generator) + shared) * sizes).to(dtype)


def largest_error(found: Tensor, expected: Tensor, sizes: tuple[Tensor, Tensor]) -> float:
    """Relative to ``sqrt(E[x_i²] E[y_j²])``: what an element would be without cancellation."""
    scale = (sizes[0].unsqueeze(1) * sizes[1]).sqrt()
    relative = (found.double() - expected).abs() / scale.where(scale > 0, 1.0)
    return float(relative.max()) if relative.numel() else 0.0


def mean_square(pieces: list[Tensor]) -> Tensor:
    stacked = torch.cat(pieces).double()
    return stacked.square().sum(0) / max(1, len(stacked))


def check(pieces: list[Tensor], tolerance: float = 1e-6) -> None:
    found, expected = second_moment(pieces), second_moment_reference(pieces)
    assert found.dtype == torch.float32
    assert torch.equal(found, found.T)
    sizes = mean_square(pieces)
    assert largest_error(found, expected, (sizes, sizes)) < tolerance


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("width", [1, 2, 7, 8, 9, 47, 48, 49, 56, 95, 96, 97, 200, 576])
def test_any_width(width: int, dtype: torch.dtype) -> None:
    check([inputs(70, width, 0, dtype), inputs(33, width, 1, dtype)])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("tokens", [1, 2, 3, 127, 128, 129, 255, 256, 257, 511, 513])
def test_any_number_of_tokens(tokens: int, dtype: torch.dtype) -> None:
    check([inputs(tokens, 60, 0, dtype)])


@given(
    tokens=st.lists(st.integers(0, 9), min_size=1, max_size=4),
    width=st.integers(1, 130),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 2**31),
)
@settings(deadline=None, max_examples=50)
def test_any_pieces(tokens: list[int], width: int, dtype: torch.dtype, seed: int) -> None:
    check([inputs(count, width, seed + i, dtype) for i, count in enumerate(tokens)])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_long_stream_stays_precise(dtype: torch.dtype) -> None:
    pieces = [inputs(4096, 100, seed, dtype) + 1 for seed in range(8)]
    check(pieces, tolerance=1e-5)


def test_products_of_fp32_are_not_rounded() -> None:
    x = torch.full((1, 3), 1 + 2**-20)
    assert second_moment([x])[0, 1] == 1 + 2**-19


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("width", [5, 48, 100, 333])
def test_threads_change_no_bit(width: int, dtype: torch.dtype) -> None:
    x, y = ([inputs(300, width, seed + i, dtype) for i in range(3)] for seed in (0, 9))
    torch.set_num_threads(1)
    second, cross = second_moment(x), cross_moment(x, y)
    for threads in (2, 3, 7, 64):
        torch.set_num_threads(threads)
        assert torch.equal(second_moment(x), second)
        assert torch.equal(cross_moment(x, y), cross)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_neither_the_place_nor_other_columns_change_a_bit(dtype: torch.dtype) -> None:
    x = inputs(400, 150, 0, dtype)
    whole = second_moment([x])
    assert torch.equal(second_moment([x[:, 31:113]]), whole[31:113, 31:113])
    assert torch.equal(cross_moment([x[:, 5:80]], [x[:, 90:]]), whole[5:80, 90:])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_nothing_seen(dtype: torch.dtype) -> None:
    empty = torch.zeros(0, 50, dtype=dtype)
    assert torch.equal(second_moment([empty]), torch.zeros(50, 50))
    assert torch.equal(cross_moment([empty], [empty]), torch.zeros(50, 50))
    x = inputs(20, 50, 0, dtype)
    assert torch.equal(second_moment([empty, x, empty]), second_moment([x]))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_is_not_finite_stays_visible(dtype: torch.dtype, bad: float) -> None:
    x = inputs(131, 70, 0, dtype)
    x[130, 60] = bad
    found = second_moment([x])
    assert not found[60].isfinite().any()
    assert not found[:, 60].isfinite().any()
    found[60], found[:, 60] = 0, 0
    assert found.isfinite().all()


@pytest.mark.parametrize("dtypes", [(a, b) for a in DTYPES for b in DTYPES], ids=str)
@pytest.mark.parametrize("widths", [(1, 1), (3, 100), (100, 3), (48, 96), (130, 77)])
def test_cross_moment(widths: tuple[int, int], dtypes: tuple[torch.dtype, torch.dtype]) -> None:
    left, right = (
        [inputs(tokens, width, tokens + width, dtype) for tokens in (150, 0, 301)]
        for width, dtype in zip(widths, dtypes, strict=True)
    )
    found, expected = cross_moment(left, right), cross_moment_reference(left, right)
    assert found.shape == widths
    assert largest_error(found, expected, (mean_square(left), mean_square(right))) < 1e-6


def test_pieces_of_another_layout() -> None:
    x = inputs(90, 90, 0)
    for view in (x.T, x[::3], x[:, ::2], x.clone().requires_grad_()):
        copy = view.detach().clone(memory_format=torch.contiguous_format)
        assert torch.equal(second_moment([view]), second_moment([copy]))


def test_pieces_that_do_not_match() -> None:
    x, y = inputs(4, 6), inputs(5, 6)
    with pytest.raises(ValueError, match="differ in tokens"):
        cross_moment([x], [y])
    with pytest.raises(ValueError, match="not square"):
        second_moment([x, inputs(4, 7)])
    with pytest.raises(ValueError, match="no such part"):
        _native.add_second_moment(x.numpy(), torch.zeros(6, 6).numpy(), 2, 2)
