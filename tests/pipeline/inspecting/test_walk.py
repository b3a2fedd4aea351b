"""Models and artifacts looked at whole: against hooks on the model, and through the command."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import tersor
from tersor.calibration.text import calibration_files, pack
from tersor.cli.main import run
from tersor.errors import FormatError, OptionError, SourceError
from tersor.pipeline.inspecting.opened import open_original
from tersor.runtime.companions import model_tokenizer
from tersor.runtime.load import load
from tiny_models import save_tiny, save_tokenizer


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("inspected")
    save_tiny("llama", root / "model")
    save_tokenizer(root / "model")
    tersor.quantize(root / "model", root / "w4", "w4", group_size=16)
    tersor.quantize(root / "model", root / "nf4", "nf4", exclude=["layers.0.mlp.up_proj"])
    return root


@pytest.fixture(scope="module")
def found(places: Path) -> tersor.ModelInspection:
    seen = tersor.inspect(places / "model")
    assert isinstance(seen, tersor.ModelInspection)
    return seen


def test_inputs_are_those_of_the_whole_model(places: Path, found: tersor.ModelInspection) -> None:
    model: Any = load(places / "model")
    largest: dict[str, torch.Tensor] = {}

    def watch(name: str) -> Any:
        def hook(_: Any, args: tuple[torch.Tensor, ...]) -> None:
            seen = args[0].flatten(0, -2).abs().amax(0)
            largest[name] = torch.maximum(largest.get(name, seen), seen)

        return hook

    for view in found.matrices:
        model.get_submodule(view.module).register_forward_pre_hook(watch(view.module))
    assert found.text is not None
    assert (found.text.windows, found.text.window) == (8, 128)
    packed = pack(model_tokenizer(places / "model"), calibration_files(), 128, 8)
    with torch.no_grad():
        model(input_ids=packed.tokens)
    for view in found.matrices:
        assert view.inputs is not None
        expected = largest[view.module].sort(descending=True).values
        assert torch.allclose(view.inputs.sorted_, expected, rtol=1e-4)


def test_every_linear_of_the_blocks_is_there(found: tersor.ModelInspection) -> None:
    assert len(found.matrices) == 14
    assert found.notes == ("left out, being no linears of blocks: model.embed_tokens, lm_head",)
    assert {view.block for view in found.matrices} == {0, 1}
    assert {role.role for role in found.roles} >= {"self_attn.q_proj", "mlp.down_proj"}
    document = found.to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == document


@pytest.mark.parametrize("family", ["gpt2", "mixtral"])
def test_other_families(family: str, tmp_path: Path) -> None:
    save_tiny(family, tmp_path)
    save_tokenizer(tmp_path)
    seen = tersor.inspect(tmp_path)
    assert isinstance(seen, tersor.ModelInspection)
    roles = {role.role: role for role in seen.roles}
    if family == "mixtral":
        assert roles["block_sparse_moe.experts.*.w2"].matrices == 8
    else:
        view = next(v for v in seen.matrices if v.module == "transformer.h.0.mlp.c_fc")
        assert view.shape == (160, 64)
    assert all(view.inputs is not None for view in seen.matrices)


def test_a_stack_of_experts_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_tiny("qwen3_moe", tmp_path, fused=True)
    original = open_original(tmp_path)
    read: list[str] = []
    whole = type(original.source).read

    def counted(self: Any, names: Any) -> Any:
        names = list(names)
        read.extend(names)
        return whole(self, names)

    monkeypatch.setattr(type(original.source), "read", counted)
    experts = [module for module in original.holders if ".experts." in module]
    shapes = {tuple(original.matrix(module).shape) for module in experts}
    assert len(experts) == 2 * 4 * 3
    assert shapes == {(96, 64), (64, 96)}
    assert len(read) == 4


def test_a_model_that_reads_no_text_is_looked_at_all_the_same(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path)
    seen = tersor.inspect(tmp_path)
    assert isinstance(seen, tersor.ModelInspection)
    assert seen.text is None
    assert "activations were not looked at: " in seen.notes[1]
    assert all(view.inputs is None for view in seen.matrices)


def test_an_artifact_loses_what_its_record_says(places: Path) -> None:
    seen = tersor.inspect(places / "w4", base=places / "model")
    assert isinstance(seen, tersor.ArtifactInspection)
    records = json.loads((places / "w4" / "tersor.json").read_text())
    said = {one["module"]: one["sqnr_db"] for one in records["layers"] if one["sqnr_db"]}
    assert {view.module: view.sqnr_db for view in seen.matrices} == pytest.approx(said)
    assert seen.recipe == "w4"


def test_two_artifacts(places: Path) -> None:
    seen = tersor.inspect(places / "w4", places / "nf4", base=places / "model")
    assert isinstance(seen, tersor.PairInspection)
    assert seen.names == ("w4", "nf4")
    assert "1 matrices are quantized only in w4" in " ".join(seen.findings)
    document = seen.to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == document


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        (("model", "w4"), OptionError, "other has no effect"),
        (("w4", "model"), OptionError, "give it as base"),
        (("nowhere",), SourceError, "nowhere"),
        (("w4", "nowhere"), SourceError, "nowhere"),
    ],
)
def test_what_is_refused(given: tuple[str, ...], kind: Any, said: str, places: Path) -> None:
    with pytest.raises(kind) as raised:
        tersor.inspect(*(places / name for name in given))
    assert said in str(raised.value)


def test_options_without_effect(places: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"^base has no effect"):
        tersor.inspect(places / "model", base=places / "model")
    with pytest.raises(OptionError, match=r"^asymmetric has no effect"):
        tersor.inspect(places / "w4", asymmetric=True)
    with pytest.raises(OptionError, match=r"^activations has no effect"):
        tersor.inspect(places / "w4", activations=False)
    save_tiny("llama", tmp_path, hidden_size=32)
    with pytest.raises(OptionError, match=r"is \(32, 160\), in "):
        tersor.inspect(places / "w4", base=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["model", "--no-activations"], "14 linears in 2 blocks"),
        (["w4"], "give it as --base"),
        (["w4", "nf4"], "beside"),
        (["w4", "--base", "model"], "What lost most:"),
    ],
)
def test_the_command(
    arguments: list[str], said: str, places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(places / one) if not one.startswith("-") else one for one in arguments]
    assert run(["inspect", *paths]) == 0
    assert said in capsys.readouterr().out
    assert run(["inspect", *paths, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == tersor.__version__


@pytest.mark.parametrize(
    ("recipe", "suffix", "value", "said"),
    [
        ("fp8", "weight", float("nan"), "holds codes that stand for no number"),
        ("fp8", "weight_scale", 3e38, "whose squares no float32 number holds"),
        ("w4", "weight_scale", 3e38, "has weights up to inf"),
    ],
)
def test_damaged_artifacts(
    recipe: str, suffix: str, value: float, said: str, places: Path, tmp_path: Path
) -> None:
    flags = {"group_size": 16} if recipe == "w4" else {}
    tersor.quantize(places / "model", tmp_path, recipe, force=True, **flags)  # type: ignore[arg-type]
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    name = f"model.layers.1.mlp.up_proj.{suffix}"
    tensors[name] = tensors[name].float().fill_(value).to(tensors[name].dtype)
    save_file(tensors, file, metadata={"format": "pt"})
    for call in (tersor.inspect, lambda path: tersor.explain_weight(path, "layers.1.mlp.up_proj")):
        with pytest.raises((FormatError, SourceError)) as raised:
            call(tmp_path)
        assert said in str(raised.value)


def test_weights_that_are_too_large(tmp_path: Path) -> None:
    model: Any = save_tiny("llama", tmp_path)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[3, 4] = 1e30
    model.save_pretrained(tmp_path)
    with pytest.raises(SourceError, match=r"up_proj.weight has weights up to 1e\+30"):
        tersor.inspect(tmp_path)
