"""LoRA merged into the weights while they are read: W + scale · B A, in float32, rounded once."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from tersor.checkpoints.adapters.settings import LoraSettings, read_settings
from tersor.checkpoints.derived import Derived, DerivedSource, Reader
from tersor.checkpoints.huggingface.safetensors_file import StoredTensor, read_header
from tersor.checkpoints.source import Source, TensorInfo, is_embedding, is_head
from tersor.errors import SourceError, UnsafeSource

WEIGHTS = "adapter_model.safetensors"
_PICKLED = "adapter_model.bin"
_PREFIX = "base_model.model."
_FACTOR = re.compile(r"(.+)\.lora_(embedding_)?([AB])(?:\.default)?(?:\.weight)?")
# Where peft keeps a whole module, trained or resized, beside the original.
_WHOLE = re.compile(r"\.(?:modules_to_save(?:\.default)?|base_layer|original_module)(?=\.)")


@dataclass(frozen=True)
class _Pair:
    """A ``(r, in)`` and B ``(out, r)``; of an embedding A ``(r, tokens)``."""

    a: StoredTensor
    b: StoredTensor
    scale: float
    transposed: bool


def merged(source: Source) -> Source:
    """``source`` with the adapter that lies in its directory merged; reads no values.

    Raises:
        UnsafeSource: pickled weights of the adapter.
        SourceError: an adapter of another kind, incomplete, or of another model.
    """
    directory = source.path
    settings = read_settings(directory)
    stored = _stored(directory)
    factors, whole = _sorted_out(directory, stored)
    derived: dict[str, Derived] = {}
    for (module, embedding), sides in factors.items():
        name = f"{module}.weight"
        info = _target(source, name)
        _refuse_tied(source, name)
        pair = _pair(source, settings, module, sides, info, embedding)
        # peft stores an embedding that it adapts as well.
        base = whole.pop(name, None)
        if base is not None and base.info.shape != info.shape:
            raise _wrong(directory, base.info, f"does not fit {name!r} {info.shape}")
        derived[name] = Derived(info, partial(_add, info, pair, base))
    for name, tensor in whole.items():
        info = _target(source, name)
        _refuse_tied(source, name)
        if tensor.info.shape != info.shape:
            raise _wrong(directory, tensor.info, f"does not fit {name!r} {info.shape}")
        derived[name] = Derived(info, partial(_replace, tensor, info))
    note = f"{WEIGHTS} is merged: {len(factors)} matrices changed"
    note += f", {len(whole)} tensors replaced" if whole else ""
    return DerivedSource(source, derived, notes=(note,))


def _stored(directory: Path) -> dict[str, StoredTensor]:
    if (directory / WEIGHTS).exists():
        return read_header(directory / WEIGHTS)
    if (directory / _PICKLED).exists():
        raise UnsafeSource(
            f"{directory / _PICKLED}: pickled weights can run code while loading; "
            "convert the adapter to safetensors"
        )
    raise SourceError(f"{directory}: an adapter without {WEIGHTS}; download it")


_Factors = dict[tuple[str, bool], dict[str, StoredTensor]]


def _sorted_out(
    directory: Path, stored: Mapping[str, StoredTensor]
) -> tuple[_Factors, dict[str, StoredTensor]]:
    """Module, and whether it is an embedding → A and B; name → a tensor that replaces it."""
    factors: _Factors = {}
    whole: dict[str, StoredTensor] = {}
    for key, tensor in stored.items():
        name = key.removeprefix(_PREFIX)
        match = _FACTOR.fullmatch(name)
        if not tensor.info.dtype.is_floating_point:
            raise _wrong(directory, tensor.info, f"is {tensor.info.dtype}, no float")
        if match is not None:
            sides = factors.setdefault((match[1], match[2] is not None), {})
            if match[3] in sides:
                raise _wrong(directory, tensor.info, "is there twice")
            sides[match[3]] = tensor
        elif "lora_" in name:
            raise _wrong(directory, tensor.info, "is not of plain LoRA and cannot be merged")
        else:
            whole[_WHOLE.sub("", name)] = tensor
    if not factors and not whole:
        raise SourceError(f"{directory / WEIGHTS}: holds no tensors; download it again")
    return factors, whole


def _target(source: Source, name: str) -> TensorInfo:
    info = source.tensors.get(name)
    if info is None:
        raise SourceError(
            f"{source.path / WEIGHTS}: changes {name!r}, which the model does not store under that "
            "name; merge it with peft's own merge_and_unload first"
        )
    if not info.dtype.is_floating_point or info.dtype.itemsize < 2:
        raise SourceError(
            f"{source.path / WEIGHTS}: changes {name!r}, which is {info.dtype}; "
            "give the original model"
        )
    return info


def _refuse_tied(source: Source, name: str) -> None:
    """An adapter of a tied embedding leaves the head as it was; one tensor cannot be both."""
    if is_embedding(name) and not any(is_head(other) for other in source.tensors):
        raise SourceError(
            f"{source.path / WEIGHTS}: changes the embedding {name!r}, to which the head is tied; "
            "untie the head and merge with peft's own merge_and_unload first"
        )


def _pair(
    source: Source,
    settings: LoraSettings,
    module: str,
    sides: Mapping[str, StoredTensor],
    info: TensorInfo,
    embedding: bool,
) -> _Pair:
    if sides.keys() != {"A", "B"}:
        missing = "A" if "B" in sides else "B"
        raise SourceError(
            f"{source.path / WEIGHTS}: {module!r} has no matrix {missing}; download it again"
        )
    a, b = sides["A"], sides["B"]
    shapes = (a.info.shape, b.info.shape)
    if len(shapes[0]) != 2 or len(shapes[1]) != 2 or shapes[0][0] != shapes[1][1]:
        raise _wrong(source.path, b.info, f"{shapes[1]} does not fit A {shapes[0]}")
    made = (shapes[1][0], shapes[0][1])
    turned = made[::-1]
    if info.shape not in (made, turned) or (embedding and info.shape != turned):
        raise _wrong(source.path, b.info, f"makes {made} for a weight of {info.shape}")
    square = made == turned
    transposed = embedding or (settings.fan_in_fan_out if square else info.shape == turned)
    return _Pair(a, b, settings.scale_of(module, shapes[0][0]), transposed)


def _add(info: TensorInfo, pair: _Pair, base: StoredTensor | None, read: Reader) -> Tensor:
    weight = read(info.name) if base is None else base.tensor()
    change = pair.b.tensor().float() @ pair.a.tensor().float()
    change = change.T if pair.transposed else change
    return torch.add(weight.float(), change, alpha=pair.scale).to(info.dtype)


def _replace(tensor: StoredTensor, info: TensorInfo, read: Reader) -> Tensor:
    del read
    return tensor.tensor().to(info.dtype)


def _wrong(directory: Path, info: TensorInfo, what: str) -> SourceError:
    return SourceError(
        f"{directory / WEIGHTS}: tensor {info.name!r} {what}; check that it is this model's adapter"
    )
