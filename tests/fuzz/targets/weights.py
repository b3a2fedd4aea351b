"""Values of tensors that nobody meant, and pickled weights."""

import math
from pathlib import Path
from random import Random

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fuzz import entrances, seeds
from fuzz.damage import damage
from fuzz.target import Seed, Target
from fuzz.targets.json_files import PUBLISHED, artifacts, models

_FLOATS = (math.nan, math.inf, -math.inf, 0.0, -1.0, 1e-40, 3e38, -3e38, 65504.0)


def damage_values(folder: Path, random: Random) -> str:
    """Change a value, the type, the shape or the name of a tensor; the file itself is sound."""
    path = folder / "model" / "model.safetensors"
    tensors = load_file(path)
    name, other = random.choice(sorted(tensors)), random.choice(sorted(tensors))
    match random.choice(("value", "value", "shape", "name", "gone", "swap", "more")):
        case "value":
            tensors[name], what = _changed(tensors[name].clone(), random)
        case "shape":
            tensors[name] = _reshaped(tensors[name], random).contiguous()
            what = f"is {tuple(tensors[name].shape)}"
        case "name":
            tensors[random.choice((f"{name}x", name.upper(), f"model.{name}"))] = tensors.pop(name)
            what = "has another name"
        case "gone":
            del tensors[name]
            what = "is gone"
        case "swap":
            tensors[name], tensors[other] = tensors[other], tensors[name]
            what = f"and {other} swapped"
        case _:
            added = random.choice((f"{name}_scale", name.replace(".0.", ".7."), "lm_head.bias"))
            tensors[added] = tensors[name].clone()
            what = f"is there as {added} too"
    path.unlink()
    save_file(tensors, path, {"format": "pt"})
    return f"{name}: {what}"


def _reshaped(tensor: Tensor, random: Random) -> Tensor:
    if tensor.ndim == 0:
        return tensor[None]
    shapes = [tensor.flatten(), tensor[..., :-1], tensor.flatten()[0], tensor[None], tensor[:0]]
    shapes += [torch.cat([tensor, tensor]), tensor.reshape(1, -1), tensor.reshape(-1, 1)]
    if tensor.ndim == 2:
        shapes += [tensor.T, tensor.reshape(tensor.shape[::-1])]
    return random.choice(shapes)


def _changed(tensor: Tensor, random: Random) -> tuple[Tensor, str]:
    if random.random() < 0.15:
        dtype = random.choice((torch.float16, torch.float64, torch.int32, torch.bool, torch.int8))
        return tensor.to(dtype), f"is {dtype}"
    if tensor.is_floating_point():
        value = random.choice(_FLOATS)
    else:
        limits = torch.iinfo(tensor.dtype) if tensor.dtype != torch.bool else None
        value = 0 if limits is None else random.choice((limits.min, limits.max, 0, 1, 3))
    # Through a wider type: not every narrow one takes what does not fit it.
    flat = tensor.flatten().to(torch.float64 if tensor.is_floating_point() else torch.int64)
    at = slice(None) if random.random() < 0.3 else random.randrange(len(flat))
    flat[at] = value
    return flat.to(tensor.dtype).reshape(tensor.shape), f"{value} at {at}"


def _damage_pickle(folder: Path, random: Random) -> str:
    return damage(folder / "model" / "pytorch_model.bin", random)


VALUES = Target(
    artifacts("w4", "nf4", "kmeans", "w8a8-static", "w4-asym", "mxfp4", "nvfp4")
    | artifacts("fp8", read_by=entrances.FLOAT_ARTIFACT)
    | models("llama")
    | models("gpt2", read_by=entrances.NOT_THE_ENGINE)
    | PUBLISHED,
    damage_values,
)
PICKLE = Target({"pickle": Seed(seeds.pickled, (entrances.PICKLE,))}, _damage_pickle)
