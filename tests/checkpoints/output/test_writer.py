import errno
import json
import os
import stat

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file

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


def test_tensors_are_written_when_they_come_and_named_in_the_end(tmp_path):
    tensors = {name: torch.full((100,), float(ord(name))) for name in "abcd"}
    with ShardWriter(tmp_path, infos(tensors), max_shard_bytes=800) as writer:
        writer.add({"c": tensors["c"], "a": tensors["a"]})
        growing = [f"model-0000{i}-of-00002.safetensors.growing" for i in (1, 2)]
        assert names(tmp_path) == growing
        assert tensors["a"].numpy().tobytes() in (tmp_path / growing[0]).read_bytes()
        writer.add({"b": tensors["b"], "d": tensors["d"]})
    assert [name for name in names(tmp_path) if "growing" in name] == []


@pytest.mark.parametrize("ended", [set(), {"a"}, {"a", "b", "e"}, set(TENSORS)])
def test_a_writer_goes_on_where_another_one_ended(ended, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    wide = {**TENSORS, "a": TENSORS["a"].double(), "e": TENSORS["e"].float()}

    def begun(directory):
        writer = ShardWriter(directory, infos(TENSORS), max_shard_bytes=30)
        for name in "ae":
            writer.revise(infos({name: wide[name]})[0])
        return writer

    with begun(whole) as writer:
        writer.add(wide)
    first = begun(parts)
    first.add({name: wide[name] for name in ended})
    first.sync()
    digests = first.added()
    assert first.added() == {}
    if len(ended) == len(TENSORS):
        first.close()  # killed behind the names
    with begun(parts) as writer:
        writer.adopt(digests)
        writer.add({name: tensor for name, tensor in wide.items() if name not in ended})
        assert writer.added().keys() == TENSORS.keys() - ended
    assert names(parts) == names(whole)
    for name in names(whole):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize("closed", [False, True])
def test_what_changed_since_is_not_gone_on_with(closed, tmp_path):
    writer = ShardWriter(tmp_path, infos(TENSORS))
    writer.add(TENSORS)
    digests = writer.added()
    if closed:
        writer.close()
    file = next(tmp_path.iterdir())
    data = bytearray(file.read_bytes())
    data[data.index(TENSORS["a"].numpy().tobytes())] ^= 1
    file.write_bytes(data)
    with pytest.raises(OutputError, match=r"tensor 'a' is not what the run .* --force"):
        ShardWriter(tmp_path, infos(TENSORS)).adopt(digests)


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


def damaged(tmp_path, change):
    """Write all tensors, and change the file before it is read back."""
    with ShardWriter(tmp_path, infos(TENSORS)) as writer:
        writer.add(TENSORS)
        file = tmp_path / "model.safetensors.growing"
        file.write_bytes(change(bytearray(file.read_bytes())))


def _flip_a_bit(data):
    data[data.index(TENSORS["b"].view(torch.int16).numpy().tobytes()) + 2] ^= 1  # inside the NaN
    return data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_flip_a_bit, "tensor 'b' changed on disk"),
        (lambda d: d.replace(TENSORS["a"].numpy().tobytes(), bytes(24)), "'a' changed on disk"),
        (lambda d: d.replace(b'"shape":[2,3]', b'"shape":[3,2]'), "tensor 'a' changed its type"),
        (lambda d: d.replace(b'"dtype":"I64"', b'"dtype":"U64"'), "tensor 'c' changed its type"),
        (lambda d: d.replace(b'"c":{', b'"z":{'), "tensor 'c' changed its type"),
        (lambda d: d[:-1], "cannot be read back"),
    ],
)
def test_what_is_on_disk_is_compared_bit_for_bit(change, message, tmp_path):
    with pytest.raises(ReadBackError, match=message):
        damaged(tmp_path, change)
    assert "model.safetensors" not in names(tmp_path), "a shard that failed never gets its name"


@pytest.mark.parametrize("call", ["os.pwrite", "os.truncate", "os.fsync", "pathlib.Path.replace"])
def test_full_disk(call, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(call, full)
    with pytest.raises(OutputError, match=r"model\.safetensors: no space left on the disk; free"):
        write(tmp_path, TENSORS)
    assert "model.safetensors" not in names(tmp_path)


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
