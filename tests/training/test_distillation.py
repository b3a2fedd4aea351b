"""Training by the original's predictions, on a problem of one linear and a norm."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from calibrating import threads
from tersor.errors import RecipeError, SourceError
from tersor.grids import Granularity, IntegerGrid, Symmetry, TensorScheme
from tersor.ranges import MinMax
from tersor.rounding import nearest
from tersor.training import (
    Checkpoint,
    Distill,
    LatentLinear,
    LatentNorm,
    LatentScales,
    ModelProblem,
    Qat,
    distill,
)
from tersor.training.logits import divergence

SCHEME = TensorScheme(IntegerGrid(2, Symmetry.SIGNED_SCALE), Granularity.GROUP, 8)
DISTILL = Distill(epochs=10, batch=32, scale_rate=0.03, norm_rate=0.03)
QAT = Qat(epochs=10, batch=32, scale_rate=0.03, norm_rate=0.03, position_rate=0.1)


class Problem:
    """``norm · x`` through a linear whose weight is quantized to 2 bits."""

    def __init__(self, latent: type[LatentScales]) -> None:
        generator = torch.Generator().manual_seed(0)
        weight = torch.randn(16, 16, generator=generator)
        embedding = torch.randn(40, 16, generator=generator)
        tokens = torch.randint(0, 40, (24, 8), generator=generator)
        start = nearest(weight, SCHEME, MinMax(), scale_dtype=torch.bfloat16).tensor
        self.latent = latent(start)
        self.parameter = nn.Parameter(start.dequantize().float(), requires_grad=False)
        norm = nn.Parameter(torch.ones(16), requires_grad=False)
        self.norm = LatentNorm(norm, torch.bfloat16)
        self.value = ModelProblem(
            forward=lambda batch: embedding[batch] * norm @ self.parameter.T,
            parameters=[self.parameter],
            parts=lambda _, gradient: {"w": gradient},
            latents={"w": self.latent},
            weights={"w": self.parameter.detach()},
            norms={"n": self.norm},
            head=torch.randn(40, 16, generator=generator) / 4,
            tokens=tokens,
            teacher=embedding[tokens] @ weight.T,
            rows=2,
        )

    def divergence(self) -> float:
        """Mean over all tokens."""
        hidden = self.value.forward(self.value.tokens)
        total = divergence(hidden, self.value.teacher, self.value.head)
        return float(total) / self.value.tokens.numel()

    def result(self) -> list[Tensor]:
        found = self.latent.quantized()
        return [found.codes, found.scale.data, self.norm.parameter.detach().clone()]


def same(one: Problem, other: Problem) -> bool:
    return all(map(torch.equal, one.result(), other.result()))


@pytest.mark.parametrize(("latent", "settings"), [(LatentScales, DISTILL), (LatentLinear, QAT)])
def test_predictions_come_closer(latent: type[LatentScales], settings: Distill | Qat) -> None:
    problem = Problem(latent)
    before = problem.result()
    first = problem.divergence()
    losses = distill(problem.value, settings, seed=0)
    assert len(losses) == 60
    assert problem.divergence() < 0.7 * first
    after = problem.result()
    assert torch.equal(before[0], after[0]) == (settings is DISTILL)
    assert not torch.equal(before[1], after[1])
    assert not torch.equal(before[2], after[2])
    torch.testing.assert_close(problem.parameter.detach(), problem.latent.quantized().dequantize())


def test_codes_win_back_what_scales_cannot() -> None:
    scales, codes = Problem(LatentScales), Problem(LatentLinear)
    distill(scales.value, DISTILL, seed=0)
    distill(codes.value, QAT, seed=0)
    assert codes.divergence() < 0.8 * scales.divergence()


def test_the_loss_is_the_divergence_per_token() -> None:
    problem = Problem(LatentScales)
    everything = Distill(batch=problem.value.tokens.numel())
    expected = problem.divergence()
    assert distill(problem.value, everything, seed=0) == pytest.approx([expected], rel=1e-5)


@pytest.mark.parametrize(("latent", "settings"), [(LatentScales, DISTILL), (LatentLinear, QAT)])
def test_an_interrupted_training_goes_on_as_if_nothing_had_been(
    latent: type[LatentScales], settings: Distill | Qat, tmp_path: Path
) -> None:
    whole, halves = Problem(latent), Problem(latent)
    losses = distill(whole.value, settings, seed=0)

    def interrupt(done: int, total: int) -> None:
        assert total == 60
        if done == 7:
            raise KeyboardInterrupt

    checkpoint = Checkpoint(tmp_path / "state")
    with pytest.raises(KeyboardInterrupt):
        distill(halves.value, settings, 0, interrupt, checkpoint)
    fresh, seen = Problem(latent), list[int]()
    again = distill(fresh.value, settings, 0, lambda done, _: seen.append(done), checkpoint)
    assert seen[0] == 7
    assert again == losses
    assert same(fresh, whole)


def test_it_is_saved_from_time_to_time(tmp_path: Path) -> None:
    seen = []

    def look(done: int, _: int) -> None:
        seen.append((tmp_path / "state").exists())

    distill(Problem(LatentScales).value, DISTILL, 0, look, Checkpoint(tmp_path / "state", 0))
    assert seen == [False] + 60 * [True]


def test_a_checkpoint_belongs_to_one_training(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "state")
    distill(Problem(LatentScales).value, DISTILL, 0, checkpoint=checkpoint)
    for settings, seed in ((DISTILL, 1), (Distill(epochs=2), 0)):
        with pytest.raises(SourceError, match="another training"):
            distill(Problem(LatentScales).value, settings, seed, checkpoint=checkpoint)
    with pytest.raises(SourceError, match="another training"):
        distill(Problem(LatentLinear).value, QAT, 0, checkpoint=checkpoint)


def test_one_core_or_two() -> None:
    problems = []
    for count in (1, 2):
        problems.append(Problem(LatentLinear))
        with threads(count):
            distill(problems[-1].value, QAT, seed=0)
    assert same(*problems)


def test_norms_can_be_left_alone() -> None:
    problem = Problem(LatentScales)
    settings = Distill(epochs=1, batch=32, norm_rate=0)
    distill(problem.value, settings, seed=0)
    assert torch.equal(problem.norm.parameter, torch.ones(16))


@pytest.mark.parametrize(
    "wrong", [{"tokens": 0}, {"epochs": 0}, {"batch": 0}, {"scale_rate": -1.0}, {"norm_rate": -1.0}]
)
def test_settings_that_make_no_sense(wrong: dict[str, float]) -> None:
    for method in (Distill, Qat):
        with pytest.raises(RecipeError, match="training"):
            method(**wrong)
