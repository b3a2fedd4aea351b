"""Values that check themselves."""

import numpy as np
import pytest
import torch

from tersor.errors import OptionError
from tersor.options import Choice, Number, Whole

SPEED = Whole("speed", 1, 8)


@pytest.mark.parametrize("value", [1, 8, np.int64(3), np.uint8(3), torch.tensor(3)])
def test_whole_numbers_of_any_library(value: object) -> None:
    assert type(SPEED(value)) is int


@pytest.mark.parametrize("value", [0, 9, True, np.True_, 3.0, "3", None, [3]])
def test_what_is_no_whole_number_of_the_bounds(value: object) -> None:
    with pytest.raises(OptionError, match=r"^speed must be a whole number from 1 to 8, not"):
        SPEED(value)


def test_another_value_and_the_reason() -> None:
    size = Whole("size", 2, 9, why="of this machine", also=0, also_means="all")
    assert size(0) == 0
    with pytest.raises(OptionError, match=r"0 \(all\) or a .* from 2 to 9 \(of this machine\)"):
        size(1)
    assert size.or_none(None) is None


@pytest.mark.parametrize("value", [0, float("nan"), float("inf"), 1.1, True, "1", None, 1j])
def test_what_is_no_number_of_the_bounds(value: object) -> None:
    with pytest.raises(OptionError, match="share must be a number above 0 to 1, not"):
        Number("share", 0, 1, above=True)(value)


@pytest.mark.parametrize("value", [1, 0.5, np.float32(0.5), np.int8(1)])
def test_numbers_of_any_library(value: object) -> None:
    assert type(Number("share", 0, 1, above=True)(value)) is float


def test_a_choice_has_the_nearest_word() -> None:
    kind = Choice("kind", ("int8", "float16"))
    assert kind("int8") == "int8"
    with pytest.raises(OptionError, match="not 'int9'; did you mean 'int8'"):
        kind("int9")
    with pytest.raises(OptionError, match="must be 8 or 16, not True"):
        Choice("bits", (8, 16))(True)
    assert Choice("bits", (8, 16))(np.int64(8)) == 8


def test_an_error_calls_options_as_it_is_asked() -> None:
    error = OptionError("task_path", "has no effect without {}", "tasks")
    assert str(error) == "task_path has no effect without tasks"
    assert error.said(str.upper) == "TASK_PATH has no effect without TASKS"
    assert str(OptionError("text", "must not be {}")) == "text must not be {}"
