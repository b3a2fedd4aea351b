"""Artifacts that do not follow their own format are refused by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import tersor
from tersor.errors import FormatError, NonFiniteWeight, SourceError
from tersor.runtime.artifact import open_artifact
from tiny_models import save_tiny

MODULE = "model.layers.1.self_attn.k_proj"


@pytest.fixture
def out(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    save_tiny("llama", tmp_path / "model")
    recipe = getattr(request, "param", "w4-asym")
    flags = {} if recipe in ("mxfp4", "nvfp4") else {"group_size": 16}
    tersor.quantize(tmp_path / "model", tmp_path / "out", recipe, **flags)
    return tmp_path / "out"


def change_tensors(out: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    file = out / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def change_config(out: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = out / "config.json"
    config = json.loads(file.read_text())
    change(config["quantization_config"])
    file.write_text(json.dumps(config))


def test_missing_tensor(out: Path) -> None:
    change_tensors(out, lambda tensors: tensors.pop(f"{MODULE}.weight_zero_point"))
    with pytest.raises(FormatError, match=rf"^{out}: .*{MODULE}.weight_zero_point is missing"):
        open_artifact(out)


def test_codes_without_scales(out: Path) -> None:
    change_tensors(out, lambda tensors: tensors.pop(f"{MODULE}.weight_scale"))
    with pytest.raises(FormatError, match=rf"{MODULE}.weight_scale is missing"):
        open_artifact(out)


def test_truncated_codes(out: Path) -> None:
    def truncate(tensors: dict[str, torch.Tensor]) -> None:
        name = f"{MODULE}.weight_packed"
        tensors[name] = tensors[name][:, :-1].contiguous()

    change_tensors(out, truncate)
    # transformers would speak of conversions, and name nothing.
    for read in (open_artifact, tersor.load, tersor.Engine):
        with pytest.raises(FormatError, match=rf"{MODULE}.weight_packed is .*needs"):
            read(out)


def test_no_config_groups(out: Path) -> None:
    change_config(out, lambda config: config.pop("config_groups"))
    with pytest.raises(FormatError, match="config_groups"):
        open_artifact(out)


def test_a_group_without_strategy(out: Path) -> None:
    change_config(out, lambda config: config["config_groups"]["group_0"]["weights"].pop("strategy"))
    with pytest.raises(FormatError, match="strategy"):
        open_artifact(out)


def test_a_module_that_no_group_describes(out: Path) -> None:
    change_config(
        out, lambda config: config["config_groups"]["group_0"].update(targets=["re:nothing"])
    )
    with pytest.raises(FormatError, match="no config group"):
        open_artifact(out)


@pytest.mark.parametrize("out", ["nf4"], indirect=True)
def test_own_format_of_another_version(out: Path) -> None:
    change_config(out, lambda config: config.update(version=99))
    with pytest.raises(FormatError, match="99"):
        open_artifact(out)


@pytest.mark.parametrize("out", ["nf4"], indirect=True)
def test_own_format_with_an_unknown_grid(out: Path) -> None:
    change_config(out, lambda config: config["groups"][0]["weights"].update(grid="nf5"))
    with pytest.raises(FormatError, match="grid"):
        open_artifact(out)


@pytest.mark.parametrize("out", ["nf4"], indirect=True)
def test_own_format_whose_tensors_and_config_disagree(out: Path) -> None:
    change_config(out, lambda config: config["groups"][0]["modules"].remove(MODULE))
    with pytest.raises(FormatError, match=MODULE):
        open_artifact(out)


def test_an_unquantized_directory(out: Path) -> None:
    with pytest.raises(FormatError, match="not quantized"):
        open_artifact(out.parent / "model")


def spoiled(suffix: str, value: float) -> Callable[[dict[str, torch.Tensor]], object]:
    """Puts ``value`` where the first scale of the module is; of exponents, the byte."""

    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensor = tensors[f"{MODULE}.{suffix}"]
        bits = tensor.dtype == torch.uint8
        tensor.view(-1)[0] = 255 if bits else torch.tensor(value).to(tensor.dtype)

    return change


@pytest.mark.parametrize(
    ("out", "suffix", "value"),
    [
        ("w4", "weight_scale", float("nan")),
        ("nf4", "weight_scale", float("inf")),
        ("kmeans", "weight_codebook", float("nan")),
        ("mxfp4", "weight_scale", float("nan")),
        ("nvfp4", "weight_scale", float("nan")),
        ("nvfp4", "weight_global_scale", 0.0),
    ],
    indirect=["out"],
)
def test_scales_that_mean_nothing_are_refused_on_opening(
    out: Path, suffix: str, value: float
) -> None:
    change_tensors(out, spoiled(suffix, value))
    for entrance in (open_artifact, tersor.load, tersor.Engine):
        with pytest.raises(FormatError, match=rf"tensor {MODULE}\.{suffix} holds"):
            entrance(out)


@pytest.mark.parametrize("out", ["nf4"], indirect=True)
def test_plain_transformers_refuses_them_too(out: Path, caplog: pytest.LogCaptureFixture) -> None:
    import tersor.hf  # noqa: F401 - registers the quantizer

    change_tensors(out, spoiled("weight_scale", float("nan")))
    with pytest.raises(RuntimeError, match="CONVERSION"):
        AutoModelForCausalLM.from_pretrained(out)
    assert f"FormatError: tensor {MODULE}.weight_scale holds NaN" in caplog.text


NORM, HEAD = "model.layers.0.input_layernorm.weight", "lm_head.weight"


@pytest.mark.parametrize(("name", "bits"), [(NORM, None), (HEAD, 8), (HEAD, 16)])
def test_what_the_engine_reads_whole_is_refused_by_name(
    out: Path, name: str, bits: int | None
) -> None:
    change_tensors(out, lambda tensors: tensors[name][0].fill_(float("nan")))
    with pytest.raises(NonFiniteWeight, match=f"out: tensor '{name}' holds NaN"):
        tersor.Engine(out, dense_bits=bits)


def test_an_embedding_that_is_not_finite_makes_no_token(out: Path) -> None:
    name = "model.embed_tokens.weight"
    change_tensors(out, lambda tensors: tensors[name][5].fill_(float("nan")))
    with pytest.raises(NonFiniteWeight, match="logits hold NaN or infinity: a weight is damaged"):
        list(tersor.Engine(out).generate_batch_tokens([[5, 6]], 1))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("norm", ["model.norm", "model.layers.1.post_attention_layernorm"])
def test_activations_that_overflow_make_no_logits(out: Path, norm: str, bits: int) -> None:
    name = f"{norm}.weight"
    change_tensors(out, lambda tensors: tensors[name].fill_(3e38))
    engine = tersor.Engine(out, activation_bits=bits)
    for text in ([7], [5, 6, 7]):
        with pytest.raises(NonFiniteWeight, match="or so large that activations overflow; make"):
            engine.logits(text)


def test_tokens_that_are_not_finite_are_forgotten(out: Path) -> None:
    expected = tersor.Engine(out).logits([6, 7])
    name = "model.embed_tokens.weight"
    change_tensors(out, lambda tensors: tensors[name][5].fill_(float("nan")))
    engine = tersor.Engine(out)
    for text in ([5, 6], [6, 5]):
        with pytest.raises(NonFiniteWeight, match="logits hold NaN"):
            engine.logits(text)
    assert (engine.logits([6, 7]) == expected).all()


def test_a_norm_that_is_not_finite_is_refused_by_load(out: Path) -> None:
    name = "model.layers.0.input_layernorm.weight"
    change_tensors(out, lambda tensors: tensors[name][3:4].fill_(float("inf")))
    for kernels in (True, False):
        with pytest.raises(NonFiniteWeight, match=f"^{out}: parameter {name} holds NaN or inf"):
            tersor.load(out, kernels=kernels)


def test_a_matrix_in_three_dimensions_is_refused_by_the_engine(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path)
    name = "model.layers.0.mlp.up_proj.weight"
    change_tensors(tmp_path, lambda tensors: tensors.update({name: tensors[name][None]}))
    with pytest.raises(SourceError, match=f"tensor {name} is .1, 160, 64., no matrix"):
        tersor.Engine(tmp_path)


def test_shapes_are_those_of_the_model_before(out: Path) -> None:
    before = load_file(out.parent / "model" / "model.safetensors")
    assert open_artifact(out).shapes == {n: tuple(t.shape) for n, t in before.items()}


def test_sizes_that_are_not_those_of_the_weights_are_refused(out: Path) -> None:
    for directory in (out, out.parent / "model"):
        file = directory / "config.json"
        config = json.loads(file.read_text()) | {"intermediate_size": 176}
        file.write_text(json.dumps(config))
        for entrance in (tersor.load, tersor.Engine):
            with pytest.raises(SourceError, match=r"config\.json: intermediate_size is 176, which"):
                entrance(directory)
