"""Names on a hub, against a server on this machine that answers as the hub does."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tersor
from hub.local_hub import COMMIT, Hub
from tersor.checkpoints.hub.fetching import model_path
from tersor.checkpoints.hub.naming import HubName, hub_name, repository_of
from tersor.errors import HubError, SourceError
from tersor.pipeline.writing.repetition import source_name


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("org/model", HubName("org/model")),
        ("org/model@v1.0", HubName("org/model", "v1.0")),
        ("org/model@refs/pr/3", HubName("org/model", "refs/pr/3")),
        ("org/model:q4.gguf", HubName("org/model", None, "q4.gguf")),
        ("org/model@main:sub/q4.gguf", HubName("org/model", "main", "sub/q4.gguf")),
        *((no, None) for no in ("model", "./org/model", "/org/model", "a/b/c", "o/m:x.bin", "~/m")),
    ],
)
def test_names(written: str, meant: HubName | None) -> None:
    found = hub_name(Path(written)) if not written.startswith("./") else None
    assert found == meant
    if meant is not None:
        assert str(meant) == written


def test_only_what_is_needed_is_fetched(hub: Hub, tmp_path: Path) -> None:
    place = model_path("source", "org/plain")
    files = {path.name for path in place.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "modeling_x.py"} <= files
    assert not files & {"pytorch_model.bin", "consolidated.safetensors", "train.log"}
    assert repository_of(place) == source_name(place) == "org/plain"
    made = tersor.quantize("org/plain", tmp_path / "out", "w4", group_size=32)
    card = (made.directory / "README.md").read_text()
    assert "base_model: org/plain" in card.replace('"', "")
    assert "tersor quantize org/plain" in card


def test_revisions_and_what_was_fetched_before(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    first = model_path("source", "org/plain@old")
    assert first.name == COMMIT
    with pytest.raises(HubError, match="no revision 'new'; check its branches"):
        model_path("source", "org/plain@new")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(hub.asked)
    assert model_path("source", "org/plain@old") == first
    assert len(hub.asked) == asked
    with pytest.raises(HubError, match=r"the hub cannot be reached.*unset HF_HUB_OFFLINE"):
        model_path("source", "org/one")


def test_gguf_files(hub: Hub) -> None:
    only = model_path("directory", "org/one")
    assert (only.name, source_name(only)) == ("m-q8_0.gguf", "org/one")
    shapes = {tersor.Engine(one).logits([1, 2]).shape for one in (only, "org/one")}
    assert len(shapes) == 1
    with pytest.raises(HubError, match="2 GGUF files; name one, as in org/two:a"):
        model_path("directory", "org/two")
    assert model_path("directory", "org/two:b.gguf").name == "b.gguf"
    assert hub.resolved() == ["b.gguf", "m-q8_0.gguf"]
    with pytest.raises(HubError, match=r"holds no c\.gguf; there are a\.gguf, b\.gguf"):
        model_path("directory", "org/two:c.gguf")


def test_what_is_not_given(hub: Hub) -> None:
    for name, said in (
        ("org/gated", "is gated; ask for access"),
        ("org/none", "neither a path here nor a repository on the hub"),
        ("org/bin", "pickled weights alone"),
        ("org/a--b", "no name on a hub"),
    ):
        with pytest.raises(HubError, match=said):
            model_path("source", name)
    hub.broken = True
    with pytest.raises(HubError, match="the hub answered 503"):
        model_path("source", "org/plain")


def test_a_network_that_is_off(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match="the hub cannot be reached"):
        model_path("source", "org/plain")


def test_what_is_on_disk_is_never_asked_for(hub: Hub, tmp_path: Path) -> None:
    shutil.copytree(hub.repos["org/plain"], tmp_path / "org" / "plain")
    assert model_path("source", "org/plain") == Path("org/plain")
    with pytest.raises(SourceError, match="did you mean org/plain"):
        tersor.quantize("org/plan", tmp_path / "out")
    with pytest.raises(SourceError, match="no such file or directory"):
        tersor.check("nothing")
    assert hub.asked == []


@pytest.mark.parametrize("offline", [False, True])
def test_the_command_line_fetches(hub: Hub, tmp_path: Path, offline: bool) -> None:
    switches = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    environment = {key: value for key, value in os.environ.items() if key not in switches}
    environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    environment |= {"HF_HUB_OFFLINE": "1"} if offline else {}
    command = [sys.executable, "-m", "tersor", "check", "org/one"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == int(offline)
    if offline:
        assert "the hub cannot be reached" in done.stderr
        assert hub.asked == []
    else:
        assert done.stdout.startswith("sound: ")
        assert done.stderr == ""
