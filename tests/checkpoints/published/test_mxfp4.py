import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

import tersor
from tersor.checkpoints.opening import open_source
from tersor.checkpoints.published.mxfp4 import dequantize_mxfp4
from tersor.errors import SourceError
from tiny_models import randomized, save_tokenizer, tokens

STEM = "model.layers.0.mlp.experts.gate_up_proj"


def publish(directory, rewrite=lambda tensors: None):
    """A tiny gpt-oss in MXFP4; returns its packed tensors."""
    config = transformers.GptOssConfig(
        vocab_size=128, hidden_size=96, intermediate_size=160, num_hidden_layers=2,
        num_attention_heads=6, num_key_value_heads=3, head_dim=14, num_local_experts=3,
        num_experts_per_tok=2, max_position_embeddings=130, sliding_window=7,
    )  # fmt: skip
    model = randomized(transformers.AutoModelForCausalLM.from_config(config))
    model.bfloat16().save_pretrained(directory)
    save_tokenizer(directory)
    tensors = load_file(directory / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    for name in [name for name in tensors if name.endswith(("gate_up_proj", "down_proj"))]:
        experts, inputs, outputs = tensors.pop(name).shape
        shape = (experts, outputs, inputs // 32)
        codes = torch.randint(0, 256, (*shape, 16), generator=generator, dtype=torch.uint8)
        scales = torch.randint(121, 125, shape, generator=generator, dtype=torch.uint8)
        tensors |= {f"{name}_blocks": codes, f"{name}_scales": scales}
    rewrite(tensors)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    fields = json.loads((directory / "config.json").read_text())
    fields["quantization_config"] = {"quant_method": "mxfp4"}
    (directory / "config.json").write_text(json.dumps(fields))
    return tensors


def test_mxfp4_is_what_transformers_makes_of_it():
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randint(0, 256, (3, 5, 7, 16), generator=generator, dtype=torch.uint8)
    scales = torch.randint(1, 250, (3, 5, 7), generator=generator, dtype=torch.uint8)
    theirs = convert_moe_packed_tensors(blocks, scales, dtype=torch.bfloat16)
    assert torch.equal(dequantize_mxfp4(blocks, scales), theirs)
    assert dequantize_mxfp4(blocks, scales).shape == (3, 7 * 32, 5)


def test_the_first_value_lies_in_the_low_half():
    blocks = torch.zeros(1, 1, 1, 16, dtype=torch.uint8)
    blocks[..., 0] = 0xA7  # 6 and -1
    values = dequantize_mxfp4(blocks, torch.full((1, 1, 1), 128, dtype=torch.uint8))
    assert values[0, :3, 0].tolist() == [12.0, -2.0, 0.0]


def test_mxfp4_is_quantized_loaded_and_requantized_to_the_same_values(tmp_path):
    tensors = publish(tmp_path / "mx")
    source = open_source(tmp_path / "mx")
    assert source.tensors[STEM].shape == (3, 96, 320)
    assert "quantization_config" not in source.config
    result = tersor.quantize(tmp_path / "mx", tmp_path / "again", "mxfp4")
    assert "read from MXFP4, as published" in result.notes
    original = tersor.load(tmp_path / "mx")
    wanted = dequantize_mxfp4(tensors[f"{STEM}_blocks"], tensors[f"{STEM}_scales"]).float()
    assert torch.equal(original.state_dict()[STEM], wanted)
    again = tersor.load(tmp_path / "again", kernels=False)
    assert torch.equal(again.state_dict()[STEM], wanted)
    assert torch.isfinite(original(tokens()).logits).all()


def _no_scales(tensors):
    del tensors[f"{STEM}_scales"]


def _no_blocks(tensors):
    del tensors[f"{STEM}_blocks"]


def _shape(tensors):
    tensors[f"{STEM}_scales"] = tensors[f"{STEM}_scales"][:, 1:].contiguous()


def _dtype(tensors):
    tensors[f"{STEM}_blocks"] = tensors[f"{STEM}_blocks"].float()


@pytest.mark.parametrize("fault", [_no_scales, _no_blocks, _shape, _dtype])
def test_malformed_mxfp4_is_refused_by_name(tmp_path, fault):
    publish(tmp_path, fault)
    with pytest.raises(SourceError, match=STEM):
        open_source(tmp_path)


def test_scales_that_are_no_numbers_are_refused_by_name(tmp_path):
    def broken(tensors):
        tensors[f"{STEM}_scales"][0, 1, 2] = 255

    publish(tmp_path, broken)
    with pytest.raises(SourceError, match=f"{STEM}_scales"):
        open_source(tmp_path).read([STEM])
