"""A model by its name on a hub: fetched once, into the hub's own cache, and only what is needed."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from tersor.checkpoints.hub.naming import HubName, hub_name
from tersor.checkpoints.hub.trouble import hub_trouble, unreachable
from tersor.checkpoints.mistaken.absent import alike
from tersor.errors import HubError
from tersor.options import AnyPath, one_path


def model_path(option: str, value: AnyPath) -> Path:
    """Where a model lies on disk that ``value`` names: a path, or ``org/model`` on a hub.

    ``option``: which parameter it was given for. ``org/model@revision`` takes a branch, tag or
    commit, ``org/model:name.gguf`` one of several GGUF files. What exists on disk is never looked
    for elsewhere, nor is what is like a name beside it.

    Raises :class:`~tersor.errors.OptionError` for no path, and :class:`HubError`.
    """
    path = one_path(option, value)
    if path.exists() or path.is_symlink():
        return path
    name = hub_name(path)
    return path if name is None or alike(path) is not None else fetched(name)


def fetched(name: HubName) -> Path:
    """The directory, or GGUF file, of a model on the hub that ``HF_ENDPOINT`` names.

    Its cache, token and offline mode are those of ``huggingface_hub``; without the network what
    was fetched before is taken. A bar is drawn on a terminal only.

    Raises :class:`HubError`: offline, no such repository or revision, no access, no model.
    """
    from huggingface_hub import HfApi, snapshot_download

    from tersor.checkpoints.hub.choosing import needed

    with hub_trouble(name, "fetched"):
        try:
            info = HfApi().model_info(name.repository, revision=name.revision)
        except unreachable() as error:
            return _kept(name, error)
        files = needed(name, [one.rfilename for one in info.siblings or ()])
        place = snapshot_download(
            name.repository,
            revision=name.revision,
            allow_patterns=files,
            library_name="tersor",
            tqdm_class=_bars(),
        )
    return _model_in(Path(place), files)


def _kept(name: HubName, error: Exception) -> Path:
    """What an earlier download left."""
    from huggingface_hub import constants

    from tersor.checkpoints.hub.choosing import needed

    folder = Path(constants.HF_HUB_CACHE) / f"models--{name.repository.replace('/', '--')}"
    revision = name.revision or constants.DEFAULT_REVISION
    reference = folder / "refs" / revision
    commit = reference.read_text().strip() if reference.is_file() else revision
    place = folder / "snapshots" / commit
    if not place.is_dir():
        raise HubError(
            f"{name}: no such path, and the hub cannot be reached ({_said(error)}); connect, unset "
            "HF_HUB_OFFLINE, or give a directory"
        ) from error
    files = [file.relative_to(place).as_posix() for file in place.rglob("*") if file.is_file()]
    return _model_in(place, needed(name, files))


def _model_in(place: Path, files: list[str]) -> Path:
    only = place / files[0]
    return only if len(files) == 1 and only.suffix == ".gguf" else place


def _said(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".") or type(error).__name__


def _bars() -> Any:
    """On a terminal bars that the command line's silence of all others does not reach."""
    if not sys.stderr.isatty():
        return None
    bar: Any = import_module("tqdm.auto").tqdm

    def begin(self: Any, *args: Any, name: str = "", **keywords: Any) -> None:
        del name
        bar.__init__(self, *args, **{**keywords, "disable": False})

    return type("Bars", (bar,), {"__init__": begin})
