"""Which pairs are found, and what makes pairs be refused."""

from collections.abc import Callable
from typing import Any

import pytest

from tersor.errors import SourceError
from tersor.models.describing import describe
from tersor.models.pairs import input_groups, pairs

LLAMA = {"model_type": "llama", "num_attention_heads": 4}
LLAMA_BLOCK = {
    "input_layernorm.weight": (8,),
    "self_attn.q_proj.weight": (8, 8),
    "self_attn.k_proj.weight": (4, 8),
    "self_attn.v_proj.weight": (4, 8),
    "self_attn.v_proj.bias": (4,),
    "self_attn.o_proj.weight": (8, 8),
    "post_attention_layernorm.weight": (8,),
    "mlp.gate_proj.weight": (12, 8),
    "mlp.up_proj.weight": (12, 8),
    "mlp.down_proj.weight": (8, 12),
}


def llama(**changes: tuple[int, ...] | None) -> dict[str, tuple[int, ...]]:
    """A block of shapes; a change of None removes the tensor. ``__`` in keys stands for a dot."""
    block = {**LLAMA_BLOCK, **{key.replace("__", "."): shape for key, shape in changes.items()}}
    return {f"model.layers.0.{name}": shape for name, shape in block.items() if shape is not None}


def found(shapes: dict[str, tuple[int, ...]], config: dict[str, Any] | None = None) -> Any:
    config = config or LLAMA
    return pairs(describe(config, shapes), shapes, 0)


def short(name: str) -> str:
    return name.removeprefix("model.layers.0.").removesuffix(".weight")


def test_pairs_of_llama_in_full() -> None:
    assert [(short(p.producer), [short(c) for c in p.consumers]) for p in found(llama())] == [
        ("input_layernorm", ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
        ("self_attn.v_proj", ["self_attn.o_proj"]),
        ("post_attention_layernorm", ["mlp.gate_proj", "mlp.up_proj"]),
        ("mlp.up_proj", ["mlp.down_proj"]),
    ]


def test_bias_repeat_and_channels() -> None:
    _, v_to_o, _, up_to_down = found(llama())
    assert v_to_o.bias == "model.layers.0.self_attn.v_proj.bias"
    assert v_to_o.channels == 4
    # Two value heads of width 2 for four query heads: channel 0 is read at columns 0 and 2.
    assert v_to_o.columns.tolist() == [[0, 2], [1, 3], [4, 6], [5, 7]]
    assert up_to_down.bias is None
    assert up_to_down.channels == 12


def test_only_the_block_asked_for() -> None:
    # Block 1 must not take in blocks 10 and 11.
    shapes = {
        name.replace("layers.0", f"layers.{block}"): shape
        for name, shape in llama().items()
        for block in range(12)
    }
    architecture = describe(LLAMA, shapes)
    names = {name for pair in pairs(architecture, shapes, 1) for name in pair.consumers}
    assert all(name.startswith("model.layers.1.") for name in names)
    assert len(names) == 7


def test_experts_are_paired_within_themselves(load: Callable[[str], Any]) -> None:
    checkpoint = load("mixtral")
    shapes = checkpoint.shapes
    up_to_down = [p for p in pairs(checkpoint.architecture, shapes, 1) if ".w3." in p.producer]
    assert [(p.producer, *p.consumers) for p in up_to_down] == [
        tuple(f"model.layers.1.block_sparse_moe.experts.{e}.{w}.weight" for w in ("w3", "w2"))
        for e in range(4)
    ]


def test_router_is_a_listener_and_never_a_consumer(load: Callable[[str], Any]) -> None:
    checkpoint = load("qwen3_moe")
    into_mlp = pairs(checkpoint.architecture, checkpoint.shapes, 0)[2]
    assert into_mlp.listeners == ("model.layers.0.mlp.gate.weight",)
    assert len(into_mlp.consumers) == 8


def test_expert_groups_in_numerical_order() -> None:
    config = {"model_type": "qwen3_moe", "num_attention_heads": 4, "num_hidden_layers": 1}
    shapes = {
        f"model.layers.0.mlp.experts.{expert}.{name}.weight": (8, 8)
        for expert in (10, 9, 2)
        for name in ("up_proj", "gate_proj")
    }
    groups = input_groups(describe(config, shapes), shapes, 0)
    assert [[short(name) for name in group] for group in groups] == [
        [f"mlp.experts.{expert}.gate_proj", f"mlp.experts.{expert}.up_proj"]
        for expert in (2, 9, 10)
    ]


def test_fused_experts_are_refused(load: Callable[[str], Any]) -> None:
    checkpoint = load("mixtral-fused")
    with pytest.raises(SourceError, match=r"experts\.(down|gate_up)_proj holds fused experts"):
        pairs(checkpoint.architecture, checkpoint.shapes, 0)


def test_a_router_left_under_its_other_name_is_refused(load: Callable[[str], Any]) -> None:
    checkpoint = load("mixtral-fused")
    shapes = {name: tuple(tensor.shape) for name, tensor in checkpoint.published().items()}
    router = "model.layers.0.block_sparse_moe.gate.weight"
    shapes["model.layers.0.mlp.gate.weight"] = shapes.pop(router)
    with pytest.raises(SourceError, match=r"mlp\.gate\.weight belongs to fused experts"):
        pairs(checkpoint.architecture, shapes, 0)


def test_an_unknown_matrix_in_the_block_is_refused() -> None:
    # A second reader of the norm that nobody scales would change the function.
    with pytest.raises(
        SourceError, match=r"self_attn\.g_proj\.weight is not in the table of llama"
    ):
        found(llama(self_attn__g_proj__weight=(8, 8)))


def test_no_norm_weight_no_pair() -> None:
    shapes = llama(input_layernorm__weight=None)
    assert [short(pair.producer) for pair in found(shapes)] == [
        "self_attn.v_proj",
        "post_attention_layernorm",
        "mlp.up_proj",
    ]


@pytest.mark.parametrize(
    ("changes", "config", "message"),
    [
        ({"mlp__down_proj__weight": (8, 11)}, {}, "mlp.up_proj.weight with 12 outputs"),
        ({}, {"num_attention_heads": 3}, "of 3 heads: config.json and weights disagree"),
        ({"self_attn__k_proj__weight": (4, 7)}, {}, "k_proj.weight has 7 inputs"),
        ({"input_layernorm__weight": (9,)}, {}, "input_layernorm.weight with 9 outputs"),
    ],
)
def test_shapes_that_contradict_the_table(
    changes: dict[str, tuple[int, ...]], config: dict[str, int], message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        found(llama(**changes), {**LLAMA, **config})
