"""What a rotation does to single tensors, against matrix products."""

import pytest
import torch

from tersor.transforms.rotation.hadamard import random_orthogonal
from tersor.transforms.rotation.steps import Matrix, Norm, Turn


def test_a_norm_that_adds_one_is_absorbed_with_it() -> None:
    # No family in the tables has such norms and can be rotated, yet (Gemma 1 would).
    norm = Norm("norm", None, offset=1.0)
    stored = {"norm": torch.tensor([0.5, -1.0]), "w": torch.ones(3, 2)}
    assert Matrix("w", norm=norm).compute(stored.__getitem__).tolist() == [[1.5, 0.0]] * 3


@pytest.mark.parametrize("transposed", [False, True])
def test_rows_and_columns_of_a_matrix(transposed: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(24, 8, generator=generator, dtype=torch.float64)
    stored = {"w": matrix.T.contiguous() if transposed else matrix}
    left, right = random_orthogonal(24, 0, "left"), random_orthogonal(8, 0, "right")
    step = Matrix("w", inputs=Turn(right), outputs=Turn(left), transposed=transposed)
    turned = step.compute(stored.__getitem__)
    expected = (left.matrix().T @ matrix @ right.matrix()).float()
    assert torch.allclose(turned.T if transposed else turned, expected, atol=1e-5)


def test_channels_outside_the_groups_stay() -> None:
    rotation = random_orthogonal(4, 0, "test")
    groups = torch.tensor([[1, 3, 5, 7], [0, 2, 8, 9]])
    rows = torch.randn(5, 10, generator=torch.Generator().manual_seed(0))
    turned = Turn(rotation, groups).apply(rows)
    assert torch.equal(turned[:, [4, 6]], rows[:, [4, 6]].double())
    for group in groups:
        assert torch.allclose(turned[:, group], rows[:, group].double() @ rotation.matrix())
