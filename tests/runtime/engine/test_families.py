"""Every family that the engine runs: transformers' logits, and the same bits in every way."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tersor
from every_architecture import VOCABULARY, save_every
from tersor.runtime.decoder.blueprint import ARCHITECTURES
from tersor.runtime.engine.engine import Engine
from tersor.runtime.load import load
from tiny_models import save_tokenizer

TEXT = torch.randint(3, VOCABULARY, (61,), generator=torch.Generator().manual_seed(0)).tolist()
EXACT: dict[str, Any] = {"activation_bits": 16, "cache": "float32"}
MULTIPLIERS = {
    "embedding_multiplier": 3.0,
    "residual_multiplier": 0.4,
    "logits_scaling": 2.0,
    "attention_multiplier": 0.2,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
# The relative error of logits, of the largest.
CLOSE = 1e-4


# What the defaults of a family leave out.
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("mixtral", {"sliding_window": 7, "num_experts_per_tok": 5}),
    ("qwen2_moe", {"norm_topk_prob": True, "mlp_only_layers": [0]}),
    ("qwen3_moe", {"attention_bias": True, "decoder_sparse_step": 2, "norm_topk_prob": True}),
    ("olmoe", {"attention_bias": True, "num_experts_per_tok": 1}),
    (
        "glm4_moe",
        {
            "n_routed_experts": 6,
            "num_local_experts": 6,
            "n_group": 3,
            "topk_group": 2,
            "routed_scaling_factor": 2.5,
            "use_qk_norm": True,
            "norm_topk_prob": False,
        },
    ),
    ("ernie4_5_moe", {"moe_num_shared_experts": 0, "moe_layer_interval": 2}),
    ("ernie4_5", {"use_bias": True}),
    ("granite", {**MULTIPLIERS, "mlp_bias": True}),
    ("granitemoe", MULTIPLIERS),
    ("hunyuan_v1_dense", {"attention_bias": True}),
    ("stablelm", {"use_parallel_residual": True, "use_qkv_bias": True}),
    ("gpt_neox", {"use_parallel_residual": False, "hidden_act": "relu"}),
    ("phi", {"qk_layernorm": True}),
    ("smollm3", {"no_rope_layers": [0, 1], "attention_bias": True}),
    ("exaone4", {"sliding_window": None, "layer_types": ["full_attention"] * 2}),
    ("cohere2", {"attention_bias": True, "logit_scale": 0.7}),
    ("starcoder2", {"use_bias": False, "sliding_window": None}),
    ("seed_oss", {"attention_out_bias": True, "mlp_bias": True}),
    ("olmo3", {"rope_scaling": YARN, "rope_parameters": None}),
]


def theirs(model: torch.nn.Module) -> Tensor:
    with torch.inference_mode():
        found: Tensor = model(torch.tensor([TEXT]), use_cache=False).logits[0]
    return found


def error(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).abs().max() / exact.abs().max())


def in_every_way(engine: Engine) -> Tensor:
    """Logits of the text at once, with the same bits in pieces, token by token, and in a batch."""
    whole = torch.from_numpy(engine.logits(TEXT))
    for pieces in ((0, 7, 8, 29, 61), tuple(range(len(TEXT) + 1))):
        engine.logits([1])
        found = [engine.logits(TEXT[:b], last=b - a) for a, b in pairwise(pieces)]
        assert torch.equal(torch.cat([torch.from_numpy(part) for part in found]), whole)
    engine.logits([1])
    assert torch.equal(torch.from_numpy(engine.logits(TEXT, last=1)), whole[-1:])
    texts = [TEXT[:19], TEXT[5:40], TEXT[7:12]]
    alone = [list(engine.generate_batch_tokens([text], 5)) for text in texts]
    together = list(engine.generate_batch_tokens(texts, 5))
    assert [[made[i] for made in together] for i in range(3)] == [
        [t for (t,) in one] for one in alone
    ]
    return whole


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_logits_of_a_family(tmp_path: Path, family: str) -> None:
    model = save_every(family, tmp_path / "model")
    engine = Engine(tmp_path / "model", **EXACT, batch=3)
    assert error(in_every_way(engine), theirs(model)) < CLOSE
    one = Engine(tmp_path / "model", **EXACT, threads=1)
    assert torch.equal(torch.from_numpy(one.logits(TEXT)), in_every_way(engine))


@pytest.mark.parametrize("preset", ["w4", "vanilla-int8"])
@pytest.mark.parametrize("family", ARCHITECTURES)
def test_logits_of_a_quantized_family(tmp_path: Path, family: str, preset: str) -> None:
    save_every(family, tmp_path / "model")
    out = tmp_path / "out"
    size = {"group_size": 24} if preset == "w4" else {}
    tersor.quantize(tmp_path / "model", out, preset, **size)
    save_tokenizer(out)
    simulated = load(out, kernels=False)
    simulated.set_attn_implementation("eager")
    engine = Engine(out, **EXACT, batch=3)
    assert error(in_every_way(engine), theirs(simulated)) < CLOSE
    rounded = Engine(out, batch=3)
    assert in_every_way(rounded).isfinite().all()


@pytest.mark.parametrize(("family", "changes"), VARIANTS, ids=[name for name, _ in VARIANTS])
def test_what_a_config_may_say(tmp_path: Path, family: str, changes: dict[str, Any]) -> None:
    model = save_every(family, tmp_path / "model", **changes)
    if "n_group" in changes:
        for name, buffer in model.named_buffers():
            if name.endswith("e_score_correction_bias"):
                buffer.copy_(torch.linspace(-0.3, 0.3, len(buffer)))
        model.save_pretrained(tmp_path / "model")
    engine = Engine(tmp_path / "model", **EXACT, batch=3)
    assert error(in_every_way(engine), theirs(model)) < CLOSE


@pytest.mark.parametrize("family", ["mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "glm4_moe"])
def test_experts_in_one_tensor(tmp_path: Path, family: str) -> None:
    model = save_every(family, tmp_path / "apart")
    model.save_pretrained(tmp_path / "stacked", save_original_format=False)
    apart, stacked = (Engine(tmp_path / name, **EXACT) for name in ("apart", "stacked"))
    assert (apart.logits(TEXT) == stacked.logits(TEXT)).all()


def test_only_the_experts_that_are_chosen_count_as_read(tmp_path: Path) -> None:
    model = save_every("qwen3_moe", tmp_path / "model", num_experts_per_tok=1)
    engine = Engine(tmp_path / "model", **EXACT)
    share = engine.bytes_per_token
    all_of_them = Engine(save_all(model, tmp_path / "all"), **EXACT).bytes_per_token
    assert share < all_of_them


def save_all(model: Any, directory: Path) -> Path:
    """The same model, whose tokens go to all experts."""
    model.config.num_experts_per_tok = model.config.num_experts
    model.save_pretrained(directory)
    return directory
