"""What tersor wrote is what transformers and tersor load: bit for bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import tersor
from tersor.errors import FormatError, SourceError
from tersor.runtime.artifact import open_artifact
from tiny_models import FAMILIES, save_tiny, tiny, tokens


def artifact(tmp_path: Path, family: str, recipe: str, **flags: Any) -> Path:
    # bfloat16 as published checkpoints are: scales are stored in the model's type.
    tiny(family).to(torch.bfloat16).save_pretrained(tmp_path / "model")
    tersor.quantize(tmp_path / "model", tmp_path / "out", recipe, **flags)
    return tmp_path / "out"


def transformers_model(directory: Path, dtype: torch.dtype) -> nn.Module:
    """As anybody would load it, then run once: packed weights become dense at the first forward."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype).eval()
    with torch.no_grad():
        model(tokens(batch=1, length=8))
    return model


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {n: p.detach() for n, p in model.named_parameters() if n.endswith("weight")}


@pytest.mark.parametrize(
    ("recipe", "flags"),
    [
        ("vanilla-int8", {}),
        ("vanilla-int8-asym", {}),
        ("int8-per-tensor", {}),
        ("w8a8", {}),
        ("w4", {"group_size": 16}),
        ("w4", {"group_size": 0}),
        ("w4-asym", {"group_size": 16}),
        ("w3", {"group_size": 32}),
        ("fp8", {}),
    ],
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["bf16", "fp32"])
def test_transformers_dequantizes_to_our_bits(
    tmp_path: Path, recipe: str, flags: dict[str, object], dtype: torch.dtype
) -> None:
    out = artifact(tmp_path, "llama", recipe, **flags)
    theirs = weights(transformers_model(out, dtype))
    # Asymmetric artifacts take transformers' other path: it computes in the type of the scales,
    # whatever type is asked for.
    asymmetric = recipe in ("vanilla-int8-asym", "w4-asym", "w3")
    ours = weights(tersor.load(out, kernels=False, dtype=torch.bfloat16 if asymmetric else dtype))
    ours = {name: weight.to(dtype) for name, weight in ours.items()}
    assert set(theirs) == set(ours)
    for name, weight in ours.items():
        assert torch.equal(theirs[name], weight), name


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("recipe", ["w4", "nf4"])
def test_load_gives_the_dequantized_weights(tmp_path: Path, family: str, recipe: str) -> None:
    out = artifact(tmp_path, family, recipe, group_size=16)
    model = tersor.load(out, kernels=False)
    # A model in which every weight has been replaced by hand.
    from transformers import AutoModelForCausalLM

    dense = dict(open_artifact(out).dense(torch.float32))
    plain = tmp_path / "plain"
    plain.mkdir()
    from safetensors.torch import save_file

    save_file(dense, plain / "model.safetensors", metadata={"format": "pt"})
    (plain / "config.json").write_text((tmp_path / "model" / "config.json").read_text())
    expected = AutoModelForCausalLM.from_pretrained(plain, dtype=torch.float32).eval()
    ids = tokens()
    with torch.no_grad():
        assert torch.equal(model(ids).logits, expected(ids).logits)


@pytest.mark.parametrize("recipe", ["w4", "w8a8", "fp8", "nvfp4", "mxfp4", "kmeans", "log2"])
def test_every_kind_of_artifact_generates(tmp_path: Path, recipe: str) -> None:
    flags = {"group_size": 16} if recipe in ("w4", "kmeans", "log2") else {}
    model = tersor.load(artifact(tmp_path, "qwen2", recipe, **flags), kernels=False)
    made = model.generate(tokens(batch=1, length=4), max_new_tokens=4, min_new_tokens=4)
    assert made.shape == (1, 8)


def test_quantized_embeddings_load_and_stay_tied(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path / "model", tie_word_embeddings=True)
    flags = {"group_size": 16, "include": ("embed_tokens",)}
    tersor.quantize(tmp_path / "model", tmp_path / "out", "w4", **flags)
    model = tersor.load(tmp_path / "out", kernels=False)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    theirs = transformers_model(tmp_path / "out", torch.float32)
    assert torch.equal(theirs.lm_head.weight, model.lm_head.weight)  # type: ignore[union-attr]


def test_importing_the_plugin_is_enough_for_transformers(tmp_path: Path) -> None:
    import tersor.hf

    out = artifact(tmp_path, "gpt2", "w4", group_size=16)
    theirs = transformers_model(out, torch.float32)
    ours = tersor.load(out, kernels=False)
    for name, weight in weights(ours).items():
        assert torch.equal(weights(theirs)[name], weight)


def test_an_ordinary_directory_loads_too(tmp_path: Path) -> None:
    saved = save_tiny("llama", tmp_path)
    loaded = tersor.load(tmp_path)
    assert torch.equal(loaded.lm_head.weight, saved.lm_head.weight)


def test_foreign_quantization_is_refused(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path)
    config = tmp_path / "config.json"
    text = config.read_text().rstrip().removesuffix("}")
    config.write_text(text + ', "quantization_config": {"quant_method": "hqq"}}')
    with pytest.raises(FormatError, match="quant_method 'hqq'"):
        tersor.load(tmp_path)


def test_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nowhere"):
        tersor.load(tmp_path / "nowhere")


def test_real_model_int4_and_int8_in_transformers(smollm2: Path, tmp_path: Path) -> None:
    for recipe in ("vanilla-int8", "w4", "w4-asym", "fp8"):
        tersor.quantize(smollm2, tmp_path / recipe, recipe)
        theirs = weights(transformers_model(tmp_path / recipe, torch.bfloat16))
        ours = open_artifact(tmp_path / recipe)
        name = "model.layers.11.mlp.down_proj"
        expected = ours.linear(name).weight.dequantize(torch.bfloat16)
        assert torch.equal(theirs[f"{name}.weight"], expected), recipe


def test_a_parameter_without_a_tensor_is_an_error(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.norm.weight"], tensors["model.layers.0.mlp.up_proj.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(
        SourceError, match=r"no tensor becomes model\.layers\.0\.mlp\.up_proj\.weight and 1 more of"
    ):
        tersor.load(tmp_path)
