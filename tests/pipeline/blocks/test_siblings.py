"""What experts with few tokens are rounded by."""

import pytest
import torch
from torch import Tensor

from tersor.calibration.stages import Stage
from tersor.grids import Granularity, IntegerGrid, TensorScheme
from tersor.pipeline.blocks.observation import observe
from tersor.pipeline.blocks.siblings import Siblings, is_expert
from tersor.ranges import MinMax, Need, Needs
from tersor.rounding.gptq import Gptq

COLUMNS, WINDOW = 24, 16
MOMENTS = frozenset({Need.SECOND_MOMENTS})
FEW = 5


def expert(number: int, tensor: str = "mlp.experts.down_proj") -> Stage:
    return Stage((f"model.layers.0.mlp.experts.{number}.down_proj.weight",), (), (tensor, number))


def rows_of(seed: int, count: int) -> Tensor:
    mixing = torch.randn(COLUMNS, COLUMNS, generator=torch.Generator().manual_seed(99))
    return torch.randn(count, COLUMNS, generator=torch.Generator().manual_seed(seed)) @ mixing


def after(seen: dict[int, int], needs: Needs = MOMENTS) -> Siblings:
    """The experts by their numbers, each of which saw so many tokens."""
    siblings = Siblings()
    for number, count in seen.items():
        rows = [rows_of(number, count)]
        siblings.saw(expert(number), observe(rows, needs, "x", WINDOW))
        assert siblings.put_off(expert(number), rows, needs, COLUMNS) == (count < COLUMNS)
    return siblings


def test_the_rows_that_lack_count_as_the_mean_of_the_others() -> None:
    siblings = after({0: 40, 1: FEW, 2: 100, 3: 3})
    few = siblings.few([expert(4)])
    assert {stage.fused[1]: sum(map(len, rows)) for stage, rows in few.items() if stage.fused} == {
        1: FEW,
        3: 3,
        4: 0,
    }
    for number, own in ((1, FEW), (3, 3), (4, 0)):
        others = [rows_of(n, c) for n, c in {0: 40, 1: FEW, 2: 100, 3: 3}.items() if n != number]
        lent = torch.cat(others).double()
        mine = rows_of(number, own).double()
        expected = (mine.T @ mine + (COLUMNS - own) * (lent.T @ lent) / len(lent)) / COLUMNS
        found = siblings.completed(expert(number), few[expert(number)], MOMENTS, COLUMNS, WINDOW)
        assert found is not None
        assert found.tokens == own
        torch.testing.assert_close(found.hessian, expected.float(), rtol=1e-4, atol=1e-3)
        assert found.hessian is not None
        assert found.mean_square is not None
        torch.testing.assert_close(found.hessian.diagonal(), found.mean_square)


@pytest.mark.parametrize("need", [Need.MEAN, Need.MEAN_SQUARE, Need.MEAN_MAGNITUDE])
def test_every_mean_is_completed(need: Need) -> None:
    needs = frozenset({need})
    siblings = after({0: 40, 1: FEW}, needs)
    found = siblings.completed(expert(1), siblings.few([])[expert(1)], needs, COLUMNS, WINDOW)
    alone = observe([rows_of(1, FEW)], needs, "x", WINDOW)
    other = observe([rows_of(0, 40)], needs, "x", WINDOW)
    mine, lent = (getattr(each, need.value) for each in (alone, other))
    expected = (FEW * mine + (COLUMNS - FEW) * lent) / COLUMNS
    torch.testing.assert_close(getattr(found, need.value), expected, rtol=1e-4, atol=1e-4)


def test_it_is_better_on_other_rows() -> None:
    siblings = after({0: 400, 1: FEW})
    few = siblings.few([])[expert(1)]
    completed = siblings.completed(expert(1), few, MOMENTS, COLUMNS, WINDOW)
    alone = observe(few, MOMENTS, "x", WINDOW)
    weight = torch.randn(33, COLUMNS, generator=torch.Generator().manual_seed(7))
    scheme, others = TensorScheme(IntegerGrid(3), Granularity.CHANNEL), rows_of(8, 500)

    def lost(observed: object) -> float:
        rounder = Gptq().bind(observed, [scheme])  # type: ignore[arg-type]
        found = rounder.round(weight, scheme, MinMax(), torch.float32).tensor
        return float((others @ (weight - found.dequantize()).T).square().mean())

    assert lost(completed) < 0.8 * lost(alone)


@pytest.mark.parametrize("need", [Need.SAMPLE, Need.STREAM, Need.LARGEST])
def test_what_cannot_be_lent(need: Need) -> None:
    needs = MOMENTS | {need}
    siblings, rows = Siblings(), [rows_of(1, FEW)]
    siblings.saw(expert(0), observe([rows_of(0, 40)], needs, "x", WINDOW))
    assert not siblings.put_off(expert(1), rows, needs, COLUMNS)
    assert siblings.completed(expert(2), (), needs, COLUMNS, WINDOW) is None


def test_nobody_saw_anything() -> None:
    assert Siblings().few([expert(0)]) == {}
    assert Siblings().completed(expert(0), (), MOMENTS, COLUMNS, WINDOW) is None
    siblings = after({0: FEW})
    alone = siblings.completed(expert(0), siblings.few([])[expert(0)], MOMENTS, COLUMNS, WINDOW)
    assert alone is not None
    assert alone.tokens == FEW


def test_other_tensors_and_other_linears_lend_nothing() -> None:
    siblings = after({0: 40})
    elsewhere = expert(1, "mlp.experts.gate_up_proj")
    assert siblings.completed(elsewhere, (), MOMENTS, COLUMNS, WINDOW) is None
    linear = Stage(("model.layers.0.mlp.down_proj.weight",), ("mlp.down_proj",))
    module = Stage(("model.layers.0.mlp.experts.3.w1.weight",), ("mlp.experts.3.w1",))
    assert (is_expert(linear), is_expert(module), is_expert(elsewhere)) == (False, True, True)
    assert not siblings.put_off(linear, [rows_of(1, FEW)], MOMENTS, COLUMNS)
