"""Adam, against torch's."""

import torch

from tersor.training.adam import Adam


def test_directions_are_the_steps_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    values = {name: torch.randn(6, 32, generator=generator) for name in ("a", "b")}
    theirs = {name: value.clone().requires_grad_(True) for name, value in values.items()}
    expected = torch.optim.Adam(theirs.values(), lr=0.2, betas=(0.9, 0.99), eps=1e-20)
    ours = Adam()
    for _ in range(5):
        ours.begin()
        for name, value in values.items():
            gradient = torch.randn(6, 32, generator=generator)
            theirs[name].grad = gradient
            value.sub_(ours.direction(name, gradient), alpha=0.2)
        expected.step()
        for name, value in values.items():
            torch.testing.assert_close(value, theirs[name].detach())


def test_no_gradient_is_no_step() -> None:
    ours = Adam()
    ours.begin()
    assert ours.direction("a", torch.zeros(3)).tolist() == [0, 0, 0]
