"""A training's state in a file."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tersor.errors import SourceError
from tersor.training import Checkpoint


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "state")
    tensors = {"a": torch.randn(3, 4), "b": torch.arange(5.0)}
    checkpoint.save("mine", [0.5, 0.25], tensors)
    found = Checkpoint(tmp_path / "state").load("mine")
    assert found is not None
    losses, again = found
    assert losses == [0.5, 0.25]
    assert {name: tensor.tolist() for name, tensor in again.items()} == {
        name: tensor.tolist() for name, tensor in tensors.items()
    }
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_no_file_is_a_training_that_begins(tmp_path: Path) -> None:
    assert Checkpoint(tmp_path / "state").load("mine") is None


def test_another_trainings_file_is_refused_and_kept(tmp_path: Path) -> None:
    Checkpoint(tmp_path / "state").save("other", [], {"a": torch.zeros(1)})
    with pytest.raises(SourceError, match=r"state: the checkpoint of another training"):
        Checkpoint(tmp_path / "state").load("mine")
    assert (tmp_path / "state").exists()


@pytest.mark.parametrize("content", [b"", b"no safetensors", b"\x00" * 64])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state").write_bytes(content)
    with pytest.raises(SourceError, match=r"state: .*damaged.*delete it"):
        Checkpoint(tmp_path / "state").load("mine")


@pytest.mark.parametrize("about", ["[]", "{}", '{"losses": 3, "identity": "mine"}', "no json"])
def test_safetensors_of_something_else_are_refused(tmp_path: Path, about: str) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "state", metadata={"tersor.training": about})
    with pytest.raises(SourceError, match="no checkpoint of a training"):
        Checkpoint(tmp_path / "state").load("mine")


def test_it_is_due_after_its_time(tmp_path: Path) -> None:
    assert Checkpoint(tmp_path / "state", seconds=0).due()
    assert not Checkpoint(tmp_path / "state", seconds=3600).due()


def test_removing_what_is_not_there(tmp_path: Path) -> None:
    Checkpoint(tmp_path / "state").remove()
    assert not list(tmp_path.iterdir())
