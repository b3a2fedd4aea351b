"""From a directory to an artifact: what is written, what is refused, what is left behind."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import tersor
from tersor.errors import NonFiniteWeight, OutputError, ReadBackError, SourceError
from tersor.pipeline import quantize as module
from tersor.recipes import Adjustments, dump, load_recipe, parse
from tersor.runtime.artifact import open_artifact
from tiny_models import FAMILIES, save_tiny

SMALL = {"group_size": 16}


def quantized(tmp_path: Path, recipe: str = "w4", family: str = "llama") -> Path:
    save_tiny(family, tmp_path / "model")
    tersor.quantize(tmp_path / "model", tmp_path / "out", recipe, **SMALL)
    return tmp_path / "out"


@pytest.mark.parametrize("family", FAMILIES)
def test_dequantized_weights_are_within_half_a_step(tmp_path: Path, family: str) -> None:
    out = quantized(tmp_path, "w4", family)
    dense = dict(open_artifact(out).dense(torch.float32))
    original = load_file(tmp_path / "model" / "model.safetensors")
    assert set(dense) == set(original)
    artifact = open_artifact(out)
    for name, weight in original.items():
        scheme = artifact.schemes.get(name.removesuffix(".weight"))
        if scheme is None:
            assert torch.equal(dense[name], weight)
            continue
        linear = artifact.linear(name.removesuffix(".weight"))
        error = (dense[name] - weight).abs()
        error = error.T if name.removesuffix(".weight") in artifact.transposed else error
        half_step = linear.weight.scale.value().repeat_interleave(16, 1)[:, : error.shape[1]] / 2
        assert bool((error <= half_step * 1.0001).all())


def test_fused_experts_are_quantized_one_by_one(tmp_path: Path) -> None:
    save_tiny("qwen3_moe", tmp_path / "fused", fused=True)
    save_tiny("qwen3_moe", tmp_path / "split")
    for name in ("fused", "split"):
        tersor.quantize(tmp_path / name, tmp_path / f"q-{name}", "w4", **SMALL)
    fused, split = (
        load_file(tmp_path / f"q-{n}" / "model.safetensors") for n in ("fused", "split")
    )
    assert set(fused) == set(split)
    assert all(torch.equal(fused[name], split[name]) for name in fused)
    assert "model.layers.0.mlp.experts.3.down_proj.weight_packed" in fused


def test_same_input_same_bytes(tmp_path: Path) -> None:
    out = quantized(tmp_path)
    tersor.quantize(tmp_path / "model", tmp_path / "again", "w4", **SMALL)
    for file in out.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes(), file.name


def test_plan_size_is_the_size_on_disk(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path / "model")
    result = tersor.quantize(tmp_path / "model", tmp_path / "out", "w4", **SMALL)
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert result.plan.bytes == sum(t.numel() * t.element_size() for t in stored.values())


def test_the_saved_recipe_recreates_the_artifact(tmp_path: Path) -> None:
    out = quantized(tmp_path)
    saved = out / "recipe.yaml"
    assert replace(parse(saved.read_text(), "x"), made=None) == Adjustments(**SMALL).apply(
        load_recipe("w4")
    )
    tersor.quantize(tmp_path / "model", tmp_path / "again", saved)
    again = tmp_path / "again" / "model.safetensors"
    assert again.read_bytes() == (out / "model.safetensors").read_bytes()


def test_records_name_every_matrix(tmp_path: Path) -> None:
    out = quantized(tmp_path)
    document = json.loads((out / "tersor.json").read_text())
    layers = {layer["module"]: layer for layer in document["layers"]}
    assert layers["lm_head"]["reason"] == "head, not included"
    assert layers["model.layers.0.mlp.up_proj"]["sqnr_db"] > 15
    assert document["versions"]["tersor"]
    assert len(document["source"]["digest"]) == 32


def test_links_of_the_card_lead_to_files_beside_it(tmp_path: Path) -> None:
    out = quantized(tmp_path)
    card = (out / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]*)\)", card)
    assert set(links) == {"recipe.yaml", "tersor.json"}
    assert all((out / link).is_file() for link in links)
    assert "http" not in card


def test_nan_weight_is_refused_by_name_and_nothing_is_left(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    tensors = load_file(file)
    tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = float("nan")
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(NonFiniteWeight, match=r"layers\.1\.mlp\.up_proj\.weight' holds NaN"):
        tersor.quantize(tmp_path / "model", tmp_path / "out", "w4", **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_existing_output_survives_a_refusal_and_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = quantized(tmp_path)
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    with pytest.raises(OutputError, match="--force"):
        tersor.quantize(tmp_path / "model", out, "w3", **SMALL)

    def broken(*_: object) -> None:
        raise ReadBackError("the disk lies")

    monkeypatch.setattr(module, "verify", broken)
    with pytest.raises(ReadBackError):
        tersor.quantize(tmp_path / "model", out, "w3", **SMALL, force=True)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["model", "out", "out.layers.csv", "out.log.jsonl"]


def test_a_quantized_source_is_refused(tmp_path: Path) -> None:
    out = quantized(tmp_path)
    with pytest.raises(SourceError, match="already quantized"):
        tersor.quantize(out, tmp_path / "twice", "w4")


def test_read_back_notices_other_codes(tmp_path: Path) -> None:
    from tersor.pipeline.writing.surroundings import verify

    save_tiny("llama", tmp_path / "model")
    result = tersor.quantize(tmp_path / "model", tmp_path / "out", "w4", **SMALL)
    verify(tmp_path / "out", result.plan.written_as, result.layers)
    file = tmp_path / "out" / "model.safetensors"
    tensors = load_file(file)
    tensors["model.layers.0.self_attn.q_proj.weight_packed"][0, 0] ^= 1
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ReadBackError, match=r"model\.layers\.0\.self_attn\.q_proj"):
        verify(tmp_path / "out", result.plan.written_as, result.layers)


def test_progress_counts_to_the_size_of_the_source(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path / "model")
    calls: list[tuple[int, int]] = []
    tersor.quantize(
        tmp_path / "model",
        tmp_path / "out",
        "w4",
        **SMALL,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == sorted(calls)
    assert calls[-1][0] == calls[-1][1]


@pytest.mark.parametrize("recipe", ["w8a8", "fp8", "nvfp4", "mxfp4", "log2", "kmeans", "w4-mse"])
def test_presets_on_a_tiny_model(tmp_path: Path, recipe: str) -> None:
    save_tiny("qwen2", tmp_path / "model")
    adjustments = SMALL if recipe in ("log2", "kmeans", "w4-mse") else {}
    tersor.quantize(tmp_path / "model", tmp_path / "out", recipe, **adjustments)
    saved = (tmp_path / "out" / "recipe.yaml").read_text()
    assert dump(parse(saved, "saved")) == saved
