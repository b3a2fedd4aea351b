"""A few values: what is told is what the grids make of them."""

import json

import pytest
import torch

from tersor.errors import OptionError
from tersor.explaining import explain_values
from tersor.explaining.formulas import findings, grid_lines, step_lines
from tersor.grids import Granularity, IntegerGrid, Symmetry, TensorScheme, error_parts
from tersor.grids.kinds.integer import WIDTHS
from tersor.ranges import MinMax
from tersor.rounding import nearest

VALUES = "-1.5,0,0.007,0.014,2.0"


@pytest.mark.parametrize("asymmetric", [True, False])
@pytest.mark.parametrize("bits", WIDTHS)
def test_against_rounding_to_nearest(bits: int, asymmetric: bool) -> None:
    found = explain_values(VALUES, bits, asymmetric=asymmetric)
    row = torch.tensor([[-1.5, 0, 0.007, 0.014, 2.0]])
    grid = IntegerGrid(bits, Symmetry.NONE if asymmetric else Symmetry.RESTRICTED)
    scheme = TensorScheme(grid, Granularity.TENSOR)
    rounded = nearest(row, scheme, MinMax(), scale_dtype=torch.float32)
    assert torch.tensor(found.scale) == rounded.tensor.scale.value()
    zero = rounded.tensor.zero_point
    assert found.zero_point == (None if zero is None else zero.item())
    assert [step.code for step in found.steps] == rounded.tensor.codes[0].tolist()
    restored = torch.tensor([[step.restored for step in found.steps]])
    assert torch.equal(restored, rounded.tensor.dequantize())
    assert found.parts == error_parts(row, rounded.tensor, rounded.bounds)
    mean = sum(step.error * step.zero_point for step in found.steps) / 5
    assert found.parts.zero_point == pytest.approx(mean, rel=1e-5, abs=1e-12)


def test_the_texts_example() -> None:
    """The codes of the text are unsigned; signed ones are 128 less."""
    found = explain_values(VALUES, asymmetric=True, scale="0.014", zero_point=108 - 128)
    assert [step.code + 128 for step in found.steps] == [1, 108, 108, 109, 251]
    assert [step.tie for step in found.steps] == [False, False, True, False, False]
    assert (found.low, found.high, found.parts.clipping) == (None, None, 0.0)


def test_a_zero_point_of_unsigned_codes_is_noticed() -> None:
    found = explain_values(VALUES, asymmetric=True, scale="0.014", zero_point=108)
    assert found.steps[4].restored == pytest.approx(0.266)
    assert found.steps[4].clipping == pytest.approx(1.734)
    said = " ".join(findings(found))
    assert "1 of 5 values lies outside the grid" in said
    assert "it is -20 for signed ones" in said


def test_a_given_scale_finds_its_zero_point() -> None:
    found = explain_values(VALUES, asymmetric=True, scale="0.014")
    assert found.zero_point == 107 - 128
    assert (
        "zero point",
        "z = round(q_min - min / s) = round(-128 - (-1.5) / 0.014) = round(-20.85714) = -21",
    ) in list(grid_lines(found))


def test_formulas_have_the_numbers() -> None:
    found = explain_values(VALUES, asymmetric=True)
    lines = dict(grid_lines(found))
    assert lines["scale"] == "s = (max - min) / (2^8 - 1) = (2 - (-1.5)) / 255 = 0.01372549"
    assert lines["zero point"].endswith("round(-18.71428) = -19")
    assert "z = 109" in lines["unsigned"]
    lines = dict(step_lines(found.steps[0], found.scale, found.zero_point, (-128, 127)))
    assert lines == {
        "w / s": "-1.5 / 0.01372549 = -109.2857",
        "round": "-109",
        "+ z": "-109 + (-19) = -128",
        "clip": "-128 lies in -128 … 127: q = -128",
        "w'": "s · (q - z) = 0.01372549 · (-128 - (-19)) = -1.496079",
        "w - w'": "-0.003922, all of it zero point",
    }


@pytest.mark.parametrize("asymmetric", [True, False])
@pytest.mark.parametrize("given", ["0", "0,0", "5", "-5", "3,4", "-3,-4", "-0.0,1e-18,1"])
def test_values_that_are_odd(given: str, asymmetric: bool) -> None:
    found = explain_values(given, asymmetric=asymmetric)
    assert list(grid_lines(found))
    assert list(findings(found))
    for step in found.steps:
        assert list(step_lines(step, found.scale, found.zero_point, (found.lowest, found.highest)))
        assert abs(step.error) <= found.scale / 2 * 1.00001
    assert json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize("scale", ["1e-18", "1e18"])
def test_extreme_scales(scale: str) -> None:
    found = explain_values("-1e18,1e-18,2", scale=scale)
    assert json.dumps(found.to_dict(), allow_nan=False)
    assert list(findings(found))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"bits": 7}, "bits must be 2, 3, 4, 5, 6 or 8, not 7"),
        ({"zero_point": 1}, "zero_point belongs to asymmetric"),
        ({"zero_point": 1, "asymmetric": True}, "zero_point belongs to a scale"),
        ({"zero_point": 128, "asymmetric": True, "scale": 1}, "-128 to 127 (codes are signed"),
        ({"zero_point": 1.0, "asymmetric": True, "scale": 1}, "zero_point must be"),
    ],
)
def test_what_does_not_go_together(given: dict[str, object], said: str) -> None:
    with pytest.raises(OptionError) as raised:
        explain_values(VALUES, **given)  # type: ignore[arg-type]
    assert said in str(raised.value)


def test_idle_codes_are_noticed() -> None:
    assert "half of the codes are idle" in " ".join(findings(explain_values("1,2.3,4", 4)))
    for found in (explain_values("1,2.3,4", 4, asymmetric=True), explain_values("-1,2.3,4", 4)):
        assert "idle" not in " ".join(findings(found))
