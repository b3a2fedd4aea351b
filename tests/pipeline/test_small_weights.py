"""float16 models with weights that float16 has no scales for, and with very large ones."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import tersor
from calibrating import quantize, save_model, small
from tersor.cli.main import run
from tersor.errors import SchemeError
from tersor.pipeline.planning.stored_types import cast
from tersor.pipeline.result import QuantizeResult
from tersor.training import Distill

UP = "model.layers.1.mlp.up_proj"


def changed_model(directory: Path, factor: float, dtype: torch.dtype = torch.float16) -> Path:
    """A tiny Llama in ``dtype`` with one matrix times ``factor``."""
    save_model("llama", directory)
    tensors = load_file(directory / "model.safetensors")
    tensors[f"{UP}.weight"] *= factor
    tensors = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def sqnr(result: QuantizeResult) -> float:
    found = next(record.sqnr_db for record in result.layers if record.module == UP)
    assert found is not None
    return found


def made(model: Path, out: Path, recipe: str) -> QuantizeResult:
    chosen = small(recipe)
    if isinstance(chosen.training, Distill):
        chosen = small(recipe, training=Distill(tokens=256))
    if chosen.needs_calibration:
        return quantize(model, out, chosen)
    return tersor.quantize(model, out, chosen)


@pytest.mark.parametrize(
    "recipe", ["w4", "w4-asym", "w8a8-static", "gptaq", "awq-gptq", "rotate-gptq", "distill"]
)
def test_small_weights_are_rounded_as_well_as_others(tmp_path: Path, recipe: str) -> None:
    model, usual = (changed_model(tmp_path / f"x{f}", f) for f in (2e-5, 1.0))
    result = made(model, tmp_path / "out", recipe)
    # Its own float16 numbers are coarse, but those are what is to be kept.
    assert sqnr(result) > sqnr(made(usual, tmp_path / "usual", recipe)) - 1
    assert not any(record.damage for record in result.layers)
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    assert tensors[f"{UP}.weight_scale"].dtype == torch.float32
    assert tensors[f"{UP.replace('1', '0')}.weight_scale"].dtype == torch.float16
    assert any("float16 cannot hold its scales" in note for note in result.notes)
    assert result.plan.bytes == sum(tensor.nbytes for tensor in tensors.values())
    assert json.loads((tmp_path / "out" / "tersor.json").read_text())["damaged"] == []


def test_sizes_of_a_dry_run_hold_but_for_such_scales(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = changed_model(tmp_path / "model", 2e-5)
    flags = ["quantize", str(model), "-o", str(tmp_path / "out"), "--group-size", "16"]
    assert run([*flags, "--dry-run"]) == 0
    assert "take float32: at most" in capsys.readouterr().out
    assert run([*flags, "--dry-run", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert run([*flags, "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert planned["bytes"] < done["bytes"] < planned["bytes_at_most"]
    assert planned["readers"] == done["readers"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_large_matrix_is_made_up_for_and_that_is_no_damage(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    """What block 0 writes is 1000 times what o of block 1 does, so o repairs rather than computes:
    −25 dB of its own weights, 18 dB of what it was aimed at, and less lost in the end."""
    save_model("llama", tmp_path / "model")
    tensors = load_file(tmp_path / "model" / "model.safetensors")
    tensors["model.layers.0.mlp.up_proj.weight"] *= 1000
    tensors = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    save_file(tensors, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    result = quantize(tmp_path / "model", tmp_path / "out", small("rotate-gptaq"))
    worst = min(result.layers, key=lambda record: record.sqnr_db or 99)
    assert worst.module.startswith("model.layers.1.")
    assert worst.sqnr_db is not None
    assert worst.aimed_db is not None
    assert worst.sqnr_db < 0
    assert worst.aimed_db > 10
    assert worst.damage == ""
    assert "makes up for what earlier blocks lost" in worst.note


def test_what_lost_everything_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two bits, one scale a row, and weights that are small but for one in each row."""
    save_model("llama", tmp_path / "model")
    tensors = load_file(tmp_path / "model" / "model.safetensors")
    weight = tensors[f"{UP}.weight"]
    weight.fill_(0.49)
    weight[:, 5] = 3.0
    save_file(tensors, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    model, out = str(tmp_path / "model"), str(tmp_path / "out")
    assert run(["quantize", model, "-o", out, "--recipe", "w2", "--group-size", "0"]) == 0
    printed = capsys.readouterr().out
    warning = printed.splitlines()[-1]
    assert warning.startswith("WARNING    ")
    assert "dB, so little is left of it" in warning
    assert "readers    tersor, transformers" in printed
    described = json.loads((tmp_path / "out" / "tersor.json").read_text())
    assert UP in [entry["module"] for entry in described["damaged"]]
    assert "**Warning:**" in (tmp_path / "out" / "README.md").read_text()


def test_what_is_kept_must_fit_its_type() -> None:
    good = torch.tensor([1.0, -2.0, 1e-9])
    assert cast("a", good, torch.float16).dtype == torch.float16
    for bad in (torch.tensor([1.0, 7e4]), torch.tensor([1e-9, 2e-9])):
        with pytest.raises(SchemeError, match=r"a: values of up to .* do not fit torch\.float16"):
            cast("a", bad, torch.float16)
    assert cast("a", torch.tensor([float("inf")]), torch.float16).isinf().all()
