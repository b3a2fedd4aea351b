"""Activations in memory up to a limit, and beyond it in files that nobody sees."""

import errno
import gc
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from tersor.calibration.memory import ActivationMemory
from tersor.errors import OutputError

FLOATS = 1000
BYTES = 4 * FLOATS


def mapped(tensor: torch.Tensor) -> bool:
    """Whether the tensor's memory belongs to a file that is mapped and deleted."""
    address = tensor.data_ptr()
    for line in Path("/proc/self/maps").read_text().splitlines():
        begin, _, end = line.split()[0].partition("-")
        if int(begin, 16) <= address < int(end, 16):
            return line.endswith("(deleted)")
    return False


def test_within_the_limit_in_memory_and_beyond_it_mapped() -> None:
    memory = ActivationMemory(2 * BYTES)
    within = [memory.empty((FLOATS,)), memory.empty((10, 100))]
    assert memory.spilled == 0
    beyond = memory.empty((20, 50))
    assert [mapped(tensor) for tensor in (*within, beyond)] == [False, False, True]
    assert memory.spilled == BYTES
    assert beyond.shape == (20, 50)
    assert beyond.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_a_mapped_tensor_keeps_what_is_written(dtype: torch.dtype) -> None:
    tensor = ActivationMemory(0).empty((7, 11), dtype)
    values = torch.arange(77).view(7, 11).to(dtype)
    tensor.copy_(values)
    assert torch.equal(tensor, values)
    assert tensor.dtype == dtype


def test_the_file_has_no_name(tmp_path: Path) -> None:
    memory = ActivationMemory(0, tmp_path)
    tensor = memory.empty((FLOATS,)).fill_(3)
    assert mapped(tensor)
    assert list(tmp_path.iterdir()) == []
    assert float(tensor.sum()) == 3 * FLOATS


def test_memory_that_was_let_go_is_available_again() -> None:
    memory = ActivationMemory(BYTES)
    for _ in range(3):
        tensor = memory.empty((FLOATS,))
        assert not mapped(tensor)
        del tensor
        gc.collect()
    assert memory.spilled == 0
    held = memory.spill(torch.zeros(FLOATS))  # nobody keeps it
    assert held is None
    gc.collect()
    assert not mapped(memory.empty((FLOATS,)))


def test_counting_from_many_threads() -> None:
    memory = ActivationMemory(100 * BYTES)

    def take_and_let_go(_: int) -> None:
        for _ in range(200):
            memory.empty((FLOATS,))
            memory.spill(torch.empty(FLOATS))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(take_and_let_go, range(4)))
    gc.collect()
    assert memory.spilled == 0
    held = [memory.empty((FLOATS,)) for _ in range(100)]
    assert memory.spilled == 0
    assert mapped(memory.empty((FLOATS,)))
    assert len(held) == 100


def test_spill_restores_values_and_counts() -> None:
    x = torch.randn(10, 100, generator=torch.Generator().manual_seed(0))
    memory = ActivationMemory(0)
    copy = memory.spill(x)
    assert copy is not None
    assert mapped(copy)
    assert torch.equal(copy, x)
    assert memory.spilled == BYTES


def test_what_fits_is_not_spilled_but_counts_as_in_use() -> None:
    memory = ActivationMemory(BYTES)
    x = torch.zeros(FLOATS)
    assert memory.spill(x) is None
    assert memory.spilled == 0
    assert memory.spill(torch.zeros(FLOATS)) is not None
    del x
    gc.collect()
    assert memory.spill(torch.zeros(FLOATS)) is None


def test_views_and_what_is_mapped_already_are_not_spilled() -> None:
    memory = ActivationMemory(0)
    whole = torch.zeros(4, FLOATS)
    assert memory.spill(whole[1:3]) is None
    assert memory.spill(memory.empty((FLOATS,))) is None
    assert memory.spilled == BYTES


def test_nothing_takes_no_memory() -> None:
    memory = ActivationMemory(0)
    view = torch.zeros(4, 5)[:2]
    assert memory.spill(view) is None  # counts, and is beyond the limit
    assert memory.empty((0, 5)).shape == (0, 5)
    assert memory.spill(torch.zeros(0, 5)) is None
    assert memory.spilled == 0


def test_a_full_disk_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    memory = ActivationMemory(0, tmp_path)
    with pytest.raises(OutputError, match=r"cannot hold .* \(No space left on device\); .*TMPDIR"):
        memory.empty((FLOATS,))
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="missing: cannot hold"):
        ActivationMemory(0, tmp_path / "missing").empty((FLOATS,))
