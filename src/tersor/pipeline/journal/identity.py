"""Everything that the bytes of a result depend on, so that no run goes on as another one."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tersor.calibration.text import TextFile
from tersor.checkpoints.files import reading
from tersor.checkpoints.source import Source
from tersor.errors import OutputError, SourceError
from tersor.pipeline.planning import Plan
from tersor.pipeline.whole_model.arithmetic import arithmetic
from tersor.version import code_digest, versions

_READ = (".safetensors", ".bin", ".gguf", ".json", ".model", ".txt", ".jinja", ".pt", ".pth")
_LARGE = 1 << 26
_SHOWN = 4


def identity_of(source: Source, plan: Plan, texts: Sequence[TextFile]) -> dict[str, Any]:
    """What a run depends on, of plain JSON types.

    Raises :class:`~tersor.errors.SourceError` for a file of the source that cannot be read.
    """
    recipe, calibrated = plan.recipe, plan.recipe.needs_calibration
    found = {
        "version": {**versions(), "code": code_digest()},
        "source": {p.name: _file(p, thorough=calibrated) for p in _files(source.path)},
        "recipe": recipe.to_dict(),
        "format": plan.format,
        "calibration": [_text(file) for file in texts],
        "arithmetic": arithmetic(recipe.calibration.precision) if calibrated else "",
        "plan": _digest([[i.name, str(i.dtype), i.shape] for i in plan.outputs()]),
    }
    same: dict[str, Any] = json.loads(json.dumps(found))
    return same


def refuse_other(out: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise :class:`OutputError` naming what is otherwise ``now`` than in the unfinished run."""
    compared = list(_compare("", before, now))
    # A description repeats what was adjusted.
    telling = [one for one in compared if one[0] != "recipe.description"] or compared
    found = [f"{name}: {_said(old)} then, {_said(new)} now" for name, old, new in telling]
    if found:
        more = f" (and {len(found) - _SHOWN} more)" if len(found) > _SHOWN else ""
        raise OutputError(
            f"{out}: the unfinished run there is another one: {'; '.join(found[:_SHOWN])}{more}; "
            "give it what it had (--resume), or start anew (--force)"
        )


def refuse_changed_source(source: Source, begun: Mapping[str, Any]) -> None:
    """Raise :class:`SourceError` naming a file that is another one than when the run began.

    ``begun``: what :func:`identity_of` said then.
    """
    for path in _files(source.path):
        before = begun["source"].get(path.name)
        # Only a file whose date is another one is read again.
        if before is not None and not _same_date(path, before):
            now = _file(path, thorough=bool(before["sha256"]))
            if not _same_file(before, now):
                raise SourceError(
                    f"{path}: changed while the model was quantized; start anew with the source "
                    "that is meant"
                )


def _same_date(path: Path, before: Mapping[str, Any]) -> bool:
    with reading(path):
        stat = path.stat()
    return bool((before["bytes"], before["modified"]) == (stat.st_size, stat.st_mtime_ns))


def _compare(name: str, before: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    if name.startswith("source."):
        if before is None or now is None:
            old, new = ("absent" if file is None else "there" for file in (before, now))
            yield name, old, new
        elif not _same_file(before, now):
            yield name, "one content", "another"
    elif isinstance(before, dict) and isinstance(now, dict):
        for key in dict.fromkeys((*before, *now)):
            inside = f"{name}.{key}" if name else key
            yield from _compare(inside, before.get(key), now.get(key))
    elif before != now:
        yield name, before, now


def _same_file(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    if before["bytes"] != now["bytes"]:
        return False
    if before["sha256"] and now["sha256"]:
        return bool(before["sha256"] == now["sha256"])
    return bool(before["modified"] == now["modified"])


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if file.suffix in _READ and file.is_file())


def _file(path: Path, *, thorough: bool) -> dict[str, Any]:
    """What tells a file from others: its content, or of a large one that is read fast its date."""
    with reading(path):
        stat = path.stat()
        found = {"bytes": stat.st_size, "modified": stat.st_mtime_ns, "sha256": ""}
        if thorough or stat.st_size < _LARGE:
            with path.open("rb") as file:
                found["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _text(file: TextFile) -> str:
    one = file.identity
    return f"{one.name} ({one.kind}, sha256 {one.sha256[:16]}…)"


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:32]


def _said(value: Any) -> str:
    if value is None or value == "":
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
