"""Patterns and requirements."""

import pytest

from tersor.families.blocks import Requirement, SharedInput, canonical


@pytest.mark.parametrize(
    ("relative", "pattern"),
    [
        ("mlp.experts.7.up_proj", "mlp.experts.*.up_proj"),
        ("mlp.experts.127.up_proj", "mlp.experts.*.up_proj"),
        ("mlp.fc1", "mlp.fc1"),
        ("block_sparse_moe.experts.0.w1", "block_sparse_moe.experts.*.w1"),
        ("layer.0.layer.1.q", "layer.*.layer.*.q"),
        ("adapters.3", "adapters.*"),
    ],
)
def test_canonical(relative: str, pattern: str) -> None:
    assert canonical(relative) == pattern


RELU = Requirement("act", ("relu",), default="gelu", otherwise="not homogeneous")
SHARED = SharedInput(("fc2",), producer="fc1", requires=RELU)


def test_a_met_requirement_keeps_the_producer() -> None:
    assert SHARED.resolved({"act": "relu"}) == SharedInput(("fc2",), producer="fc1")


@pytest.mark.parametrize("config", [{"act": "gelu"}, {}])
def test_an_unmet_requirement_removes_it_and_says_why(config: dict[str, str]) -> None:
    resolved = SHARED.resolved(config)
    assert resolved.producer is None
    assert resolved.why == "not homogeneous"
    assert resolved.consumers == ("fc2",)
