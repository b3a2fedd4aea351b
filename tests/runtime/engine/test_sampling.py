"""The choice of tokens against a plain sort of the whole vocabulary."""

import math
from collections import Counter

import pytest
import torch
from torch import Tensor

from tersor import _native
from tersor.errors import RecipeError
from tersor.runtime.engine.sampling import Sampler, Sampling


def allowed(logits: Tensor, rule: Sampling) -> dict[int, float]:
    """Token → probability, filters one after the other."""
    order = sorted(range(len(logits)), key=lambda i: (-float(logits[i]), i))
    top = float(logits.max())
    weight = [math.exp((float(logits[i]) - top) / rule.temperature) for i in order]
    if rule.top_k:
        order, weight = order[: rule.top_k], weight[: rule.top_k]
    held, kept = 0.0, 0
    while rule.top_p < 1 and held < rule.top_p * sum(weight):
        held += weight[kept]
        kept += 1
    if rule.top_p < 1:
        order, weight = order[:kept], weight[:kept]
    pairs = [(i, w) for i, w in zip(order, weight, strict=True) if w >= rule.min_p]
    return {i: w / sum(w for _, w in pairs) for i, w in pairs}


RULES = [
    Sampling(temperature=1.0),
    Sampling(temperature=0.5, top_k=7),
    Sampling(temperature=2.0, top_p=0.6),
    Sampling(temperature=1.0, min_p=0.2),
    Sampling(temperature=1.3, top_k=50, top_p=0.9, min_p=0.02),
]


@pytest.mark.parametrize("rule", RULES)
def test_draws_have_the_probabilities(rule: Sampling) -> None:
    logits = 2 * torch.randn(300, generator=torch.Generator().manual_seed(0))
    probabilities = allowed(logits, rule)
    count = 20000
    array = logits.numpy()
    drawn = Counter(
        _native.sample(
            array, rule.temperature, rule.top_k, rule.top_p, rule.min_p, (i + 0.5) / count
        )
        for i in range(count)
    )
    assert set(drawn) <= set(probabilities)
    for token, probability in probabilities.items():
        # Uniform values on a grid hit an interval once too often or too seldom at most.
        assert abs(drawn[token] - probability * count) <= 1.01 + 1e-4 * count * probability


def test_the_likeliest_first_of_several() -> None:
    logits = torch.tensor([0.0, 3.0, 3.0, -1.0])
    assert Sampler(Sampling()).choose(logits.numpy()) == 1


def test_many_likely_tokens() -> None:
    logits = torch.zeros(50000)
    drawn = {Sampler(Sampling(1.0, top_p=0.99, seed=s)).choose(logits.numpy()) for s in range(50)}
    assert len(drawn) > 45


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1.0},
        {"temperature": math.nan},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"min_p": -0.1},
        {"min_p": 2.0},
    ],
)
def test_values_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(RecipeError):
        Sampling(**wrong)  # type: ignore[arg-type]
