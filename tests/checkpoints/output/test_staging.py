"""One process at a time writes a result; what a killed one leaves goes with the next."""

import os
from pathlib import Path

import pytest

from killing import die, killed
from tersor.checkpoints.files import replacing, write_text
from tersor.checkpoints.output.staging import Staging
from tersor.errors import OutputError


def test_a_killed_run_leaves_its_directory_and_the_next_one_has_it_empty(tmp_path: Path) -> None:
    file = tmp_path / "state"

    def work() -> None:
        with replacing(file) as partial:
            partial.write_bytes(bytes(3000))
            die()

    killed(work)
    assert [path.name for path in tmp_path.iterdir()] == [".state.partial"]
    with pytest.warns(UserWarning, match=r"\.state\.partial: 3 kB left by a killed run; removed"):
        write_text(file, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_two_writers_of_one_file(tmp_path: Path) -> None:
    with replacing(tmp_path / "a") as partial:
        with pytest.raises(OutputError, match="a: another run is writing it"):
            write_text(tmp_path / "a", "second")
        partial.write_text("first")
    assert (tmp_path / "a").read_text() == "first"


def test_a_file_or_a_link_in_the_way_is_no_directory_of_another_run(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    (tmp_path / ".a.partial").symlink_to(tmp_path / "precious")
    (tmp_path / ".b.partial").write_text("half")
    for name in "ab":
        write_text(tmp_path / name, "new")
    assert (tmp_path / "precious" / "file").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "precious"]


def test_the_directory_of_who_comes_next_is_not_removed(tmp_path: Path) -> None:
    first = Staging(tmp_path / "out")
    first.directory.rename(tmp_path / "out")
    second = Staging(tmp_path / "out")
    first.renamed()
    assert second.directory.is_dir()
    second.discard()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_a_directory_that_is_renamed_while_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock would be on the published result: it is asked for again, on a new directory."""
    first = Staging(tmp_path / "out")
    opened, left = os.open, [first]

    def publish_meanwhile(path: str, *flags: int) -> int:
        found = opened(path, *flags)
        if left:
            first.directory.rename(tmp_path / "out")
            left.pop().renamed()
        return found

    monkeypatch.setattr(os, "open", publish_meanwhile)
    second = Staging(tmp_path / "out")
    assert second.directory.is_dir()
    second.discard()
    assert (tmp_path / "out").is_dir()
