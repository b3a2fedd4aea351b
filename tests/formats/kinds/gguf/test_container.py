"""Which files are GGUF: opened by their name, replaced for what they hold."""

from pathlib import Path

import gguf
import pytest

import tersor
from gguf_files import write_gguf
from tersor.errors import OutputError, SourceError
from tersor.formats import known_formats
from tersor.formats.kinds.gguf.container import GGUF_FILE
from tersor.pipeline.exchange.convert import convert
from tiny_models import save_tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    save_tiny("llama", home / "hf")
    return write_gguf(home / "hf", home / "model.gguf", kind=gguf.GGMLQuantizationType.Q8_0)


@pytest.mark.parametrize("content", [b"", b"GGU", b"what I meant to remember", b"GGML" + bytes(90)])
def test_what_is_only_called_gguf_is_not_replaced(
    model: Path, tmp_path: Path, content: bytes
) -> None:
    notes = tmp_path / "notes.gguf"
    notes.write_bytes(content)
    format_ = known_formats().named("gguf")
    with pytest.raises(OutputError, match="not a file of this format, so it is not replaced even"):
        convert(model, notes, format_, force=True)
    with pytest.raises(OutputError, match="not a file of this format"):
        tersor.quantize(model.parent / "hf", notes, "gguf-q4_0", force=True)
    assert notes.read_bytes() == content


def test_it_is_opened_with_the_errors_of_gguf(tmp_path: Path) -> None:
    notes = tmp_path / "notes.gguf"
    notes.write_text("what I meant to remember")
    assert (GGUF_FILE.claims(notes), GGUF_FILE.recognizes(notes)) == (True, False)
    with pytest.raises(SourceError, match=r"notes\.gguf: not a GGUF file"):
        known_formats().open(notes)


@pytest.mark.parametrize("name", ["old.gguf", "old"])
def test_a_gguf_file_is_replaced_whatever_its_name(model: Path, tmp_path: Path, name: str) -> None:
    old = tmp_path / name
    old.write_bytes(model.read_bytes()[:999])
    convert(model, old, known_formats().named("gguf"), force=True)
    assert tersor.check(old).sound
