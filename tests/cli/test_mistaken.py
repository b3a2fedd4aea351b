"""What is no model is recognised by every command, and by ``--base``."""

from pathlib import Path

import pytest

from tersor.cli.main import run
from tiny_models import save_tiny, save_tokenizer

COMMANDS = {
    "quantize": ["quantize", "GIVEN", "-o", "OUT"],
    "compare": ["compare", "GIVEN", "--recipes", "w4", "-o", "OUT"],
    "restore": ["restore", "GIVEN", "-o", "OUT"],
    "evaluate": ["evaluate", "GIVEN"],
    "evaluate --base": ["evaluate", "MODEL", "--base", "GIVEN"],
    "evaluate --engine": ["evaluate", "GIVEN", "--engine"],
    "generate": ["generate", "GIVEN", "--prompt", "x"],
    "chat": ["chat", "GIVEN"],
    "bench": ["bench", "GIVEN"],
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model")
    save_tiny("llama", directory)
    save_tokenizer(directory)
    return directory


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_is(
    command: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / "adapter_config.json").write_text("{}")
    places = {"GIVEN": given, "MODEL": model, "OUT": tmp_path / "out"}
    line = [str(places.get(word, word)) for word in COMMANDS[command]]
    capsys.readouterr()
    assert run(line) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {given}: an adapter (LoRA) without the model")
    assert said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["given"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_gguf_file_that_ends_early_is_named(
    command: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = tmp_path / "m.gguf"
    given.write_bytes(b"GGUF")
    places = {"GIVEN": given, "MODEL": model}
    capsys.readouterr()
    assert run([str(places.get(word, word)) for word in COMMANDS[command]]) == 1
    assert f"{given}: the header ends in the middle" in capsys.readouterr().err
