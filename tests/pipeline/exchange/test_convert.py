"""Artifacts in other formats: the same codes, there and back."""

import json
import shutil
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import tersor
from gguf_files import bpe_metadata, write_gguf
from tersor.checkpoints.opening import open_source
from tersor.errors import FormatError, OutputError, SchemeError, SourceError
from tersor.formats import known_formats
from tersor.pipeline.exchange.convert import convert
from tersor.runtime.artifact import Artifact, open_artifact
from tersor.runtime.engine.engine import Engine
from tiny_models import save_text, save_tiny, save_tokenizer, tiny

IDS = [3, 1, 44, 5, 90, 7]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models quantized with and without zero points."""
    home = tmp_path_factory.mktemp("home")
    tiny("llama").to(torch.bfloat16).save_pretrained(home / "model")
    save_tokenizer(home / "model")
    tersor.quantize(home / "model", home / "w4", "w4", group_size=32)
    tersor.quantize(home / "model", home / "asymmetric", "w4", group_size=32, asymmetric=True)
    return home


def logits(path: Path) -> np.ndarray:
    return Engine(path).logits(IDS)


def assert_alike(one: Path, two: Path) -> None:
    """But for the order of sums: minima are added up apart."""
    found, meant = (
        Engine(path, activation_bits=16, cache="float32").logits(IDS) for path in (one, two)
    )
    np.testing.assert_allclose(found, meant, rtol=0, atol=1e-4)


def weights(path: Path) -> bytes:
    return (path / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("made", "name"),
    [
        *(("w4", name) for name in ("gptq", "gptq-v2", "awq", "mlx")),
        *(("asymmetric", name) for name in ("gptq-v2", "awq", "mlx")),
    ],
)
def test_there_and_back(home: Path, tmp_path: Path, made: str, name: str) -> None:
    there = convert(home / made, tmp_path / "there", known_formats().named(name))
    assert (there.format, there.source_format) == (name, "compressed-tensors")
    assert there.modules == len(open_artifact(home / made).schemes)
    if name == "mlx":
        assert_alike(tmp_path / "there", home / made)
    else:
        assert np.array_equal(logits(tmp_path / "there"), logits(home / made))
    back = convert(tmp_path / "there", tmp_path / "back")
    assert back.format == "compressed-tensors"
    schemes = {str(scheme) for scheme in open_artifact(tmp_path / "back").schemes.values()}
    assert any("asymmetric" in one for one in schemes) is (made == "asymmetric")
    assert np.array_equal(logits(tmp_path / "back"), logits(home / made))
    convert(tmp_path / "back", tmp_path / "again", known_formats().named(name))
    convert(tmp_path / "again", tmp_path / "back again")
    assert weights(tmp_path / "again") == weights(tmp_path / "there")
    assert weights(tmp_path / "back again") == weights(tmp_path / "back")
    assert (tmp_path / "back" / "tokenizer.json").exists()


def test_a_checkpoint_is_loaded_and_scored_as_it_is(home: Path, tmp_path: Path) -> None:
    convert(home / "asymmetric", tmp_path / "there", known_formats().named("gptq-v2"))
    ids = torch.tensor([IDS])
    with torch.inference_mode():
        for kernels in (True, False):
            one, two = (
                tersor.load(each, kernels=kernels)(ids).logits
                for each in (tmp_path / "there", home / "asymmetric")
            )
            torch.testing.assert_close(one, two)


@pytest.mark.parametrize(
    "kind", ["Q4_0", "Q8_0", "Q4_1", "Q2_K", "Q5_K", "Q6_K", "IQ4_XS", "MXFP4"]
)
def test_a_gguf_file_becomes_a_directory(tmp_path: Path, kind: str) -> None:
    shape = {"hidden_size": 256, "intermediate_size": 512, "head_dim": 16, "vocab_size": 384}
    save_tiny("llama", tmp_path / "model", **shape, num_attention_heads=16)
    metadata = bpe_metadata("gpt-2")
    of = gguf.GGMLQuantizationType[kind]
    path = write_gguf(tmp_path / "model", tmp_path / "m.gguf", kind=of, metadata=metadata)
    made = convert(path, tmp_path / "there")
    assert made.source_format == "gguf"
    assert np.array_equal(logits(tmp_path / "there"), logits(path))
    assert tersor.check(tmp_path / "there").sound
    again = convert(tmp_path / "there", tmp_path / "again")
    assert again.format == made.format
    assert weights(tmp_path / "again") == weights(tmp_path / "there")
    with torch.inference_mode():
        ids = torch.tensor([IDS])
        one, two = (tersor.load(p, kernels=False)(ids).logits for p in (path, tmp_path / "there"))
    torch.testing.assert_close(one, two)


@pytest.mark.parametrize(
    "kind",
    [
        *("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "MXFP4", "IQ4_NL", "IQ4_XS"),
        *("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"),
    ],
)
def test_a_gguf_file_comes_back_from_an_artifact(tmp_path: Path, kind: str) -> None:
    shape = {"hidden_size": 256, "intermediate_size": 512, "head_dim": 16, "vocab_size": 384}
    save_tiny("llama", tmp_path / "model", **shape, num_attention_heads=16)
    metadata = {**bpe_metadata("gpt-2"), "general.name": "tiny", "general.license": "mit"}
    of = gguf.GGMLQuantizationType[kind]
    path = write_gguf(tmp_path / "model", tmp_path / "m.gguf", kind=of, metadata=metadata)
    convert(path, tmp_path / "artifact")
    there = convert(tmp_path / "artifact", tmp_path / "there.gguf", known_formats().named("gguf"))
    first, again = (gguf.GGUFReader(p) for p in (path, tmp_path / "there.gguf"))
    meant, found = ({t.name: t for t in reader.tensors} for reader in (first, again))
    assert meant.keys() == found.keys()
    for name, tensor in meant.items():
        assert found[name].tensor_type == tensor.tensor_type
        one, two = (gguf.dequantize(t.data, tensor.tensor_type) for t in (tensor, found[name]))
        assert np.array_equal(one, two), name
    assert np.array_equal(logits(tmp_path / "there.gguf"), logits(path))
    convert(tmp_path / "there.gguf", tmp_path / "artifact again")
    assert weights(tmp_path / "artifact again") == weights(tmp_path / "artifact")
    back = tmp_path / "back.gguf"
    convert(tmp_path / "artifact again", back, known_formats().named("gguf"))
    assert back.read_bytes() == (tmp_path / "there.gguf").read_bytes()
    convert(path, tmp_path / "same.gguf", known_formats().named("gguf"))
    convert(tmp_path / "same.gguf", back, known_formats().named("gguf"), force=True)
    assert back.read_bytes() == (tmp_path / "same.gguf").read_bytes()
    fields = gguf.GGUFReader(back).fields
    for key, value in metadata.items():
        assert fields[key].contents() == value, key
    assert there.modules == 16


@pytest.mark.parametrize(
    ("group_size", "bits", "kind"),
    [(32, 5, "Q5_0"), (64, 4, "Q4_0"), (96, 8, "Q8_0"), (0, 4, "Q4_0")],
)
def test_larger_groups_are_blocks_with_the_same_scale(
    tmp_path: Path, group_size: int, bits: int, kind: str
) -> None:
    float16 = tiny("llama").to(torch.float16)  # whose scales float16 holds
    float16.save_pretrained(tmp_path / "model")
    tersor.quantize(tmp_path / "model", tmp_path / "a", "w4", bits=bits, group_size=group_size)
    made = convert(tmp_path / "a", tmp_path / "a.gguf", known_formats().named("gguf"))
    assert bool(made.notes) == (group_size != 32)
    one, two = open_artifact(tmp_path / "a"), open_artifact(tmp_path / "a.gguf")
    assert kinds(two) == {kind}
    for module in one.schemes:
        meant, found = one.linear(module).weight, two.linear(module).weight
        assert torch.equal(meant.codes.to(torch.int8), found.codes)
        assert torch.equal(meant.dequantize(), found.dequantize())
    assert tersor.check(tmp_path / "a.gguf").sound


def kinds(artifact: Artifact) -> set[str]:
    return {name.rpartition(".")[2] for name in artifact.source.tensors} - {"weight", "bias"}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_model_of_floats_becomes_a_gguf_file(tmp_path: Path, dtype: torch.dtype) -> None:
    tiny("qwen2").to(dtype).save_pretrained(tmp_path / "model")
    made = convert(tmp_path / "model", tmp_path / "m.gguf", known_formats().named("gguf"))
    assert (made.modules, made.source_format) == (0, "")
    assert np.array_equal(logits(tmp_path / "m.gguf"), logits(tmp_path / "model"))
    assert tersor.check(tmp_path / "m.gguf").sound
    with pytest.raises(FormatError, match="is not quantized"):
        convert(tmp_path / "model", tmp_path / "out", known_formats().named("gptq"))


def test_zero_points_become_minima_where_float16_holds_them(tmp_path: Path) -> None:
    made = tiny("llama").to(torch.float16)
    made.save_pretrained(tmp_path / "model")
    artifact, out = tmp_path / "a", tmp_path / "a.gguf"
    tersor.quantize(tmp_path / "model", artifact, "w4", group_size=32, asymmetric=True)
    with pytest.raises(SchemeError, match=r"down_proj: Q4_1 does not hold its numbers"):
        convert(artifact, out, known_formats().named("gguf"))
    assert not out.exists()
    file = artifact / "model.safetensors"
    tensors = load_file(file)
    for name, tensor in tensors.items():
        if name.endswith("weight_scale"):
            tensor.copy_(torch.exp2(tensor.float().log2().round()))
    save_file(tensors, file, {"format": "pt"})
    convert(artifact, out, known_formats().named("gguf"))
    one, two = open_artifact(artifact), open_artifact(out)
    assert kinds(two) == {"Q4_1"}
    for module in one.schemes:
        meant, found = (each.linear(module).weight.dequantize() for each in (one, two))
        assert torch.equal(meant, found)
    convert(out, tmp_path / "back")
    convert(tmp_path / "back", tmp_path / "back.gguf", known_formats().named("gguf"))
    assert (tmp_path / "back.gguf").read_bytes() == out.read_bytes()


def test_what_does_not_fit_is_refused_before_anything_is_written(
    home: Path, tmp_path: Path
) -> None:
    with pytest.raises(SchemeError, match="less 1; choose gptq-v2"):
        convert(home / "asymmetric", tmp_path / "out", known_formats().named("gptq"))
    with pytest.raises(
        SchemeError, match=r"Q4_1 does not hold its numbers \(float16 does not hold"
    ):
        convert(home / "asymmetric", tmp_path / "out", known_formats().named("gguf"))
    with pytest.raises(FormatError, match="is not quantized"):
        convert(home / "model", tmp_path / "out")
    with pytest.raises(OutputError, match="exists already"):
        convert(home / "w4", home / "asymmetric", known_formats().named("awq"))
    assert list(tmp_path.iterdir()) == []


def test_embeddings_and_mixed_widths_for_mlx(home: Path, tmp_path: Path) -> None:
    recipe = {
        **{"name": "mixed", "weights": {"grid": "int", "bits": 4, "granularity": "group"}},
        "overrides": [{"match": "down_proj", "weights": {"grid": "int", "bits": 6}}],
        "include": ["model.embed_tokens"],
    }
    for part in (recipe, recipe["overrides"][0]):
        part["weights"] |= {"granularity": "group", "group_size": 32}
    plain = tersor.quantize(home / "model", tmp_path / "plain", recipe)
    made = convert(tmp_path / "plain", tmp_path / "mlx", known_formats().named("mlx"))
    assert made.modules == len(list(plain.plan.quantized())) == 15
    config = json.loads((tmp_path / "mlx" / "config.json").read_text())
    described = config["quantization"]
    assert described == config["quantization_config"]
    assert (described["bits"], described["group_size"]) == (4, 32)
    assert described["model.layers.1.mlp.down_proj"]["bits"] == 6
    names = set(load_file(tmp_path / "mlx" / "model.safetensors"))
    assert {f"model.embed_tokens.{s}" for s in ("weight", "scales", "biases")} <= names
    assert_alike(tmp_path / "mlx", tmp_path / "plain")
    assert tersor.check(tmp_path / "mlx").sound


@pytest.mark.parametrize("rounding", ["nearest", "gptq"])
def test_minima_of_16_bits_for_mlx(home: Path, tmp_path: Path, rounding: str) -> None:
    weights = {"grid": "affine", "bits": 4, "granularity": "group", "group_size": 32}
    recipe = {"name": "affine", "rounding": rounding, "weights": {**weights, "scale": "float16"}}
    given = {"calibration": save_text(tmp_path / "text.txt", 2000), "tokens": 1024, "window": 64}
    options = given if rounding == "gptq" else {}
    made = tersor.quantize(home / "model", tmp_path / "mlx", recipe, format="mlx", **options)
    tensors = load_file(tmp_path / "mlx" / "model.safetensors")
    scales = [t for name, t in tensors.items() if name.endswith(("scales", "biases"))]
    assert {tensor.dtype for tensor in scales} == {torch.float16}
    assert not any("float32" in note for note in made.notes)
    assert tersor.check(tmp_path / "mlx").sound
    plain = tersor.quantize(home / "model", tmp_path / "own", recipe, **options)
    for one, two in zip(made.layers, plain.layers, strict=True):
        assert one.sqnr_db == two.sqnr_db
    with pytest.raises(SchemeError, match="add scale: float16"):
        tersor.quantize(
            home / "model", tmp_path / "x", {**recipe, "weights": weights}, format="mlx"
        )


def test_an_old_description_of_mlx(home: Path, tmp_path: Path) -> None:
    made = convert(home / "w4", tmp_path / "mlx", known_formats().named("mlx")).directory
    config = json.loads((made / "config.json").read_text())
    del config["quantization_config"], config["quantization"]["mode"]
    (made / "config.json").write_text(json.dumps(config))
    convert(made, tmp_path / "back")
    assert weights(tmp_path / "back") == weights(home / "w4")


def test_zero_points_are_said_to_take_more_in_mlx(home: Path, tmp_path: Path) -> None:
    made = convert(home / "asymmetric", tmp_path / "mlx", known_formats().named("mlx"))
    assert any("float32" in note for note in made.notes)
    plan = tersor.plan(home / "model", "w4", group_size=32, asymmetric=True, format="mlx")
    assert any("float32" in note for note in plan.notes)
    assert plan.bytes == made.bytes


@pytest.mark.parametrize("name", ["gptq", "gptq-v2", "awq", "mlx"])
def test_a_model_is_quantized_right_into_a_format(home: Path, tmp_path: Path, name: str) -> None:
    tersor.quantize(home / "model", tmp_path / "out", "w4", group_size=32, format=name)
    assert tersor.check(tmp_path / "out").sound
    found = logits(tmp_path / "out")
    # Scales are float16 here and bfloat16 there.
    assert np.abs(found - logits(home / "w4")).max() < 0.2 * np.abs(found).max()


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_is_quantized_right_into_a_gguf_file(
    tmp_path: Path, family: str, dtype: torch.dtype
) -> None:
    settings = {"query_pre_attn_scalar": 24, "num_hidden_layers": 6} if "gemma" in family else {}
    model = tiny(family, **settings).to(dtype)
    with torch.no_grad():  # groups whose scales float16 holds with fewer bits, or as its smallest
        weight = model.model.layers[0].mlp.up_proj.weight
        weight[:, :32] *= 1e-6
        weight[0] *= 1e-8
    model.save_pretrained(tmp_path / "model")
    options = {"group_size": 32, "format": "gguf", "include": "embed_tokens"}
    made = tersor.quantize(tmp_path / "model", tmp_path / "q.gguf", "w4", **options)
    assert made.plan.bytes_at_most == made.plan.bytes
    assert tersor.check(tmp_path / "q.gguf").sound
    artifact = open_artifact(tmp_path / "q.gguf")
    assert kinds(artifact) == {"Q4_0"}
    assert "model.embed_tokens" in artifact.schemes
    original = open_source(tmp_path / "model")
    for module in artifact.schemes:
        (weight,) = original.read([f"{module}.weight"]).values()
        found = artifact.linear(module).weight
        error = found.dequantize() - weight.float()
        assert float(error.square().sum()) < 0.02 * float(weight.float().square().sum()), module
        if module.endswith("layers.0.mlp.up_proj"):
            assert float(error[:, :32].abs().max()) <= 2.0**-22


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bits": 3, "group_size": 32}, "GGUF has no int3 per group 32; the nearest that it has"),
        ({"group_size": 64}, "Q4_0 has a scale for every 32 weights, also within a group of 64"),
        ({"group_size": 32, "asymmetric": True}, "GGUF has float16 minima in place of zero points"),
        ({"group_size": 16, "bits": 6}, "rows of 160 are no whole blocks of 256, which Q6_K has"),
    ],
)
def test_codes_that_a_gguf_file_would_not_hold_are_not_made(
    home: Path, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(SchemeError, match=said):
        tersor.plan(home / "model", "w4", format="gguf", **options)
    with pytest.raises(SchemeError, match="no quantized activations"):
        tersor.plan(home / "model", "w8a8", format="gguf")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"hidden_size": 32}, "hidden_size is 32"),
        ({"hidden_size": 9}, "transformers cannot build llama from config.json"),
    ],
)
def test_a_config_of_another_model_is_not_passed_on(
    home: Path, tmp_path: Path, wrong: dict[str, int], said: str
) -> None:
    shutil.copytree(home / "w4", tmp_path / "w4")
    config = json.loads((tmp_path / "w4" / "config.json").read_text())
    (tmp_path / "w4" / "config.json").write_text(json.dumps({**config, **wrong}))
    with pytest.raises(SourceError, match=said):
        convert(tmp_path / "w4", tmp_path / "out", known_formats().named("gptq"))
    assert not (tmp_path / "out").exists()
