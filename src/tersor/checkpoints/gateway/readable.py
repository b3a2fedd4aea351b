"""What is copied into an artifact must be of use there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tersor.checkpoints.gateway.configuration import UnknownType, configuration_of
from tersor.checkpoints.gateway.generation import generation_config


def refuse_unreadable(config: Mapping[str, Any], path: Path) -> None:
    """Refuse a ``config.json`` of a type that transformers knows and cannot read, and a generation
    config beside it that makes no sense.

    ``config``: what ``config.json`` of the checkpoint ``path`` holds. Types that transformers does
    not know pass: some methods need no model.

    Raises:
        SourceError: it names file and field.
    """
    try:
        typed = configuration_of(config, str(path))
    except UnknownType:
        return
    generation_config(path, typed)
