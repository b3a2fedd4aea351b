"""Every way of multiplying with stacked experts tells the same."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tersor.calibration.experts import ExpertProducts

EXPERTS, ROWS, IN = 3, 7, 5


def by_rows(weight: Tensor, x: Tensor) -> Tensor:
    return torch.stack([F.linear(rows, weight[i]) for i, rows in enumerate(x)])


def by_columns(weight: Tensor, x: Tensor) -> Tensor:
    return torch.stack([rows @ weight[i] for i, rows in enumerate(x)])


def batched(weight: Tensor, x: Tensor) -> Tensor:
    return torch.bmm(x, weight)


@pytest.mark.parametrize(
    ("product", "shape", "told"),
    [
        (by_rows, (ROWS, IN), [4, 4, 4]),
        (by_columns, (IN, ROWS), [4, 4, 4]),
        (batched, (IN, ROWS), [4, 2]),
    ],
)
def test_inputs_before_and_gradients_after(product: Any, shape: Any, told: list[int]) -> None:
    torch.manual_seed(0)
    weight = torch.randn(EXPERTS, *shape)
    x = torch.randn(EXPERTS, 4, IN, requires_grad=True)
    x.data[1, 2:] = 0.0
    x.data[2] = 0.0  # nobody chose it
    seen: dict[int, Tensor] = {}
    back: dict[int, Tensor] = {}

    def listener(expert: int, read: Tensor) -> Any:
        seen[expert] = read

        def heard(output: Tensor, index: Any) -> None:
            output.register_hook(lambda gradient: back.update({expert: gradient[index]}))

        return heard

    with ExpertProducts([(weight, listener)]):
        y = product(weight, x)
    slopes = torch.randn(y.shape)
    (y * slopes).sum().backward()
    for expert, given in seen.items():
        count = len(given)
        assert torch.equal(given, x[expert, :count])
        assert torch.equal(back[expert], slopes[expert, :count])
    assert [len(seen[i]) for i in seen] == told
