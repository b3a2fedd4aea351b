"""Where each tensor of a model lies in a GGUF file that is to be written."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray

from tersor.checkpoints.gguf.block_types import BLOCK_TYPES, BlockType
from tersor.checkpoints.gguf.parsing.tensor import GGUFTensor
from tersor.checkpoints.gguf.pieces import pattern_of
from tersor.checkpoints.source import TensorInfo, block_order
from tersor.errors import SchemeError
from tersor.families.family import Family
from tersor.families.gguf import Gguf, Rule, Undo

ALIGNMENT = 32
_TYPES: Mapping[str, tuple[int, BlockType]] = {
    known.name: (number, known) for number, known in BLOCK_TYPES.items()
}
_FLOATS = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


@dataclass(frozen=True)
class Wanted:
    """A tensor as it will be added: its ``weight``'s name, type, and shape ``(out, in)``."""

    weight: str
    kind: str
    shape: tuple[int, ...]


def wanted(info: TensorInfo) -> Wanted:
    """What a tensor is: ``module.Q4_0``, of bytes, or one of floats.

    Raises :class:`SchemeError` for a type that GGUF does not have.
    """
    module, _, suffix = info.name.rpartition(".")
    if info.dtype == torch.uint8 and suffix in _TYPES:
        known = _TYPES[suffix][1]
        rows, nbytes = info.shape
        return Wanted(f"{module}.weight", suffix, (rows, nbytes // known.nbytes * known.values))
    if info.dtype not in _FLOATS:
        raise SchemeError(f"{info.name}: GGUF has no {info.dtype}; convert the model first")
    return Wanted(info.name, _FLOATS[info.dtype], info.shape)


def laid_out(
    expected: Sequence[TensorInfo],
    factors: Mapping[str, NDArray[np.float32]],
    family: Family,
    gguf: Gguf,
) -> dict[str, GGUFTensor]:
    """Every tensor of the file by its name there, in order, offsets from the first's beginning.

    Experts of a block are one tensor. Raises :class:`SchemeError` for a tensor that has no name in
    such files, and for experts that are not alike.
    """
    found = {
        name: GGUFTensor(name, values.shape, _TYPES["F32"][0], 0, values.nbytes)
        for name, values in factors.items()
    }
    each = {one.weight: one for one in map(wanted, expected)}
    for name in block_order(each):
        rule, numbers = _rule(name, family, gguf)
        target = _one_tensor(rule.gguf.format(**numbers), rule, each[name])
        if "{e}" in rule.hf and "{e}" not in rule.gguf:
            target = _stacked(target, found.get(target.name))
        elif target.name in found:
            raise SchemeError(f"{name}: its name in GGUF, {target.name}, is another tensor's too")
        found[target.name] = target
    return _placed(found.values())


def _rule(name: str, family: Family, gguf: Gguf) -> tuple[Rule, Mapping[str, int]]:
    """The first there is for a tensor: later ones are of older files."""
    rules = {rule.hf: rule for rule in reversed(gguf.rules)}
    pattern, numbers = pattern_of(name)
    if pattern not in rules:
        raise SchemeError(
            f"{name}: has no name in GGUF files of {family.model_type}; write another format"
        )
    return rules[pattern], numbers


def _one_tensor(name: str, rule: Rule, one: Wanted) -> GGUFTensor:
    number, known = _TYPES[one.kind]
    is_float = one.kind in _FLOATS.values()
    shape = one.shape[::-1] if rule.undo is Undo.TRANSPOSED and is_float else one.shape
    nbytes = prod(shape) // known.values * known.nbytes
    return GGUFTensor(name, shape, number, 0, nbytes)


def _stacked(one: GGUFTensor, before: GGUFTensor | None) -> GGUFTensor:
    """One more expert upon those before it."""
    if before is None:
        return replace(one, shape=(1, *one.shape))
    if before.shape[1:] != one.shape or before.ggml_type != one.ggml_type:
        raise SchemeError(
            f"{one.name}: GGUF has all experts of a block in one tensor, of one type and shape; "
            "give them one scheme"
        )
    nbytes = before.nbytes + one.nbytes
    return replace(before, shape=(before.shape[0] + 1, *one.shape), nbytes=nbytes)


def _placed(tensors: Iterable[GGUFTensor]) -> dict[str, GGUFTensor]:
    end = 0
    found = {}
    for tensor in tensors:
        found[tensor.name] = replace(tensor, offset=end)
        end = aligned(end + tensor.nbytes)
    return found


def aligned(position: int) -> int:
    """The next multiple of the alignment."""
    return -(-position // ALIGNMENT) * ALIGNMENT
