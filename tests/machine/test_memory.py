"""No memory is one error, whoever could not have it."""

import pytest
import torch

from tersor.errors import OutOfMemory
from tersor.machine.memory import machine_bytes, refuse_beyond_memory, shortage_named


def test_more_than_there_is() -> None:
    assert 2**20 < machine_bytes() < 2**62
    refuse_beyond_memory(2**20, "a megabyte", "")
    with pytest.raises(OutOfMemory, match=r"a lot needs .* TB, this machine has .*; want less"):
        refuse_beyond_memory(2**60, "a lot", "want less")


def test_torch_says_it_in_its_own_way() -> None:
    with pytest.raises(OutOfMemory, match="not enough memory to try"), shortage_named("to try"):
        torch.empty(2**60)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("std::bad_alloc")])
def test_others_too(error: Exception) -> None:
    with pytest.raises(OutOfMemory), shortage_named("to try"):
        raise error


def test_other_errors_stay() -> None:
    with pytest.raises(RuntimeError, match="shapes"), shortage_named("to try"):
        raise RuntimeError("shapes do not match")
