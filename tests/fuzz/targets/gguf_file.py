"""GGUF files: counts, types, lengths, shapes and offsets that do not fit."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import gguf
import numpy as np

from fuzz import entrances, seeds
from fuzz.damage import damage, replace
from fuzz.target import Seed, Target
from gguf_files import bpe_metadata, sentencepiece_metadata, write_gguf

_NUMBERS = (0, 1, 2, 3, 7, 8, 9, 31, 64, 255, 2**16, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1)
_TEXTS = (b"", b"a", b"llama", b"gpt2", b"bert", b"\xff\xfe", b"a" * 70_000, b"\x1b[31m\n", b"../x")
# magic, version, number of tensors, number of entries
_FRONT = ((0, 4), (4, 4), (8, 8), (16, 8))


@dataclass(frozen=True)
class _Part:
    """Bytes of the header that mean one thing: a number, or the text behind its length."""

    start: int
    size: int
    text: bool = False


def _parts(path: Path) -> list[_Part]:
    reader = gguf.GGUFReader(path)
    fields = [field for name, field in reader.fields.items() if not name.startswith("GGUF.")]
    parts = [_Part(*front) for front in _FRONT]
    for field in [*fields, *(tensor.field for tensor in reader.tensors)]:
        position = field.offset
        # A vocabulary is hundreds of parts alike.
        for number, part in enumerate(field.parts):
            if number < 12:
                parts.append(_Part(position, part.nbytes, part.dtype == np.uint8 and part.size > 1))
            position += part.nbytes
    return parts


def _damage(folder: Path, random: Random) -> str:
    path = folder / "model.gguf"
    parts = _parts(path)
    if random.random() < 0.2:
        return damage(path, random, [part.start for part in parts])
    data = path.read_bytes()
    said = []
    for _ in range(random.choice((1, 1, 2))):
        part = random.choice(parts)
        data, what = _other_text(data, part, random) if part.text else _other(data, part, random)
        said.append(f"byte {part.start}: {what}")
        if part.text:
            # What lies behind has moved.
            break
    replace(path, data)
    return "; ".join(said)


def _other(data: bytes, part: _Part, random: Random) -> tuple[bytes, str]:
    end = part.start + part.size
    before = int.from_bytes(data[part.start : end], "little")
    near = (before + 1, before - 1, before * 2, before // 2, before ^ 1)
    number = random.choice((*near, *_NUMBERS)) % (1 << 8 * part.size)
    after = data[: part.start] + number.to_bytes(part.size, "little") + data[end:]
    return after, f"{before} is {number}"


def _other_text(data: bytes, part: _Part, random: Random) -> tuple[bytes, str]:
    """Another text, and its length before it, which is right."""
    end = part.start + part.size
    before = data[part.start : end]
    text = random.choice((*_TEXTS, before[:-1], before + b"x", before[::-1]))
    length = len(text).to_bytes(8, "little")
    return data[: part.start - 8] + length + text + data[end:], f"{before[:40]!r} is {text[:40]!r}"


def _converted(family: str, kind: gguf.GGMLQuantizationType, vocabulary: str, folder: Path) -> None:
    wide = _WIDE if kind in _WHOLE_BLOCKS else {}
    made = seeds.model(folder / "original", family, vocab_size=384, **wide)
    metadata = bpe_metadata("gpt-2") if vocabulary == "bpe" else sentencepiece_metadata()
    write_gguf(made, folder / "model.gguf", kind=kind, metadata=metadata)
    (folder / "text.txt").write_text("a text to score, and a few more words", encoding="utf-8")


_KINDS = gguf.GGMLQuantizationType
# Rows of 256, which K-quants have blocks of.
_WHOLE_BLOCKS = (_KINDS.Q4_K, _KINDS.Q6_K)
_WIDE = {"hidden_size": 256, "intermediate_size": 256}
_FILES = {
    "llama": ("llama", _KINDS.F32, "bpe"),
    "llama q8": ("llama", _KINDS.Q8_0, "sentencepiece"),
    "llama q4": ("llama", _KINDS.Q4_1, "bpe"),
    "llama q4_k": ("llama", _KINDS.Q4_K, "bpe"),
    "llama q6_k": ("llama", _KINDS.Q6_K, "sentencepiece"),
    "qwen2": ("qwen2", _KINDS.F16, "bpe"),
    "gemma3": ("gemma3_text", _KINDS.F32, "sentencepiece"),
    "mixtral": ("mixtral", _KINDS.F32, "sentencepiece"),
    "gpt2": ("gpt2", _KINDS.F32, "bpe"),
}
_READ_BY = (
    *(entrances.RESTORE, entrances.QUANTIZE, entrances.PLAN),
    *(entrances.GENERATE, entrances.LOAD, entrances.CHECK),
)
_NOT_THE_ENGINE = ("gpt2",)


def _readers(
    family: str, kind: gguf.GGMLQuantizationType, _: str
) -> tuple[entrances.Entrance, ...]:
    if family in _NOT_THE_ENGINE:
        return _READ_BY
    if kind in (_KINDS.F32, _KINDS.F16):
        return (*_READ_BY, entrances.ENGINE)
    return (*_READ_BY, entrances.ENGINE, entrances.IMPORT)


GGUF = Target(
    {name: Seed(partial(_converted, *made), _readers(*made)) for name, made in _FILES.items()},
    _damage,
)
