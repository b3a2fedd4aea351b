"""Tensors of a checkpoint for the engine are those of torch, without torch."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tersor.checkpoints.huggingface.directory import SafetensorsDirectory
from tersor.errors import NonFiniteWeight, SourceError
from tersor.runtime.decoder.stored.tensors import float32, is_finite, sound, tensor

VALUES = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
DTYPES = [
    torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.float8_e4m3fn, torch.int8,
]  # fmt: skip


def source(path: Path, values: torch.Tensor) -> SafetensorsDirectory:
    save_file({"x": values}, path / "model.safetensors")
    return SafetensorsDirectory(path, {})


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_values_are_those_of_torch(tmp_path: Path, dtype: torch.dtype) -> None:
    stored = VALUES.to(dtype)
    found = tensor(source(tmp_path, stored), "x")
    assert found.dtype == (np.uint16 if dtype == torch.bfloat16 else np.float32)
    assert torch.equal(torch.from_numpy(float32(found)), stored.float())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_what_is_not_finite_is_found_and_named(
    tmp_path: Path, dtype: torch.dtype, value: float
) -> None:
    whole = torch.full((1 << 11, 1 << 10), -1.0).to(dtype)
    assert sound(source(tmp_path, whole), "x").shape == whole.shape
    for place in (0, -1):
        spoiled = whole.clone()
        spoiled.view(-1)[place] = value
        with pytest.raises(NonFiniteWeight, match="tensor 'x' holds NaN or infinity"):
            sound(source(tmp_path, spoiled), "x")


def test_the_largest_values_are_finite() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        limits = torch.tensor([torch.finfo(dtype).max, torch.finfo(dtype).min]).to(dtype)
        bits = limits.view(torch.uint16) if dtype == torch.bfloat16 else limits
        assert is_finite(bits.numpy())
    assert is_finite(np.empty((0, 4), np.uint16))


def test_a_tensor_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=rf"{tmp_path} holds no tensor y"):
        tensor(source(tmp_path, VALUES), "y")
