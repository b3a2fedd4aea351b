"""Scores against their definitions, written out."""

import pytest
import torch

from tersor.pipeline.sensitivity.estimates.scores import SCORES, Window, Windows


def windows(count: int = 3, columns: int = 5, outputs: int = 4) -> list[Window]:
    generator = torch.Generator().manual_seed(1)
    return [
        Window(
            n,
            torch.randn(6 + n, columns, generator=generator) + 0.5,
            torch.randn(6 + n, outputs, generator=generator),
        )
        for n in range(count)
    ]


def by_definition(name: str, seen: list[Window], change: torch.Tensor) -> float:
    """Token by token, weight by weight."""
    moved = [[float(w.g[t] @ change @ w.x[t]) for t in range(len(w.x))] for w in seen]
    gradients = [sum(torch.outer(w.g[t], w.x[t]) for t in range(len(w.x))) for w in seen]
    mean = torch.cat([w.x for w in seen]).mean(0)
    tokens = [(w.x[t], w.g[t]) for w in seen for t in range(len(w.x))]
    common = sum(float(w.g.sum(0) @ change @ mean) ** 2 for w in seen)
    own = sum(float(g @ change @ (x - mean)) ** 2 for x, g in tokens)
    return {
        "windows": 0.5 * sum(sum(m) ** 2 for m in moved),
        "tokens": 0.5 * sum(one**2 for m in moved for one in m),
        "mean": 0.5 * (common + own),
        "outputs": 0.5 * sum(float(((change @ x) * g).square().sum()) for x, g in tokens),
        "weights": 0.5 * sum(float((g * change).square().sum()) for g in gradients),
        "weights-labels": 0.5 * sum(float((g * change).square().sum()) for g in gradients),
        "first-order": sum(abs(sum(m)) for m in moved),
        "first-order-weights": float((sum(gradients) * change).abs().sum()),
    }[name]


@pytest.mark.parametrize("name", SCORES)
def test_a_score_is_its_definition(name: str) -> None:
    seen = windows()
    change = torch.randn(4, 5, generator=torch.Generator().manual_seed(2))
    assert SCORES[name].of(Windows.of(seen), change) == pytest.approx(
        by_definition(name, seen, change), rel=1e-4
    )


def test_what_all_tokens_share_is_not_told_apart_from_what_they_do_not() -> None:
    """A shift that every token sees alike, with gradients that cancel: nothing is lost."""
    x = torch.ones(8, 2)
    g = torch.tensor([1.0, -1.0]).repeat(4)[:, None]
    seen, change = Windows.of([Window(0, x, g)]), torch.ones(1, 2)
    assert SCORES["tokens"].of(seen, change) == pytest.approx(16)
    assert SCORES["windows"].of(seen, change) == 0
    assert SCORES["mean"].of(seen, change) == 0
