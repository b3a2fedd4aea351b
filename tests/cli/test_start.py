"""Running a model imports neither torch nor transformers, and works where they cannot be."""

import os
import subprocess
import sys
from pathlib import Path

import gguf
import pytest

import tersor
from gguf_files import bpe_metadata, write_gguf
from tersor.cli.main import run
from tiny_models import save_tiny, save_tokenizer

Q8 = gguf.GGMLQuantizationType.Q8_0
# Everything else that is installed may not even be importable.
ALLOWED = frozenset({
    "annotated_doc", "annotated_types", "click", "colorama", "jinja2",
    "markupsafe", "numpy", "pydantic", "pydantic_core", "safetensors", "shellingham", "tersor",
    "tokenizers", "typer", "typing_extensions", "typing_inspection",
})  # fmt: skip
START = """
import sys
allowed = set(sys.argv.pop(1).split(",")) | sys.stdlib_module_names
class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed and not name.startswith("_"):
            raise ImportError(f"{name} is not to be imported")
sys.meta_path.insert(0, Refusing())
"""
COMMAND = "from tersor.cli.main import run; status = run(sys.argv[1:]); "
ENGINE = (
    "import tersor; engine = tersor.Engine(sys.argv[1]); status = 0; "
    "print(*(token.text for token in engine.generate('hello', max_new_tokens=4)), sep='', end=''); "
)
LIST = """
print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
sys.exit(status)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and quantized ones, whose packed weights and tokenizers are kept."""
    home = tmp_path_factory.mktemp("home")
    save_tiny("llama", home / "model")
    save_tokenizer(home / "model")
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    (home / "model" / "chat_template.jinja").write_text(template)
    tersor.quantize(home / "model", home / "w4", "w4", group_size=32)
    tersor.quantize(home / "model", home / "whole", "nf4", include=["lm_head", "embed_tokens"])
    save_tiny("llama", home / "whole vocabulary", vocab_size=384)
    metadata = bpe_metadata("gpt-2")
    write_gguf(home / "whole vocabulary", home / "model.gguf", kind=Q8, metadata=metadata)
    return home


@pytest.fixture
def kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TERSOR_CACHE", str(home / "cache"))
    return home


def alone(code: str, *arguments: str | Path, said: str = "") -> tuple[int, str, str]:
    """Status and output of a process that may import little."""
    made = subprocess.run(
        [sys.executable, "-c", START + code + LIST, ",".join(ALLOWED), *map(str, arguments)],
        capture_output=True,
        check=False,
        input=said.encode(),
        env={**os.environ, "COLUMNS": "80"},
    )
    return made.returncode, made.stdout.decode(), made.stderr.decode()


def imported(listed: str) -> set[str]:
    """Of the modules that were imported those that are neither Python's nor tersor's."""
    last = listed.strip().splitlines()[-1].split()
    own = sys.stdlib_module_names | {"tersor"}
    return {name for name in last if name not in own and not name.startswith("_")}


@pytest.mark.parametrize("model", ["model", "w4", "whole", "model.gguf"])
def test_generate(kept: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["generate", str(kept / model), "--prompt", "hello", "--max-new-tokens", "4"]
    assert run(command) == 0
    expected = capsys.readouterr().out
    status, printed, listed = alone(COMMAND, *command)
    assert (status, printed) == (0, expected)
    found = imported(listed)
    assert {"numpy", "tokenizers"} <= found
    assert not found & {"torch", "transformers", "accelerate", "compressed_tensors", "rich", "yaml"}
    assert found <= ALLOWED
    assert "jinja2" not in found


def test_chat(
    kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["chat", str(kept / "w4"), "--max-new-tokens", "4", "--temperature", "0"]
    said = iter(["hi"])

    def ask(_: str = "") -> str:
        for line in said:
            return line
        raise EOFError

    monkeypatch.setattr("builtins.input", ask)
    assert run(command) == 0
    expected = capsys.readouterr().out
    status, printed, listed = alone(COMMAND, *command, said="hi\n")
    assert (status, printed.replace("> ", "")) == (0, expected)
    assert "jinja2" in imported(listed)


def test_bench(kept: Path) -> None:
    command = ["bench", str(kept / "w4"), "--prompt-tokens", "5", "--new-tokens", "3", "--json"]
    assert run(command) == 0
    status, printed, listed = alone(COMMAND, *command)
    assert status == 0
    assert '"decode"' in printed
    assert not imported(listed) & {"tokenizers", "jinja2"}


def test_the_engine(kept: Path) -> None:
    engine = tersor.Engine(kept / "w4")
    expected = "".join(token.text for token in engine.generate("hello", max_new_tokens=4))
    status, printed, listed = alone(ENGINE, kept / "w4")
    assert (status, printed) == (0, expected)
    assert imported(listed) <= {"numpy", "safetensors", "tokenizers"}


def test_what_was_never_opened_needs_the_others(kept: Path) -> None:
    """And says so, in place of running what nobody has checked."""
    tersor.quantize(kept / "model", kept / "new", "w4", group_size=32, force=True)
    status, printed, said = alone(COMMAND, "generate", kept / "new", "--prompt", "hello")
    assert (status, printed) == (1, "")
    assert "is not to be imported" in said


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--bits", "99"], "--bits must be a whole number from 2 to 8, not 99"),
        (["--group-size", "1"], "--group-size must be 0 (one scale per channel) or a whole"),
        (["--tokens", "1"], "--tokens must be"),
        (["--window", "1"], "--window must be"),
        (["--seed", "-1"], "--seed must be"),
    ],
)
def test_a_wrong_number_is_refused_before_anything_is_imported(
    tmp_path: Path, flags: list[str], said: str
) -> None:
    status, _, printed = alone(COMMAND, "quantize", tmp_path, "-o", tmp_path / "out", *flags)
    assert status == 2
    assert said in printed
