"""Models that read images: their text part is quantized, found by every reader, run and scored."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import architectures

import tersor
from every_architecture import multimodal_types, save_every
from tersor.errors import SourceError
from tersor.families.registry import OUTER
from tersor.pipeline.studies.evaluate import Protocol, evaluate_directory
from tersor.recipes import Adjustments, Override, Recipe, load_recipe
from tersor.runtime.artifact import open_artifact

GROUPS = {"group_size": 8}

# What lies on disk as it is called in memory (the last two), and what does not.
TYPES = (
    "gemma3", "llava", "paligemma", "mistral3", "qwen2_vl", "qwen2_5_vl", "internvl", "qwen3_vl",
    "idefics3",
)  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("model_type", TYPES)
def test_every_reader_has_the_text_part_rounded_and_the_rest_as_it_was(
    model_type: str, tmp_path: Path
) -> None:
    save_every(model_type, tmp_path / "model")
    wanted = ("quantize", "calibrate", "load", "transformers")
    assert architectures.run(model_type, tmp_path, wanted) == dict.fromkeys(wanted, "yes")
    for artifact in ("w4", "gptq"):
        quantized = open_artifact(tmp_path / artifact).schemes
        assert len(quantized) == 14
        assert not [name for name in quantized if "vis" in name]


def test_a_config_that_names_no_number_of_blocks_leaves_it_to_the_model(tmp_path: Path) -> None:
    """Where the images' part is the larger one."""
    save_every("kosmos-2.5", tmp_path / "model")
    for recipe in ("w4", "gptq"):
        budget = {**GROUPS, "tokens": 96, "window": 24} if recipe == "gptq" else GROUPS
        texts = [tmp_path / "model.txt"] if recipe == "gptq" else []
        tersor.quantize(tmp_path / "model", tmp_path / recipe, recipe, **budget, calibration=texts)
        modules = open_artifact(tmp_path / recipe).schemes
        assert len(modules) == 12
        assert all(name.startswith("text_model.model.layers.") for name in modules)


@pytest.mark.parametrize("model_type", OUTER)
def test_the_engine_runs_the_text_part(model_type: str, tmp_path: Path) -> None:
    save_every(model_type, tmp_path / "model")
    wanted = ("quantize", "engine")
    assert architectures.run(model_type, tmp_path, wanted) == dict.fromkeys(wanted, "yes")


def two_schemes() -> Recipe:
    """Readers find some modules by name only, and transformers is not asked for dense weights."""
    recipe = Adjustments(**GROUPS).apply(load_recipe("w4"))
    wider = load_recipe("vanilla-int8").scheme
    return replace(recipe, overrides=(Override("down_proj", wider, recipe.range),))


@pytest.mark.parametrize("model_type", ["gemma3", "llava", "qwen2_vl"])
def test_names_in_memory_are_written_beside_those_on_disk(model_type: str, tmp_path: Path) -> None:
    save_every(model_type, tmp_path / "model")
    tersor.quantize(tmp_path / "model", tmp_path / "out", two_schemes())
    described = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    assert "dequantize" not in described
    theirs, said = AutoModelForImageTextToText.from_pretrained(
        tmp_path / "out", dtype=torch.float32, output_loading_info=True
    )
    assert not said["missing_keys"]
    assert not said["unexpected_keys"]
    expected = architectures.logits(tersor.load(tmp_path / "out", kernels=False))
    architectures.check(architectures.logits(theirs.eval()), expected)
    tower = {n: p for n, p in theirs.named_parameters() if "visual" in n or "vision" in n}
    ours = tersor.load(tmp_path / "model").get_parameter
    assert len(tower) > 20
    assert all(torch.equal(parameter, ours(name)) for name, parameter in tower.items())
    named = {t for group in described["config_groups"].values() for t in group["targets"]}
    on_disk = set(open_artifact(tmp_path / "out").schemes)
    assert len(named - on_disk - {"Linear"}) == len(named & on_disk) == 2


@pytest.mark.parametrize("model_type", ["llava", "qwen2_vl"])
def test_text_is_generated_and_scored(model_type: str, tmp_path: Path) -> None:
    """By the engine, and by transformers where the engine does not run the model."""
    save_every(model_type, tmp_path / "model")
    tersor.quantize(tmp_path / "model", tmp_path / "w4", "w4", **GROUPS)
    protocol = Protocol(context=24, windows=2)
    texts = [tmp_path / "model.txt"]
    (score,) = evaluate_directory(
        tmp_path / "w4", base=tmp_path / "model", text=texts, protocol=protocol
    )
    assert score.kl_mean is not None
    assert 0 < score.kl_mean < 2
    for directory in ("model", "w4"):
        if model_type == "llava":
            assert len(tersor.generate(tmp_path / directory, "hello", max_new_tokens=3)) > 0
            continue
        with pytest.warns(UserWarning, match=r"qwen2_vl.*; transformers does"):
            assert len(tersor.generate(tmp_path / directory, "hello", max_new_tokens=3)) > 0


def test_attention_that_sees_ahead_has_no_perplexity(tmp_path: Path) -> None:
    save_every("paligemma", tmp_path / "model")
    with pytest.raises(SourceError, match="sees the tokens that it should predict"):
        evaluate_directory(
            tmp_path / "model", text=[tmp_path / "model.txt"], protocol=Protocol(context=24)
        )


@pytest.mark.parametrize("quantized", [False, True])
def test_what_no_tensor_becomes_is_an_error(quantized: bool, tmp_path: Path) -> None:
    save_every("llava", tmp_path / "model")
    place = tmp_path / "model"
    if quantized:
        tersor.quantize(place, tmp_path / "w4", "w4", **GROUPS)
        place = tmp_path / "w4"
    file = next(place.glob("*.safetensors"))
    tensors = {n: t for n, t in load_file(file).items() if "vision_tower.encoder.layers.1" not in n}
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(
        SourceError,
        match=r"json: it makes 2 blocks, .* none of model\.vision_tower\.encoder\.layers\.1; take",
    ):
        tersor.load(place)


def test_types_with_images_are_transformers_own() -> None:
    assert set(TYPES) - {"gemma3"} <= set(multimodal_types())
