"""``compare`` as a stranger uses it: where it writes, and what stays when it does not get there."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import tersor
import tersor.pipeline.studies.quantizing as pipeline
from calibrating import small
from tersor.checkpoints.output.staging import Lock
from tersor.cli.main import run
from tersor.errors import OutputError
from tersor.recipes import dump
from tiny_models import save_text, save_tiny, save_tokenizer

TABLES = ["compare.csv", "compare.html", "compare.json", "compare.md"]
STUDY = "study.json"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_tiny("llama", tmp_path / "model")
    save_tokenizer(tmp_path / "model")
    save_text(tmp_path / "text.txt", 400)
    return tmp_path / "model"


def compare(model: Path, recipes: str, out: Path, *more: str) -> int:
    flags = ["--text", str(model.parent / "text.txt"), "--context", "64", "--windows", "2", *more]
    return run(["compare", str(model), "--recipes", recipes, "-o", str(out), *flags])


def inside(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_directory_whose_parents_are_missing(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = model.parent / "new" / "out"
    assert compare(model, "vanilla-int8,nf4", out) == 0, capsys.readouterr().err
    assert inside(out) == [*TABLES, "nf4", STUDY, "vanilla-int8"]
    assert compare(model, "log2", out) == 0  # beside what is there
    assert "log2" in inside(out)


@pytest.mark.parametrize("name", ["../escaped", "original", "compare.csv", ""])
def test_a_recipe_cannot_write_outside_or_over_the_tables(
    name: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = model.parent / "mine.yaml"
    file.write_text(f'name: "{name}"\nweights: {{grid: int, bits: 4}}\n')
    before = inside(model.parent)
    assert compare(model, f"vanilla-int8,{file}", model.parent / "out", "--force") == 1
    assert "mine.yaml: a recipe cannot be called" in capsys.readouterr().err
    assert inside(model.parent) == before


def test_a_preset_and_its_copy(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = model.parent / "mine.yaml"
    capsys.readouterr()
    assert run(["recipes", "w4"]) == 0
    file.write_text(capsys.readouterr().out)
    assert compare(model, f"w4,{file}", model.parent / "out", "--force") == 1
    assert "two recipes are called 'w4'" in capsys.readouterr().err
    assert not (model.parent / "out").exists()
    file.write_text(file.read_text().replace("name: w4", "name: mine").replace("64", "16"))
    assert compare(model, f"vanilla-int8,{file}", model.parent / "out") == 0
    assert "mine" in inside(model.parent / "out")


@pytest.mark.parametrize("error", [KeyboardInterrupt, OutputError("the disk is full")])
def test_what_is_complete_is_named_and_kept(
    error: BaseException | type[BaseException],
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quantize, left = pipeline.quantize_to, [2]

    def stopped(*given: object, **more: object) -> object:
        left[0] -= 1
        if not left[0]:
            raise error
        return quantize(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "quantize_to", stopped)
    out = model.parent / "out"
    status, tables, before = 130, "no tables were written", []
    if error is not KeyboardInterrupt:
        status, tables, before = 1, "the tables there are an earlier run's", ["compare.csv"]
        out.mkdir()
        (out / "compare.csv").touch()
    with pytest.warns(UserWarning, match=rf"complete and kept: \S*out/nf4; {tables}"):
        assert compare(model, "nf4,log2", out) == status
    assert inside(out) == [*before, "nf4", STUDY]
    assert "no output" not in capsys.readouterr().err
    capsys.readouterr()
    left[0] = 1
    assert compare(model, "log2", model.parent / "other") == status  # nothing is complete
    assert inside(model.parent / "other") == [STUDY]  # what the original predicts was measured


def test_outputs_are_looked_at_before_any_work(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = model.parent / "out"
    (out / "log2").mkdir(parents=True)
    (out / "log2" / "thesis.tex").touch()
    monkeypatch.setattr(pipeline, "quantize_to", None)
    assert compare(model, "nf4,log2", out) == 1
    assert "out/log2: exists already" in capsys.readouterr().err
    assert compare(model, "nf4,log2", out, "--force") == 1
    assert "out/log2: not a model directory" in capsys.readouterr().err
    (model.parent / "file").touch()
    assert compare(model, "nf4", model.parent / "file") == 1
    assert "file: exists and is a file" in capsys.readouterr().err


def test_two_runs_in_one_directory(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = model.parent / "out"
    out.mkdir()
    other = Lock(out, out)
    assert compare(model, "nf4", out) == 1
    assert "out: another run is writing it" in capsys.readouterr().err
    other.release()
    assert compare(model, "nf4", out) == 0


def test_the_tables_say_what_was_scored_and_calibrated_on(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, text = model.parent / "out", save_text(model.parent / "more.txt", 700, seed=1)
    recipe = model.parent / "mine.yaml"
    recipe.write_text(dump(small("gptq", name="mine")))
    capsys.readouterr()
    flags = ("--calibration", str(text), "--json")
    assert compare(model, f"nf4,{recipe}", out, *flags) == 0
    found = json.loads(capsys.readouterr().out)
    assert json.loads((out / "compare.json").read_text()) == found
    (scored,) = found["texts"]
    assert (scored["name"], scored["windows"], scored["context"]) == ("text.txt", 2, 64)
    assert len(scored["sha256"]) == len(scored["windows_sha256"]) == 64
    assert found["versions"]["tersor"]
    assert found["recipes"]["nf4"]["calibration"] == []
    made = json.loads((out / "mine" / "tersor.json").read_text())
    assert found["recipes"]["mine"] == {
        "source_digest": made["source"]["digest"],
        "digest": made["digest"],
        "calibration": made["calibration"],
    }
    table = (out / "compare.md").read_text()
    said = f"text.txt (sha256 {scored['sha256'][:12]}…), without the first of each"
    assert f"- scored 2 windows of 64 tokens of {said}\n" in table
    assert "- calibrated mine on 288 tokens in 9 windows of 32, of more.txt" in table


def test_other_texts_than_a_recipe_was_made_with_are_found_first(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = save_text(model.parent / "more.txt", 700, seed=1)
    tersor.quantize(model, model.parent / "first", small("gptq"), calibration=[text])
    recipe = model.parent / "first" / "recipe.yaml"
    assert compare(model, f"nf4,{recipe}", model.parent / "out") == 1
    assert "made with 'more.txt'" in capsys.readouterr().err
    assert not (model.parent / "out").exists()


def pickled(model: Path) -> list[str]:
    """The weights as ``pytorch_model.bin``; the flag that accepts them."""
    file = model / "model.safetensors"
    torch.save(load_file(file), model / "pytorch_model.bin")
    file.unlink()
    return ["--allow-pickle"]


def adapted(model: Path) -> list[str]:
    """A LoRA adapter beside the weights; the flag that merges it."""
    module = "base_model.model.model.layers.0.mlp.up_proj"
    factors = {f"{module}.lora_A.weight": torch.ones(2, 64)}
    factors |= {f"{module}.lora_B.weight": torch.full((160, 2), 0.01)}
    save_file(factors, model / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 2}
    (model / "adapter_config.json").write_text(json.dumps(settings))
    return ["--merge-adapter"]


def in_eight_bits(model: Path) -> list[str]:
    """One matrix published in FP8."""
    file, name = model / "model.safetensors", "model.layers.0.mlp.up_proj.weight"
    tensors = load_file(file)
    tensors[name] = tensors[name].to(torch.float8_e4m3fn)
    tensors[f"{name}_scale_inv"] = torch.ones(2, 1)
    save_file(tensors, file, metadata={"format": "pt"})
    settings = json.loads((model / "config.json").read_text())
    settings["quantization_config"] = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    (model / "config.json").write_text(json.dumps(settings))
    return []


@pytest.mark.parametrize("publish", [pickled, adapted, in_eight_bits])
def test_sources_are_those_of_quantize(
    publish: Callable[[Path], list[str]], model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = publish(model)
    out = model.parent / "out"
    if flags:
        assert compare(model, "vanilla-int8", out) == 1
        assert flags[0] in capsys.readouterr().err
    assert compare(model, "vanilla-int8", out, *flags) == 0, capsys.readouterr().err
    rows = json.loads((out / "compare.json").read_text())["rows"]
    # The original is what was quantized: an adapter or a scale left out would be seen.
    assert 0 < rows[1]["kl_mean"] < 1e-3
