"""Learned rounding of a block: it ends no worse than it began, and repeatably."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

import tiny_models
from tersor.calibration.blocks import BlockCall
from tersor.calibration.memory import ActivationMemory
from tersor.calibration.skeleton import Decoder
from tersor.checkpoints.opening import open_source
from tersor.errors import RecipeError
from tersor.grids import Granularity, IntegerGrid, Symmetry, TensorScheme
from tersor.models.describing import describe
from tersor.ranges import MinMax
from tersor.rounding import nearest
from tersor.training import BlockProblem, LatentLinear, Optq, optq

SCHEME = TensorScheme(IntegerGrid(3, Symmetry.FULL), Granularity.GROUP, 16)
PATHS = tuple(
    f"{name}.weight"
    for name in (
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.down_proj",
    )
)


class Trial:
    """The first block of a tiny Llama, rounded to nearest, on random text."""

    def __init__(self, directory: Path) -> None:
        tiny_models.save_tiny("llama", directory)
        source = open_source(directory)
        shapes = {name: info.shape for name, info in source.tensors.items()}
        self.decoder = Decoder(source, describe(source.config, shapes))
        self.tokens = tiny_models.tokens(batch=8)
        self.problem: BlockProblem
        self.output: Tensor

    def learn(self, settings: Optq, seed: int = 0) -> Tensor:
        """The block's output after learning; ``problem`` is what was learned."""

        def visit(call: BlockCall, hidden: Tensor) -> Tensor:
            target = call.run(hidden, torch.empty_like(hidden))
            if call.index == 0:
                self.problem = _problem(call, hidden, target)
                self.output = call.run(hidden, torch.empty_like(hidden))
                self.before = float((self.output - target).square().sum())
                optq(self.problem, settings, self.output, seed)
                self.again = call.run(hidden, torch.empty_like(hidden))
            return target

        memory = ActivationMemory(1 << 30)
        for _ in self.decoder.walk(self.tokens, visit, rows=2, memory=memory):
            pass
        return self.output

    @property
    def after(self) -> float:
        return float((self.output - self.problem.target).square().sum())


def _problem(call: BlockCall, hidden: Tensor, target: Tensor) -> BlockProblem:
    weights = {path: call.block.get_parameter(path).detach() for path in PATHS}
    latents = {
        path: LatentLinear(nearest(weight, SCHEME, MinMax(), scale_dtype=torch.bfloat16).tensor)
        for path, weight in weights.items()
    }
    for path, latent in latents.items():
        latent.weight_into(weights[path])

    def parts(path: str, gradient: Tensor) -> Mapping[str, Tensor]:
        return {path: gradient}

    return BlockProblem(call, latents, weights, PATHS, parts, hidden.clone(), target)


SETTINGS = Optq(iterations=60, tokens=96, checks=4, travel=2.0, scale_travel=0.2)


def test_the_output_comes_closer_to_the_originals(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    trial.learn(SETTINGS)
    assert trial.after < 0.8 * trial.before
    flipped = [bool((p.positions.round() != 0).any()) for p in trial.problem.latents.values()]
    assert all(flipped)


def test_what_is_returned_is_what_the_block_computes(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    trial.learn(SETTINGS)
    assert torch.equal(trial.output, trial.again)
    for path, latent in trial.problem.latents.items():
        assert torch.equal(trial.problem.weights[path], latent.quantized().dequantize())


def test_steps_that_only_do_harm_are_taken_back(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    trial.learn(Optq(iterations=2, tokens=24, travel=400.0, scale_travel=3.0, checks=2))
    assert trial.after == trial.before


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_bits_for_any_number_of_threads(tmp_path: Path, threads: int) -> None:
    cores = torch.get_num_threads()
    results = []
    for count in (2, threads):
        torch.set_num_threads(count)
        try:
            results.append(Trial(tmp_path / str(len(results))).learn(SETTINGS))
        finally:
            torch.set_num_threads(cores)
    assert torch.equal(*results)


def test_the_seed_orders_the_windows(tmp_path: Path) -> None:
    first = Trial(tmp_path / "a").learn(SETTINGS, seed=0)
    second = Trial(tmp_path / "b").learn(SETTINGS, seed=1)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    "settings",
    [{"iterations": 0}, {"tokens": 0}, {"checks": 0}, {"travel": -1.0}, {"scale_travel": -0.1}],
    ids=str,
)
def test_settings_that_make_no_sense(settings: dict[str, float]) -> None:
    with pytest.raises(RecipeError, match=f"optq: .*{next(iter(settings))}"):
        Optq(**settings)  # type: ignore[arg-type]
