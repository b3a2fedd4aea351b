"""Static ranges come from what the model really sees."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tersor.calibration.precision import Precision
from tersor.calibration.text import calibration_files, pack
from tersor.checkpoints.gateway.tokenizer import load_tokenizer
from tersor.checkpoints.huggingface.directory import open_directory
from tersor.errors import SourceError
from tersor.pipeline.blocks.static_ranges import static_input
from tersor.pipeline.blocks.work import Seen, Work
from tersor.pipeline.planning import Plan, Unit, make_plan
from tersor.pipeline.whole_model.run import calibrated_works
from tersor.pipeline.whole_model.windows import calibration_text, fitted
from tersor.ranges import Entropy, MeanSquaredError, MinMax, MovingAverage, Percentile, Stream
from tersor.recipes import Calibration, load_recipe
from tersor.runtime.load import load


@pytest.fixture(scope="module")
def works(smollm2: Path) -> dict[str, Seen]:
    found: dict[str, Seen] = {}

    def keep(unit: Unit, work: Work) -> None:
        del unit
        found.update(work.seen)

    calibrated_works(open_directory(smollm2), _plan(smollm2), (), keep)
    return found


@pytest.fixture(scope="module")
def seen(works: dict[str, Seen]) -> dict[str, Stream]:
    return {name: found.stream for name, found in works.items() if found.stream}


def _plan(directory: Path) -> Plan:
    recipe = load_recipe("w8a8-static")
    budget = Calibration(tokens=256, window=256, precision=Precision.FLOAT32)
    return make_plan(open_directory(directory), replace(recipe, calibration=budget))


def test_statistics_equal_those_of_a_plain_forward(smollm2: Path, seen: dict[str, Stream]) -> None:
    """Of the first linears, which nothing quantized comes before."""
    model, tokenizer = load(smollm2), load_tokenizer(smollm2)
    tokens = pack(tokenizer, calibration_files(), 256, 1).tokens
    inputs: list[torch.Tensor] = []
    first = model.model.layers[0].self_attn.q_proj
    first.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    with torch.no_grad():
        model(tokens)
    found = seen["model.layers.0.self_attn.q_proj"]
    low, high = float(found.lows.min()), float(found.highs.max())
    assert low == pytest.approx(float(inputs[0].min()), rel=1e-4)
    assert high == pytest.approx(float(inputs[0].max()), rel=1e-4)
    assert int(found.counts.sum()) == inputs[0].numel()


def test_linears_that_share_an_input_share_its_statistics(
    seen: dict[str, Stream],
) -> None:
    first, second, third = (seen[f"model.layers.3.self_attn.{name}_proj"] for name in "qkv")
    assert first is second
    assert second is third
    assert len(seen) == 210


def test_a_text_shorter_than_the_budget_gives_what_it_has_and_says_so(smollm2: Path) -> None:
    source = open_directory(smollm2)
    read = calibration_text(source, (), Calibration(tokens=10**6, window=512))
    tokens = read.tokens
    assert tokens.shape[1] == 512
    assert len(tokens) > 16
    assert read.notes == (
        f"the calibration text has {tokens.numel()} tokens in whole windows, "
        "1000000 were asked for",
    )
    assert calibration_text(source, (), Calibration(tokens=1024)).notes == ()


def test_windows_follow_a_model_that_reads_less() -> None:
    budget = Calibration(tokens=1000)
    assert fitted(budget, None) == (budget, [])
    assert fitted(budget, budget.window) == (budget, [])
    shorter, notes = fitted(budget, 130)
    assert (shorter.window, shorter.tokens) == (130, 1000)
    assert notes == ["calibrated in windows of 130 tokens, the most that the model reads"]
    asked = Calibration(tokens=1000, window=256)
    assert fitted(asked, 130) == (asked, [])


@pytest.mark.parametrize(
    "estimator",
    [MinMax(), MovingAverage(), Percentile(0.999), MeanSquaredError(), Entropy()],
    ids=lambda estimator: type(estimator).__name__,
)
def test_every_estimator_gives_a_range_inside_what_was_seen(
    smollm2: Path, seen: dict[str, Stream], estimator: MinMax
) -> None:
    plan = _plan(smollm2)
    module = next(m for m in plan.quantized() if m.module == "model.layers.0.mlp.down_proj")
    module, statistics = replace(module, scale_type=torch.float32), seen[module.module]
    given = static_input(module, statistics, estimator)
    assert given is not None
    assert given.zero_point is not None
    low, high = float(statistics.lows.min()), float(statistics.highs.max())
    span = float(given.scale) * 255
    assert 0 < span <= (high - low) * 1.001
    if isinstance(estimator, MinMax):
        assert span == pytest.approx(high - low, rel=1e-6)


def test_a_source_without_tokenizer_is_named(smollm2: Path, tmp_path: Path) -> None:
    from tiny_models import save_tiny

    save_tiny("llama", tmp_path)
    plan = make_plan(open_directory(tmp_path), load_recipe("w8a8-static"))
    with pytest.raises(SourceError, match="tokenizer"):
        calibrated_works(open_directory(tmp_path), plan, (), lambda unit, work: None)
