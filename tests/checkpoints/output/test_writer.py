import errno
import json
import os
import stat

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from tersor.checkpoints.opening import open_source
from tersor.checkpoints.output.writer import ShardWriter, shard_layout
from tersor.checkpoints.source import TensorInfo
from tersor.errors import OutputError, ReadBackError

TENSORS = {
    "a": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "b": torch.tensor([1.5, float("nan"), float("-inf"), -0.0], dtype=torch.bfloat16),
    "c": torch.tensor(7, dtype=torch.int64),
    "d": torch.zeros(0, 4),
    "e": torch.tensor([[True, False]]),
}


def infos(tensors):
    return [TensorInfo(n, t.dtype, tuple(t.shape)) for n, t in tensors.items()]


def write(directory, tensors, **options):
    with ShardWriter(directory, infos(tensors), **options) as writer:
        for name, tensor in tensors.items():
            writer.add({name: tensor})
    return writer


def names(directory):
    return sorted(os.listdir(directory))  # noqa: PTH208 - hidden names count


def test_one_shard_needs_no_index(tmp_path):
    write(tmp_path, TENSORS)
    assert names(tmp_path) == ["model.safetensors"]
    stored = load_file(tmp_path / "model.safetensors")
    assert stored.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert stored[name].dtype == tensor.dtype
        assert stored[name].shape == tensor.shape
        assert repr(stored[name].tolist()) == repr(tensor.tolist())


def test_shards_and_index_are_what_our_reader_and_transformers_expect(tmp_path):
    tensors = {f"model.layers.{i}.w": torch.full((100,), float(i)) for i in range(5)}
    write(tmp_path, tensors, max_shard_bytes=800)
    assert names(tmp_path) == [
        "model-00001-of-00003.safetensors",
        "model-00002-of-00003.safetensors",
        "model-00003-of-00003.safetensors",
        "model.safetensors.index.json",
    ]
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": 2000}
    assert index["weight_map"]["model.layers.4.w"] == "model-00003-of-00003.safetensors"
    (tmp_path / "config.json").write_text("{}")
    read = open_source(tmp_path).read(tensors)
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())


def test_a_shard_is_written_as_soon_as_it_is_complete(tmp_path):
    tensors = {name: torch.zeros(100) for name in "abcd"}
    with ShardWriter(tmp_path, infos(tensors), max_shard_bytes=800) as writer:
        writer.add({"c": tensors["c"], "a": tensors["a"]})
        assert names(tmp_path) == []
        writer.add({"b": tensors["b"]})
        assert names(tmp_path) == ["model-00001-of-00002.safetensors"]
        writer.add({"d": tensors["d"]})


@given(
    sizes=st.lists(st.integers(0, 50), min_size=1, max_size=40),
    limit=st.integers(1, 120),
)
def test_layout_keeps_order_and_bound(sizes, limit):
    expected = [TensorInfo(str(i), torch.uint8, (size,)) for i, size in enumerate(sizes)]
    shards = shard_layout(expected, limit)
    assert [info for held in shards.values() for info in held] == expected
    for held in shards.values():
        assert len(held) == 1 or sum(info.nbytes for info in held) <= limit or held[0].nbytes == 0
    count = len(shards)
    numbered = [f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]
    assert list(shards) == (numbered if count > 1 else ["model.safetensors"])


def test_the_same_tensors_give_the_same_bytes(tmp_path):
    # safetensors itself writes several metadata entries in a random order.
    metadata = dict.fromkeys("zyxwvutsrq", 'ü\n"\\')
    contents = set()
    for number in range(6):
        directory = tmp_path / str(number)
        directory.mkdir()
        write(directory, TENSORS, metadata=metadata)
        contents.add((directory / "model.safetensors").read_bytes())
    assert len(contents) == 1
    with safe_open(tmp_path / "0" / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", **metadata}


def test_files_have_the_usual_permissions(tmp_path):
    write(tmp_path, TENSORS)
    (tmp_path / "other").touch()
    modes = {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert len(modes) == 1, "safetensors alone would leave 0600"


def test_views_and_shared_memory_are_stored_apart(tmp_path):
    base = torch.arange(12.0)
    tensors = {
        "all": base,
        "again": base,
        "part": base[3:6],
        "transposed": base.reshape(3, 4).T,
        "grad": torch.nn.Parameter(torch.ones(2)),
    }
    write(tmp_path, tensors)
    stored = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(stored[name], tensor) for name, tensor in tensors.items())


def test_tensor_that_was_not_announced(tmp_path):
    with (
        pytest.raises(OutputError, match="tensor 'x' was not announced"),
        ShardWriter(tmp_path, infos(TENSORS)) as writer,
    ):
        writer.add({"x": torch.zeros(1)})


def test_tensor_written_twice(tmp_path):
    writer = ShardWriter(tmp_path, infos(TENSORS))
    writer.add({"a": TENSORS["a"]})
    with pytest.raises(OutputError, match="tensor 'a' was written twice"):
        writer.add({"a": TENSORS["a"]})


@pytest.mark.parametrize("wrong", [TENSORS["a"].half(), TENSORS["a"].T, TENSORS["a"].reshape(-1)])
def test_tensor_that_looks_different(wrong, tmp_path):
    with (
        pytest.raises(OutputError, match=r"'a' is torch\..*, announced as torch.float32 \(2, 3\)"),
        ShardWriter(tmp_path, infos(TENSORS)) as writer,
    ):
        writer.add({"a": wrong})


def test_tensor_that_never_came(tmp_path):
    with (
        pytest.raises(OutputError, match="4 tensors were never written, the first is 'b'"),
        ShardWriter(tmp_path, infos(TENSORS)) as writer,
    ):
        writer.add({"a": TENSORS["a"]})


def test_nothing_to_write(tmp_path):
    with pytest.raises(OutputError, match="no tensors to write"):
        ShardWriter(tmp_path, [])


def test_an_exception_is_not_hidden_by_the_missing_tensors(tmp_path):
    with pytest.raises(KeyboardInterrupt), ShardWriter(tmp_path, infos(TENSORS)):
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def _corrupting(change):
    """A save_file that writes something else than it was given."""

    def save(tensors, path, metadata):
        save_file(change(dict(tensors)), path, metadata)

    return save


def _flip_a_bit(tensors):
    changed = tensors["b"].clone()
    changed.view(torch.int16)[1] ^= 1  # one bit inside the NaN
    return {**tensors, "b": changed}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_flip_a_bit, "tensor 'b' changed on disk"),
        (lambda t: {**t, "a": t["a"] + 1}, "tensor 'a' changed on disk"),
        (lambda t: {**t, "a": t["a"].reshape(3, 2)}, "tensor 'a' changed its type"),
        (lambda t: {**t, "c": t["c"].int()}, "tensor 'c' changed its type"),
        (lambda t: {**t, "z": torch.zeros(1)}, "holds other tensors than were written"),
    ],
)
def test_what_is_on_disk_is_compared_bit_for_bit(change, message, tmp_path, monkeypatch):
    monkeypatch.setattr("safetensors.torch.save_file", _corrupting(change))
    with pytest.raises(ReadBackError, match=message):
        write(tmp_path, TENSORS)
    assert names(tmp_path) == [], "a shard that failed never gets its name"


def test_a_truncated_shard_is_noticed(tmp_path, monkeypatch):
    def save(tensors, path, metadata):
        save_file(tensors, path, metadata)
        os.truncate(path, os.path.getsize(path) - 1)  # noqa: PTH202

    monkeypatch.setattr("safetensors.torch.save_file", save)
    with pytest.raises(ReadBackError, match="cannot be read back"):
        write(tmp_path, TENSORS)


def test_full_disk_while_saving(tmp_path, monkeypatch):
    def full(*_, **__):
        raise SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        )

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OutputError, match=r"model\.safetensors.*no space left on the disk; free"):
        write(tmp_path, TENSORS)
    assert names(tmp_path) == []


def test_full_disk_while_renaming(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(OutputError, match=r"model\.safetensors: no space left on the disk"):
        write(tmp_path, TENSORS)
    assert names(tmp_path) == []


def test_directory_that_is_missing(tmp_path):
    with pytest.raises(OutputError, match=r"model\.safetensors: cannot be written"):
        write(tmp_path / "none", TENSORS)


def test_a_tensor_may_be_announced_anew_until_it_comes(tmp_path):
    tensors = {name: torch.ones(3) for name in ("a", "b")}
    wide = TensorInfo("b", torch.float64, (3,))
    with ShardWriter(tmp_path, infos(tensors), max_shard_bytes=12) as writer:
        writer.add({"a": tensors["a"]})
        writer.revise(wide)
        writer.add({"b": tensors["b"].double()})
        with pytest.raises(OutputError, match="'b' was written twice"):
            writer.revise(wide)
        with pytest.raises(OutputError, match="'z' was not announced"):
            writer.revise(TensorInfo("z", torch.float64, (3,)))
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 12 + 24
    assert open_source_file(tmp_path)["b"].dtype == torch.float64


def open_source_file(directory):
    return {k: v for file in directory.glob("*.safetensors") for k, v in load_file(file).items()}
