"""``config.json`` → transformers' config."""

import json
from collections.abc import Mapping
from pathlib import Path
from reprlib import repr as clipped
from typing import Any

from tersor.checkpoints.files import read_json
from tersor.checkpoints.gateway.codeless import code_named, without_code
from tersor.checkpoints.gateway.complaint import complaint
from tersor.checkpoints.gateway.culprit import culprit
from tersor.checkpoints.scratch import scratch_directory
from tersor.checkpoints.source import Source
from tersor.errors import OutputError, SourceError

CONFIG = "config.json"


class ConfigRefused(SourceError):
    """transformers makes no config of it. ``reason``: why, without naming the checkpoint."""

    def __init__(self, place: str, reason: str, way_out: str) -> None:
        """``place``: the checkpoint; ``way_out``: what to do."""
        super().__init__(f"{place}: {reason}; {way_out}")
        self.reason = reason


class UnknownType(ConfigRefused):
    """transformers has no such type; code that does not need a model may go on."""


def configuration(directory: Path) -> Any:
    """transformers' config of a model directory.

    Raises:
        SourceError: no ``config.json``, no JSON object, a type that transformers does not know, or
            a field that it refuses.
    """
    return _named(read_json(directory / CONFIG), directory)


def source_configuration(source: Source) -> Any:
    """The same of an opened one, whatever it lies in. Raises :class:`SourceError`."""
    return _named(source.config, source.path)


def _named(fields: Mapping[str, Any], path: Path) -> Any:
    config = configuration_of(fields, str(path))
    config.name_or_path = str(path)
    return config


def configuration_of(fields: Mapping[str, Any], place: str) -> Any:
    """The same of the content of a ``config.json``; errors call the checkpoint ``place``."""
    _refuse_unknown(fields, place)
    try:
        return _read(fields)
    except (OutputError, MemoryError):
        raise
    except Exception as error:  # a config is foreign data and may break anything in there
        said = complaint(error)
        field = culprit(fields, _read)
        if field and f"{field!r}" not in said:
            said = f"field {field!r}: {said}"
        raise ConfigRefused(
            place,
            f"transformers cannot build {fields['model_type']} from {CONFIG} ({said})",
            f"put {CONFIG} right or download it again",
        ) from error


def configuration_from(path: Path, model_type: str, fields: Mapping[str, Any]) -> Any:
    """The config of a type with ``fields`` (from ``path``, no ``config.json``) and its defaults.

    Raises:
        SourceError: values that the config class refuses.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.for_model(model_type, **without_code(fields))
    except Exception as error:  # transformers raises its validators' own classes
        raise SourceError(
            f"{path}: its metadata makes no valid config ({complaint(error)}); download it again"
        ) from error


def _refuse_unknown(fields: Mapping[str, Any], place: str) -> None:
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    model_type = fields.get("model_type", "")
    if not isinstance(model_type, str):
        raise ConfigRefused(
            place,
            f"model_type in {CONFIG} is {clipped(model_type)}, not a string",
            f"put {CONFIG} right or download it again",
        )
    if not model_type:
        raise UnknownType(
            place, f"{CONFIG} has no model_type", "add it, or give a language model's directory"
        )
    if model_type not in CONFIG_MAPPING:
        code = code_named(fields, "AutoConfig")
        own = f"the checkpoint's own code ({code}) is never run; " if code else ""
        raise UnknownType(
            place,
            f"transformers does not know model_type {clipped(model_type)}",
            f"{own}try a newer transformers than {transformers.__version__}",
        )


def _read(fields: Mapping[str, Any]) -> Any:
    """From a directory, because only then transformers converts the old fields of some types."""
    from transformers import AutoConfig

    with scratch_directory() as directory:
        (directory / CONFIG).write_text(json.dumps(without_code(fields)), encoding="utf-8")
        return AutoConfig.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
