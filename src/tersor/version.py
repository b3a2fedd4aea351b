"""The version of tersor, and of what its results depend on."""

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_SHOWING = frozenset({"api", "cli", "pages", "report"})


def own_version() -> str:
    """Version of tersor, as it was installed."""
    return version("tersor")


def versions() -> dict[str, str]:
    """Versions of tersor and of the libraries that shape an artifact; absent ones are left out."""
    found = {}
    for name in ("tersor", "torch", "transformers", "safetensors", "gguf"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def code_digest() -> str:
    """Of the code that computes what is measured, as it is installed: between releases it changes.

    Packages that only call it or show what it found are left out.
    """
    package, digest = Path(__file__).parent, hashlib.sha256()
    for file in sorted((*package.rglob("*.py"), *package.rglob("*.so"))):
        place = file.relative_to(package)
        if place.parts[0] not in _SHOWING:
            digest.update(f"{place}\0".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:32]
