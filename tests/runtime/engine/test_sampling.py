"""The choice of tokens against a plain sort of the whole vocabulary."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor

from tersor import _native
from tersor.errors import RecipeError
from tersor.runtime.engine.sampling import Sampler, Sampling, penalized


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


def test_a_penalty_is_that_of_transformers() -> None:
    from transformers import RepetitionPenaltyLogitsProcessor

    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(1, 200, generator=generator)
    tokens = torch.randint(0, 200, (1, 90), generator=generator)
    for penalty in (0.5, 1.1, 1.7, 30.0):
        expected = RepetitionPenaltyLogitsProcessor(penalty)(tokens, logits.clone())
        found = penalized(logits[0].numpy(), np.unique(tokens.numpy()), penalty)
        assert np.allclose(found, expected[0].numpy(), rtol=1e-6, atol=0)


def test_tokens_of_prompt_and_answer_are_penalized() -> None:
    """Against the plain way: after each token, what was said so far is looked at anew."""
    logits = torch.randn(40, generator=torch.Generator().manual_seed(1)).numpy()
    prompt = [int(logits.argmax()), 7, 7]
    sampler = Sampler(Sampling(repetition_penalty=4.0), prompt)
    untouched = logits.copy()
    said = list(prompt)
    for _ in range(12):
        scores = [
            value if token not in said else value / 4 if value > 0 else value * 4
            for token, value in enumerate(logits.tolist())
        ]
        expected = max(range(40), key=lambda token: scores[token])
        assert sampler.choose(logits) == expected
        said.append(expected)
    assert len(set(said)) > 4
    assert (logits == untouched).all()


def test_draws_know_the_penalty_too() -> None:
    logits = np.array([5.0, 4.9, -50.0], np.float32)
    rule = Sampling(1.0, seed=3, repetition_penalty=100.0)
    assert {Sampler(rule, [0]).choose(logits) for _ in range(20)} == {1}


def test_without_a_penalty_nothing_is_said_of_the_prompt() -> None:
    logits = np.array([1.0, 0.5], np.float32)
    sampler = Sampler(Sampling(), [0, 0, 0])
    assert [sampler.choose(logits) for _ in range(3)] == [0, 0, 0]


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
        {"repetition_penalty": 0.0},
        {"repetition_penalty": math.inf},
    ],
)
def test_values_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(RecipeError):
        Sampling(**wrong)  # type: ignore[arg-type]
