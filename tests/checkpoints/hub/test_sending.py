"""Artifacts sent to a hub, and fetched back."""

from pathlib import Path

import pytest
import yaml

import tersor
from hub.local_hub import Hub
from tersor.checkpoints.hub.card_header import base_model_of, card_header, licence_of
from tersor.cli.main import run
from tersor.errors import FormatError, HubError, OptionError


def header(data: bytes) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load(data.decode().split("---")[1])
    return found


def test_an_artifact_with_its_card(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tersor.quantize("org/plain", tmp_path / "out", "w4", group_size=32)
    assert run(["upload", str(tmp_path / "out"), "me/small", "--private"]) == 0
    assert f"in {hub.url}/me/small/commit/" in capsys.readouterr().out
    assert hub.private == {"me/small": True}
    sent = hub.received["me/small"]
    written = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    assert sent == written
    assert header(sent["README.md"]) == {
        "tags": ["tersor", "compressed-tensors"],
        "license": "apache-2.0",
        "base_model": "org/plain",
        "base_model_relation": "quantized",
    }
    hub.repos = {**hub.repos, "me/small": tmp_path / "out"}
    made = tersor.export("me/small", tmp_path / "tersor", "tersor")
    assert made.modules == 14
    # What a quantization was made of stays what it is called after.
    card = (tmp_path / "tersor" / "README.md").read_bytes()
    assert header(card)["base_model"] == "org/plain"
    assert header(card)["tags"] == ["tersor"]


def test_a_file_gets_a_card(hub: Hub) -> None:
    made = tersor.upload(hub.repos["org/one"] / "m-q8_0.gguf", "me/file")
    assert hub.private == {"me/file": False}
    sent = hub.received["me/file"]
    assert sorted(sent) == ["README.md", "m-q8_0.gguf"]
    assert made.files == 2
    assert header(sent["README.md"])["tags"] == ["tersor", "gguf"]


def test_what_is_not_sent(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="is not quantized"):
        tersor.upload(hub.repos["org/plain"], "me/small")
    one = hub.repos["org/one"] / "m-q8_0.gguf"
    for name in ("small", "me/small@main", "a/b/c", ""):
        with pytest.raises(OptionError, match="must be org/name"):
            tersor.upload(one, name)
    hub.broken = True
    with pytest.raises(HubError, match=r"gives no access \(403\); log in"):
        tersor.upload(one, "me/small")
    assert hub.received == {}


def test_headers_of_cards(tmp_path: Path) -> None:
    for text, said in (
        ("---\nlicense: mit\n---\n", {"license": "mit"}),
        ("# no header\n", {}),
        ("---\n- a\n---\n", {}),
        ("---\na: [\n---\n", {}),
        ("---\na: 1", {}),
    ):
        (tmp_path / "README.md").write_text(text)
        assert card_header(tmp_path) == said
    (tmp_path / "README.md").write_text("---\nlicense: [a]\nbase_model: org/x\n---\n")
    assert licence_of(tmp_path, {"license": "mit"}) == "mit"
    # Of a fine-tune's card: it is what it was tuned from.
    assert base_model_of(tmp_path) is None
