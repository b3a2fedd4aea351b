"""What calibration decided about a unit, as tensors and as JSON, for recipes that train afterwards.

Their units are written only when the training is over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from torch import Tensor

from tersor.grids import QuantizedTensor, ScaleFormat, StoredScale, TensorScheme
from tersor.pipeline.blocks.work import Seen, Work
from tersor.pipeline.planning import ModulePlan
from tersor.ranges import Stream
from tersor.rounding import Rounded

_PARTS = ("codes", "scale", "global_scale", "zero_point", "codebook", "low", "high")


def taken_apart(work: Work) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of ``work`` by name, and what else there is of it, of plain JSON types."""
    tensors = {f"changed/{name}": tensor for name, tensor in work.changed.items()}
    rounded, seen = {}, {}
    for module, one in work.rounded.items():
        parts = zip(_PARTS, _parts(one), strict=True)
        tensors |= {f"rounded/{module}/{part}": t for part, t in parts if t is not None}
        scale = one.tensor.scale.format.value
        rounded[module] = {"scale": scale, "note": one.note, "aimed_db": one.aimed_db}
    for module, what in work.seen.items():
        if what.stream is not None:
            tensors |= {f"seen/{module}/{k}": t for k, t in vars(what.stream).items()}
        seen[module] = {"tokens": what.tokens, "output_error": what.output_error}
    return tensors, {"changed": list(work.changed), "rounded": rounded, "seen": seen}


def put_together(
    tensors: Mapping[str, Tensor], said: Mapping[str, Any], modules: Mapping[str, ModulePlan]
) -> Work:
    """The work that :func:`taken_apart` was given; ``modules``: of the plan, by name."""
    rounded = {}
    for module, about in said["rounded"].items():
        scheme = modules[module].scheme
        assert scheme is not None
        parts = [tensors.get(f"rounded/{module}/{part}") for part in _PARTS]
        rounded[module] = _rounded(parts, about, scheme.weights)
    seen = {}
    for module, about in said["seen"].items():
        kept = [tensors.get(f"seen/{module}/{field.name}") for field in fields(Stream)]
        whole = [tensor for tensor in kept if tensor is not None]
        seen[module] = Seen(stream=Stream(*whole) if whole else None, **about)
    changed = {name: tensors[f"changed/{name}"] for name in said["changed"]}
    return Work(changed, rounded, seen)


def _parts(rounded: Rounded) -> tuple[Tensor | None, ...]:
    """In the order of ``_PARTS``."""
    tensor, (low, high) = rounded.tensor, rounded.bounds
    scale, zero_point = tensor.scale, tensor.zero_point
    return tensor.codes, scale.data, scale.global_scale, zero_point, tensor.codebook, low, high


def _rounded(
    parts: Sequence[Tensor | None], about: Mapping[str, Any], scheme: TensorScheme
) -> Rounded:
    codes, data, global_scale, zero_point, codebook, low, high = parts
    assert codes is not None
    assert data is not None
    assert low is not None
    assert high is not None
    scale = StoredScale(data, ScaleFormat(about["scale"]), global_scale)
    tensor = QuantizedTensor(codes, scale, zero_point, scheme, codebook)
    return Rounded(tensor, (low, high), about["note"], about["aimed_db"])
