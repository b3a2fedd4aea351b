import errno
import os
import shutil
import warnings
from collections import namedtuple
from pathlib import Path

import pytest

from killing import die, killed
from tersor.checkpoints.output.directory import OutputDirectory
from tersor.errors import OutputError


def model_directory(path, text="old"):
    path.mkdir(parents=True)
    (path / "config.json").write_text('{"model_type": "llama"}')
    (path / "model.safetensors").write_text(text)
    return path


def names(directory):
    return sorted(os.listdir(directory))  # noqa: PTH208 - hidden names count


def fill(staging, text="new"):
    (staging / "config.json").write_text('{"model_type": "llama"}')
    (staging / "model.safetensors").write_text(text)


def test_appears_only_at_the_end(tmp_path):
    out = tmp_path / "out"
    with OutputDirectory(out) as staging:
        fill(staging)
        assert staging.parent == tmp_path
        assert staging.name == ".out.partial"
        assert not out.exists()
    assert names(tmp_path) == ["out"]
    assert names(out) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("existing", [False, True])
def test_failure_leaves_nothing_behind_and_the_old_untouched(error, existing, tmp_path):
    out = tmp_path / "out"
    if existing:
        model_directory(out)

    def fail():
        with OutputDirectory(out, force=existing) as staging:
            fill(staging)
            raise error

    with pytest.raises(error):
        fail()
    assert names(tmp_path) == (["out"] if existing else [])
    if existing:
        assert (out / "model.safetensors").read_text() == "old"


def test_parents_are_made_and_removed_again_on_failure(tmp_path):
    with OutputDirectory(tmp_path / "a" / "b" / "out") as staging:
        fill(staging)
    assert (tmp_path / "a" / "b" / "out" / "config.json").exists()
    with pytest.raises(RuntimeError), OutputDirectory(tmp_path / "a" / "c" / "d" / "out"):
        raise RuntimeError
    assert names(tmp_path / "a") == ["b"]


def test_existing_directory_is_refused(tmp_path):
    out = model_directory(tmp_path / "out")
    with pytest.raises(OutputError, match=r"out: exists already; .* or pass --force"):
        OutputDirectory(out).__enter__()
    assert (out / "model.safetensors").read_text() == "old"


def test_force_replaces_a_model_directory(tmp_path):
    out = model_directory(tmp_path / "out")
    (out / "leftover").touch()
    with OutputDirectory(out, force=True) as staging:
        fill(staging)
        assert (out / "model.safetensors").read_text() == "old"
    assert names(tmp_path) == ["out"]
    assert names(out) == ["config.json", "model.safetensors"]
    assert (out / "model.safetensors").read_text() == "new"


def test_force_fills_an_empty_directory(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(OutputError, match="--force"):
        OutputDirectory(out).__enter__()
    with OutputDirectory(out, force=True) as staging:
        fill(staging)
    assert names(out) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("config", [None, "{", "[]", '{"compilerOptions": {}}'])
def test_force_does_not_replace_what_is_no_model(config, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").touch()
    if config is not None:
        (out / "config.json").write_text(config)
    with pytest.raises(OutputError, match=r"out: not a model directory .* even with --force"):
        OutputDirectory(out, force=True).__enter__()
    assert "thesis.tex" in names(out)


def test_force_does_not_replace_a_file(tmp_path):
    (tmp_path / "out").write_text("precious")
    with pytest.raises(OutputError, match="out: exists and is a file"):
        OutputDirectory(tmp_path / "out", force=True).__enter__()
    assert (tmp_path / "out").read_text() == "precious"


def test_force_does_not_replace_the_source(tmp_path):
    source = model_directory(tmp_path / "model")
    (tmp_path / "link").symlink_to(source)
    for path in (source, tmp_path / "link", tmp_path / "x" / ".." / "model"):
        with pytest.raises(OutputError, match="holds the source"):
            OutputDirectory(path, source=source, force=True).__enter__()
    assert names(source) == ["config.json", "model.safetensors"]


def test_force_does_not_replace_a_directory_above_the_source(tmp_path):
    out = model_directory(tmp_path / "out")
    source = model_directory(out / "nested" / "source")
    for read in (source, source / "model.safetensors"):
        with pytest.raises(OutputError, match="holds the source"):
            OutputDirectory(out, source=read, force=True).__enter__()


def test_force_does_not_replace_what_the_source_links_to(tmp_path):
    out = model_directory(tmp_path / "out")
    source = tmp_path / "source"
    source.mkdir()
    (source / "model.safetensors").symlink_to(out / "model.safetensors")
    with pytest.raises(OutputError, match=r"holds the source .*source/model\.safetensors"):
        OutputDirectory(out, source=source, force=True).__enter__()


def test_output_inside_the_source_is_allowed(tmp_path):
    source = model_directory(tmp_path / "model")
    with OutputDirectory(source / "quantized", source=source) as staging:
        fill(staging)
    assert names(source) == ["config.json", "model.safetensors", "quantized"]


def test_a_link_stays_a_link(tmp_path):
    target = model_directory(tmp_path / "target")
    (tmp_path / "out").symlink_to(target)
    with OutputDirectory(tmp_path / "out", force=True) as staging:
        fill(staging)
    assert (tmp_path / "out").is_symlink()
    assert (target / "model.safetensors").read_text() == "new"


def test_disk_that_is_too_small(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 287_000_000))
    out = tmp_path / "new" / "out"
    with pytest.raises(OutputError, match=r"needs 4\.1 GB, 287 MB free on .*; free some space"):
        OutputDirectory(out, needed_bytes=4_100_000_000).__enter__()
    assert names(tmp_path) == []
    with OutputDirectory(out, needed_bytes=287_000_000) as staging:
        fill(staging)
    assert out.exists()


def test_full_disk_in_the_middle(tmp_path):
    with (
        pytest.raises(OutputError, match="out: no space left on the disk; free some space"),
        OutputDirectory(tmp_path / "out") as staging,
    ):
        raise OSError(errno.ENOSPC, "No space left on device", str(staging / "report.html"))
    assert names(tmp_path) == []


def test_errors_of_other_files_are_not_relabelled(tmp_path):
    with pytest.raises(FileNotFoundError), OutputDirectory(tmp_path / "out"):
        (tmp_path / "calibration.txt").read_text()
    assert names(tmp_path) == []


def test_parent_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/out: cannot be written \(Not a directory\)"):
        OutputDirectory(tmp_path / "file" / "out").__enter__()


def test_no_permission(tmp_path, monkeypatch):
    def refuse(self, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with pytest.raises(OutputError, match="out: no permission to write here"):
        OutputDirectory(tmp_path / "out").__enter__()


def test_old_one_returns_if_the_new_one_cannot_be_renamed(tmp_path, monkeypatch):
    out = model_directory(tmp_path / "out")
    rename = Path.rename

    def fail_for_the_new_one(self, target):
        if Path(target) == out and (self / "model.safetensors").read_text() == "new":
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_the_new_one)
    with (
        pytest.raises(OutputError, match="Input/output error"),
        OutputDirectory(out, force=True) as staging,
    ):
        fill(staging)
    assert names(tmp_path) == ["out"]
    assert (out / "model.safetensors").read_text() == "old"


def test_old_one_that_cannot_be_deleted_is_named(tmp_path, monkeypatch):
    out = model_directory(tmp_path / "out")
    rmtree = shutil.rmtree

    def fail_for_the_old_one(path, **options):
        if not options:
            raise PermissionError(errno.EACCES, "Permission denied")
        rmtree(path, **options)

    monkeypatch.setattr(shutil, "rmtree", fail_for_the_old_one)
    with (
        pytest.raises(OutputError, match=r"out: complete, .* delete .*\.out\.replaced"),
        OutputDirectory(out, force=True) as staging,
    ):
        fill(staging)
    assert (out / "model.safetensors").read_text() == "new"


def test_the_second_run_on_an_output_is_refused(tmp_path):
    with OutputDirectory(tmp_path / "out") as staging:
        for force in (False, True):
            with pytest.raises(OutputError, match=r"out: another run is writing it .* wait until"):
                OutputDirectory(tmp_path / "out", force=force).__enter__()
        fill(staging)
        with OutputDirectory(tmp_path / "other") as other:
            fill(other)
    assert names(tmp_path) == ["other", "out"]
    assert (tmp_path / "out" / "model.safetensors").read_text() == "new"


def test_what_a_killed_run_leaves_is_said_and_removed(tmp_path):
    def work():
        with OutputDirectory(tmp_path / "out") as staging:
            (staging / "shards").mkdir()
            (staging / "shards" / "model.safetensors").write_bytes(bytes(2000))
            die()

    killed(work)
    assert names(tmp_path) == [".out.partial"]
    following = OutputDirectory(tmp_path / "out")
    with pytest.warns(UserWarning, match=r"\.out\.partial: 2 kB left by a killed run; removed"):
        staging = following.__enter__()
    assert names(staging) == []
    fill(staging)
    following.__exit__(None, None, None)
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("renames", [1, 2])
def test_a_run_that_was_killed_while_it_replaced_the_old_one(renames, tmp_path):
    """Killed between both renames, or behind them."""
    out = model_directory(tmp_path / "out")
    rename, left = Path.rename, [renames]

    def die_behind(self, target):
        rename(self, target)
        left[0] -= 1
        if not left[0]:
            die()

    def work():
        with OutputDirectory(out, force=True) as staging:
            fill(staging)
            Path.rename = die_behind

    killed(work)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(OutputError, match="out: exists already"):
            OutputDirectory(out).__enter__()
    said = [str(warning.message).removeprefix(f"{tmp_path}/") for warning in caught]
    assert (
        said
        == [
            [
                ".out.partial: 26 bytes left by a killed run; removed",
                "out: put back, as it was before a run that was killed",
            ],
            [".out.replaced: 26 bytes left by a killed run; removed"],
        ][renames - 1]
    )
    assert names(tmp_path) == ["out"]
    assert (out / "model.safetensors").read_text() == ("old", "new")[renames - 1]


def test_leftovers_on_a_disk_without_locks_are_left_alone(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with OutputDirectory(tmp_path / "fine") as staging:
        fill(staging)
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / "model.safetensors").write_text("whose?")
    with pytest.raises(OutputError, match=r"6 bytes left by a killed run, or .* delete it"):
        OutputDirectory(tmp_path / "out").__enter__()
    assert names(tmp_path) == [".out.partial", "fine"]


def test_the_root_of_a_disk_is_no_output():
    with pytest.raises(OutputError, match="/: the root of a file system"):
        OutputDirectory("/", force=True).__enter__()
