"""Packed weights are kept, mapped, replaced with their artifact, and never trusted when broken."""

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import tersor
from tersor.checkpoints.huggingface.directory import open_directory
from tersor.errors import FormatError, SourceError
from tersor.runtime.artifact import open_stored
from tersor.runtime.engine.engine import Engine
from tersor.runtime.linears.packing import pack_linear
from tersor.runtime.linears.panels import GroupNumbers
from tersor.runtime.load import load
from tersor.runtime.packed.container import VERSION, Origin, read_origin
from tersor.runtime.packed.key import contents_key, layout_key
from tersor.runtime.packed.linears import Packed, read_packed, write_packed
from tersor.runtime.packed.store import OFF
from tiny_models import logits_of, save_tiny, tokens

TEXT = tokens(batch=1, length=12)[0].tolist()


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    save_tiny("llama", tmp_path / "model")
    adjustments = {"group_size": 32, "asymmetric": True}
    tersor.quantize(tmp_path / "model", tmp_path / "out", "w4", **adjustments)
    return tmp_path / "out"


def kept() -> list[Path]:
    return sorted(Path(os.environ["TERSOR_CACHE"]).glob("*"))


def key_of(file: Path) -> str:
    origin = read_origin(file)
    assert origin is not None
    return origin.key


def test_the_second_time_weights_are_mapped(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = logits_of(Engine(artifact), TEXT)
    (file,) = kept()
    assert len(read_packed(file, key_of(file)).linears) == 15  # the head too, at 8 bits
    monkeypatch.setattr(
        "tersor.runtime.linears.replacing.pack_linear", None
    )  # nothing is packed again
    assert torch.equal(logits_of(Engine(artifact), TEXT), first)
    load(artifact)(torch.tensor([TEXT]))


def test_another_artifact_in_the_same_place(artifact: Path) -> None:
    Engine(artifact)
    before = kept()
    adjustments = {"bits": 3, "group_size": 32}
    tersor.quantize(artifact.parent / "model", artifact, "w4", **adjustments, force=True)
    fresh = logits_of(Engine(artifact), TEXT)
    assert len(kept()) == 1
    assert kept() != before
    assert torch.equal(logits_of(Engine(artifact), TEXT), fresh)


@pytest.mark.parametrize("damage", ["short", "magic", "version", "empty", "header", "zero"])
def test_files_that_are_not_whole_are_made_again(artifact: Path, damage: str) -> None:
    first = logits_of(Engine(artifact), TEXT)
    (file,) = kept()
    data, key = file.read_bytes(), key_of(file)
    broken = {
        "short": data[:-64],
        "magic": b"X" + data[1:],
        "version": data.replace(f'"version": {VERSION}'.encode(), b'"version": 0', 1),
        "empty": b"",
        "header": data[:20] + b"}" + data[21:],
        "zero": re.sub(rb'"zero": \d+', lambda found: found[0][:-1] + b"3", data, count=1),
    }
    assert broken[damage] != data
    file.write_bytes(broken[damage])
    assert read_packed(file, key) == Packed()
    assert torch.equal(logits_of(Engine(artifact), TEXT), first)
    assert file.read_bytes() == data


def test_a_cache_that_cannot_be_written(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = logits_of(Engine(artifact), TEXT)
    monkeypatch.setenv("TERSOR_CACHE", str(artifact / "config.json" / "no"))
    with pytest.warns(UserWarning, match="TERSOR_CACHE=off"):
        assert torch.equal(logits_of(Engine(artifact), TEXT), expected)
    monkeypatch.setenv("TERSOR_CACHE", OFF)
    assert torch.equal(logits_of(Engine(artifact), TEXT), expected)


def test_an_interrupted_write_leaves_nothing(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Engine(artifact)
    packed = read_packed(kept()[0], key_of(kept()[0]))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_packed(tmp_path / "new" / "file", packed, Origin("", ""))
    assert list((tmp_path / "new").iterdir()) == []


def other_weights(artifact: Path) -> Path:
    """The same model with other weights, quantized alike: files of the same names and sizes."""
    parent = artifact.parent / "other"
    save_tiny("llama", parent / "model", seed=1)
    adjustments = {"group_size": 32, "asymmetric": True}
    tersor.quantize(parent / "model", parent / "out", "w4", **adjustments)
    return parent / "out"


def copied(old: Path, new: Path) -> None:
    """``cp -p``"""
    shutil.copy2(new, old)


def exchanged(old: Path, new: Path) -> None:
    os.replace(new, old)  # noqa: PTH105 - the call that is meant


def rewritten(old: Path, new: Path) -> None:
    """Written in place."""
    with old.open("r+b") as file:
        file.write(new.read_bytes())


@pytest.mark.parametrize("change", [copied, exchanged, rewritten])
def test_other_weights_under_the_same_names_sizes_and_times(
    artifact: Path, change: Callable[[Path, Path], None]
) -> None:
    before = logits_of(Engine(artifact), TEXT)
    other = other_weights(artifact)
    expected = logits_of(Engine(other), TEXT)
    model = artifact / "model.safetensors"
    status = model.stat()
    for path in (model, other / model.name):
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    Engine(artifact)  # kept as it is now
    change(model, other / model.name)
    os.utime(model, ns=(status.st_atime_ns, status.st_mtime_ns))
    now = model.stat()
    assert (now.st_size, now.st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert torch.equal(logits_of(Engine(artifact), TEXT), expected)
    assert torch.equal(load(artifact)(torch.tensor([TEXT])).logits, load_other(artifact))
    assert not torch.equal(expected, before)


def load_other(artifact: Path) -> torch.Tensor:
    """Logits of the artifact with nothing kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TERSOR_CACHE", OFF)
        logits: torch.Tensor = load(artifact)(torch.tensor([TEXT])).logits
    return logits


def test_weights_that_change_while_they_are_packed_are_not_kept(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = other_weights(artifact)
    packed = pack_linear

    def pack_and_exchange(*given: Any) -> Any:
        if (other / "model.safetensors").exists():
            exchanged(artifact / "model.safetensors", other / "model.safetensors")
        return packed(*given)

    monkeypatch.setattr("tersor.runtime.linears.replacing.pack_linear", pack_and_exchange)
    Engine(artifact)
    assert kept() == []


def test_a_file_that_is_another_artifacts_is_not_read(artifact: Path) -> None:
    expected = logits_of(Engine(artifact), TEXT)
    (file,) = kept()
    other = other_weights(artifact)
    Engine(other)
    (foreign,) = set(kept()) - {file}
    shutil.copy2(foreign, file)
    assert read_packed(file, key_of(foreign)) != Packed()
    assert torch.equal(logits_of(Engine(artifact), TEXT), expected)


@pytest.mark.parametrize(
    "change",
    [
        lambda linear: replace(linear, codes=linear.codes[:-16]),
        lambda linear: replace(linear, scales=GroupNumbers(linear.scales.values[:1])),
        lambda linear: replace(linear, zeros=linear.zeros[:, :1]),
        lambda linear: replace(linear, rows=linear.rows + 16),
        lambda linear: replace(linear, group=0),
        lambda linear: replace(linear, bits=5),
        lambda linear: replace(linear, minima=GroupNumbers(linear.scales.values[:, :1])),
        lambda linear: replace(linear, zero=256),
        lambda linear: replace(linear, levels=np.zeros(4, np.float32)),
    ],
)
def test_arrays_that_fit_no_linear_are_not_read(
    artifact: Path, change: Callable[[Any], Any]
) -> None:
    Engine(artifact)
    (file,) = kept()
    linears = read_packed(file, key_of(file)).linears
    name = next(name for name, linear in linears.items() if linear.zeros is not None)
    write_packed(file, Packed({**linears, name: change(linears[name])}), Origin("", "key"))
    assert read_packed(file, "key") == Packed()


def test_the_code_is_part_of_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever changes what packing gives, in Python or in native code, changes the key."""
    (tmp_path / "grids").mkdir()
    for name in ("__init__.py", "grids/scales.py", "_native.so", "notes.txt"):
        (tmp_path / name).write_text("1")
    monkeypatch.setattr("tersor.runtime.packed.key._PACKAGE", tmp_path)
    keys = [layout_key()]
    (tmp_path / "notes.txt").write_text("2 of them")
    assert layout_key() == keys[0]
    for name in ("grids/scales.py", "_native.so", "grids/another.py"):
        (tmp_path / name).write_text("2 of them")
        keys.append(layout_key())
    monkeypatch.setattr("tersor.runtime.packed.key.own_version", lambda: "next")
    keys.append(layout_key())
    assert len(set(keys)) == 5


def test_what_was_checked_is_not_looked_at_again(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither tensors nor config, as long as no file is another one; then everything."""
    checked: list[Path] = []

    def check(directory: Path) -> Any:
        checked.append(directory)
        return open_stored(directory)

    monkeypatch.setattr("tersor.runtime.artifact.open_stored", check)
    first = logits_of(Engine(artifact), TEXT)
    assert torch.equal(logits_of(Engine(artifact), TEXT), first)
    assert checked == [artifact]
    model = artifact / "model.safetensors"
    tensors = load_file(model)
    next(t for n, t in tensors.items() if n.endswith("weight_scale")).view(-1)[0] = torch.nan
    save_file(tensors, model)
    with pytest.raises(FormatError, match="weight_scale holds NaN"):
        Engine(artifact)
    assert checked == [artifact, artifact]


def test_files_that_change_after_their_key_was_taken(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that were packed of others must not meet norms that nobody checked."""
    Engine(artifact)
    other = other_weights(artifact)

    def exchange_and_open(directory: Path) -> Any:
        exchanged(artifact / "model.safetensors", other / "model.safetensors")
        return open_directory(directory)

    monkeypatch.setattr("tersor.runtime.opening.open_as_stored", exchange_and_open)
    with pytest.raises(SourceError, match="changed while it was being read"):
        Engine(artifact)


def test_what_nobody_checked_is_looked_at(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed weights alone do not say that an artifact is sound."""
    Engine(artifact)
    (file,) = kept()
    found = read_packed(file, key_of(file))
    origin = read_origin(file)
    assert found.quantized is not None
    assert origin is not None
    write_packed(file, Packed(dict(found.linears)), origin)
    monkeypatch.setattr("tersor.runtime.artifact.open_stored", None)
    with pytest.raises(TypeError):
        Engine(artifact)


@pytest.mark.parametrize("bits", [None, 8])
def test_a_model_that_is_not_quantized_is_checked_once(
    artifact: Path, bits: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = artifact.parent / "model"
    first = logits_of(Engine(model, dense_bits=bits), TEXT)
    monkeypatch.setattr("tersor.runtime.artifact.open_stored", None)
    assert torch.equal(logits_of(Engine(model, dense_bits=bits), TEXT), first)


def test_files_that_changed_just_now_are_looked_at_a_tick_later(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a tick of the clock they might change again without another time."""
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    names = ("config.json", "model.safetensors")
    changed = max((artifact / name).stat().st_ctime_ns for name in names)
    monkeypatch.setattr("time.time_ns", lambda: changed + 10**9)
    contents_key(artifact)
    assert waited == []
    monkeypatch.setattr("time.time_ns", lambda: changed)
    contents_key(artifact)
    assert len(waited) == 1
