"""Folding on bare matrices, where the function can be written out."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tersor.errors import SchemeError, SourceError
from tersor.models.folding import fold
from tersor.models.pairs import Pair

CHANNELS = torch.arange(4)


def norm_pair(offset: float, bias: str | None = "norm.bias") -> Pair:
    return Pair(
        producer="norm.weight",
        bias=bias,
        rows=CHANNELS,
        consumers=("a.weight", "b.weight"),
        listeners=("router.weight",),
        columns=CHANNELS.unsqueeze(1),
        offset=offset,
        transposed=False,
    )


def norm_tensors(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "norm.weight": (4,),
        "norm.bias": (4,),
        "a.weight": (3, 4),
        "b.weight": (5, 4),
        "router.weight": (2, 4),
    }
    return {n: torch.randn(s, generator=generator, dtype=torch.float64) for n, s in shapes.items()}


scales = st.lists(st.floats(2**-8, 2**8), min_size=4, max_size=4).map(
    lambda values: torch.tensor(values, dtype=torch.float64)
)


@given(scales, st.sampled_from([0.0, 1.0]), st.integers(0, 100))
def test_norm_then_linears_is_the_same_function(
    scale: torch.Tensor, offset: float, seed: int
) -> None:
    before = norm_tensors(seed)
    after = before | fold(before, norm_pair(offset), scale)
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for name in ("a.weight", "b.weight", "router.weight"):
        expected = (x * (before["norm.weight"] + offset) + before["norm.bias"]) @ before[name].T
        got = (x * (after["norm.weight"] + offset) + after["norm.bias"]) @ after[name].T
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


@given(st.booleans(), st.integers(0, 100))
def test_linear_to_linear_with_repeated_channels(transposed: bool, seed: int) -> None:
    # Rows 5, 6, 7 of the producer feed columns (0, 3), (1, 4), (2, 5) of the consumer.
    generator = torch.Generator().manual_seed(seed)
    w1 = torch.randn(8, 4, generator=generator, dtype=torch.float64)
    b1 = torch.randn(8, generator=generator, dtype=torch.float64)
    w2 = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    rows, columns = torch.tensor([5, 6, 7]), torch.tensor([[0, 3], [1, 4], [2, 5]])
    pair = Pair("one.weight", "one.bias", rows, ("two.weight",), (), columns, 0.0, transposed)
    scale = torch.rand(3, generator=generator, dtype=torch.float64) + 0.5

    def stored(w: torch.Tensor) -> torch.Tensor:
        return w.T if transposed else w

    before = {"one.weight": stored(w1), "one.bias": b1, "two.weight": stored(w2)}
    after = fold(before, pair, scale)
    x = torch.randn(6, 4, generator=generator, dtype=torch.float64)

    def run(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        hidden = x @ stored(tensors["one.weight"]).T + tensors["one.bias"]
        return torch.cat([hidden[:, 5:], hidden[:, 5:]], dim=1) @ stored(tensors["two.weight"]).T

    torch.testing.assert_close(run(after), run(before))
    untouched = stored(after["one.weight"])[:5]
    assert torch.equal(untouched, w1[:5])


def test_inputs_are_untouched_and_only_changed_tensors_come_back() -> None:
    before = {**norm_tensors(), "unrelated.weight": torch.ones(2)}
    copies = {name: tensor.clone() for name, tensor in before.items()}
    folded = fold(before, norm_pair(0.0), torch.full((4,), 2.0))
    assert folded.keys() == norm_tensors().keys()
    assert all(torch.equal(before[name], copies[name]) for name in before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_dtypes_stay_and_arithmetic_is_at_least_fp32(dtype: torch.dtype) -> None:
    before = {name: tensor.to(dtype) for name, tensor in norm_tensors().items()}
    scale = torch.tensor([0.7, 1.3, 1.1, 0.9])
    folded = fold(before, norm_pair(1.0), scale)
    assert {tensor.dtype for tensor in folded.values()} == {dtype}
    exact = (before["norm.weight"].double() + 1) / scale.double() - 1
    # One rounding to the stored dtype, not one per operation.
    eps = torch.finfo(dtype).eps
    assert torch.allclose(folded["norm.weight"].double(), exact, rtol=eps, atol=4e-7)


def test_gemma_norm_by_hand() -> None:
    before = {name: torch.ones_like(t) for name, t in norm_tensors().items()}
    folded = fold(before, norm_pair(1.0), torch.full((4,), 4.0))
    assert folded["norm.weight"].tolist() == [-0.5] * 4  # (1 + 1) / 4 − 1
    assert folded["norm.bias"].tolist() == [0.25] * 4
    assert folded["a.weight"].unique().tolist() == [4.0]


@pytest.mark.parametrize(
    "scale",
    [
        torch.ones(3),
        torch.ones(4, 1),
        torch.tensor([1.0, 1.0, 0.0, 1.0]),
        torch.tensor([1.0, -1.0, 1.0, 1.0]),
        torch.tensor([1.0, float("inf"), 1.0, 1.0]),
        torch.tensor([1.0, float("nan"), 1.0, 1.0]),
    ],
)
def test_scale_that_makes_no_sense(scale: torch.Tensor) -> None:
    with pytest.raises(SchemeError, match=r"norm\.weight"):
        fold(norm_tensors(), norm_pair(0.0), scale)


@pytest.mark.parametrize("missing", ["norm.weight", "norm.bias", "b.weight", "router.weight"])
def test_missing_tensor(missing: str) -> None:
    tensors = norm_tensors()
    del tensors[missing]
    with pytest.raises(SourceError, match=missing):
        fold(tensors, norm_pair(0.0), torch.ones(4))
