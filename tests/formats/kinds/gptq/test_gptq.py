"""GPTQ's tensors against a reading bit by bit, both versions, and what contradicts itself."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tersor.errors import FormatError, SchemeError
from tersor.formats import QuantizedLinear
from tersor.formats.kinds import gptq, gptq_v2
from tersor.formats.kinds.gptq.format import GptqFormat
from tersor.formats.kinds.gptq.zeros import true_zeros
from tersor.grids import Granularity, IntegerGrid, Scheme, Symmetry, TensorScheme
from tersor.ranges import MinMax
from tersor.rounding import nearest

V1, V2 = gptq.FORMAT, gptq_v2.FORMAT
ROWS, COLUMNS = 64, 96


def scheme(bits: int, symmetry: Symmetry, size: int | None = 32, signed: bool = True) -> Scheme:
    granularity = Granularity.CHANNEL if size is None else Granularity.GROUP
    return Scheme(TensorScheme(IntegerGrid(bits, symmetry, signed), granularity, size))


def linear(of: Scheme) -> QuantizedLinear:
    weight = torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(1))
    made = nearest(weight, of.weights, MinMax(), scale_dtype=torch.float16).tensor
    return QuantizedLinear(made, of)


def bit_by_bit(words: Tensor, bits: int, index: int) -> int:
    """Code ``index`` of a stream of int32 words, from the lowest bit up."""
    stream = "".join(f"{int(word) & 0xFFFFFFFF:032b}"[::-1] for word in words)
    return int(stream[index * bits : (index + 1) * bits][::-1], 2)


def read(tensors: dict[str, Tensor], bits: int, added: int, row: int, column: int) -> float:
    group = int(tensors["g_idx"][column])
    q = bit_by_bit(tensors["qweight"][:, row], bits, column)
    z = bit_by_bit(tensors["qzeros"][group], bits, row) + added
    return float(tensors["scales"][group, row].float() * (q - z))


def described(of: GptqFormat, scheme_: Scheme) -> Scheme:
    """What a reader knows, who has the config alone."""
    size = scheme_.weights.group_size or -1
    settings = {"bits": scheme_.weights.grid.bits, "group_size": size, "sym": True}
    return of.described(settings, ["proj"]).schemes["proj"]


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize(
    ("symmetry", "version"),
    [(Symmetry.FULL, V1), (Symmetry.FULL, V2), (Symmetry.NONE, V2), (Symmetry.RESTRICTED, V1)],
)
@pytest.mark.parametrize("signed", [True, False])
def test_what_is_written_is_read(
    bits: int, symmetry: Symmetry, version: GptqFormat, signed: bool
) -> None:
    made = linear(scheme(bits, symmetry, signed=signed))
    assert version.obstacle(made.scheme, made.weight.shape) is None
    tensors = version.encode(made)
    exact = made.weight.dequantize()
    for row, column in ((0, 0), (1, 10), (63, 21), (33, 95), (7, 31)):
        added = 1 if version is V1 else 0
        assert read(tensors, bits, added, row, column) == exact[row, column]
    found = version.linear(tensors, described(version, made.scheme), "proj")
    assert torch.equal(found.weight.dequantize(), exact)


def test_one_scale_for_each_row() -> None:
    made = linear(scheme(4, Symmetry.FULL, None))
    tensors = V1.encode(made)
    assert tensors["scales"].shape == (1, ROWS)
    found = V1.linear(tensors, described(V1, made.scheme), "proj")
    assert torch.equal(found.weight.dequantize(), made.weight.dequantize())


def test_zeros_of_symmetric_ones_tell_the_version_whatever_the_label_says() -> None:
    made = linear(scheme(4, Symmetry.FULL))
    first, second = V1.encode(made), V2.encode(made)
    assert {int(word) & 0xFFFFFFFF for word in first["qzeros"].flatten()} == {0x77777777}
    assert {int(word) & 0xFFFFFFFF for word in second["qzeros"].flatten()} == {0x88888888}
    of = described(V1, made.scheme)
    for tensors in (first, second):
        for version in (V1, V2):
            found = version.linear(tensors, of, "proj").weight
            assert torch.equal(found.dequantize(), made.weight.dequantize())


def test_asymmetric_ones_that_contradict_their_label_are_refused() -> None:
    zeros = torch.randint(1, 15, (ROWS, 32), generator=torch.Generator().manual_seed(0)).byte()
    for stored, label in ((zeros, "gptq_v2"), (zeros - 1, "gptq")):
        assert torch.equal(true_zeros(stored, 4, label, "proj"), zeros)
    said = r"proj\.qzeros: zero points of 7\.\d+ on average are those of gptq_v2, and .* says gptq;"
    with pytest.raises(FormatError, match=said):
        true_zeros(zeros, 4, "gptq", "proj")
    with pytest.raises(FormatError, match=r"are those of gptq, and .* says gptq_v2; put"):
        true_zeros(zeros - 1, 4, "gptq_v2", "proj")


def test_a_zero_that_the_first_version_cannot_mean_is_refused() -> None:
    made = linear(scheme(4, Symmetry.NONE, signed=False))
    zeros = made.weight.zero_point.clone()
    zeros[0, 0] = 15
    given = replace(made, weight=replace(made.weight, zero_point=zeros))
    with pytest.raises(FormatError, match="zero points of 15, which gptq has no room for"):
        V1.linear(V2.encode(given), described(V1, made.scheme), "proj")
    zeros[0, 0] = 0
    with pytest.raises(SchemeError, match="no zero points of 0; choose gptq-v2"):
        V1.encode(given)


def test_columns_in_the_order_of_activations_are_refused() -> None:
    made = linear(scheme(4, Symmetry.FULL))
    tensors, of = V1.encode(made), described(V1, made.scheme)
    order = torch.randperm(COLUMNS, generator=torch.Generator().manual_seed(0))
    moved = {**tensors, "g_idx": tensors["g_idx"][order]}
    with pytest.raises(FormatError, match=r"another order than groups \(desc_act\).*; choose"):
        V1.linear(moved, of, "proj")
    none = {**tensors, "g_idx": torch.zeros(COLUMNS, dtype=torch.int32)}
    with pytest.raises(FormatError, match=r"proj\.g_idx is no permutation of groups of 32"):
        V1.linear(none, of, "proj")
    del moved["g_idx"]
    assert V1.linear(moved, of, "proj").weight.shape == (ROWS, COLUMNS)


@pytest.mark.parametrize(
    ("suffix", "change", "said"),
    [
        ("qweight", lambda t: t.T.contiguous(), r"proj\.qzeros is .*needs"),
        ("qweight", lambda t: t[:-1], r"needs"),
        ("qzeros", lambda t: t[:-1], r"proj\.qzeros is .* needs torch.int32 \(3, 8\)"),
        ("scales", lambda t: t[:2], r"proj\.scales is .*needs torch.float16 \(3, 64\)"),
        ("scales", lambda t: t * torch.nan, r"proj\.scales holds NaN or infinity"),
        ("qweight", lambda t: t.long(), r"proj\.qweight is torch.int64"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(suffix: str, change: object, said: str) -> None:
    made = linear(scheme(4, Symmetry.FULL))
    tensors = V1.encode(made)
    assert callable(change)
    with pytest.raises(FormatError, match=said):
        V1.linear({**tensors, suffix: change(tensors[suffix])}, described(V1, made.scheme), "proj")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"bits": 5, "group_size": 128}, "bits is 5, not one of"),
        ({"bits": 4, "group_size": 0}, "group_size is 0, not -1"),
        ({"bits": 4}, "group_size is None"),
        ({"bits": 4, "group_size": 32, "dynamic": {"x": {}}}, "dynamic gives modules schemes"),
    ],
)
def test_descriptions_that_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(FormatError, match=said):
        V1.described(settings, ["proj"])
    with pytest.raises(FormatError, match="checkpoint_format is 'marlin'; tersor reads gptq and"):
        V1.as_described({"checkpoint_format": "marlin"})


def test_obstacles() -> None:
    def said(of: Scheme, shape: tuple[int, int] = (ROWS, COLUMNS)) -> str:
        return V1.obstacle(of, shape) or ""

    assert "choose gptq-v2" in said(scheme(4, Symmetry.NONE))
    assert "choose integers of 2, 3, 4 or 8 bits" in said(scheme(6, Symmetry.FULL))
    assert "fill whole words" in said(scheme(4, Symmetry.FULL), (60, 96))


def test_a_scale_that_float16_does_not_hold_is_refused() -> None:
    made = linear(scheme(4, Symmetry.FULL))
    scale = replace(made.weight.scale, data=made.weight.scale.data.float() * 1.0001)
    with pytest.raises(SchemeError, match=r"float16 does not hold a scale of .*; choose a format"):
        V1.encode(replace(made, weight=replace(made.weight, scale=scale)))
