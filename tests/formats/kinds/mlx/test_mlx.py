"""MLX's tensors against a reading bit by bit."""

import pytest
import torch
from torch import Tensor

from tersor.errors import FormatError, SchemeError
from tersor.formats import QuantizedLinear
from tersor.formats.kinds.mlx import FORMAT
from tersor.grids import Granularity, IntegerGrid, Scheme, Symmetry, TensorScheme
from tersor.ranges import MinMax
from tersor.rounding import nearest

ROWS, COLUMNS, SIZE = 5, 96, 32
WIDTHS = [2, 3, 4, 5, 6, 8]
TYPES = [torch.bfloat16, torch.float16, torch.float32]


def linear(
    bits: int, symmetry: Symmetry, dtype: torch.dtype = torch.bfloat16, signed: bool = True
) -> QuantizedLinear:
    grid = IntegerGrid(bits, symmetry, signed)
    of = Scheme(TensorScheme(grid, Granularity.GROUP, SIZE))
    weight = torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(bits))
    return QuantizedLinear(nearest(weight, of.weights, MinMax(), scale_dtype=dtype).tensor, of)


def code(words: Tensor, row: int, column: int, bits: int) -> int:
    stream = sum(int(word) << 32 * place for place, word in enumerate(words[row].tolist()))
    return stream >> column * bits & (1 << bits) - 1


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("symmetry", list(Symmetry))
@pytest.mark.parametrize("dtype", TYPES)
def test_what_is_written_is_read(bits: int, symmetry: Symmetry, dtype: torch.dtype) -> None:
    made = linear(bits, symmetry, dtype, signed=bits != 4)
    if dtype is torch.float32:
        if bits > 3:  # fewer codes may all be powers of two
            with pytest.raises(SchemeError, match="which float32 rounds"):
                FORMAT.encode(made)
        return
    assert FORMAT.obstacle(made.scheme, made.weight.shape) is None
    tensors, exact = FORMAT.encode(made), made.weight.dequantize()
    layout = FORMAT.layout(made.scheme, made.weight.shape, dtype)
    for suffix, entry in layout.items():
        assert (tensors[suffix].dtype, tensors[suffix].shape) == (entry.dtype, entry.shape)
    # Symmetric codes keep the type of their scales.
    narrow = symmetry is not Symmetry.NONE
    assert tensors["biases"].dtype == (dtype if narrow else torch.float32)
    for row, column in ((0, 0), (1, 40), (4, 95), (3, 33)):
        q = code(tensors["weight"], row, column, bits)
        scale, bias = (float(tensors[name][row, column // SIZE]) for name in ("scales", "biases"))
        assert torch.tensor(scale * q + bias, dtype=torch.float32) == exact[row, column]
    settings = {"bits": bits, "group_size": SIZE, "mode": "affine"}
    of = FORMAT.described(settings, ["proj"])
    found = FORMAT.linear(tensors, of.schemes["proj"], "proj")
    assert torch.equal(found.weight.dequantize(), exact)
    assert torch.equal(found.weight.codes, FORMAT.read_back(made).weight.codes)


def test_modules_with_settings_of_their_own() -> None:
    own = {"bits": 6, "group_size": 64}
    found = FORMAT.described({"bits": 4, "group_size": 32, "b": own, "c": True}, ["a", "b", "c"])
    names = {module: str(scheme.weights) for module, scheme in found.schemes.items()}
    four, six = "affine4 asymmetric per group 32", "affine6 asymmetric per group 64"
    assert names == {"a": four, "b": six, "c": four}


def test_what_is_refused() -> None:
    made = linear(4, Symmetry.FULL)
    assert "no multiple" in (FORMAT.obstacle(made.scheme, (ROWS, 90)) or "")
    other = Scheme(TensorScheme(made.scheme.weights.grid, Granularity.GROUP, 16))
    assert "use --group-size 64" in (FORMAT.obstacle(other, (ROWS, COLUMNS)) or "")
    for settings, said in (
        ({"bits": 7, "group_size": 64}, "bits is 7, not 2, 3, 4, 5, 6 or 8"),
        ({"bits": True, "group_size": 64}, "bits is True"),
        ({"bits": 4, "group_size": 48}, "group_size is 48, not 32, 64 or 128"),
        ({"bits": 4, "group_size": 32, "mode": "mxfp4"}, "mode is 'mxfp4'; tersor reads affine"),
        ({"bits": 4, "group_size": 32, "proj": False}, "says that proj is not quantized"),
        ({"bits": 4, "group_size": 32, "proj": {"bits": "x"}}, r"quantization\.proj: bits is 'x'"),
    ):
        with pytest.raises(FormatError, match=said):
            FORMAT.described(settings, ["proj"])
    tensors = FORMAT.encode(made)
    scheme = FORMAT.read_back(made).scheme
    for name, wrong, said in (
        ("biases", tensors["biases"][:, :2], r"proj\.biases is .* needs .* \(5, 3\)"),
        ("scales", tensors["scales"].T, r"proj\.scales is .* \(3, 5\)"),
        ("weight", tensors["weight"][:, :7], "no groups of 32 codes of 4 bits"),
        ("weight", tensors["weight"].view(torch.int32), r"proj\.weight is torch\.int32"),
    ):
        with pytest.raises(FormatError, match=said):
            FORMAT.linear({**tensors, name: wrong}, scheme, "proj")
