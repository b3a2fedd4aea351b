"""What travels with a model besides weights and config: tokenizer, templates, licence, code."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from tersor.checkpoints.files import read_json, reading, refuse_lfs_pointer, writing

# An allow-list: a model directory also collects optimizer states, logs and other formats' weights.
_TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model*", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "*.tiktoken", "tekken.json",
    "spiece.model", "sentencepiece.bpe.model",
    "chat_template.json", "*.jinja", "additional_chat_templates/*.jinja",
)  # fmt: skip
COMPANIONS = (
    *_TOKENIZER,
    "generation_config.json", "gguf_metadata.json",
    "processor_config.json", "*preprocessor_config.json",
    "LICENSE*", "NOTICE*", "USE_POLICY*",
)  # fmt: skip
"""Patterns of what travels, but for code."""
_CONFIGS_WITH_CODE = ("tokenizer_config.json", "processor_config.json", "preprocessor_config.json")
_RELATIVE_IMPORT = re.compile(r"^\s*from\s+\.(\w+)\s+import\s", re.MULTILINE)


def copy_companions(source: Path, target: Path, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Copy the companions of the model directory ``source`` into ``target``.

    Python files travel only if an ``auto_map`` names them, or a file so named imports them: the
    model cannot be loaded without. They are copied, never run.

    Returns:
        The names copied, relative to ``target``, sorted.

    Raises:
        SourceError: a companion that cannot be read.
        OutputError: disk full, no permission.
    """
    names = sorted({*_matching(source, COMPANIONS), *_code(source, config)})
    for name in names:
        with reading(source / name):
            data = (source / name).read_bytes()
        with writing(target / name):
            (target / name).parent.mkdir(exist_ok=True)
            (target / name).write_bytes(data)
    return tuple(names)


def refuse_pointers(source: Path) -> None:
    """Refuse a clone whose tokenizer or the like is a Git LFS pointer: it would travel as it is.

    Raises:
        SourceError: names the file.
    """
    for name in _matching(source, COMPANIONS):
        refuse_lfs_pointer(source / name)


def tokenizer_digest(directory: Path) -> str:
    """SHA-256 of the names and contents of all files that a tokenizer is made of.

    Raises:
        SourceError: one that cannot be read.
    """
    digest = hashlib.sha256()
    for name in sorted(_matching(directory, _TOKENIZER)):
        with reading(directory / name):
            data = (directory / name).read_bytes()
        digest.update(f"{name} {len(data)}\n".encode())
        digest.update(data)
    return digest.hexdigest()


def _matching(source: Path, patterns: Sequence[str]) -> Iterator[str]:
    """The plain files of ``source``, and of its sub-directories, that match a pattern."""
    with reading(source):
        files = [path for pattern in ("*", "*/*") for path in source.glob(pattern)]
    for path in files:
        name = path.relative_to(source).as_posix()
        if path.is_file() and any(_matches(name, pattern) for pattern in patterns):
            yield name


def _matches(name: str, pattern: str) -> bool:
    # fnmatch lets * cross a slash; a companion sits exactly where its pattern says.
    return name.count("/") == pattern.count("/") and fnmatch(name, pattern)


def _code(source: Path, config: Mapping[str, Any]) -> set[str]:
    """The Python files named by ``auto_map``, and those they import from beside themselves."""
    waiting = set(_modules(config))
    for name in _CONFIGS_WITH_CODE:
        if (source / name).is_file():
            waiting |= set(_modules(read_json(source / name)))
    found: set[str] = set()
    while waiting:
        file = f"{waiting.pop()}.py"
        if file not in found and (source / file).is_file():
            found.add(file)
            with reading(source / file):
                text = (source / file).read_text(encoding="utf-8", errors="replace")
            waiting |= set(_RELATIVE_IMPORT.findall(text))
    return found


def _modules(config: Mapping[str, Any]) -> Iterator[str]:
    """``modeling_x`` for each ``"repository--modeling_x.Class"`` of an ``auto_map``."""
    auto_map = config.get("auto_map")
    values = auto_map.values() if isinstance(auto_map, Mapping) else ()
    for value in values:
        for reference in value if isinstance(value, list) else [value]:
            # Code of another repository is not in this directory.
            if isinstance(reference, str) and "--" not in reference:
                module = reference.partition(".")[0]
                if module.isidentifier():
                    yield module
