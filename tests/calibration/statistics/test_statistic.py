"""Several statistics at once."""

import torch

from tersor.calibration.statistics import AbsMax, Mean, Several


def test_several_give_what_each_gives_alone() -> None:
    x = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    together, alone = Several({"largest": AbsMax(), "mean": Mean()}), Mean()
    for piece in x.split(3):
        together.update(piece)
        alone.update(piece)
    found = together.result()
    assert list(found) == ["largest", "mean"]
    assert torch.equal(found["mean"].values, alone.result().values)
    assert torch.equal(found["largest"].values, x.abs().amax(0))
