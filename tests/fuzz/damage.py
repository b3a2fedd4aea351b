"""Bytes and files that nobody meant."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from random import Random

_FOREIGN = (
    b"",
    b"\n",
    b"PK\x03\x04" + bytes(60),
    b"\x7fELF" + bytes(60),
    b"\x80\x02}q\x00.",
    b"GGUF" + bytes(20),
    b"<!DOCTYPE html><html>404</html>",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    b"\xff\xfe{\x00}\x00",
    b"\x28\xb5\x2f\xfd\x20\x04\x21\x00\x00text",
    b"\x00" * 64,
    b"{}",
    b"[]",
    b"null",
    b"1",
    b'"a"',
)


def damage(path: Path, random: Random, cuts: Sequence[int] = ()) -> str:
    """Damage a file and say how. ``cuts``: where its parts end."""
    if random.random() < 0.12:
        return _misplaced(path, random)
    before = path.read_bytes()
    after, what = damaged_bytes(before, random, cuts)
    replace(path, after)
    return f"{path.name}: {what}"


def damaged_bytes(data: bytes, random: Random, cuts: Sequence[int] = ()) -> tuple[bytes, str]:
    """The bytes after an accident, and what it was. ``cuts``: where it happens rather."""
    at = random.choice(cuts) if cuts and random.random() < 0.6 else random.randrange(len(data) + 1)
    before, behind = data[:at], data[at:]
    more = random.choice((b"\0", b"{", b'"', b"\xff", b"\n"))
    foreign = random.choice(_FOREIGN)
    accidents = {
        f"cut at byte {at} of {len(data)}": before,
        "bytes behind the end": data + random.choice((b"\0", b"a" * 100, data)),
        f"a bit of byte {at} turned": before + _turned(behind[:1], random) + behind[1:],
        f"noise at byte {at}": before + random.randbytes(16) + behind[16:],
        f"bytes gone from {at}": before + behind[random.choice((1, 8, 100)) :],
        f"{more!r} at byte {at}": before + more + behind,
        f"{foreign[:20]!r} in its place": foreign,
        "a byte order mark": b"\xef\xbb\xbf" + data,
    }
    what = random.choice(list(accidents))
    return accidents[what], what


def _turned(byte: bytes, random: Random) -> bytes:
    return bytes(one ^ 1 << random.randrange(8) for one in byte)


def replace(path: Path, data: bytes) -> None:
    """Another file under the name: the old one may be shared."""
    path.unlink()
    path.write_bytes(data)


def _misplaced(path: Path, random: Random) -> str:
    path.unlink()
    match random.choice(("gone", "directory", "dangling", "circle")):
        case "gone":
            return f"{path.name}: gone"
        case "directory":
            path.mkdir()
            return f"{path.name}: a directory"
        case "dangling":
            path.symlink_to(path.parent / "nowhere")
            return f"{path.name}: a link to nothing"
        case _:
            path.symlink_to(path)
            return f"{path.name}: a link to itself"


def emptied(folder: Path) -> Path:
    """An empty folder of that name."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
