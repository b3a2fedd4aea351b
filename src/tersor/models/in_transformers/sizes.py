"""Sizes in ``config.json`` against the weights: what transformers would build must hold them.

transformers' own model of the config says which shape every parameter has, for every architecture.
What becomes no parameter as it is (joined, taken apart, unknown) is not compared.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from tersor.checkpoints.gateway.culprit import culprit
from tersor.checkpoints.huggingface.config_fields import PARTS
from tersor.errors import SourceError
from tersor.models.in_transformers.metamodel import Unbuildable, build, typed_config
from tersor.models.in_transformers.names import Names

Shape = tuple[int, ...]
Place = tuple[str, ...]

# Asked in this order; a size that several fields have is the first one's that mends it.
_SIZES = (
    "vocab_size", "hidden_size", "n_embd", "d_model", "intermediate_size", "ffn_dim", "n_inner",
    "moe_intermediate_size", "num_experts", "num_local_experts", "n_routed_experts",
    "max_position_embeddings", "n_positions", "head_dim",
)  # fmt: skip
_HEADS = ("num_attention_heads", "num_key_value_heads", "n_head", "num_kv_heads")
_DEPTHS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_AXES = ("rows", "columns")


def check_sizes(path: Path, config: Mapping[str, Any], shapes: Mapping[str, Shape]) -> None:
    """Refuse a config that makes other shapes than ``shapes`` (names on disk), or more blocks.

    ``path``: the checkpoint. Nothing is asked of models that transformers does not build, unless
    that is because of their fields. Raises :class:`SourceError` that names file, field, tensor and
    both numbers.
    """
    file = path if path.is_file() else path / "config.json"
    try:
        model = build(config)
    except Unbuildable as error:
        if not _about_fields(error.__cause__):
            return
        field = culprit(config, build)
        at = f"field {field!r}: " if field else ""
        raise SourceError(
            f"{file}: {at}{error}; take the config.json that belongs to the weights"
        ) from error
    names = Names(model, shapes)
    for path_of, number, blocks in _absent_blocks(model, names):
        raise SourceError(
            f"{file}: {_depth(config, path_of, number, blocks)} makes {blocks} blocks, and the "
            f"weights have none of {path_of}.{number}; take the config.json that belongs to the "
            "weights, or download the rest of them"
        )
    found = list(_mismatches(names, shapes))
    if found:
        said = next((s for one in found if (s := _blamed(config, shapes, one))), found[0].said())
        raise SourceError(f"{file}: {said}; take the config.json that belongs to the weights")


@dataclass(frozen=True)
class _Mismatch:
    """A tensor that the model has in the shape ``made`` and the checkpoint in ``stored``."""

    name: str
    made: Shape
    stored: Shape

    def said(self) -> str:
        return f"makes {self.name!r} {list(self.made)}, but the weights have {list(self.stored)}"

    def axis(self) -> int | None:
        """The only axis that differs."""
        if len(self.made) != len(self.stored):
            return None
        pairs = zip(self.made, self.stored, strict=True)
        differing = [axis for axis, (made, stored) in enumerate(pairs) if made != stored]
        return differing[0] if len(differing) == 1 else None


def _about_fields(error: BaseException | None) -> bool:
    """Whether a model was not built because of its config, and not for want of a package, say."""
    if isinstance(error, RuntimeError):
        return "overflow" in str(error) or "negative dimension" in str(error)
    return isinstance(error, ArithmeticError | ValueError | KeyError)


def _mismatches(names: Names, shapes: Mapping[str, Shape]) -> Iterator[_Mismatch]:
    for name, slot in names.slots.items():
        stored = tuple(shapes[name])
        try:
            made = tuple(slot.view(names.parameter(slot.parameter)).shape)
        except IndexError:  # an expert more than the model has
            made = tuple(names.parameter(slot.parameter).shape)
        # One number may be stored as a vector of one.
        if [size for size in made if size != 1] != [size for size in stored if size != 1]:
            yield _Mismatch(name, made, stored)


def _absent_blocks(model: nn.Module, names: Names) -> Iterator[tuple[str, int, int]]:
    """A list of blocks in the model, one of which the checkpoint has nothing, and how many it has.

    Lists of which the checkpoint has nothing at all are called otherwise on disk, or not stored.
    """
    present = set(names.targets())
    for path, blocks in model.named_modules():
        if not isinstance(blocks, nn.ModuleList) or not _any_below(present, path):
            continue
        for number, block in enumerate(blocks):
            own = next(block.parameters(), None) is not None
            if own and not _any_below(present, f"{path}.{number}"):
                yield path, number, len(blocks)


def _depth(config: Mapping[str, Any], path: str, number: int, blocks: int) -> str:
    """The field that says how many blocks the list at ``path`` has, as far as it is known."""
    for place, size in _sizes(config):
        if place[-1] not in _DEPTHS or size != blocks:
            continue
        try:
            fewer: Any = build(_with(config, place, number)).get_submodule(path)
        except (Unbuildable, AttributeError):
            continue
        if len(fewer) == number:
            return ".".join(place)
    return "it"


def _any_below(names: set[str], path: str) -> bool:
    return any(name.startswith(f"{path}.") for name in names)


def _blamed(
    config: Mapping[str, Any], shapes: Mapping[str, Shape], mismatch: _Mismatch
) -> str | None:
    """The field behind a mismatch, and both numbers; ``None`` if no single axis or field is.

    Of several fields that could be meant, the one with which most of the other tensors fit too.
    """
    axis = mismatch.axis()
    if axis is None:
        return None
    made, stored = mismatch.made[axis], mismatch.stored[axis]
    sizes = dict(_sizes(config))
    best, least = None, None
    for place, size in dict.fromkeys(_candidates(sizes, made, stored)):
        left = _left(config, shapes, mismatch, place, size)
        if left is not None and (least is None or left < least):
            best, least = place, left
    if best is None:
        return None
    entries = _AXES[axis] if axis < len(_AXES) else "entries"
    return (
        f"{'.'.join(best)} is {sizes[best]}, which makes {made} {entries} of {mismatch.name!r}; "
        f"the weights have {stored}"
    )


def _candidates(sizes: Mapping[Place, int], made: int, stored: int) -> Iterator[tuple[Place, int]]:
    """Places whose value makes ``made``, alone or as heads of a size, and what makes ``stored``."""
    for place, size in sizes.items():
        if size == made:
            yield place, stored
    for place, heads in sizes.items():
        of_heads = (*place[:-1], "head_dim")
        size = sizes.get(of_heads, 0)
        if place[-1] in _HEADS and heads * size == made:
            if heads and stored % heads == 0:
                yield of_heads, stored // heads
            if size and stored % size == 0:
                yield place, stored // size


def _sizes(config: Mapping[str, Any]) -> Iterator[tuple[Place, int]]:
    """Place and value of every known size, with transformers' defaults for what is not there."""
    yield from _sizes_in(typed_config(config).to_dict(), ())


def _sizes_in(fields: Mapping[str, Any], place: Place) -> Iterator[tuple[Place, int]]:
    for part in PARTS:
        if isinstance(fields.get(part), Mapping):
            yield from _sizes_in(fields[part], (*place, part))
    for key in (*_SIZES, *_HEADS, *_DEPTHS):
        value = fields.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            yield (*place, key), value


def _left(
    config: Mapping[str, Any],
    shapes: Mapping[str, Shape],
    mismatch: _Mismatch,
    place: Place,
    size: int,
) -> int | None:
    """How many tensors do not fit with another value at ``place``; None if this one does not."""
    try:
        names = Names(build(_with(config, place, size)), shapes)
    except Unbuildable:
        return None
    found = [one.name for one in _mismatches(names, shapes)]
    return None if mismatch.name in found else len(found)


def _with(config: Mapping[str, Any], place: Place, value: int) -> Mapping[str, Any]:
    key, *rest = place
    if not rest:
        return {**config, key: value}
    return {**config, key: _with(config.get(key) or {}, tuple(rest), value)}
