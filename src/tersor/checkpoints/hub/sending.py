"""A model on disk sent to a hub, with its card."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tersor.checkpoints.hub.naming import HubName, hub_name
from tersor.checkpoints.hub.trouble import hub_trouble
from tersor.errors import OptionError
from tersor.version import own_version


@dataclass(frozen=True)
class UploadResult:
    """``url``: of the commit that was made; ``files`` of ``bytes``."""

    source: Path
    repository: str
    url: str
    files: int
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "version": own_version(),
            "source": str(self.source),
            "repository": self.repository,
            "url": self.url,
            "files": self.files,
            "bytes": self.bytes,
        }


def repository_named(name: str) -> HubName:
    """``org/name`` alone. Raises :class:`OptionError` for anything else."""
    found = hub_name(Path(name))
    if found is None or found.revision or found.file:
        raise OptionError("name", f"must be org/name, not {name!r}")
    return found


def send(path: Path, name: str, *, private: bool, cards: Mapping[str, str]) -> UploadResult:
    """Send a model directory, or a single file, in one commit to the repository ``org/name``.

    It is made if there is none; ``private``: to be seen by its owner alone, then. Hidden files stay
    here. ``cards``: texts by their names that are sent where the model has none. The token is that
    of ``huggingface_hub``.

    Raises :class:`OptionError` for a name that is none, and :class:`~tersor.errors.HubError`.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    found = repository_named(name)
    inside = [path] if path.is_file() else sorted(path.rglob("*"))
    root = path.parent if path.is_file() else path
    files = {one.relative_to(root).as_posix(): one for one in inside if one.is_file()}
    files = {to: one for to, one in files.items() if not any(p[0] == "." for p in to.split("/"))}
    texts = {to: text.encode() for to, text in cards.items() if to not in files}
    sent: dict[str, Path | bytes] = {**files, **texts}
    with hub_trouble(found, "sent"):
        api = HfApi(library_name="tersor", library_version=own_version())
        api.create_repo(found.repository, private=private, exist_ok=True)
        made = api.create_commit(
            found.repository,
            [
                CommitOperationAdd(path_in_repo=to, path_or_fileobj=content)
                for to, content in sent.items()
            ],
            commit_message=f"{path.name} by tersor {own_version()}",
        )
    size = sum(one.stat().st_size for one in files.values()) + sum(map(len, texts.values()))
    return UploadResult(path, found.repository, made.commit_url, len(files) + len(texts), size)
