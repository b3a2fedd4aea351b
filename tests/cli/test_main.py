"""The command line as a stranger uses it: exit status, one-line errors, clean JSON."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from typer.core import TyperGroup
from typer.main import get_command

from tersor.cli.app import app
from tersor.cli.main import run
from tersor.recipes import preset_names
from tiny_models import save_tiny

COMMANDS = [
    "restore",
    "quantize",
    "evaluate",
    "compare",
    "recipes",
    "demo",
    "generate",
    "chat",
    "bench",
    "cache",
]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_tiny("llama", tmp_path / "model")
    return tmp_path / "model"


def failure(capsys: pytest.CaptureFixture[str], *arguments: str | Path, status: int = 1) -> str:
    """Standard error of a command that must fail, with nothing on standard output."""
    capsys.readouterr()
    assert run([str(argument) for argument in arguments]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err
    assert captured.err.count("\n") == 1
    return captured.err


def test_help_needs_no_heavy_import() -> None:
    code = (
        "import sys; from tersor.cli.main import run; run(['--help']);"
        "heavy = {'torch', 'transformers', 'numpy', 'pydantic'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    for command in COMMANDS:
        assert command in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Usage: tersor" in shown
    assert command != "evaluate" or "tersor[tasks]" in shown  # brackets are no markup


def test_quantize_in_plain_text(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = model.parent / "out"
    assert run(["quantize", str(model), "-o", str(out), "--group-size", "16"]) == 0
    printed = capsys.readouterr().out
    assert "quantized  14 matrices" in printed
    assert "lm_head (head, not included)" in printed
    assert "compressed-tensors" in printed


def test_quantize_json_is_one_document(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = model.parent / "out"
    flags = ["--recipe", "w4", "--bits", "3", "--group-size", "32", "--asymmetric", "--json"]
    capsys.readouterr()
    assert run(["quantize", str(model), "-o", str(out), *flags]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["bits_per_quantized_weight"] > 3
    assert document["directory"] == str(out)
    assert captured.err == ""


def test_dry_run_tells_the_size_and_reads_no_weights(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = model.parent / "out"
    flags = ["-o", str(out), "--group-size", "16", "--json"]
    capsys.readouterr()
    assert run(["quantize", str(model), *flags, "--dry-run"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert not out.exists()
    assert run(["quantize", str(model), *flags]) == 0
    stored = load_file(out / "model.safetensors")
    assert planned["bytes"] == sum(t.numel() * t.element_size() for t in stored.values())
    # The header alone decides: weights that are garbage change nothing.
    file = model / "model.safetensors"
    content = file.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    file.write_bytes(content[:start] + b"\xff" * (len(content) - start))
    capsys.readouterr()
    assert "exists already" in failure(capsys, "quantize", model, *flags, "--dry-run")
    assert run(["quantize", str(model), *flags, "--dry-run", "--force"]) == 0
    assert json.loads(capsys.readouterr().out) == planned


def test_wrong_recipe(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = failure(capsys, "quantize", model, "-o", model.parent / "o", "--recipe", "vanila-int8")
    assert "did you mean 'vanilla-int8'?" in said


def test_wrong_recipe_key(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = model.parent / "mine.yaml"
    file.write_text("name: mine\nweights: {grid: int, bits: 4, granularty: group}\n")
    said = failure(capsys, "quantize", model, "-o", model.parent / "o", "--recipe", file)
    assert "mine.yaml" in said
    assert "did you mean 'granularity'?" in said


def test_output_exists(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--force" in failure(capsys, "quantize", model, "-o", model)


def test_source_that_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = failure(capsys, "quantize", tmp_path / "nowhere", "-o", tmp_path / "o")
    assert "nowhere" in said


def test_truncated_weights(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    said = failure(capsys, "quantize", model, "-o", model.parent / "o")
    assert "model.safetensors" in said
    assert not (model.parent / "o").exists()


def test_flags_that_do_not_apply(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = model.parent / "o"
    assert "--bits 3" in failure(
        capsys, "quantize", model, "-o", out, "--recipe", "nf4", "--bits", "3", status=2
    )
    assert "--asymmetric" in failure(
        capsys, "quantize", model, "-o", out, "--recipe", "fp8", "--asymmetric", status=2
    )
    assert "7 bits" in failure(capsys, "quantize", model, "-o", out, "--bits", "7", status=2)
    assert "--calibration" in failure(
        capsys, "quantize", model, "-o", out, "--calibration", model / "config.json", status=2
    )


def test_disk_too_small(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = shutil.disk_usage(model)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    said = failure(capsys, "quantize", model, "-o", model.parent / "o", "--group-size", "16")
    assert "free" in said


def test_a_misspelt_flag_is_a_usage_error(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["quantize", str(model), "-o", "x", "--group-sise", "16"]) == 2
    assert "--group-size" in capsys.readouterr().err


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tersor", "quantize", str(tmp_path / "no"), "-o", "x"]
    quiet = subprocess.run(command, check=False, capture_output=True, text=True)
    loud = subprocess.run([*command, "--debug"], check=False, capture_output=True, text=True)
    assert quiet.returncode == loud.returncode == 1
    assert "Traceback" not in quiet.stderr
    assert "Traceback" in loud.stderr


def test_interrupt_leaves_what_is_gone_on_with(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tersor.pipeline import quantize as pipeline

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "texts_about", interrupted)
    flags = ["-o", str(model.parent / "o"), "--group-size", "16"]
    assert run(["quantize", str(model), *flags]) == 130
    assert "interrupted; go on with --resume" in capsys.readouterr().err
    monkeypatch.undo()
    assert run(["quantize", str(model), *flags]) == 1
    assert "--resume" in capsys.readouterr().err
    assert run(["quantize", str(model), *flags, "--resume"]) == 0
    assert sorted(path.name for path in model.parent.iterdir()) == [
        "model", "o", "o.layers.csv", "o.log.jsonl",
    ]  # fmt: skip


def test_recipes_lists_and_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recipes"]) == 0
    listed = capsys.readouterr().out
    for name in ("vanilla-int8", "w8a8-static", "nf4", "log2", "fp8", "mxfp4", "nvfp4", "w2"):
        assert name in listed
    assert run(["recipes", "w4"]) == 0
    assert "bits: 4" in capsys.readouterr().out
    assert run(["recipes", "w44"]) == 1


def test_the_list_of_recipes_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recipes"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line[:2] == "  "]
    assert run(["recipes", "--json"]) == 0
    documents = json.loads(capsys.readouterr().out)
    assert listed == [document["recipe"] for document in documents]
    assert sorted(listed) == list(preset_names())
    assert run(["recipes", "w4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["weights"]["bits"] == 4


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_what_is_true(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every default that is a value stands behind its option, and no bracket is lost."""
    monkeypatch.setenv("COLUMNS", "300")
    assert run([command, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    options = [one for one in group.commands[command].params if one.name != "help"]
    for option in options:
        name = option.opts[0]
        shown = next((line for line in lines if f" {name} " in line), "")
        if isinstance(option.default, int | float | str) and str(option.default) not in (
            "False",
            "",
        ):
            assert f"[default: {option.default}]" in shown, name
        for word in re.findall(r"\S*\[\S*", getattr(option, "help", "") or ""):
            assert word.replace("\\", "") in shown, name


def test_windows_of_a_comparison_are_not_all(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    for command, default in (("compare", "8"), ("demo", "2"), ("evaluate", "(all)")):
        assert run([command, "--help"]) == 0
        assert f"Windows to score. [default: {default}]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("quantize x --recipe w4-", ["w4-asym", "w4-mse"]),
        ("compare x --recipes nf4,w4,w4", ["nf4,w4,w4-asym", "nf4,w4,w4-mse"]),
        ("recipes rotate-", ["rotate-gptaq", "rotate-gptq"]),
        ("quantize x --recipe mi", ["mine.yaml"]),
    ],
)
def test_completion_offers_recipes(words: str, offered: list[str], tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").touch()
    line = f"tersor {words}"
    asked = {
        "_TERSOR_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split()) - 1),
    }
    code = "from tersor.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | asked,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == offered


def test_pickled_weights(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    tensors = load_file(model / "model.safetensors")
    torch.save(tensors, model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()
    out = model.parent / "o"
    said = failure(capsys, "quantize", model, "-o", out, "--group-size", "16")
    assert "--allow-pickle" in said
    flags = ["--group-size", "16", "--allow-pickle"]
    assert run(["quantize", str(model), "-o", str(out), *flags]) == 0


def test_text_that_is_too_short(
    smollm2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "short.txt"
    text.write_text("Only a few words.")
    said = failure(capsys, "evaluate", smollm2, "--text", text)
    assert "tokens" in said


def test_no_bars_in_a_pipe(model: Path) -> None:
    command = [sys.executable, "-m", "tersor", "quantize", str(model), "-o"]
    done = subprocess.run(
        [*command, str(model.parent / "o"), "--group-size", "16"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
