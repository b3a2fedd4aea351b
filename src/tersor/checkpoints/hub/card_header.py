"""What the card of a model says in its header: licence, what it was made of."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tersor.checkpoints.hub.naming import hub_name, repository_of

CARD = "README.md"
_MOST = 1 << 20


def card_header(path: Path) -> Mapping[str, Any]:
    """The YAML at the beginning of a model's card; empty where there is none, or no mapping.

    ``path``: the model's directory, or a file in it. Cards are written by hand, so nothing is
    refused.
    """
    import yaml

    card = (path if path.is_dir() else path.parent) / CARD
    try:
        with card.open(encoding="utf-8", errors="replace") as file:
            text = file.read(_MOST)
    except OSError:
        return {}
    marker, _, rest = text.partition("\n")
    header, end, _ = rest.partition("\n---")
    if marker.strip() != "---" or not end:
        return {}
    try:
        found = yaml.safe_load(header)
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, Mapping) else {}


def licence_of(path: Path, config: Mapping[str, Any]) -> str | None:
    """A short name as ``apache-2.0``, from the card or ``config.json``."""
    for said in (card_header(path).get("license"), config.get("license")):
        if isinstance(said, str) and said.isascii() and said.isprintable():
            return said
    return None


def base_model_of(path: Path) -> str | None:
    """``org/model`` of what a quantized model is to be called after.

    That is what was fetched from a hub, unless it says itself what it was made of; and of what lies
    elsewhere only what its card says.
    """
    header = card_header(path)
    quantized = "tersor" in (header.get("tags") or ()) or "base_model_relation" in header
    listed = header.get("base_model")
    said = listed[0] if isinstance(listed, list) and listed else listed
    fetched = repository_of(path)
    if fetched is not None and not quantized:
        return fetched
    if not quantized or not isinstance(said, str) or not said or hub_name(Path(said)) is None:
        return None
    return said
