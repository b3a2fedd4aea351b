"""The worked examples of ``mission/llm-quantization-explained.md``, with the numbers that are true.

Where the text says something else, the test's comment quotes it; ``docs/numbers.md`` explains.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tersor.grids import Granularity, IntegerGrid, Symmetry, TensorScheme, error_parts
from tersor.ranges import MinMax
from tersor.rounding import nearest

UNSIGNED = IntegerGrid(8, Symmetry.NONE, signed=False)
SYMMETRIC = IntegerGrid(8)


def codes_and_values(
    grid: IntegerGrid, values: list[float], scale: float, zero_point: int | None = None
) -> tuple[list[int], list[float]]:
    zero = None if zero_point is None else torch.tensor(zero_point)
    codes = grid.encode(torch.tensor(values), torch.tensor(scale), zero)
    return codes.tolist(), grid.decode(codes, torch.tensor(scale), zero).tolist()


# Question 2, section 6: range [-1.5, 2.0], s = 0.014, z = 108


def test_given_scale_and_zero_point() -> None:
    # As the text says. 0.007 lies exactly between two codes; the tie goes to the even one, 108.
    codes, values = codes_and_values(UNSIGNED, [0.0, 0.014, 0.007], 0.014, 108)
    assert codes == [108, 109, 108]
    assert values == pytest.approx([0.0, 0.014, 0.0], abs=1e-9)
    assert 0.007 - values[2] == pytest.approx(0.007)


def test_the_texts_own_formulas_give_another_scale_and_zero_point() -> None:
    # The text takes s = 0.014 and z = 108 for this range. Its formulas give s = 3.5/255 =
    # 0.013725… and z = round(1.5/s) = 109; and if s is rounded to 0.014, then z is 107.
    low, high = torch.tensor(-1.5), torch.tensor(2.0)
    scale = UNSIGNED.scale_for(low, high)
    assert scale.item() == pytest.approx(0.0137255, abs=1e-7)
    assert UNSIGNED.zero_point_for(low, scale) == 109
    assert UNSIGNED.zero_point_for(low, torch.tensor(0.014)) == 107


def test_those_codes_are_unsigned() -> None:
    # The text clips to [-128, 127] and says z = 108. Together they would cut 2.0 off at 0.266.
    clipped, values = codes_and_values(
        IntegerGrid(8, Symmetry.NONE, signed=True), [2.0, -1.5], 0.014, 108
    )
    assert clipped == [127, 1]
    assert values[0] == pytest.approx(0.266)
    # Codes 0..255 hold the range; signed ones do with z = 108 - 128.
    codes, values = codes_and_values(UNSIGNED, [2.0, -1.5], 0.014, 108)
    assert codes == [251, 1]
    assert values == pytest.approx([2.002, -1.498])
    shifted, same = codes_and_values(
        IntegerGrid(8, Symmetry.NONE, signed=True), [2.0, -1.5], 0.014, 108 - 128
    )
    assert shifted == [123, -127]
    assert same == values


# Question 3, sections 1 and 2: s = 0.01, z = 0


def test_rounding_error_of_one_value() -> None:
    codes, values = codes_and_values(SYMMETRIC, [0.127], 0.01)
    assert codes == [13]
    assert values == pytest.approx([0.13])
    assert values[0] - 0.127 == pytest.approx(0.003, rel=1e-5)


def test_neighbours_share_a_code() -> None:
    codes, _ = codes_and_values(SYMMETRIC, [0.1234, 0.1235, 0.1236], 0.01)
    assert codes == [12, 12, 12]


# Question 3, section 3: outliers


def test_outliers_leave_thirteen_codes() -> None:
    # As the text says: s = 0.078 and about 13 codes for [-0.5, 0.5].
    low, high = torch.tensor(-10.0), torch.tensor(10.0)
    scale = UNSIGNED.scale_for(low, high)
    assert scale.item() == pytest.approx(0.0784, abs=1e-4)
    zero = UNSIGNED.zero_point_for(low, scale)
    assert zero is not None
    codes = UNSIGNED.encode(torch.linspace(-0.5, 0.5, 10001), scale, zero).int() - int(zero)
    assert codes.unique().tolist() == list(range(-6, 7))


# Question 3, section 5: values near 0


def test_ties_near_zero() -> None:
    # The text says 0.001 and 0.002 both become 1. Half a step is a tie and goes to the even code:
    # 0.001 becomes 0 (error 0.001), 0.002 becomes 1 (no error).
    codes, values = codes_and_values(SYMMETRIC, [0.001, 0.002], 0.002)
    assert codes == [0, 1]
    assert values == pytest.approx([0.0, 0.002], abs=1e-9)


# Question 1, section 1: round((x - min)/(max - min)·255) - 128


def texts_code(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return torch.round((value - low) / (high - low) * 255) - 128


def texts_value(code: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return (code + 128) / 255 * (high - low) + low


@settings(max_examples=100, deadline=None)
@given(
    st.floats(0.1, 10.0),
    st.floats(0.1, 10.0),
    st.lists(st.floats(0, 1), min_size=1, max_size=20),
)
def test_the_texts_map_is_the_affine_grid_up_to_its_zero_point(
    below: float, above: float, shares: list[float]
) -> None:
    low, high = torch.tensor(-below, dtype=torch.float64), torch.tensor(above, dtype=torch.float64)
    values = low + (high - low) * torch.tensor(shares, dtype=torch.float64)
    grid = IntegerGrid(8, Symmetry.NONE, signed=True)
    scale = grid.scale_for(low, high)
    zero_point = grid.zero_point_for(low, scale)
    assert zero_point is not None
    ours = grid.encode(values, scale, zero_point).double()
    # Both round once; ours rounds x/s and -min/s separately.
    assert ((ours - texts_code(values, low, high)).abs() <= 1).all()


def test_they_are_equal_where_the_zero_point_is_whole() -> None:
    low, high = torch.tensor(-1.0, dtype=torch.float64), torch.tensor(1.55, dtype=torch.float64)
    grid = IntegerGrid(8, Symmetry.NONE, signed=True)
    scale = torch.tensor(0.01, dtype=torch.float64)
    values = torch.linspace(-1.0, 1.55, 1001, dtype=torch.float64)
    zero_point = grid.zero_point_for(low, scale)
    assert zero_point == -28
    ours = grid.encode(values, scale, zero_point)
    assert torch.equal(ours.double(), texts_code(values, low, high))


def test_the_texts_map_does_not_keep_zero() -> None:
    low, high, zero = torch.tensor(-1.5), torch.tensor(2.0), torch.tensor(0.0)
    restored = texts_value(texts_code(zero, low, high), low, high)
    assert abs(restored.item()) == pytest.approx(0.0039, abs=1e-4)  # 0.29 steps
    scale = UNSIGNED.scale_for(low, high)
    point = UNSIGNED.zero_point_for(low, scale)
    assert UNSIGNED.decode(UNSIGNED.encode(zero, scale, point), scale, point) == 0


# Question 2, section 4 and question 3, section 1: how many numbers FP16 holds


def test_fp16_has_fewer_values_than_bit_patterns() -> None:
    # The text says 65536 values. 2048 of the 65536 patterns are NaN or infinite, and 0 has two.
    patterns = torch.arange(-(1 << 15), 1 << 15).to(torch.int16).view(torch.float16)
    finite = patterns[patterns.isfinite()].float()
    assert len(finite) == 63488
    assert len(finite.unique()) == 63487


# Question 2, section 4 and question 3, section 5: the zero point's own error


def test_a_rounded_zero_point_keeps_zero_and_moves_the_ends() -> None:
    # The text says that rounding z keeps 0 from being aligned. With an integer zero point 0 is
    # exact. What moves are the ends: z = 109 instead of 109.29 ends the grid 0.29 steps early.
    weight = torch.tensor([[-1.5, 0.0, 2.0]])
    scheme = TensorScheme(UNSIGNED, Granularity.CHANNEL)
    rounded = nearest(weight, scheme, MinMax(), scale_dtype=torch.float32)
    restored = rounded.tensor.dequantize()[0]
    step = 3.5 / 255
    assert restored[1] == 0
    assert restored[0].item() == pytest.approx(-109 * step, abs=1e-6)
    assert restored[2].item() == pytest.approx(146 * step, abs=1e-6)
    parts = error_parts(weight, rounded.tensor, rounded.bounds)
    shortfall = 1.5 - 109 * step
    assert parts.clipping == 0
    assert parts.zero_point == pytest.approx(shortfall**2 / 3, rel=1e-3)
    # At the upper end the grid reaches beyond the range, so what is lost there is rounding.
    assert parts.rounding == pytest.approx((146 * step - 2.0) ** 2 / 3, rel=1e-3)
