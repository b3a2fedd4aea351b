import pytest
import torch

from tersor.errors import FormatError
from tersor.formats.sound import refuse_unsound

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("suffix", ["weight_scale", "input_scale", "weight_codebook"])
def test_what_is_not_finite(suffix, value):
    with pytest.raises(FormatError, match=rf"tensor m\.{suffix} holds NaN or infinity; make or"):
        refuse_unsound(f"m.{suffix}", torch.tensor([1.0, value]))


def test_scales_of_few_bits_have_their_own_nan():
    eight = torch.tensor([1.0, NAN]).to(torch.float8_e4m3fn)
    exponents = torch.tensor([127, 255], dtype=torch.uint8)
    for scales in (eight, exponents):
        refuse_unsound("m.weight_scale", scales[:1])
        with pytest.raises(FormatError, match="NaN"):
            refuse_unsound("m.weight_scale", scales)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_what_is_divided_by_is_positive(value):
    given = torch.tensor([value])
    for suffix in ("input_scale", "weight_global_scale"):
        with pytest.raises(FormatError, match=rf"m\.{suffix} holds a scale that is not positive"):
            refuse_unsound(f"m.{suffix}", given)
    refuse_unsound("m.weight_scale", given)
