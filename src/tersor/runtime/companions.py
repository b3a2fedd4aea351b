"""What lies beside the weights of a model: its tokenizer and its config.

A path is a directory, or a file of a format whose artifacts are single files.
"""

from pathlib import Path
from typing import Any

from tersor.checkpoints.files import write_json
from tersor.checkpoints.gateway.configuration import CONFIG, configuration, source_configuration
from tersor.checkpoints.gateway.tokenizer import load_tokenizer
from tersor.checkpoints.scratch import scratch_directory
from tersor.formats import known_formats
from tersor.models.in_transformers.metamodel import longest_context


def model_tokenizer(directory: str | Path) -> Any:
    """The tokenizer of a model, for use before weights are read.

    Raises :class:`SourceError` for what is no model, by its name, and for a tokenizer that cannot
    be loaded.
    """
    path = Path(directory)
    source = known_formats().open(path)
    if path.is_dir():
        return load_tokenizer(path)
    with scratch_directory() as place:
        source.copy_companions(place)
        write_json(place / CONFIG, source.config)
        return load_tokenizer(place, name=str(path))


def longest_window(directory: str | Path) -> int | None:
    """How many tokens a model reads at most; None if its config does not say."""
    return longest_context(stored_configuration(directory))


def stored_configuration(directory: str | Path) -> Any:
    """transformers' config of a model, whatever it lies in. Raises :class:`SourceError`."""
    path = Path(directory)
    if path.is_dir():
        return configuration(path)
    return source_configuration(known_formats().open(path))
