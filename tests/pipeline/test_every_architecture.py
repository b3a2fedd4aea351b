"""Families that no table describes, from quantizing to loading, against plain torch.

A sample of what ``benchmarks/architectures.py`` runs for every type that transformers lists.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import architectures

import tersor
from every_architecture import causal_types, save_every, tiny_config, tiny_model
from tersor.calibration.memory import ActivationMemory
from tersor.calibration.skeleton import Decoder
from tersor.checkpoints.opening import open_source
from tersor.errors import SourceError
from tersor.models.architecture import Role
from tersor.models.describing import describe

# One of each kind: experts on disk one by one and stacked, both orientations, interleaved, with
# biases; names that change; convolutions, recurrences; several streams, keys that layers share.
SAMPLE = (
    "bamba", "bloom", "deepseek_v3", "ernie4_5_moe", "falcon_h1", "gemma3n_text", "gemma4_text",
    "glm4_moe", "gpt_oss", "granitemoe", "granitemoehybrid", "hunyuan_v1_moe", "lfm3",
    "llama4_text", "mamba2", "minimax_m2", "nemotron_h", "olmo_hybrid", "olmoe", "phimoe",
    "qwen2_moe", "qwen3_5_moe_text", "qwen3_next", "stablelm",
)  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def described(directory: Path):  # type: ignore[no-untyped-def]
    source = open_source(directory)
    return source, describe(source.config, {n: i.shape for n, i in source.tensors.items()})


@pytest.mark.parametrize("model_type", SAMPLE)
def test_rounded_calibrated_and_loaded_it_is_what_it_should_be(
    model_type: str, tmp_path: Path
) -> None:
    save_every(model_type, tmp_path / "model")
    found = architectures.run(model_type, tmp_path, ("quantize", "calibrate", "load"))
    assert found == dict.fromkeys(("quantize", "calibrate", "load"), "yes")


@pytest.mark.parametrize("rows", [1, 3, 4])
@pytest.mark.parametrize(
    "model_type",
    ["deepseek_v4", "gemma3n_text", "gemma4_text", "gpt_oss", "mamba2", "opt", "olmo_hybrid"],
)
def test_block_by_block_is_the_models_own_forward(
    model_type: str, rows: int, tmp_path: Path
) -> None:
    """For every window: more than go through a block at once, also as many as streams (4)."""
    model = save_every(model_type, tmp_path / "model")
    source, architecture = described(tmp_path / "model")
    decoder = Decoder(source, architecture)
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(3, 127, (7, 20), generator=generator)
    walk = decoder.walk(
        tokens,
        lambda call, hidden: call.run(hidden, hidden),
        rows=rows,
        memory=ActivationMemory(1 << 30),
    )
    found = torch.cat(list(walk))
    with torch.inference_mode():
        expected = model.base_model(tokens, use_cache=False).last_hidden_state
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


MIXTURES = (
    "deepseek_v3", "ernie4_5_moe", "glm4_moe", "gpt_oss", "granitemoe", "hunyuan_v1_moe",
    "llama4_text", "minimax_m2", "mixtral", "olmoe", "phimoe", "qwen2_moe", "qwen3_moe",
    "qwen3_next",
)  # fmt: skip


@pytest.mark.parametrize("model_type", MIXTURES)
def test_every_expert_is_a_matrix_and_no_router_is(model_type: str, tmp_path: Path) -> None:
    save_every(model_type, tmp_path / "model")
    result = tersor.quantize(tmp_path / "model", tmp_path / "w4", "w4", group_size=8)
    quantized = {record.module for record in result.layers if not record.reason}
    experts = {name for name in quantized if ".experts." in name}
    source, architecture = described(tmp_path / "model")
    stored = sum(
        info.shape[0] * (2 if "gate_up" in n or "input_linear" in n else 1)
        if len(info.shape) == 3
        else 1
        for n, info in source.tensors.items()
        if (".experts." in n and len(info.shape) == 2 and n.endswith(".weight"))
        or architecture.role(n, info.shape) is Role.FUSED_EXPERTS
    )
    assert len(experts) == stored > 0
    assert not [n for n in quantized if n.split(".")[-1] in ("gate", "router", "wg")]


def test_blocks_beyond_those_that_run_are_carried_along(tmp_path: Path) -> None:
    model = tiny_model("llama", num_hidden_layers=4)
    model.config.num_hidden_layers = 2
    model.save_pretrained(tmp_path / "model")
    save_every("llama", tmp_path / "other")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "model" / name).write_bytes((tmp_path / "other" / name).read_bytes())
    for recipe, budget in (("w4", {}), ("gptq", {"tokens": 96, "window": 24})):
        adjustments = {"group_size": 8, **budget}
        result = tersor.quantize(
            tmp_path / "model",
            tmp_path / recipe,
            recipe,
            **adjustments,
            calibration=[tmp_path / "other.txt"] if recipe == "gptq" else [],
        )
        assert any("model.layers.2, model.layers.3: beyond the 2" in n for n in result.notes)
        quantized = [r.module for r in result.layers if not r.reason]
        assert len(quantized) == 14
        before, after = open_source(tmp_path / "model"), open_source(tmp_path / recipe)
        for name in before.tensors:
            if name.startswith(("model.layers.2.", "model.layers.3.")):
                assert torch.equal(before.read([name])[name], after.read([name])[name])


@pytest.mark.parametrize(
    ("model_type", "reason"),
    [("dory", "runs its 2 blocks 4 times"), ("xlnet", r"\(windows, tokens, hidden\)")],
)
def test_blocks_that_are_called_in_other_ways_are_refused_by_name(
    model_type: str, reason: str, tmp_path: Path
) -> None:
    save_every(model_type, tmp_path / "model")
    with pytest.raises(SourceError, match=rf"{reason}.*w4"):
        tersor.quantize(
            tmp_path / "model",
            tmp_path / "out",
            "gptq",
            group_size=8,
            tokens=96,
            window=24,
            calibration=[tmp_path / "model.txt"],
        )


def test_the_list_of_types_is_transformers_own() -> None:
    types = causal_types()
    assert set(SAMPLE) <= set(types)
    assert len(types) > 150
    assert tiny_config("llama").hidden_size == 72
