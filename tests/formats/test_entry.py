"""Tensors held against their entries: values that no artifact can mean are refused."""

import pytest
import torch

from tersor.errors import FormatError
from tersor.formats.entry import Entry, refuse_unsound

NAN, INF = float("nan"), float("inf")
SCALE = Entry(torch.float32, (2,), parameter=True)
DIVISOR = Entry(torch.float32, (1,), parameter=True, divisor=True)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("entry", [SCALE, DIVISOR])
def test_what_is_not_finite(value: float, entry: Entry) -> None:
    with pytest.raises(FormatError, match=r"tensor m\.scales holds NaN or infinity; make or"):
        refuse_unsound("m.scales", torch.tensor([1.0, value]), entry)


def test_scales_of_few_bits_have_their_own_nan() -> None:
    eight = torch.tensor([1.0, NAN]).to(torch.float8_e4m3fn)
    exponents = torch.tensor([127, 255], dtype=torch.uint8)
    for scales in (eight, exponents):
        refuse_unsound("m.scales", scales[:1], SCALE)
        with pytest.raises(FormatError, match="NaN"):
            refuse_unsound("m.scales", scales, SCALE)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_what_is_divided_by_is_positive(value: float) -> None:
    given = torch.tensor([value])
    with pytest.raises(FormatError, match=r"m\.scale holds a scale that is not positive"):
        refuse_unsound("m.scale", given, DIVISOR)
    refuse_unsound("m.scale", given, SCALE)


def test_codes_may_be_anything() -> None:
    refuse_unsound("m.codes", torch.tensor([255], dtype=torch.uint8), Entry(torch.uint8, (1,)))
