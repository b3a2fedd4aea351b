"""What follows in a header, one entry after the other, every length checked."""

import struct
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from tersor.checkpoints.gguf.parsing.tensor import GGUFTensor, row_bytes
from tersor.checkpoints.source import GGUF_MAGIC
from tersor.errors import SourceError

_VERSIONS = (2, 3)
_MAX_DIMENSIONS = 4
# Of a key, by the format's description.
_LONGEST_NAME = 2**16 - 1
_FLOAT32, _STRING, _ARRAY = 6, 8, 9
_SCALARS = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip


class Parser:
    """Reads from the current position of a file of ``size`` bytes.

    ``problems``: what is wrong with one entry alone. Methods raise
    :class:`~tersor.errors.SourceError` where what follows cannot be found any more.
    """

    def __init__(self, path: Path, file: IO[bytes], size: int) -> None:
        self._path = path
        self._file = file
        self._size = size
        self._part = "its beginning"
        self.problems: list[SourceError] = []

    def counts(self) -> tuple[int, int]:
        """Of tensors and of metadata entries, which come first."""
        if self._bytes(len(GGUF_MAGIC)) != GGUF_MAGIC:
            raise SourceError(f"{self._path}: not a GGUF file (it does not begin with 'GGUF')")
        version = self._number("I")
        if version not in _VERSIONS:
            raise SourceError(
                f"{self._path}: GGUF version {version} is not supported (2 and 3 are); "
                "convert the model again"
            )
        tensors, entries = self._number("Q"), self._number("Q")
        for count, least, what in ((tensors, 32, "tensors"), (entries, 13, "metadata entries")):
            if count * least > self._size:
                raise SourceError(
                    f"{self._path}: {count} {what} are more than {self._size} bytes hold: "
                    "the file is truncated or corrupt, download it again"
                )
        return tensors, entries

    def entry(self) -> tuple[str, Any]:
        """The next key of the metadata, and its value."""
        self._part = "a key of the metadata"
        key = self._name()
        self._part = f"{key!r:.80}"
        return key, self._value(self._number("I"), key)

    def tensor(self) -> GGUFTensor | None:
        """The next one; ``None`` if it has no size, which is a problem, but not one of the next."""
        self._part = "the name of a tensor"
        name = self._name()
        self._part = f"tensor {name!r:.80}"
        dimensions = self._number("I")
        if not 1 <= dimensions <= _MAX_DIMENSIONS:
            raise SourceError(f"{self._path}: tensor {name!r} has {dimensions} dimensions")
        shape = tuple(self._number("Q") for _ in range(dimensions))[::-1]
        ggml_type, offset = self._number("I"), self._number("Q")
        try:
            if 0 in shape:
                raise SourceError(f"{self._path}: tensor {name!r} is empty (shape {shape})")
            nbytes = prod(shape[:-1]) * row_bytes(self._path, name, ggml_type, shape[-1])
        except SourceError as error:
            self.problems.append(error)
            return None
        return GGUFTensor(name, shape, ggml_type, offset, nbytes)

    def _value(self, kind: int, key: str) -> Any:
        if kind in _SCALARS:
            value = self._number(_SCALARS[kind])
            # The shortest decimal that means the same float32: 1e-05, not 9.999999747378752e-06.
            return float(str(np.float32(value))) if kind == _FLOAT32 else value
        if kind == _STRING:
            return self._text()
        if kind != _ARRAY:
            raise SourceError(f"{self._path}: {key!r} has the unknown type {kind}")
        element, count = self._number("I"), self._number("Q")
        if element in _SCALARS:
            code = _SCALARS[element]
            data = self._bytes(count * struct.calcsize(f"<{code}"))
            return list(struct.unpack(f"<{count}{code}", data))
        if element != _STRING:
            raise SourceError(f"{self._path}: {key!r} is an array of the unknown type {element}")
        return self._texts(count)

    def _texts(self, count: int) -> list[str]:
        """As :meth:`_text` reads them, a hundred thousand in a fraction of its time."""
        read, size = self._file.read, self._size
        if count * 8 > size:
            raise self._ends_early(count * 8)
        found = []
        for _ in range(count):
            length = read(8)
            number = int.from_bytes(length, "little")
            text = read(number) if number <= size else b""
            if len(length) != 8 or len(text) != number:
                raise self._ends_early(number if len(length) == 8 else 8)
            found.append(text.decode("utf-8", "replace"))
        return found

    def _name(self) -> str:
        length = self._number("Q")
        if length > _LONGEST_NAME:
            raise SourceError(
                f"{self._path}: {self._part} has {length} bytes, more than {_LONGEST_NAME}: "
                "the header ends in the middle or is corrupt, download it again"
            )
        return self._bytes(length).decode("utf-8", errors="replace")

    def _text(self) -> str:
        # Vocabularies hold pieces of characters that are not UTF-8 by themselves.
        return self._bytes(self._number("Q")).decode("utf-8", errors="replace")

    def _number(self, code: str) -> Any:
        (value,) = struct.unpack(f"<{code}", self._bytes(struct.calcsize(f"<{code}")))
        return value

    def _bytes(self, count: int) -> bytes:
        # The check comes first: a corrupt length must not become an allocation.
        data = self._file.read(count) if count <= self._size else b""
        if len(data) != count:
            raise self._ends_early(count)
        return data

    def _ends_early(self, needed: int) -> SourceError:
        return SourceError(
            f"{self._path}: the header ends in the middle: {self._part} needs {needed} bytes more, "
            f"of {self._size}: the file is truncated or corrupt, download it again"
        )
