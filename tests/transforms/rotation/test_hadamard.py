"""Orthogonal matrices: what they are, and the fast product against the matrix itself."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tersor.errors import SchemeError
from tersor.transforms.rotation.hadamard import hadamard, random_orthogonal

# Powers of two within one factor and beyond, odd parts, and sizes of real models.
SIZES = [1, 2, 3, 8, 9, 24, 64, 72, 128, 576, 896]


def eye(size: int) -> torch.Tensor:
    return torch.eye(size, dtype=torch.float64)


@pytest.mark.parametrize("size", [1, 2, 4, 64, 256])
def test_sylvester(size: int) -> None:
    matrix = hadamard(size)
    assert torch.allclose(matrix @ matrix.T, eye(size), atol=1e-12)
    assert torch.allclose(matrix.abs(), torch.full_like(matrix, size**-0.5), atol=1e-15)
    assert bool((matrix[0] > 0).all())


@pytest.mark.parametrize("size", [0, 3, 12, -2])
def test_no_sylvester_matrix(size: int) -> None:
    with pytest.raises(SchemeError, match="not a power of two"):
        hadamard(size)


@pytest.mark.parametrize("keeps_ones", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_orthogonal(size: int, keeps_ones: bool) -> None:
    matrix = random_orthogonal(size, 0, "test", keeps_ones=keeps_ones).matrix()
    assert matrix.dtype == torch.float64
    assert torch.allclose(matrix @ matrix.T, eye(size), atol=1e-12)


@pytest.mark.parametrize("keeps_ones", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_turning_rows_is_multiplying_by_the_matrix(size: int, keeps_ones: bool) -> None:
    rotation = random_orthogonal(size, 1, "test", keeps_ones=keeps_ones)
    rows = torch.randn(2, 3, size, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(rotation.turn(rows), rows.double() @ rotation.matrix(), atol=1e-12)
    assert rotation.turn(rows[0, 0]).shape == (size,)


@given(st.sampled_from(SIZES), st.integers(0, 2**40), st.booleans())
def test_lengths_and_angles_stay(size: int, seed: int, keeps_ones: bool) -> None:
    rotation = random_orthogonal(size, seed, "test", keeps_ones=keeps_ones)
    rows = torch.randn(4, size, generator=torch.Generator().manual_seed(seed))
    turned = rotation.turn(rows)
    assert torch.allclose(turned @ turned.T, rows.double() @ rows.double().T, atol=1e-9)


@pytest.mark.parametrize("size", SIZES)
def test_ones_are_kept_and_so_the_mean_can_be_subtracted_before_or_after(size: int) -> None:
    rotation = random_orthogonal(size, 3, "test", keeps_ones=True)
    ones = torch.ones(size, dtype=torch.float64)
    assert torch.allclose(rotation.turn(ones), ones, atol=1e-12)
    rows = torch.randn(4, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    before = rotation.turn(rows - rows.mean(dim=1, keepdim=True))
    after = rotation.turn(rows) - rotation.turn(rows).mean(dim=1, keepdim=True)
    assert torch.allclose(before, after, atol=1e-12)


def test_without_asking_the_ones_move() -> None:
    rotation = random_orthogonal(64, 3, "test")
    ones = torch.ones(64, dtype=torch.float64)
    assert not torch.allclose(rotation.turn(ones), ones, atol=0.5)


def test_seed_and_purpose_decide() -> None:
    def matrix(seed: int, purpose: str) -> torch.Tensor:
        return random_orthogonal(72, seed, purpose).matrix()

    assert torch.equal(matrix(1, "a"), matrix(1, "a"))
    assert not torch.allclose(matrix(1, "a"), matrix(2, "a"))
    assert not torch.allclose(matrix(1, "a"), matrix(1, "b"))


def test_global_random_state_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    random_orthogonal(72, 1, "test")
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("size", [64, 512])
def test_powers_of_two_are_perfectly_flat(size: int) -> None:
    matrix = random_orthogonal(size, 0, "test").matrix()
    assert torch.allclose(matrix.abs(), torch.full_like(matrix, size**-0.5), atol=1e-15)


@pytest.mark.parametrize("keeps_ones", [False, True])
@pytest.mark.parametrize("size", [64, 576])
def test_one_large_channel_comes_out_flat(size: int, keeps_ones: bool) -> None:
    rotation = random_orthogonal(size, 0, "test", keeps_ones=keeps_ones)
    assert rotation.matrix().abs().max() < 6 * size**-0.5


def test_nothing_to_rotate() -> None:
    with pytest.raises(SchemeError, match="0 channels"):
        random_orthogonal(0, 0, "test")
