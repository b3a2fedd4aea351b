"""Mixtures against the types that llama-quantize gave models of the same shapes (October 2026)."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tersor.checkpoints.opening import open_source
from tersor.errors import OptionError, RecipeError, SchemeError
from tersor.families.registry import FAMILIES
from tersor.formats import known_formats
from tersor.formats.kinds.gguf.mixtures import MIXTURES, Place
from tersor.formats.kinds.gguf.types import TYPES
from tersor.models.architecture import Architecture
from tersor.models.describing import describe
from tersor.pipeline.planning import Plan, make_plan
from tersor.recipes import load_recipe
from tiny_models import save_tiny

UNTIED = {
    **{"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 8, "head_dim": 32},
    **{"num_key_value_heads": 2, "num_hidden_layers": 17, "tie_word_embeddings": False},
}
TIED = {
    **{"hidden_size": 96, "intermediate_size": 256, "num_attention_heads": 4, "head_dim": 24},
    **{"num_key_value_heads": 2, "num_hidden_layers": 9, "tie_word_embeddings": True},
}
EXPERTS = {
    **{"hidden_size": 256, "intermediate_size": 256, "num_attention_heads": 8, "head_dim": 32},
    **{"num_key_value_heads": 2, "num_hidden_layers": 9, "num_local_experts": 8},
}
# Experts of a block are one matrix here, as they are in a file.
BY_LLAMA_CPP = [
    ("llama", UNTIED, "q4_0", {"Q4_0": 118, "Q4_1": 2, "Q6_K": 1}),
    ("llama", UNTIED, "q4_k_m", {"Q4_K": 102, "Q6_K": 19}),
    ("llama", UNTIED, "q3_k_m", {"Q3_K": 69, "Q4_K": 48, "Q5_K": 3, "Q6_K": 1}),
    ("llama", UNTIED, "q2_k", {"Q2_K": 69, "Q3_K": 34, "Q4_K": 17, "Q6_K": 1}),
    ("llama", TIED, "q4_0", {"Q4_0": 62, "Q4_1": 1, "Q8_0": 1}),
    ("llama", TIED, "q4_k_m", {"Q5_0": 49, "Q8_0": 6, "Q6_K": 5, "Q4_K": 4}),
    ("llama", TIED, "q3_k_m", {"Q4_0": 36, "Q5_0": 16, "Q4_K": 9, "Q5_1": 2, "Q8_0": 1}),
    ("llama", TIED, "q2_k", {"Q4_0": 54, "Q3_K": 9, "Q8_0": 1}),
    ("mixtral", EXPERTS, "q4_k_m", {"Q4_K": 32, "Q8_0": 18, "Q5_K": 9, "Q6_K": 6}),
    ("mixtral", EXPERTS, "q3_k_m", {"Q3_K": 28, "Q8_0": 18, "Q5_K": 9, "Q4_K": 9, "Q6_K": 1}),
    ("mixtral", EXPERTS, "q2_k", {"Q2_K": 28, "Q8_0": 18, "Q5_K": 9, "Q3_K": 9, "Q6_K": 1}),
]


def plan_of(path: Path, mixture: str) -> Plan:
    return make_plan(open_source(path), load_recipe(f"gguf-{mixture}"))


def types(plan: Plan) -> Counter[str]:
    found = {
        module.module.split(".experts.")[0] + module.module.rpartition(".")[2]: output
        for module in plan.quantized()
        for output in module.outputs
    }
    return Counter(output.name.rpartition(".")[2] for output in found.values())


@pytest.mark.parametrize(("family", "shape", "mixture", "expected"), BY_LLAMA_CPP)
def test_types_are_those_of_llama_cpp(
    tmp_path: Path, family: str, shape: dict[str, int], mixture: str, expected: dict[str, int]
) -> None:
    save_tiny(family, tmp_path / "model", **shape, vocab_size=384)
    plan = plan_of(tmp_path / "model", mixture)
    assert types(plan) == expected
    assert plan.format == "gguf"


def test_smollm2() -> None:
    """Without its weights: 30 blocks, rows of 576 and 1536, nine heads and three."""
    family = FAMILIES["llama"]
    assert family.gguf is not None
    expected = {
        "q4_0": {"Q4_0": 207, "Q4_1": 3},
        "q4_k_m": {"Q5_0": 166, "Q4_K": 16, "Q8_0": 14, "Q6_K": 14},
        "q3_k_m": {"Q4_0": 120, "Q5_0": 58, "Q4_K": 29, "Q5_1": 2, "Q5_K": 1},
        "q2_k": {"Q4_0": 180, "Q3_K": 30},
    }
    parts = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    for mixture, counted in expected.items():
        found = Counter(
            MIXTURES[mixture].fitting(
                Place(part, block, 30, 3, 0), 1536 if part == "ffn_down" else 576
            )
            for part in parts
            for block in range(30)
        )
        assert found == counted


def test_rows_that_are_no_whole_blocks_stay(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path / "model", hidden_size=48, intermediate_size=64)
    plan = plan_of(tmp_path / "model", "q4_0")
    kept = {m.module: m.reason for m in plan.modules() if m.scheme is None}
    assert kept["model.layers.0.mlp.up_proj"] == "rows of 48 fit no type of mixture q4_0"
    assert "model.layers.0.mlp.down_proj" not in kept


def test_a_mixture_yields_to_overrides_and_exclusion(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path / "model", **TIED)
    recipe = load_recipe("gguf-q4_k_m").to_dict()
    eight = {"grid": "int", "bits": 8, "symmetry": "full", "group_size": 32, "scale": "float16"}
    recipe |= {"exclude": ["k_proj"], "overrides": [{"match": "v_proj", "weights": eight}]}
    plan = make_plan(open_source(tmp_path / "model"), load_recipe(recipe))
    found = {m.module: m.scheme for m in plan.modules()}
    assert found["model.layers.0.self_attn.k_proj"] is None
    assert found["model.layers.4.self_attn.v_proj"] == TYPES["Q8_0"].scheme
    assert found["model.layers.4.self_attn.q_proj"] == TYPES["Q5_0"].scheme


def test_another_format_may_hold_it(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path / "model", **TIED)
    recipe = load_recipe("gguf-q2_k")
    own = known_formats().named("tersor")
    plan = make_plan(open_source(tmp_path / "model"), recipe, own)
    assert plan.format == "tersor"


def test_what_a_mixture_is_not_for() -> None:
    with pytest.raises(RecipeError, match=r"mixture 'q4_k_n' is not known.*q4_k_m"):
        load_recipe({**load_recipe("gguf-q4_k_m").to_dict(), "mixture": "q4_k_n"})
    with pytest.raises(OptionError, match="mixture q4_0 has schemes of its own"):
        load_recipe("gguf-q4_0").with_bits(3)
    unknown = replace(described(), model_type="olmo2")
    with pytest.raises(SchemeError, match="GGUF files of olmo2 are not known"):
        MIXTURES["q4_0"].scheme("model.embed_tokens.weight", (8, 8), unknown, {})


def described() -> Architecture:
    names = {"model.embed_tokens.weight": (8, 8), "model.layers.0.mlp.up_proj.weight": (8, 8)}
    return describe({"model_type": "llama", "num_hidden_layers": 1}, names)


def test_every_type_has_a_scheme_of_its_own() -> None:
    schemes = [kind.scheme for kind in TYPES.values()]
    assert len(set(schemes)) == len(schemes)
