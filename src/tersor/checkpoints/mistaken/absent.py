"""Paths at which there is nothing: names on a hub, addresses, and names written wrongly."""

import os
import re
from difflib import get_close_matches
from pathlib import Path

# owner/name, as hubs have them; a path through more directories is no such name.
_ON_A_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# A path joins the slashes of an address.
_ADDRESS = re.compile(r"(https?|hf|s3|gs|file):/")


def nothing_there(path: Path) -> str:
    """What was probably meant by a path at which there is nothing, and what to do."""
    written = str(path)
    if path.is_symlink():
        return f"a link to {path.readlink()}, which does not exist; download the model again"
    if _ADDRESS.match(written):
        return "an address, not a path; download the model and give its directory"
    if written.startswith("~"):
        return "no such file or directory: ~ is not expanded here; write the whole path"
    meant = alike(path)
    if meant is not None:
        return f"no such file or directory; did you mean {meant}?"
    if _ON_A_HUB.fullmatch(written) and not path.parent.exists():
        return _on_a_hub(written)
    return "no such file or directory; a model on a hub must be downloaded first"


def alike(path: Path) -> Path | None:
    """What lies beside a path at which there is nothing, and has nearly its name."""
    parent = path.parent
    if not parent.is_dir():
        return None
    names = [entry.name for entry in parent.iterdir()]
    found = get_close_matches(path.name, names, n=1, cutoff=0.8)
    return parent / found[0] if found else None


def _on_a_hub(name: str) -> str:
    downloaded = snapshots(_cache() / f"models--{name.replace('/', '--')}")
    if downloaded:
        return f"no such directory; the download of that name lies in {downloaded[0]}"
    return (
        "no such directory; it looks like a name on a hub, and tersor reads what is on disk: "
        f"hf download {name} --local-dir DIR, then give DIR"
    )


def _cache() -> Path:
    """Where huggingface_hub keeps its downloads."""
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")


def snapshots(cached: Path) -> list[Path]:
    """The models in a directory ``models--owner--name`` of a download cache, newest first."""
    found = [path for path in cached.glob("snapshots/*") if (path / "config.json").exists()]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)
