"""The bits of stored floats: their formula is their value."""

import pytest
import torch

from tersor.explaining.stored import stored_float


def worth(formula: str) -> float:
    if formula == "all bits 0 means 0":
        return 0.0
    return float(eval(formula.replace("^", "**").replace("·", "*")))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_formula_is_the_value(dtype: torch.dtype) -> None:
    patterns = torch.arange(-(1 << 15), 1 << 15, 37).to(torch.int16).view(dtype)
    finite = patterns[patterns.isfinite()]
    assert len(finite) > 1000
    for value in finite:
        found = stored_float(value)
        assert worth(found.formula) == float(value)
        assert torch.tensor(found.value) == value.float()
        bits = int(found.sign + found.exponent + found.mantissa, 2)
        assert bits == int(value.reshape(1).view(torch.int16)) % (1 << 16)


@pytest.mark.parametrize("value", [0.0, 1.0, -2.84375, 1e-40, 3.4e38, 0.1])
def test_float32(value: float) -> None:
    found = stored_float(torch.tensor(value))
    assert torch.tensor(worth(found.formula)) == torch.tensor(value)
    assert len(found.exponent + found.mantissa) == 31


def test_a_weight_of_the_real_model() -> None:
    found = stored_float(torch.tensor(2.84375, dtype=torch.bfloat16))
    assert found.bits == "0 10000000 0110110"
    assert found.formula == "2^(128 - 127) · (1 + 54 / 128)"
