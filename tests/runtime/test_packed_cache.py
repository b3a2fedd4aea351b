"""Packed weights are kept, mapped, replaced with their artifact, and never trusted when broken."""

import os
from pathlib import Path

import pytest
import torch

import tersor
from tersor.runtime.engine import Engine
from tersor.runtime.load import load
from tersor.runtime.packed_cache import OFF
from tersor.runtime.packed_file import VERSION, read_packed, write_packed
from tiny_models import save_tiny, tokens

TEXT = tokens(batch=1, length=12)[0].tolist()


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    save_tiny("llama", tmp_path / "model")
    adjustments = tersor.Adjustments(group_size=32, asymmetric=True)
    tersor.quantize(tmp_path / "model", tmp_path / "out", "w4", adjustments=adjustments)
    return tmp_path / "out"


def kept() -> list[Path]:
    return sorted(Path(os.environ["TERSOR_CACHE"]).glob("*"))


def test_the_second_time_weights_are_mapped(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Engine(artifact).logits(TEXT)
    (file,) = kept()
    assert len(read_packed(file)) == 15  # the head too, at 8 bits
    monkeypatch.setattr("tersor.runtime.use_kernels.pack_linear", None)  # nothing is packed again
    assert torch.equal(Engine(artifact).logits(TEXT), first)
    load(artifact)(torch.tensor([TEXT]))


def test_another_artifact_in_the_same_place(artifact: Path) -> None:
    Engine(artifact)
    before = kept()
    adjustments = tersor.Adjustments(bits=3, group_size=32)
    tersor.quantize(artifact.parent / "model", artifact, "w4", adjustments=adjustments, force=True)
    fresh = Engine(artifact).logits(TEXT)
    assert len(kept()) == 1
    assert kept() != before
    assert torch.equal(Engine(artifact).logits(TEXT), fresh)


@pytest.mark.parametrize("damage", ["short", "magic", "version", "empty", "header"])
def test_files_that_are_not_whole_are_made_again(artifact: Path, damage: str) -> None:
    first = Engine(artifact).logits(TEXT)
    (file,) = kept()
    data = file.read_bytes()
    broken = {
        "short": data[:-64],
        "magic": b"X" + data[1:],
        "version": data.replace(f'"version": {VERSION}'.encode(), b'"version": 0', 1),
        "empty": b"",
        "header": data[:20] + b"}" + data[21:],
    }
    file.write_bytes(broken[damage])
    assert read_packed(file) == {}
    assert torch.equal(Engine(artifact).logits(TEXT), first)
    assert file.read_bytes() == data


def test_a_cache_that_cannot_be_written(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Engine(artifact).logits(TEXT)
    monkeypatch.setenv("TERSOR_CACHE", str(artifact / "config.json" / "no"))
    with pytest.warns(UserWarning, match="TERSOR_CACHE=off"):
        assert torch.equal(Engine(artifact).logits(TEXT), expected)
    monkeypatch.setenv("TERSOR_CACHE", OFF)
    assert torch.equal(Engine(artifact).logits(TEXT), expected)


def test_an_interrupted_write_leaves_nothing(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Engine(artifact)
    linears = read_packed(kept()[0])

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_packed(tmp_path / "new" / "file", linears)
    assert list((tmp_path / "new").iterdir()) == []
