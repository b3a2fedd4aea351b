"""Parameters of rotary embeddings in a ``config.json``, whichever way they are written.

New files have ``rope_parameters``; older ones ``rope_theta`` and perhaps ``rope_scaling``, whose
kind may be called ``type``. What is missing is filled in as transformers' config classes do.
"""

from collections.abc import Mapping
from typing import Any

from tersor.errors import EngineError
from tersor.families.decoder import Decoder
from tersor.runtime.decoder.configuration.fields import Fields

_OLD, _NEW = "rope_scaling", "rope_parameters"
_TYPES = ("full_attention", "sliding_attention")
# Kinds that stretch what a model was trained with.
_STRETCHED = ("llama3", "yarn")
_ORIGINAL = "original_max_position_embeddings"


def rope_fields(config: Fields, facts: Decoder, layer_type: str | None) -> Fields:
    """The parameters of all layers, or of those of one type.

    ``layer_type``: only for families with parameters for each type. Always there are
    ``rope_type``, ``rope_theta``, ``max_position_embeddings`` and, where they count,
    ``partial_rotary_factor`` and ``original_max_position_embeddings``. Raises
    :class:`EngineError` for parameters of types of layers in other families.
    """
    given = _of_all(config) if layer_type is None else _of_type(config, layer_type)
    found = {
        "rope_type": given.get("type", "default"),
        "rope_theta": config.raw(
            facts.local_theta if layer_type == "sliding_attention" else facts.theta
        ),
        "max_position_embeddings": config.raw("max_position_embeddings"),
        "partial_rotary_factor": _or(config.raw(facts.turned_part), 1.0),
        **given,
    }
    if found["rope_type"] in _STRETCHED:
        found.setdefault(_ORIGINAL, config.raw("max_position_embeddings"))
        if layer_type is None and _ORIGINAL in config.values:
            found[_ORIGINAL] = config.values[_ORIGINAL]
    if found["rope_type"] == "default" and not facts.turns_part:
        found["partial_rotary_factor"] = 1.0
    prefix = f"{config.prefix}{_NEW if config.raw(_NEW) else _OLD}."
    return Fields(found, config.place, prefix=prefix)


def _of_all(config: Fields) -> Mapping[str, Any]:
    old, new = config.part(_OLD), config.part(_NEW)
    given = next((part.values for part in (old, new) if part is not None and part.values), {})
    if any(name in given for name in _TYPES):
        raise EngineError("rotary embeddings for each type of layers (rope_parameters)")
    return given


def _of_type(config: Fields, layer_type: str) -> Mapping[str, Any]:
    old, new = config.part(_OLD), config.part(_NEW)
    part = None if new is None else new.part(layer_type)
    found: dict[str, Any] = {"rope_type": "default"} if part is None else dict(part.values)
    if layer_type == "full_attention" and old is not None:
        found |= old.values
    # That one stands beside the types in what transformers reads.
    found.pop("truncate", None)
    return (
        found
        if new is None or "truncate" not in new.values
        else found | {"truncate": new.values["truncate"]}
    )


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
