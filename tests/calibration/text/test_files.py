"""What files hold, told by name and content; every refusal names file and place."""

import bz2
import gzip
import hashlib
import json
import lzma
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tersor.calibration.text import open_text, read_plain
from tersor.calibration.text.rows import Row
from tersor.errors import MissingExtra, TextError

TALK = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello, 世界"}]


def rows(path: Path) -> list[Row]:
    found = open_text(path).rows
    assert found is not None
    assert list(found()) == list(found())
    return list(found())


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_plain_text(tmp_path: Path) -> None:
    file = open_text(written(tmp_path / "some.txt", "\ufeffGrüße\r\n{not json}\n"))
    assert (file.name, file.kind, file.rows) == ("some.txt", "text", None)
    assert file.text == "Grüße\n{not json}\n"


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a"])
def test_compressed_text_by_its_content(
    tmp_path: Path, compress: Callable[[bytes], bytes], name: str
) -> None:
    path = written(tmp_path / name, compress("wörd ".encode() * 50))
    assert open_text(path).text == "wörd " * 50


@pytest.mark.parametrize("name", ["a.jsonl", "a.JSONL.gz", "a.ndjson", "a.json", "a.txt"])
def test_json_lines_whatever_they_are_called(tmp_path: Path, name: str) -> None:
    lines = '{"text": "one", "id": 7}\n\n{"id": 8, "text": "two"}\r\n{"text": null}\n'
    content = gzip.compress(lines.encode()) if name.endswith("gz") else lines.encode()
    file = open_text(written(tmp_path / name, content))
    assert file.kind == "JSON lines"
    found = rows(tmp_path / name)
    assert [row.text for row in found] == ["one", "two", ""]
    assert [row.empty for row in found] == [False, False, True]
    assert found[1].place.endswith(", line 3")


@pytest.mark.parametrize("name", ["a.json", "a.txt", "noname"])
def test_json_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, json.dumps([{"messages": TALK}, {"messages": []}], indent=1))
    assert open_text(path).kind == "JSON"
    first, second = rows(path)
    assert list(first.messages) == TALK
    assert second.empty
    one = written(tmp_path / "one.json", json.dumps({"text": "a"}, indent=2))
    assert [row.text for row in rows(one)] == ["a"]


def test_a_long_line_of_json_is_no_prose(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", json.dumps({"text": "x" * 100_000}) + "\nbroken")
    with pytest.raises(TextError, match=r"a\.txt, line 2: broken JSON"):
        rows(path)


def test_tables(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", 'id,text\n1,"a, b\nc"\n\n2,d\n')
    assert [row.text for row in rows(path)] == ["a, b\nc", "d"]
    path = written(tmp_path / "a.tsv", "text\tid\nd, e\t1\n")
    assert [row.text for row in rows(path)] == ["d, e"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": "a"}\n{"text": "b"\n', "line 2: broken JSON"),
        ("a.jsonl", '{"text": "a"}\n["b"]\n', "line 2: list, not an object with one of text and"),
        (
            "a.jsonl",
            '{"text": "a"}\n{"messages": []}\n',
            "line 2: messages, but rows before it",
        ),
        ("a.jsonl", '{"prompt": "a", "id": 1}\n', "line 1: no field text or messages .fields: id,"),
        ("a.jsonl", '{"text": "a", "messages": []}\n', "line 1: both text and messages"),
        ("a.jsonl", '{"text": 3}\n', "line 1: text is int, not a string"),
        ("a.jsonl", '{"messages": "a"}\n', "line 1: messages is str, not a list"),
        ("a.jsonl", '{"messages": ["a"]}\n', "line 1: a message is an object with role and"),
        ("a.jsonl", '{"messages": [{"role": "user"}]}', "a message is an object with role and con"),
        (
            "a.jsonl",
            '{"messages": [{"role": "user", "content": [1]}]}\n',
            "line 1: content of a message is list, not a string",
        ),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\xff"}\n', "not UTF-8"),
        ("a.jsonl", "[" * 100_000, "broken JSON .too deep"),
        ("a.json", '{"a": ', "broken JSON"),
        ("a.json", "[1]", "entry 1: int, not an object"),
        ("a.csv", "a,b\n1,2\n", "line 1: no field text or messages"),
        ("a.csv", "id,messages\n1,2\n", "line 1: messages are read from JSON lines"),
        ("a.csv", "id,text\n1,2,3\n", "line 2: 3 fields, the first line has 2"),
        ("a.csv", 'id,text\n1,"a" b\n', "line 2: broken CSV"),
        ("a.txt", "id,text\n1,hello\n2,there\n", "its first line names columns .id, text."),
        ("a.parquet", "PAR1 and no more", "no Parquet file"),
        ("a.txt", b"\x28\xb5\x2f\xfd....", "zstd"),
        ("a.zip", b"PK\x03\x04....", "a zip archive"),
        ("a.gz", b"\x1f\x8b\x08\x00broken", "cannot be read"),
        ("a.txt.gz", gzip.compress(b"word " * 99, mtime=0)[:-9], "cannot be read"),
        ("a.xz", b"\xfd7zXZ\x00....", "cannot be read"),
        ("a.txt", b"", "empty"),
        ("a.txt", b" \n\t ", "empty"),
        ("a.jsonl.gz", gzip.compress(b"", mtime=0), "empty"),
        ("a.txt", b"abc\xff\xfe", "not UTF-8 text .byte 3."),
        ("a.txt", b"GGUF\x00\x00\x03", "binary"),
        ("a.txt", None, "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_named(
    tmp_path: Path, name: str, content: str | bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        written(path, content)
    with pytest.raises(TextError, match=message) as caught:
        rows(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_directory_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="Is a directory"):
        read_plain(tmp_path)


def test_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    def save(name: str, **columns: Any) -> Path:
        parquet.write_table(pa.table(columns), tmp_path / name)
        return tmp_path / name

    texts = [f"text {i}" for i in range(600)]
    assert [row.text for row in rows(save("a.parquet", id=list(range(600)), text=texts))] == texts
    talks = rows(save("b.txt", messages=[TALK, [], None]))
    assert [list(row.messages) for row in talks] == [TALK, [], []]
    assert talks[0].place.endswith("b.txt, row 1")
    with pytest.raises(TextError, match=r"c\.parquet: no field text or messages .fields: n"):
        rows(save("c.parquet", n=[1]))
    with pytest.raises(TextError, match=r"d\.parquet, row 1: text is int"):
        rows(save("d.parquet", text=[1]))


def test_parquet_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"a\.parquet: .*tersor\[parquet\]"):
        rows(written(tmp_path / "a.parquet", "PAR1"))


def test_a_file_is_told_by_its_bytes_and_by_how_it_is_read(tmp_path: Path) -> None:
    content = b"text\nwords\n"
    first = open_text(written(tmp_path / "a.csv", content)).identity
    assert (first.name, first.kind, first.bytes) == ("a.csv", "CSV", len(content))
    assert first.sha256 == hashlib.sha256(content).hexdigest()
    assert first.same(open_text(written(tmp_path / "b.csv", content)).identity)
    assert not first.same(open_text(written(tmp_path / "a.tsv", content)).identity)
    assert not first.same(open_text(written(tmp_path / "c.csv", content + b"\n")).identity)
    gone = open_text(tmp_path / "b.csv")
    (tmp_path / "b.csv").unlink()
    with pytest.raises(TextError, match=r"b\.csv: cannot be read"):
        gone.identity  # noqa: B018


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(TextError, match=r": a directory; name the files in it"):
        open_text(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TextError, match=r"pipe: a pipe or a device; save what it gives"):
        open_text(tmp_path / "pipe")
