"""The version of tersor, and of what its results depend on."""

from importlib.metadata import PackageNotFoundError, version


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
