import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.integrations.finegrained_fp8 import Fp8Dequantize

import tersor
from tersor.checkpoints.opening import open_source
from tersor.checkpoints.published.fp8 import dequantize_fp8
from tersor.errors import SourceError
from tiny_models import ODD, save_tiny, save_tokenizer, tokens

NAME = "model.layers.0.mlp.down_proj.weight"


def publish(directory, block, rewrite=lambda tensors: None):
    """A tiny model in FP8; returns the weights that the files stand for, by hand."""
    save_tiny("llama", directory, **ODD["llama"])
    save_tokenizer(directory)
    tensors, meant = {}, {}
    for name, weight in load_file(directory / "model.safetensors").items():
        if "_proj" not in name:
            tensors[name] = meant[name] = weight.bfloat16()
            continue
        rows, columns = weight.shape
        height, width = block or weight.shape
        scale = torch.empty(-(-rows // height), -(-columns // width))
        codes = torch.empty(weight.shape, dtype=torch.float8_e4m3fn)
        values = torch.empty(weight.shape, dtype=torch.bfloat16)
        for i in range(scale.shape[0]):
            for j in range(scale.shape[1]):
                at = (slice(i * height, (i + 1) * height), slice(j * width, (j + 1) * width))
                scale[i, j] = weight[at].abs().max() / 448
                codes[at] = (weight[at] / scale[i, j]).to(torch.float8_e4m3fn)
                values[at] = (codes[at].float() * scale[i, j]).bfloat16()
        tensors[name], meant[name] = codes, values
        tensors[f"{name}_scale_inv"] = scale if block else scale.reshape(())
    rewrite(tensors)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((directory / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
        "weight_block_size": list(block) if block else None,
    }  # fmt: skip
    (directory / "config.json").write_text(json.dumps(config))
    return meant


@pytest.mark.parametrize("block", [(32, 17), (128, 128), None])
def test_fp8_is_read_as_the_bfloat16_model_it_stands_for(tmp_path, block):
    meant = publish(tmp_path, block)
    source = open_source(tmp_path)
    assert "quantization_config" not in source.config
    assert source.tensors.keys() == meant.keys()
    for name, values in meant.items():
        assert source.tensors[name].dtype == torch.bfloat16
        assert torch.equal(source.read([name])[name], values), name


@pytest.mark.parametrize("scales", [(3, 2), (6, 1), (1, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float8_e8m0fnu, torch.uint8])
def test_fp8_is_what_transformers_makes_of_it(scales, dtype):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 10, generator=generator).to(torch.float8_e4m3fn)
    if dtype == torch.float32:
        scale = torch.rand(scales, generator=generator)
    else:
        scale = torch.randint(115, 130, scales, generator=generator, dtype=torch.uint8)
        scale = scale if dtype == torch.uint8 else scale.view(dtype)
    theirs = Fp8Dequantize(None)._dequantize_one(weight, scale, torch.bfloat16)
    block = (6 // scales[0], 10 // scales[1])
    assert torch.equal(dequantize_fp8(weight, scale, block), theirs)
    if scales[1] == 1:
        assert torch.equal(dequantize_fp8(weight, scale, None), theirs)


def test_stacked_experts_have_scales_of_their_own():
    weight = torch.randn(3, 5, 7).to(torch.float8_e4m3fn)
    scale = torch.rand(3, 2, 2)
    made = dequantize_fp8(weight, scale, (4, 4))
    for expert in range(3):
        assert torch.equal(made[expert], dequantize_fp8(weight[expert], scale[expert], (4, 4)))
    alone = dequantize_fp8(weight, scale[:, 0, 0], None)
    assert torch.equal(alone[1], dequantize_fp8(weight[1], scale[1, 0, 0], None))


def test_fp8_is_quantized_loaded_and_restored(tmp_path):
    meant = publish(tmp_path / "fp8", (32, 32))
    result = tersor.quantize(tmp_path / "fp8", tmp_path / "w8", "vanilla-int8")
    assert "read from FP8, as published" in result.notes
    model = tersor.load(tmp_path / "fp8")
    state = model.state_dict()
    assert all(torch.equal(state[name], values.float()) for name, values in meant.items())
    tersor.restore(tmp_path / "fp8", tmp_path / "plain")
    plain = tersor.load(tmp_path / "plain")
    logits = model(tokens()).logits
    assert torch.equal(logits, plain(tokens()).logits)
    tersor.quantize(tmp_path / "plain", tmp_path / "again", "vanilla-int8")
    again = load_file(tmp_path / "again" / "model.safetensors")
    for name, tensor in load_file(tmp_path / "w8" / "model.safetensors").items():
        assert torch.equal(tensor, again[name]), name


def _drop(tensors):
    del tensors[f"{NAME}_scale_inv"]


def _shape(tensors):
    tensors[f"{NAME}_scale_inv"] = torch.ones(3, 4)


def _dtype(tensors):
    tensors[NAME] = tensors[NAME].to(torch.float8_e5m2)


def _integers(tensors):
    tensors[NAME] = torch.ones(60, 156, dtype=torch.int8)


def _scale_type(tensors):
    tensors[f"{NAME}_scale_inv"] = tensors[f"{NAME}_scale_inv"].double()


def _orphan(tensors):
    del tensors[NAME]


@pytest.mark.parametrize("fault", [_drop, _shape, _dtype, _integers, _scale_type, _orphan])
def test_malformed_fp8_is_refused_by_name(tmp_path, fault):
    publish(tmp_path, (32, 32), fault)
    with pytest.raises(SourceError, match=NAME):
        open_source(tmp_path)


def test_scales_that_are_no_numbers_are_refused_by_name(tmp_path):
    def broken(tensors):
        tensors[f"{NAME}_scale_inv"][1, 1] = torch.nan

    publish(tmp_path, (32, 32), broken)
    with pytest.raises(SourceError, match=NAME):
        open_source(tmp_path).read([NAME])


def test_scales_of_activations_are_left_out_and_said(tmp_path):
    def static(tensors):
        tensors["model.layers.0.mlp.down_proj.activation_scale"] = torch.ones(())

    publish(tmp_path, None, static)
    source = open_source(tmp_path)
    assert "model.layers.0.mlp.down_proj.activation_scale" not in source.tensors
    assert any("1 scales of FP8 activations" in note for note in source.notes)
