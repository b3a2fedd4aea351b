"""The description in ``config.json``: schemes are written as in a recipe."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tersor.errors import FormatError, RecipeError, SchemeError
from tersor.formats.contents import StackedExperts
from tersor.grids import Scheme
from tersor.grids.document import scheme_from_dict, scheme_to_dict

VERSION = 1
IMPORT = "import tersor.hf"
"""What makes transformers read the format."""

WEIGHTS_KEY = "transformers_weights"
"""Key of a config by which transformers finds the file of the weights."""

_NO_FILE = (
    f"none for plain transformers: pip install tersor, then `{IMPORT}` before from_pretrained"
)


def quantization_config(
    groups: Mapping[Scheme, list[str]],
    transposed: list[str],
    experts: Sequence[StackedExperts] = (),
) -> dict[str, Any]:
    """``quantization_config`` for ``config.json``, but for the name of the format.

    ``groups``: scheme → modules. ``transposed``: modules whose dense weight is ``(in, out)``; their
    codes are stored ``(out, in)`` like everybody's. ``experts``: how to put them together.
    """
    ordered = sorted(groups, key=lambda scheme: (-len(groups[scheme]), str(scheme)))
    return {
        "version": VERSION,
        "groups": [
            {**scheme_to_dict(scheme), "modules": sorted(groups[scheme])} for scheme in ordered
        ],
        "transposed": sorted(transposed),
        **(
            {"experts": [asdict(one) | {"parts": list(one.parts)} for one in experts]}
            if experts
            else {}
        ),
    }


def refused_by_others(config: Mapping[str, Any]) -> dict[str, Any]:
    """``config.json`` of which transformers makes no model unless it knows this format.

    By itself it skips a method of quantization that it does not know, finds no tensor of the names
    it looks for, and goes on with random weights. So the file of the weights has a name here that
    is none and that its error repeats; :mod:`tersor.hf` takes it away. In every part that can be
    loaded by itself too.
    """
    parts = {
        key: refused_by_others(value)
        for key, value in config.items()
        if isinstance(value, Mapping) and ("model_type" in value or key == "text_config")
    }
    return {**config, **parts, WEIGHTS_KEY: _NO_FILE}


def stacked_experts(config: Mapping[str, Any]) -> tuple[StackedExperts, ...]:
    """How experts are put together. Raises :class:`FormatError`."""
    found = config.get("experts", [])
    if not isinstance(found, list):
        raise FormatError("quantization_config: experts must be a list")
    try:
        return tuple(
            StackedExperts(
                str(one["parameter"]),
                tuple(map(str, one["parts"])),
                bool(one["transposed"]),
                bool(one["interleaved"]),
            )
            for one in found
        )
    except (KeyError, TypeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise FormatError(f"quantization_config: cannot read experts: {reason}") from None


def transposed(config: Mapping[str, Any]) -> frozenset[str]:
    """Modules whose dense weight is ``(in, out)``. Raises :class:`FormatError`."""
    found = config.get("transposed", [])
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise FormatError("quantization_config: transposed must be a list of names")
    return frozenset(found)


def schemes_of(config: Mapping[str, Any]) -> dict[str, Scheme]:
    """Scheme of every module. Raises :class:`FormatError`."""
    if config.get("version") != VERSION:
        raise FormatError(
            f"quantization_config has version {config.get('version')!r}; "
            f"this tersor reads version {VERSION}"
        )
    try:
        groups = [(scheme_from_dict(group), group["modules"]) for group in config["groups"]]
    except (AttributeError, KeyError, TypeError, RecipeError, SchemeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise FormatError(f"quantization_config: cannot read a group: {reason}") from None
    schemes: dict[str, Scheme] = {}
    for scheme, modules in groups:
        if not isinstance(modules, list) or not all(isinstance(name, str) for name in modules):
            raise FormatError("quantization_config: the modules of a group must be a list of names")
        repeated = [name for name in modules if name in schemes]
        if repeated:
            raise FormatError(f"quantization_config: module {repeated[0]} is in two groups")
        schemes |= dict.fromkeys(modules, scheme)
    return schemes
