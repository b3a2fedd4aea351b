"""What becomes of the head's product: found for models that scale, cap and shift their logits."""

from typing import Any

import pytest
import torch
from transformers import AutoConfig

from tersor.models.describing import describe
from tersor.models.in_transformers.metamodel import build
from tersor.models.probing import LogitRule, logit_rule

WIDTHS = {
    "hidden_size": 42,
    "intermediate_size": 77,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "num_key_value_heads": 3,
    "vocab_size": 91,
    "pad_token_id": 0,
}


def rule_of(family: str, **settings: Any) -> LogitRule | None:
    values = {**AutoConfig.for_model(family, **WIDTHS, **settings).to_dict(), "model_type": family}
    shapes = {name: tuple(t.shape) for name, t in build(values).state_dict().items()}
    return logit_rule(describe(values, shapes), values, shapes)


@pytest.mark.parametrize(
    ("family", "settings", "expected"),
    [
        ("llama", {}, LogitRule()),
        ("gemma2", {"head_dim": 14}, LogitRule(cap=30.0)),
        ("gemma2", {"head_dim": 14, "final_logit_softcapping": None}, LogitRule()),
        ("granite", {"logits_scaling": 8.0}, LogitRule(1 / 8)),
        ("cohere", {"logit_scale": 0.0625}, LogitRule(0.0625)),
    ],
)
def test_rules(family: str, settings: dict[str, Any], expected: LogitRule) -> None:
    assert rule_of(family, **settings) == expected


@pytest.mark.parametrize("family", ["phi", "gptj"])
def test_a_head_with_a_bias_has_none(family: str) -> None:
    assert rule_of(family) is None


def test_a_rule_in_numbers() -> None:
    products = torch.tensor([-6.0, 0.0, 1.5])
    assert torch.equal(LogitRule()(products), products)
    assert torch.equal(LogitRule(0.5)(products), products / 2)
    torch.testing.assert_close(LogitRule(2.0, 3.0)(products), 3 * torch.tanh(2 * products / 3))
