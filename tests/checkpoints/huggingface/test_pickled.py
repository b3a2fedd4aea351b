import json
import os
import pickle

import pytest
import torch
from safetensors.torch import load_file

from tersor.checkpoints.huggingface.pickled import load_pickle
from tersor.checkpoints.opening import open_source
from tersor.errors import SourceError, UnsafeSource
from tiny_models import save_tiny


@pytest.fixture
def pickled(tmp_path):
    save_tiny("llama", tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    return tmp_path


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_pickled_weights_need_the_flag(pickled):
    with pytest.raises(UnsafeSource, match=r"pytorch_model\.bin: .* --allow-pickle"):
        open_source(pickled)


def test_pickled_weights_with_the_flag(pickled):
    expected = torch.load(pickled / "pytorch_model.bin", weights_only=True)
    source = open_source(pickled, allow_pickle=True)
    assert set(source.tensors) == set(expected)
    assert next(iter(source.tensors)) == "model.embed_tokens.weight"
    for name, tensor in source.read(source.tensors).items():
        assert torch.equal(tensor, expected[name])
        assert source.tensors[name].shape == tuple(tensor.shape)


def test_what_is_read_does_not_depend_on_the_file_any_more(pickled):
    source = open_source(pickled, allow_pickle=True)
    name = "model.norm.weight"
    before = source.read([name])[name]
    copy = before.clone()
    with (pickled / "pytorch_model.bin").open("r+b") as file:
        file.truncate(10)
    assert torch.equal(before, copy)


def test_malicious_pickle_is_refused_even_with_the_flag(pickled):
    victim = pickled / "victim"
    for legacy in (False, True):
        torch.save(
            {"a": torch.ones(1), "b": Malicious(victim)},
            pickled / "pytorch_model.bin",
            _use_new_zipfile_serialization=not legacy,
        )
        with pytest.raises(UnsafeSource, match=r"pytorch_model\.bin: .*refused even with"):
            open_source(pickled, allow_pickle=True)
    assert not victim.exists()


def test_plain_malicious_pickle_is_refused(pickled):
    with (pickled / "pytorch_model.bin").open("wb") as file:
        pickle.dump(Malicious(pickled / "victim"), file, protocol=2)
    with pytest.raises(UnsafeSource):
        open_source(pickled, allow_pickle=True)
    assert not (pickled / "victim").exists()


def test_files_of_old_torch_are_read(tmp_path):
    path = tmp_path / "a.bin"
    torch.save({"a": torch.arange(5)}, path, _use_new_zipfile_serialization=False)
    assert load_pickle(path)["a"].tolist() == [0, 1, 2, 3, 4]


def test_transposed_tensors_become_contiguous(pickled):
    torch.save({"a": torch.arange(6).reshape(2, 3).T}, pickled / "pytorch_model.bin")
    tensor = open_source(pickled, allow_pickle=True).read(["a"])["a"]
    assert tensor.is_contiguous()
    assert tensor.tolist() == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.parametrize("keep", [0, 10, 1000, -1])
def test_truncated_pickle(keep, pickled):
    file = pickled / "pytorch_model.bin"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(SourceError, match=r"pytorch_model\.bin: "):
        open_source(pickled, allow_pickle=True)


@pytest.mark.parametrize("state", [[torch.ones(1)], {"model": {"a": torch.ones(1)}}, {"a": 1}])
def test_pickle_that_is_no_flat_dictionary(state, pickled):
    torch.save(state, pickled / "pytorch_model.bin")
    with pytest.raises(SourceError, match="not a flat dictionary of tensors"):
        open_source(pickled, allow_pickle=True)


def test_unknown_name(pickled):
    with pytest.raises(SourceError, match="holds no tensor named 'x'"):
        open_source(pickled, allow_pickle=True).read(["x"])


def test_safetensors_win_over_pickled_weights(tmp_path):
    save_tiny("llama", tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"not even a pickle")
    assert "model.norm.weight" in open_source(tmp_path).tensors


@pytest.fixture
def shards(pickled):
    one, two = (f"pytorch_model-0000{i}-of-00002.bin" for i in (1, 2))
    (pickled / "pytorch_model.bin").unlink()
    torch.save({"a": torch.ones(2)}, pickled / one)
    torch.save({"b": torch.zeros(2)}, pickled / two)
    return pickled, one, two


def _index(directory, weight_map):
    text = json.dumps({"weight_map": weight_map})
    (directory / "pytorch_model.bin.index.json").write_text(text)


def test_pickled_shards(shards):
    directory, one, two = shards
    _index(directory, {"a": one, "b": two})
    with pytest.raises(UnsafeSource, match="--allow-pickle"):
        open_source(directory)
    tensors = open_source(directory, allow_pickle=True).read(["b", "a"])
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {"b": [0, 0], "a": [1, 1]}


def test_pickled_index_is_held_against_its_shards(shards):
    directory, one, two = shards
    _index(directory, {"a": two, "b": two})
    with pytest.raises(SourceError, match=f"'a' is not in its shard '{two}'"):
        open_source(directory, allow_pickle=True)
    _index(directory, {"a": one, "b": "../b.bin"})
    with pytest.raises(UnsafeSource, match="is a path"):
        open_source(directory, allow_pickle=True)
