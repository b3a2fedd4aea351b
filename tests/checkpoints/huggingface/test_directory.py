import json
import os
import shutil
import struct

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tersor.checkpoints.opening import open_source
from tersor.errors import SourceError, TersorError, UnsafeSource
from tiny_models import save_tiny

ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    directory = tmp_path_factory.mktemp("model")
    save_tiny("llama", directory)
    return directory


@pytest.fixture
def sharded(tmp_path):
    """Two shards: {a, b} and {c}."""
    directory = tmp_path / "sharded"
    directory.mkdir()
    (directory / "config.json").write_text('{"model_type": "llama"}')
    save_file({"a": torch.ones(2), "b": torch.zeros(3)}, directory / ONE)
    save_file({"c": torch.arange(4)}, directory / TWO)
    write_index(directory, {"a": ONE, "b": ONE, "c": TWO})
    return directory


def write_index(directory, weight_map):
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))


def test_single_file_is_read_as_safetensors_reads_it(model):
    source = open_source(model)
    expected = load_file(model / "model.safetensors")
    assert set(source.tensors) == set(expected)
    for name, tensor in source.read(source.tensors).items():
        assert tensor.dtype == source.tensors[name].dtype == expected[name].dtype
        assert torch.equal(tensor, expected[name])


def test_shards_are_read_as_one(sharded):
    source = open_source(sharded)
    assert {name: info.shape for name, info in source.tensors.items()} == {
        "a": (2,),
        "b": (3,),
        "c": (4,),
    }
    tensors = source.read(["c", "a"])
    assert list(tensors) == ["c", "a"]
    assert torch.equal(tensors["c"], torch.arange(4))


def test_symbolic_links_of_a_download_cache_are_followed(sharded, tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    sharded.rename(blobs)
    snapshot.mkdir()
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(os.path.relpath(file, snapshot))
    assert torch.equal(open_source(snapshot).read(["b"])["b"], torch.zeros(3))


def test_tensors_may_be_changed_without_changing_the_file(sharded):
    source = open_source(sharded)
    source.read(["a"])["a"].mul_(5)
    assert torch.equal(source.read(["a"])["a"], torch.ones(2))


def test_unknown_name(sharded):
    with pytest.raises(SourceError, match="sharded: holds no tensor named 'd'"):
        open_source(sharded).read(["a", "d"])


@pytest.mark.parametrize("text", ["", "{", "{'a': 1}", "\x00", '{"a": 1} trailing', "[" * 100_000])
def test_corrupt_config(text, model, tmp_path):
    _copy(model, tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(SourceError, match=r"config\.json: not valid JSON"):
        open_source(tmp_path)


def test_config_that_is_not_text(model, tmp_path):
    _copy(model, tmp_path)
    (tmp_path / "config.json").write_bytes(b'{"a": "\xff\xfe"}')
    with pytest.raises(SourceError, match=r"config\.json: not valid JSON"):
        open_source(tmp_path)


def test_config_that_is_a_list(model, tmp_path):
    _copy(model, tmp_path)
    (tmp_path / "config.json").write_text("[1, 2]")
    with pytest.raises(SourceError, match=r"config\.json: expected a JSON object, found a list"):
        open_source(tmp_path)


def test_config_that_is_a_git_lfs_pointer(model, tmp_path):
    _copy(model, tmp_path)
    (tmp_path / "config.json").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(SourceError, match=r"config\.json: a Git LFS pointer, .* git lfs pull"):
        open_source(tmp_path)


def test_config_that_is_a_directory(tmp_path):
    (tmp_path / "config.json").mkdir()
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(SourceError, match=r"config\.json: cannot be read \(Is a directory\)"):
        open_source(tmp_path)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_truncated_file(keep, model, tmp_path):
    _copy(model, tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(SourceError, match=r"model\.safetensors: not a sound safetensors file"):
        open_source(tmp_path)


@pytest.mark.parametrize("length", [2**63, 2**40, 10**9, 0])
def test_header_length_too_large_or_zero(length, model, tmp_path):
    _copy(model, tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(struct.pack("<Q", length) + file.read_bytes()[8:])
    with pytest.raises(SourceError, match="not a sound safetensors file"):
        open_source(tmp_path)


def _header(directory, header, body=bytes(8)):
    text = header.encode() if isinstance(header, str) else json.dumps(header).encode()
    data = struct.pack("<Q", len(text)) + text + body
    (directory / "model.safetensors").write_bytes(data)
    (directory / "config.json").write_text("{}")
    return directory


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "header",
    [
        "garbage!",
        "[]",
        {"a": 1},
        {"a": {**ENTRY, "shape": [3]}},
        {"a": {**ENTRY, "data_offsets": [0, 4]}},
        {"a": {**ENTRY, "data_offsets": [8, 16]}},
        {"a": {**ENTRY, "data_offsets": [8, 0]}},
        {"a": {**ENTRY, "dtype": "F33"}},
        {"a": ENTRY, "b": ENTRY},
        {"a": {**ENTRY, "shape": [2**62, 2**62]}},
    ],
)
def test_garbage_header(header, tmp_path):
    with pytest.raises(SourceError, match="not a sound safetensors file"):
        open_source(_header(tmp_path, header))


def test_header_naming_a_tensor_twice(tmp_path):
    entry = json.dumps(ENTRY)
    with pytest.raises(SourceError, match="the header names a tensor twice"):
        open_source(_header(tmp_path, f'{{"a": {entry}, "a": {entry}}}'))


def test_header_without_tensors(tmp_path):
    with pytest.raises(SourceError, match=r"model\.safetensors: holds no tensors"):
        open_source(_header(tmp_path, {}, b""))


def test_dtype_that_torch_cannot_hold(tmp_path):
    header = {"a": {"dtype": "F4", "shape": [16], "data_offsets": [0, 8]}}
    with pytest.raises(SourceError, match="'a' has the unsupported dtype F4"):
        open_source(_header(tmp_path, header))


def test_git_lfs_pointer(model, tmp_path):
    _copy(model, tmp_path)
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(SourceError, match=r"model\.safetensors: a Git LFS pointer"):
        open_source(tmp_path)


def test_file_that_shrinks_after_opening(model, tmp_path):
    _copy(model, tmp_path)
    source = open_source(tmp_path)
    with (tmp_path / "model.safetensors").open("r+b") as file:
        file.truncate(3000)
    with pytest.raises(SourceError, match=r"changed while .*'model\.norm\.weight'"):
        source.read(["model.norm.weight"])


def test_file_that_disappears_after_opening(model, tmp_path):
    _copy(model, tmp_path)
    source = open_source(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(SourceError, match=r"model\.safetensors: no such file"):
        source.read(["model.norm.weight"])


@pytest.mark.parametrize(
    "shard",
    ["../secret.safetensors", "..", "/etc/passwd", "sub/x.safetensors", "a\\b", "", ".", "a\x00b"],
)
def test_index_naming_a_path(shard, sharded):
    write_index(sharded, {"a": ONE, "b": ONE, "c": shard})
    with pytest.raises(UnsafeSource, match=r"index\.json: the shard name .* is a path"):
        open_source(sharded)


def test_index_naming_a_missing_shard(sharded):
    (sharded / TWO).unlink()
    with pytest.raises(SourceError, match=rf"names the shard '{TWO}', which is missing"):
        open_source(sharded)


def test_index_naming_a_tensor_that_its_shard_does_not_hold(sharded):
    write_index(sharded, {"a": ONE, "b": ONE, "c": TWO, "d": TWO})
    with pytest.raises(SourceError, match=f"'d' is not in its shard '{TWO}'"):
        open_source(sharded)


def test_shard_holding_a_tensor_that_the_index_does_not_know(sharded):
    write_index(sharded, {"a": ONE, "c": TWO})
    with pytest.raises(SourceError, match=f"does not know tensor 'b' of '{ONE}'"):
        open_source(sharded)


def test_tensor_in_two_shards(sharded):
    save_file({"c": torch.arange(4), "a": torch.zeros(2)}, sharded / TWO)
    with pytest.raises(SourceError, match=f"'a' is in '{ONE}' and '{TWO}'"):
        open_source(sharded)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "expected a JSON object, found a list"),
        ("{}", "no 'weight_map'"),
        ('{"weight_map": []}', "no 'weight_map'"),
        ('{"weight_map": {"a": 3}}', "tensor 'a' is mapped to 3"),
        ('{"weight_map": {"a": null}}', "tensor 'a' is mapped to None"),
    ],
)
def test_corrupt_index(text, message, sharded):
    (sharded / "model.safetensors.index.json").write_text(text)
    with pytest.raises(SourceError, match=message):
        open_source(sharded)


def test_unreadable_weights(model, tmp_path, monkeypatch):
    _copy(model, tmp_path)
    file = tmp_path / "model.safetensors"
    file.unlink()
    file.symlink_to(file)
    with pytest.raises(SourceError, match="holds no weights"):
        open_source(tmp_path)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damaged_header_is_read_or_refused_never_anything_else(model, tmp_path, data):
    content = bytearray((model / "model.safetensors").read_bytes())
    end = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, end - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "model.safetensors").write_bytes(content)
    (tmp_path / "config.json").write_text("{}")
    message = ""
    try:
        source = open_source(tmp_path)
        source.read(source.tensors)
    except TersorError as error:
        message = str(error)
    assert "\n" not in message


def _copy(model, directory):
    shutil.copytree(model, directory, dirs_exist_ok=True)


def test_shards_beside_a_single_file_are_said(tmp_path):
    save_tiny("llama", tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    source = open_source(tmp_path)
    assert source.notes == (
        "model.safetensors is read; model.safetensors.index.json beside it is not",
    )


def test_weights_that_transformers_takes_from_another_file(model, tmp_path):
    directory = shutil.copytree(model, tmp_path / "model")
    config = json.loads((directory / "config.json").read_text())
    for named, refused in (
        ("model.safetensors", False),
        ("consolidated.safetensors", True),
        ("model.safetensors.index.json", True),
    ):
        (directory / "config.json").write_text(json.dumps(config | {"transformers_weights": named}))
        if refused:
            with pytest.raises(SourceError, match=f"names '{named}', and tersor reads model"):
                open_source(directory)
        else:
            open_source(directory)
