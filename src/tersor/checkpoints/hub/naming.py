"""Names of models on a hub: ``org/model``, ``org/model@revision``, ``org/model:file.gguf``."""

import re
from dataclasses import dataclass
from pathlib import Path

_PART = r"[A-Za-z0-9][\w.-]*"
_NAME = re.compile(
    rf"(?P<repository>{_PART}/{_PART})(@(?P<revision>[^:@\s]+))?(:(?P<file>[^:@\s]+\.gguf))?"
)
_CACHED = re.compile(r"models--(?P<owner>.+?)--(?P<name>.+)")


@dataclass(frozen=True)
class HubName:
    """``revision``: a branch, tag or commit; ``file``: one of the repository's GGUF files."""

    repository: str
    revision: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return self.repository + revision + (f":{self.file}" if self.file else "")


def hub_name(path: Path) -> HubName | None:
    """What a path names on a hub; ``None`` if it is no such name."""
    found = _NAME.fullmatch(path.as_posix())
    if found is None or not found["repository"].isascii():
        return None
    return HubName(found["repository"], found["revision"], found["file"])


def repository_of(path: Path) -> str | None:
    """``org/model`` of a directory or file in the hub's download cache; ``None`` elsewhere.

    ``path``: ``…/models--org--model/snapshots/<commit>``, or a file in it.
    """
    for one in (path, path.parent):
        if one.parent.name == "snapshots":
            found = _CACHED.fullmatch(one.parent.parent.name)
            return f"{found['owner']}/{found['name']}" if found else None
    return None
