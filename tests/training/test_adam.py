"""Adam for latents, against torch's."""

import torch

from tersor.grids import Granularity, IntegerGrid, Symmetry, TensorScheme
from tersor.ranges import MinMax
from tersor.rounding import nearest
from tersor.training import Distill, LatentLinear, Qat
from tersor.training.adam import Adam

SCHEME = TensorScheme(IntegerGrid(4, Symmetry.FULL), Granularity.GROUP, 16)


def latent() -> LatentLinear:
    weight = torch.randn(6, 32, generator=torch.Generator().manual_seed(0))
    return LatentLinear(nearest(weight, SCHEME, MinMax(), scale_dtype=torch.float32).tensor)


def test_steps_are_those_of_torch() -> None:
    learned, settings = latent(), Qat(scale_rate=0.01, position_rate=0.2)
    positions = learned.positions.clone().requires_grad_(True)
    ratio = learned.ratio.clone().requires_grad_(True)
    expected = torch.optim.Adam(
        [{"params": [positions], "lr": 0.2}, {"params": [ratio], "lr": 0.01}],
        betas=(0.9, 0.99),
        eps=1e-20,
    )
    ours = Adam({"x": learned}, settings)
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        gradient = torch.randn(6, 32, generator=generator)
        positions.grad, ratio.grad = learned.gradients(gradient)
        expected.step()
        ours.begin()
        ours.step("x", gradient, 1.0)
        torch.testing.assert_close(learned.positions, positions.detach())
        torch.testing.assert_close(learned.ratio, ratio.detach())


def test_distilling_leaves_codes_alone() -> None:
    learned = latent()
    before, ratio = learned.codes(), learned.ratio.clone()
    ours = Adam({"x": learned}, Distill(scale_rate=0.01))
    ours.begin()
    ours.step("x", torch.randn(6, 32), 1.0)
    assert torch.equal(learned.codes(), before)
    assert not torch.equal(learned.ratio, ratio)
