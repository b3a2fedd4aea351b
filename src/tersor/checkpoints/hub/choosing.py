"""Which files of a repository are needed: weights once, in the form that is read."""

from collections.abc import Iterable
from fnmatch import fnmatch

from tersor.checkpoints.adapters.settings import ADAPTER_CONFIG
from tersor.checkpoints.hub.naming import HubName
from tersor.checkpoints.huggingface.companions import COMPANIONS
from tersor.errors import HubError

_CONFIG, _SINGLE, _INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
_OURS = ("README.md", "tersor.json", "recipe.yaml")
_SHOWN = 8


def needed(name: HubName, files: Iterable[str]) -> list[str]:
    """Those of a repository's ``files`` that its model is made of, sorted.

    Safetensors with their config, tokenizer, templates and code; where there are none, or one is
    named, a single GGUF file. Raises :class:`HubError` if there is no model, or several.
    """
    found = sorted(files)
    if name.file is not None:
        if name.file not in found:
            raise HubError(f"{name}: the repository holds no {name.file}{_those(_gguf(found))}")
        return [name.file]
    weights = _safetensors(found)
    if _CONFIG in found and weights:
        patterns = (*COMPANIONS, "*.py", *_OURS)
        beside = (file for file in found if any(_matches(file, one) for one in patterns))
        return sorted({_CONFIG, *weights, *beside})
    return [_only_gguf(name, found)]


def _safetensors(files: list[str]) -> list[str]:
    adapter = [f for f in files if f in (ADAPTER_CONFIG, "adapter_model.safetensors")]
    if _SINGLE in files:
        return [_SINGLE, *adapter]
    # Mistral publishes the same weights a second time, under names of its own.
    shards = [f for f in files if fnmatch(f, "*.safetensors") and "/" not in f]
    shards = [f for f in shards if not f.startswith(("consolidated", "adapter_"))]
    return [_INDEX, *shards, *adapter] if _INDEX in files and shards else adapter


def _only_gguf(name: HubName, files: list[str]) -> str:
    found = _gguf(files)
    if len(found) == 1:
        return found[0]
    if found:
        raise HubError(
            f"{name}: the repository holds {len(found)} GGUF files; name one, as in "
            f"{name}:{found[0]}{_those(found)}"
        )
    if any(fnmatch(file, "*.bin") for file in files):
        raise HubError(
            f"{name}: pickled weights alone, which can run code while loading; fetch them with hf "
            "download if you trust their origin, and give the directory with --allow-pickle"
        )
    raise HubError(f"{name}: no model: neither safetensors with a config.json nor a GGUF file")


def _gguf(files: list[str]) -> list[str]:
    return [file for file in files if file.endswith(".gguf") and "mmproj" not in file]


def _those(found: list[str]) -> str:
    if not found:
        return ""
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"; there are {', '.join(found[:_SHOWN])}{more}"


def _matches(file: str, pattern: str) -> bool:
    return file.count("/") == pattern.count("/") and fnmatch(file, pattern)
