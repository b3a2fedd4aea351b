import errno
import json
import os
from pathlib import Path

import pytest

from tersor.checkpoints.files import (
    read_json,
    replacing,
    write_json,
    write_text,
    writing,
)
from tersor.errors import OutputError, SourceError


def test_json_comes_back_and_is_the_same_text_for_any_order_of_keys(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": "é", "c": [None, 0.1]})
    write_json(tmp_path / "b.json", {"c": [None, 0.1], "a": "é", "b": 1})
    assert read_json(tmp_path / "a.json") == {"b": 1, "a": "é", "c": [None, 0.1]}
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_file_is_replaced_not_rewritten(tmp_path):
    file = tmp_path / "a.txt"
    write_text(file, "old")
    with file.open() as opened:
        write_text(file, "new text")
        assert opened.read() == "old", "who has the old file open still sees it whole"
    assert file.read_text() == "new text"
    assert os.listdir(tmp_path) == ["a.txt"]  # noqa: PTH208 - hidden files count


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failed_write_leaves_the_old_file(error, tmp_path):
    file = tmp_path / "a.txt"
    write_text(file, "old")

    def fail():
        with replacing(file) as partial:
            assert partial.parent == tmp_path / ".a.txt.partial"
            partial.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]  # noqa: PTH208


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "no space left on the disk; free some space or choose another"),
        (errno.EDQUOT, "no space left on the disk"),
        (errno.EACCES, "no permission to write here; choose another output directory"),
        (errno.EROFS, "no permission to write here"),
        (errno.EIO, r"cannot be written \(Input/output error\)"),
    ],
)
def test_failing_writes_say_what_to_do(number, message, tmp_path):
    def fail():
        with replacing(tmp_path / "a") as partial:
            partial.touch()
            raise OSError(number, os.strerror(number))

    with pytest.raises(OutputError, match=message) as caught:
        fail()
    assert str(caught.value).startswith(f"{tmp_path / 'a'}: ")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_for_real():
    with pytest.raises(OutputError, match="/dev/full: no space left"), writing(Path("/dev/full")):
        Path("/dev/full").write_text("x")


def test_writing_into_a_missing_directory(tmp_path):
    with pytest.raises(OutputError, match=r"a\.json: cannot be written \(No such file"):
        write_json(tmp_path / "none" / "a.json", {})


def test_reading_a_missing_file(tmp_path):
    with pytest.raises(SourceError, match=r"a\.json: no such file"):
        read_json(tmp_path / "a.json")


def test_corrupt_json_is_one_line(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"a": 1}, indent=2)[:-3])
    with pytest.raises(SourceError, match="not valid JSON") as caught:
        read_json(tmp_path / "a.json")
    assert "\n" not in str(caught.value)
