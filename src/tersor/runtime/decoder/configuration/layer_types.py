"""What each layer of a decoder sees: everything, or a window."""

from reprlib import repr as clipped

from tersor.errors import EngineError
from tersor.families.decoder import Decoder, Windows
from tersor.runtime.decoder.configuration.fields import Fields

WINDOW, ALL = "sliding_attention", "full_attention"
# What transformers calls otherwise by now.
_OLD_TYPES = {"attention": ALL}


def layer_types(facts: Decoder, fields: Fields) -> list[str]:
    """``WINDOW`` or ``ALL`` for each layer.

    Raises :class:`EngineError` for other types, and for windows of no size;
    :class:`~tersor.errors.SourceError` for a list that does not fit the layers.
    """
    count = fields.whole("num_hidden_layers")
    if facts.windows is Windows.NONE:
        return [ALL] * count
    windowed = _sliding_window(facts, fields) is not None
    if facts.windows is Windows.ALL:
        return [WINDOW if windowed else ALL] * count
    given = fields.names("layer_types")
    kinds = _usual_types(facts, fields, count) if given is None else given
    kinds = [_OLD_TYPES.get(kind, kind) for kind in kinds]
    unknown = sorted(set(kinds) - {WINDOW, ALL})
    if unknown:
        raise EngineError(f"layers of type {clipped(unknown[0])}")
    if len(kinds) != count:
        raise fields.refused("layer_types", f"a list of num_hidden_layers, {count}, names")
    if WINDOW in kinds and not windowed:
        raise EngineError("layers with a window, but config.json has no sliding_window")
    return kinds


def window_of(fields: Fields, kind: str) -> int:
    """How many positions a layer of a type sees; 0: all."""
    return fields.whole("sliding_window", least=0) if kind == WINDOW else 0


def _usual_types(facts: Decoder, fields: Fields, count: int) -> list[str]:
    """The types of layers that the family's code gives to a config without them."""
    if facts.types.windows_from is not None:
        first = fields.whole(facts.types.windows_from, least=0)
        windowed = _sliding_window(facts, fields) is not None
        return [WINDOW if windowed and layer >= first else ALL for layer in range(count)]
    every = facts.types.full_every
    every = fields.whole(every) if isinstance(every, str) else every
    return [ALL if every and (layer + 1) % every == 0 else WINDOW for layer in range(count)]


def _sliding_window(facts: Decoder, fields: Fields) -> int | None:
    if facts.window_switch is not None and not fields.switch(facts.window_switch):
        return None
    return fields.optional_whole("sliding_window")
