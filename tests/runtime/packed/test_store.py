"""What is kept stays under its bound; what belongs to nobody goes first."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

import tersor
from killing import die, killed
from tersor.cli.main import run
from tersor.errors import RecipeError
from tersor.runtime.engine.engine import Engine
from tersor.runtime.packed.container import Origin
from tersor.runtime.packed.linears import Packed, write_packed
from tersor.runtime.packed.store import DEFAULT_LIMIT, Store, store
from tiny_models import logits_of, save_tiny, tokens

TEXT = tokens(batch=1, length=12)[0].tolist()


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    save_tiny("llama", tmp_path / "model")
    tersor.quantize(tmp_path / "model", tmp_path / "a0", group_size=32)
    return tmp_path / "a0"


def copies(artifact: Path, count: int) -> list[Path]:
    """``count`` artifacts, the given one first."""
    made = [artifact.with_name(f"a{i}") for i in range(1, count)]
    return [artifact, *(Path(shutil.copytree(artifact, path)) for path in made)]


def the_store() -> Store:
    found = store()
    assert found is not None
    return found


def held() -> dict[str, int]:
    return {kept.artifact.name: kept.size for kept in the_store().kept() if kept.artifact}


def old(name: str, hours: int) -> None:
    """Let the file of an artifact be one that was used hours ago."""
    for kept in the_store().kept():
        if kept.artifact is not None and kept.artifact.name == name:
            os.utime(kept.path, (kept.used - 3600 * hours,) * 2)


def test_ten_artifacts_stay_under_the_bound(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Engine(artifact)
    (size,) = held().values()
    limit = 3 * size + size // 2
    monkeypatch.setenv("TERSOR_CACHE_LIMIT", str(limit))
    for hours, path in enumerate(copies(artifact, 10)):
        Engine(path)
        old(path.name, 100 - hours)
        assert sum(held().values()) <= limit
    assert sorted(held()) == ["a7", "a8", "a9"]


def test_what_was_used_longest_ago_goes_first(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = copies(artifact, 4)
    for path in paths[:3]:
        Engine(path)
        old(path.name, 10)
    Engine(paths[0])
    size = held()["a0"]
    old("a1", 1)
    monkeypatch.setenv("TERSOR_CACHE_LIMIT", str(3 * size + 10))
    mapped = Engine(paths[1])
    before = logits_of(mapped, TEXT)
    old("a1", 20)
    Engine(paths[3])
    assert sorted(held()) == ["a0", "a2", "a3"]
    assert torch.equal(logits_of(Engine(paths[1]), TEXT), before)
    assert torch.equal(logits_of(mapped, TEXT[:6]), before[:6])  # still mapped, though removed


def test_files_of_deleted_artifacts_go_before_all_others(artifact: Path) -> None:
    paths = copies(artifact, 4)
    for path in paths[:3]:
        Engine(path)
    shutil.rmtree(paths[1])
    paths[2].rename(paths[2].with_name("moved"))
    assert [kept.gone for kept in the_store().kept() if kept.artifact == paths[0]] == [False]
    Engine(paths[3])
    assert sorted(held()) == ["a0", "a3"]


def test_more_than_the_bound_is_not_kept(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERSOR_CACHE_LIMIT", "1 kB")
    with pytest.warns(UserWarning, match=r"not kept: .* more than the 1 kB .*TERSOR_CACHE_LIMIT"):
        Engine(artifact)
    assert held() == {}


@pytest.mark.parametrize(
    ("given", "limit"),
    [("20GB", 20 * 10**9), ("500 MB", 5 * 10**8), ("1.5tb", 15 * 10**11), ("77", 77), ("0", 0)],
)
def test_limits(given: str, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERSOR_CACHE_LIMIT", given)
    assert the_store().limit() == limit


@pytest.mark.parametrize("given", ["much", "-1", "20 GiB", "1e3", "nan", "GB", "1 2"])
def test_limits_that_are_none(
    given: str,
    artifact: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TERSOR_CACHE_LIMIT", given)
    with pytest.raises(RecipeError, match=rf"TERSOR_CACHE_LIMIT={given}: no size; give"):
        Engine(artifact)
    capsys.readouterr()
    assert run(["cache"]) == 1
    assert capsys.readouterr().out == ""


def test_the_default_leaves_half_of_a_small_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    for free, limit in ((10**9, 5 * 10**8), (10**13, DEFAULT_LIMIT)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage._replace(free=free))
        assert the_store().limit() == limit


def test_what_a_killed_process_was_writing_goes(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = the_store().directory
    path = the_store().place(artifact, "key")
    monkeypatch.setattr("tersor.runtime.packed.container.flush_to_disk", lambda _: die())
    killed(lambda: write_packed(path, Packed(), Origin(str(artifact), "key")))
    monkeypatch.undo()
    monkeypatch.setenv("TERSOR_CACHE", str(directory))
    assert [kept.name for kept in directory.iterdir()] == [f".{path.name}.partial"]
    with pytest.warns(UserWarning, match="left by a killed run; removed"):
        Engine(artifact)
    assert len(list(directory.iterdir())) == 1


def test_foreign_files_are_nobodys_business(artifact: Path) -> None:
    directory = the_store().directory
    directory.mkdir()
    name = f"{'0' * 16}-{'0' * 16}.packed"
    (directory / "thesis.tex").write_text("TERSORPK")
    (directory / name).write_text("precious")
    Engine(artifact)
    assert list(held()) == ["a0"]
    assert run(["cache", "clear"]) == 0
    assert sorted(path.name for path in directory.iterdir()) == [name, "thesis.tex"]


def test_the_command(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = copies(artifact, 3)
    for path in paths:
        Engine(path)
    shutil.rmtree(paths[1])

    def printed(*arguments: str) -> str:
        capsys.readouterr()
        assert run(["cache", *arguments]) == 0
        return capsys.readouterr().out

    lines = printed().splitlines()
    assert lines == printed("list").splitlines()
    assert len(lines) == 4
    assert [line.split()[4:] for line in lines[:3] if "gone" in line] == [["gone", str(paths[1])]]
    assert "of at most" in lines[3]
    assert str(the_store().directory) in lines[3]
    listed = json.loads(printed("list", "--json"))
    assert listed == json.loads(printed("--json"))
    assert {Path(one["artifact"]).name: one["gone"] for one in listed["files"]} == {
        "a0": False,
        "a1": True,
        "a2": False,
    }
    assert listed["bytes"] == sum(one["bytes"] for one in listed["files"]) <= listed["limit"]
    assert run(["cache", "clear", str(paths[0] / "typo")]) == 1
    assert "no packed weights of it are kept; see: tersor cache" in capsys.readouterr().err
    assert "removed 1 file" in printed("clear", str(paths[1]))
    assert sorted(held()) == ["a0", "a2"]
    cleared = json.loads(printed("clear", "--json"))
    assert len(cleared["files"]) == 2
    assert held() == {}
    assert run(["cache", "--json", "clear"]) == 2


def test_the_command_without_a_cache(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERSOR_CACHE", "off")
    assert run(["cache"]) == 0
    assert capsys.readouterr().out == "nothing is kept: TERSOR_CACHE=off\n"
    assert run(["cache", "clear", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == []
