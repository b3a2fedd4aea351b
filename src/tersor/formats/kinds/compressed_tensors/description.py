"""The description in ``config.json``.

Keys are kept to the minimum since readers refuse unknown ones.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tersor.errors import FormatError, SchemeError
from tersor.formats.kinds.compressed_tensors.obstacles import is_packed_asymmetric
from tersor.formats.storage.known import MXFP4, one_way, storage_for
from tersor.grids import (
    ActivationScheme,
    FloatGrid,
    Granularity,
    IntegerGrid,
    ScaleFormat,
    Scheme,
    Symmetry,
    TensorScheme,
    fp4,
)


def quantization_config(
    groups: Mapping[Scheme, list[str]], ignore: list[str], *, dense: bool = False
) -> dict[str, Any]:
    """``quantization_config`` for ``config.json``, but for the name of the format.

    ``groups``: scheme → modules. The largest group is described by the class ``Linear``, the others
    by names, which readers give precedence. ``ignore``: linears that stay unquantized.

    ``dequantize`` is a wish to transformers, ignored by other readers, to make weights dense while
    loading instead of before the first forward, in the type of the scales. Its other path cannot
    hold quantized embeddings, and gives packed zero points the shape of unpacked ones (transformers
    5.24 with compressed-tensors 0.20). ``dense`` asks for it: the other path looks for modules by
    the names on disk and takes those that it calls otherwise in memory for quantized, without a
    word, and some models initialise weights that are not there then. But dense loading decodes
    every linear as the first group says, so with several ways of storing weights the wish is left
    out (:func:`one_way`).
    """
    ordered = sorted(groups, key=lambda scheme: -len(groups[scheme]))
    config_groups = {}
    for number, scheme in enumerate(ordered):
        embeddings = [name for name in groups[scheme] if _is_embedding(name)]
        targets = ["Linear", *embeddings] if number == 0 else sorted(groups[scheme])
        config_groups[f"group_{number}"] = _group(scheme, targets)
    formats = {storage_for(scheme).name for scheme in ordered}
    has_embedding = any(_is_embedding(name) for names in groups.values() for name in names)
    dense = dense or has_embedding or any(is_packed_asymmetric(scheme) for scheme in ordered)
    return {
        **({"dequantize": True} if dense and one_way(groups) else {}),
        "format": formats.pop() if len(formats) == 1 else "mixed-precision",
        "quantization_status": "compressed",
        "global_compression_ratio": None,
        "kv_cache_scheme": None,
        "ignore": sorted(ignore),
        "config_groups": config_groups,
    }


def schemes_of(config: Mapping[str, Any], modules: Iterable[str]) -> dict[str, Scheme]:
    """Scheme of every quantized module, from ``quantization_config``.

    ``modules``: those that have quantized tensors in the checkpoint. A target by name wins over a
    ``re:`` pattern and that over a class name. Raises :class:`FormatError`.
    """
    if config.get("quantization_status") == "decompressed":
        raise FormatError(
            "quantization_config: weights are decompressed, as transformers saves a model that has "
            "run; give the artifact itself, or load it anew and save it before it runs"
        )
    groups = [_parse_group(group) for group in _groups(config)]
    return {module: _scheme_for(module, groups) for module in modules}


def _scheme_for(module: str, groups: list[tuple[Scheme, list[str]]]) -> Scheme:
    def by_name(target: str) -> bool:
        return target == module

    def by_pattern(target: str) -> bool:
        return target.startswith("re:") and re.match(target[3:], module) is not None

    def by_class(target: str) -> bool:
        return target in ("Linear", "Embedding")

    for rule in (by_name, by_pattern, by_class):
        for scheme, targets in groups:
            if any(rule(target) for target in targets):
                return scheme
    raise FormatError(f"no config group of quantization_config describes module {module}")


def _is_embedding(module: str) -> bool:
    return "embed" in module or module.endswith("wte")


def _group(scheme: Scheme, targets: list[str]) -> dict[str, Any]:
    activations = scheme.activations
    return {
        "targets": targets,
        "format": storage_for(scheme).name,
        "weights": _arguments(scheme.weights) | {"dynamic": False},
        "input_activations": None
        if activations is None
        else _arguments(activations.tensor) | {"dynamic": activations.dynamic},
        "output_activations": None,
    }


def _arguments(tensor: TensorScheme) -> dict[str, Any]:
    strategy: str = tensor.granularity
    if tensor.scale_format is ScaleFormat.E4M3:
        strategy = "tensor_group"
    arguments: dict[str, Any] = {
        "num_bits": tensor.grid.bits,
        "type": "int" if tensor.grid.integers is not None else "float",
        "symmetric": tensor.grid.symmetric,
        "strategy": strategy,
    }
    if tensor.group_size is not None:
        arguments["group_size"] = tensor.group_size
    return arguments


def _groups(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    groups = config.get("config_groups")
    if not isinstance(groups, Mapping) or not groups:
        raise FormatError("quantization_config has no config_groups")
    return list(groups.values())


def _parse_group(group: Any) -> tuple[Scheme, list[str]]:
    """Scheme and targets of one entry of ``config_groups``."""
    try:
        weights = _parse_weights(group["weights"], group.get("format"))
        arguments = group.get("input_activations")
        scheme = Scheme(weights, None if arguments is None else _parse_activations(arguments))
        return scheme, [_checked_target(target) for target in group["targets"]]
    except (AttributeError, KeyError, TypeError, ValueError, SchemeError, re.error) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise FormatError(f"quantization_config: cannot read a config group: {reason}") from None


def _checked_target(target: str) -> str:
    if target.startswith("re:"):
        re.compile(target[3:])
    return target


def _parse_weights(arguments: Mapping[str, Any], storage: str | None) -> TensorScheme:
    if arguments["type"] == "float" and arguments["num_bits"] == 4:
        scale = ScaleFormat.E8M0 if storage == MXFP4.name else ScaleFormat.E4M3
        return TensorScheme(fp4(), Granularity.GROUP, _whole(arguments, "group_size"), scale)
    granularity = Granularity(arguments["strategy"])
    size = _whole(arguments, "group_size") if granularity is Granularity.GROUP else None
    return TensorScheme(_parse_grid(arguments), granularity, size)


def _parse_activations(arguments: Mapping[str, Any]) -> ActivationScheme:
    granularity = Granularity(arguments["strategy"])
    size = _whole(arguments, "group_size") if granularity is Granularity.GROUP else None
    grid = _parse_grid(arguments, Symmetry.RESTRICTED)
    return ActivationScheme(TensorScheme(grid, granularity, size), _truth(arguments, "dynamic"))


def _parse_grid(
    arguments: Mapping[str, Any], symmetric: Symmetry = Symmetry.FULL
) -> IntegerGrid | FloatGrid:
    bits = _whole(arguments, "num_bits")
    match arguments["type"]:
        case "float" if bits == 8:
            return FloatGrid("fp8_e4m3")
        case "int":
            return IntegerGrid(bits, symmetric if _truth(arguments, "symmetric") else Symmetry.NONE)
        case kind:
            raise ValueError(f"{bits}-bit {kind}")


def _whole(arguments: Mapping[str, Any], key: str) -> int:
    value = arguments[key]
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{key} is {value!r}, not a whole number")
    return value


def _truth(arguments: Mapping[str, Any], key: str) -> bool:
    value = arguments[key]
    if not isinstance(value, bool):
        raise ValueError(f"{key} is {value!r}, not true or false")
    return value
