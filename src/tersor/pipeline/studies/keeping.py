"""What a study has made and measured so far, by the content of all that it depends on.

It lies beside the tables. Another text, recipe, model or version is another key, so a value that is
found is never an old one.
"""

import hashlib
import json
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tersor.checkpoints.files import read_json, write_text
from tersor.checkpoints.source import Source
from tersor.digest import tensor_digest
from tersor.errors import SourceError

FILE = "study.json"
_RULES = 1
"""Of what lies in the file; another number, another study."""


class Kept:
    """Values by key, written to ``directory`` whenever one is added."""

    def __init__(self, directory: Path, *, anew: bool = False) -> None:
        """``anew``: forget what is there. A file that makes no sense is told of and forgotten."""
        self._file = directory / FILE
        self._values: dict[str, Any] = {} if anew else _read(self._file)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def get(self, key: str) -> Any:
        """The value, or ``None``."""
        return self._values.get(key)

    def add(self, key: str, value: Any) -> None:
        """``value``: plain JSON types."""
        self._values[key] = value
        document = {"rules": _RULES, "values": self._values}
        write_text(self._file, json.dumps(document, indent=1, ensure_ascii=False) + "\n")

    def directory(self, key: str, path: Path) -> Mapping[str, Any] | None:
        """What was said of ``path`` when it was made, if its files are still those."""
        value = self._values.get(key)
        if not isinstance(value, dict) or value.get("path") != path.name:
            return None
        same = path.exists() and value.get("files") == _files(path)
        return value["said"] if same else None

    def add_directory(self, key: str, path: Path, said: Mapping[str, Any]) -> None:
        """``said``: of a directory, or a file, that is complete."""
        self.add(key, {"path": path.name, "files": _files(path), "said": dict(said)})


def key_of(*parts: Any) -> str:
    """One key of everything that a value depends on; plain JSON types."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def source_key(source: Source) -> str:
    """Of weights, config, tokenizer and all that travels with a model, wherever it lies.

    Reads all of it once.
    """
    digests = {name: tensor_digest(source.read([name]).values()) for name in sorted(source.tensors)}
    with tempfile.TemporaryDirectory() as folder:
        names = source.copy_companions(Path(folder))
        files = {
            name: hashlib.sha256((Path(folder) / name).read_bytes()).hexdigest() for name in names
        }
    return key_of(digests, files, dict(source.config))


def _read(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        document = read_json(file)
    except SourceError as error:
        warnings.warn(f"{error}; everything is measured anew", stacklevel=3)
        return {}
    values = document.get("values")
    if document.get("rules") != _RULES or not isinstance(values, dict):
        return {}
    return values


def _files(path: Path) -> list[list[Any]]:
    """Name, size and time of every file, but of the model card, which tells of what is measured."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    found = ((file, file.stat()) for file in files if file.name != "README.md")
    return [
        [str(file.relative_to(path.parent)), stat.st_size, stat.st_mtime_ns] for file, stat in found
    ]
