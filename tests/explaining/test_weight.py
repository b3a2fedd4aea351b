"""One weight's way against the grids, the formats and plain searches."""

import json

import pytest
import torch

from every_scheme import LINEARS, SAMPLE, gaussian, hard, label
from tersor.errors import OptionError, SchemeError
from tersor.explaining.packed import packed_code
from tersor.explaining.steps import code_numbers
from tersor.explaining.weight import checked_place, follow, largest_error
from tersor.explaining.weight_lines import (
    code_lines,
    matrix_line,
    packed_lines,
    scale_lines,
    stored_lines,
)
from tersor.formats import QuantizedLinear
from tersor.formats.storage.codec import encode
from tersor.grids import (
    AffineGrid,
    Granularity,
    IntegerGrid,
    Scheme,
    Symmetry,
    TensorScheme,
    error_parts,
)
from tersor.ranges import MeanSquaredError, MinMax
from tersor.rounding import nearest

SHAPE = (5, 77)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("scheme", SAMPLE, ids=label)
def test_against_the_quantized_tensor(scheme: TensorScheme, dtype: torch.dtype) -> None:
    weight = gaussian(*SHAPE).to(dtype)
    rounded = nearest(weight, scheme, MeanSquaredError(steps=4), scale_dtype=dtype)
    tensor = rounded.tensor
    restored, values = tensor.dequantize(), weight.float()
    for row, column in ((0, 0), (4, 76), (2, 37), (3, 63)):
        path = follow(tensor, row, column, weight, rounded.bounds)
        assert path.step is not None
        assert torch.tensor(path.restored) == restored[row, column]
        assert torch.tensor(path.step.error) == values[row, column] - restored[row, column]
        assert path.code == path.nearest_code == code_numbers(tensor.codes[row, column])[0]
        assert path.matrix == error_parts(weight, tensor, rounded.bounds)
        group = path.group
        assert group.start <= column < group.stop
        members = weight if group.all_rows else weight[row, group.start : group.stop]
        assert (group.low, group.high) == pytest.approx(
            (float(members.min()), float(members.max())), rel=1e-6
        )
        assert json.dumps(path.to_dict(), allow_nan=False)


@pytest.mark.parametrize("scheme", SAMPLE, ids=label)
def test_every_scheme_has_its_words(scheme: TensorScheme) -> None:
    for weight in (gaussian(*SHAPE), hard(40)):
        rounded = nearest(weight, scheme, MinMax(), scale_dtype=torch.float32)
        for row in range(len(weight)):
            for bounds, original in ((rounded.bounds, weight), (None, weight), (None, None)):
                path = follow(rounded.tensor, row, 3, original, bounds)
                lines = [*stored_lines(path), *scale_lines(path), *code_lines(path)]
                assert all(text for _, text in lines)
                assert bool(matrix_line(path)) == (original is not None)


@pytest.mark.parametrize(
    ("symmetry", "said"),
    [
        (Symmetry.RESTRICTED, "s = max|w| / 7 = 3 / 7 = 0.4285714, stored as float32: 0.4285714"),
        (Symmetry.FULL, "s = max|w| / 7.5 = 3 / 7.5 = 0.4, stored as float32: 0.4"),
        (
            Symmetry.SIGNED_SCALE,
            "s = w of largest |w| / -8 = 3 / -8 = -0.375, stored as float32: -0.375",
        ),
        (
            Symmetry.NONE,
            "s = (max - min) / (2^4 - 1) = (3 - (-1.5)) / 15 = 0.3, stored as float32: 0.3",
        ),
    ],
)
def test_formulas_of_the_scale(symmetry: Symmetry, said: str) -> None:
    weight = torch.tensor([[-1.5, 0.0, 3.0]])
    scheme = TensorScheme(IntegerGrid(4, symmetry), Granularity.CHANNEL)
    rounded = nearest(weight, scheme, MinMax(), scale_dtype=torch.float32)
    path = follow(rounded.tensor, 0, 0, weight, rounded.bounds)
    assert dict(scale_lines(path))["scale"] == said


@pytest.mark.parametrize("linear", LINEARS, ids=label)
def test_the_bits_in_the_file(linear: Scheme) -> None:
    scheme = linear.weights
    weight = gaussian(2, 75)
    tensor = nearest(weight, scheme, MinMax(), scale_dtype=torch.bfloat16).tensor
    if linear.activations is not None and not linear.activations.dynamic:
        linear = Scheme(scheme)
    for column in (0, 1, 6, 10, 63, 74):
        row = encode(QuantizedLinear(tensor.rows(1, 2), linear))
        code = code_numbers(tensor.codes[1, column])[0]
        packed = packed_code(row, "m", column, scheme.grid.bits, code)
        assert packed is not None
        assert int(packed.bits, 2) == (code + packed.offset) % (1 << scheme.grid.bits)
        assert len(packed.bits) == scheme.grid.bits
        said = "".join(text for _, text in packed_lines(packed, 1))
        assert packed.bits in said


def test_a_storage_that_is_not_known_is_not_explained() -> None:
    assert packed_code({"codes": torch.zeros(1, 4)}, "m", 0, 4, 3) is None
    assert (
        packed_code({"weight_packed": torch.zeros(1, 4, dtype=torch.int32)}, "m", 0, 4, 3) is None
    )
    assert packed_code({"weight": torch.zeros(1, 4, dtype=torch.int8)}, "m", 9, 8, 0) is None


@pytest.mark.parametrize("rows", [3, 7000])
def test_the_largest_error_is_found(rows: int) -> None:
    weight = gaussian(rows, 90)
    scheme = TensorScheme(IntegerGrid(3), Granularity.GROUP, 32)
    tensor = nearest(weight, scheme, MinMax(), scale_dtype=torch.bfloat16).tensor
    lost = (weight - tensor.dequantize()).abs()
    assert largest_error(weight, tensor) == divmod(int(lost.argmax()), 90)
    assert largest_error(weight, tensor, row=2) == (2, int(lost[2].argmax()))
    assert largest_error(weight, tensor, column=41) == (int(lost[:, 41].argmax()), 41)


def test_a_code_that_is_not_the_nearest_is_named() -> None:
    weight = torch.tensor([[-1.0, 0.4, 1.0]])
    scheme = TensorScheme(IntegerGrid(4), Granularity.CHANNEL)
    tensor = nearest(weight, scheme, MinMax(), scale_dtype=torch.float32).tensor
    tensor.codes[0, 1] += 1
    path = follow(tensor, 0, 1, weight)
    assert (path.code, path.nearest_code) == (4, 3)
    assert "q = 4, not 3" in dict(code_lines(path))["code"]


@pytest.mark.parametrize(("name", "at"), [("row", 4), ("row", -1), ("column", 5), ("column", True)])
def test_places_outside(name: str, at: int) -> None:
    with pytest.raises(OptionError, match=f"^{name} must be .*q_proj has 4 rows and 5 columns"):
        checked_place((4, 5), **{"row": None, "column": None, name: at}, matrix="q_proj")  # type: ignore[arg-type]


def test_minima_have_no_words() -> None:
    scheme = TensorScheme(AffineGrid(4), Granularity.GROUP, 32)
    weight = torch.randn(2, 64, generator=torch.Generator().manual_seed(0))
    rounded = nearest(weight, scheme, MinMax(), scale_dtype=torch.float32)
    with pytest.raises(SchemeError, match="no words for a minimum yet, which affine4 has"):
        follow(rounded.tensor, 0, 0, weight, rounded.bounds)
