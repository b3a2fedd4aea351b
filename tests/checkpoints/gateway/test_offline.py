"""Nothing is looked for on a hub because a file is missing, in a library's use either."""

import json
import socket
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest

import tersor
from tersor.checkpoints.gateway.configuration import configuration
from tersor.checkpoints.gateway.tokenizer import load_tokenizer
from tersor.errors import SourceError
from tiny_models import save_tiny, save_tokenizer


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every address that somebody wanted to reach."""
    found: list[Any] = []

    def reach(*arguments: Any, **_: Any) -> Any:
        found.append(arguments)
        raise OSError("nothing is reached in a test")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", reach)
    monkeypatch.setattr(socket.socket, "connect", reach)
    return found


def test_what_is_there_is_all_there_is(tmp_path: Path, calls: list[Any]) -> None:
    save_tiny("llama", tmp_path)
    with pytest.raises(SourceError, match="no tokenizer that transformers can load"):
        load_tokenizer(tmp_path)
    save_tokenizer(tmp_path)
    (tmp_path / "generation_config.json").unlink()
    load_tokenizer(tmp_path)
    tersor.load(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(SourceError):
        tersor.load(tmp_path)
    with pytest.raises(SourceError):
        load_tokenizer(tmp_path / "openai-community" / "gpt2")
    with pytest.raises(SourceError):
        configuration(Path("openai-community/gpt2"))
    assert calls == []


def test_a_name_in_a_file_is_not_followed(tmp_path: Path, calls: list[Any]) -> None:
    save_tokenizer(tmp_path)
    named = {"_name_or_path": "openai-community/gpt2", "auto_map": {"AutoConfig": "a/b--c.C"}}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "x", **named}))
    load_tokenizer(tmp_path)
    with pytest.raises(SourceError, match=r"own code \(a/b--c\.C\) is never run"):
        configuration(tmp_path)
    assert calls == []
