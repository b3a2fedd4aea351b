"""A hub on this machine in place of the real one."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import gguf
import pytest

from gguf_files import write_gguf
from hub.local_hub import Hub, local_hub
from tiny_models import save_tiny, save_tokenizer


@pytest.fixture(scope="session")
def repos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By name: a model with much beside it, one GGUF file, several, and pickled weights."""
    home = tmp_path_factory.mktemp("repos")
    save_tiny("llama", home / "plain")
    save_tokenizer(home / "plain")
    (home / "plain" / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model\n")
    for name in ("consolidated.safetensors", "pytorch_model.bin", "train.log", "modeling_x.py"):
        (home / "plain" / name).write_bytes(b"x")
    for name in ("one", "two", "bin"):
        (home / name).mkdir()
    (home / "bin" / "pytorch_model.bin").write_bytes(b"x")
    of = gguf.GGMLQuantizationType.Q8_0
    path = write_gguf(home / "plain", home / "one" / "m-q8_0.gguf", kind=of)
    for name in ("a.gguf", "b.gguf", "mmproj-f16.gguf"):
        shutil.copy(path, home / "two" / name)
    return {f"org/{path.name}": path for path in home.iterdir()}


@pytest.fixture
def hub(repos: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Served, with an empty cache, from an empty directory."""
    from huggingface_hub import constants

    served = Hub(repos, gated={"org/gated"})
    with local_hub(served) as url:
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", "hf_token_of_tests")
        monkeypatch.chdir(tmp_path)
        yield served
