import pytest
import torch
from safetensors.torch import save_file

from tersor.checkpoints.opening import open_source
from tersor.checkpoints.source import TensorInfo, block_order, refuse_quantized
from tersor.errors import SourceError
from tiny_models import save_tiny


def test_size_counts_bytes_not_elements():
    assert TensorInfo("a", torch.bfloat16, (3, 5)).nbytes == 30
    assert TensorInfo("a", torch.float64, ()).nbytes == 8


def test_block_order_is_the_order_in_which_a_model_runs():
    names = [
        "lm_head.weight",
        "model.embed_tokens.weight",
        "model.layers.0.mlp.experts.10.w1.weight",
        "model.layers.0.mlp.experts.2.w1.weight",
        "model.layers.0.mlp.gate.weight",
        "model.layers.10.mlp.gate.weight",
        "model.layers.2.mlp.gate.weight",
        "model.norm.weight",
    ]
    assert block_order(names) == [
        "model.embed_tokens.weight",
        "model.layers.0.mlp.experts.2.w1.weight",
        "model.layers.0.mlp.experts.10.w1.weight",
        "model.layers.0.mlp.gate.weight",
        "model.layers.2.mlp.gate.weight",
        "model.layers.10.mlp.gate.weight",
        "model.norm.weight",
        "lm_head.weight",
    ]


def test_block_order_knows_gpt2_embeddings():
    names = ["transformer.ln_f.bias", "transformer.h.0.ln_1.bias", "transformer.wpe.weight"]
    assert block_order(names) == names[::-1]


def test_gguf_is_known_by_its_magic_too(tmp_path):
    path = tmp_path / "model"
    path.write_bytes(b"GGUF" + bytes(20))
    with pytest.raises(SourceError, match="GGUF version 0"):
        open_source(path)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"quantization_config": {"quant_method": "gptq"}}, "gptq"),
        ({"compression_config": {"format": "dense"}}, "compression_config"),
        ({"text_config": {"quantization_config": {"quant_method": "awq"}}}, "awq"),
        ({"quantization_config": "odd"}, "quantization_config"),
    ],
)
def test_quantized_source(settings, word, tmp_path):
    source = _source_with(settings, tmp_path)
    with pytest.raises(SourceError, match=rf"already quantized \({word} in config\.json\)"):
        refuse_quantized(source)


def test_source_that_mlx_quantized(tmp_path):
    source = _source_with({"quantization": {"group_size": 64, "bits": 4}}, tmp_path)
    with pytest.raises(SourceError, match=r"already quantized \(mlx in config"):
        refuse_quantized(source)


@pytest.mark.parametrize("settings", [{}, {"quantization_config": None}, {"text_config": None}])
def test_plain_source_is_not_refused(settings, tmp_path):
    refuse_quantized(_source_with(settings, tmp_path))


def _source_with(settings, directory):
    import json

    save_file({"a": torch.zeros(1)}, directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps({"model_type": "llama", **settings}))
    return open_source(directory)


def test_opening_reads_no_weights(tmp_path):
    save_tiny("llama", tmp_path)
    file = tmp_path / "model.safetensors"
    size = file.stat().st_size
    length = int.from_bytes(file.read_bytes()[:8], "little")
    # A hole instead of weights: opening must not notice, reading gives zeros.
    with file.open("r+b") as handle:
        handle.truncate(8 + length)
        handle.truncate(size)
    source = open_source(tmp_path)
    assert not source.read(["model.norm.weight"])["model.norm.weight"].any()
