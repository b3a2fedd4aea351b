"""SmoothQuant: eq. 4 by hand, the same function after folding, and a smaller W8A8 error."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tersor.errors import RecipeError, SchemeError, SourceError
from tersor.grids import ActivationScheme, Granularity, IntegerGrid, TensorScheme
from tersor.models.folding import fold
from tersor.models.pairs import Pair
from tersor.ranges import MinMax
from tersor.transforms import RoundTrip, SmoothQuant, round_rows, smoothquant_scale
from tersor.transforms.smoothquant import smoothquant_loss

FAMILIES = [
    "llama", "qwen2", "qwen3", "gemma2", "gemma3_text",
    "mistral", "phi3", "opt", "gpt2", "gpt_neox",
]  # fmt: skip
PER_TOKEN = ActivationScheme(TensorScheme(IntegerGrid(8), Granularity.TOKEN), dynamic=True)


def norm_pair(channels: int, *consumers: str) -> Pair:
    index = torch.arange(channels)
    return Pair(
        producer="norm.weight",
        bias=None,
        rows=index,
        consumers=consumers or ("a.weight", "b.weight"),
        listeners=(),
        columns=index.unsqueeze(1),
        offset=0.0,
        transposed=False,
    )


def outliers(channels: int, tokens: int = 64) -> Tensor:
    """Inputs of which a few channels are 60 times the others."""
    x = torch.randn(tokens, channels, generator=torch.Generator().manual_seed(0))
    x[:, ::37] *= 60
    return x


def matrices(channels: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "a.weight": torch.randn(40, channels, generator=generator),
        "b.weight": torch.randn(24, channels, generator=generator),
    }


# --- eq. 4 ---------------------------------------------------------------------------------------


def test_by_hand() -> None:
    weights = {
        "a.weight": torch.tensor([[1.0, -2.0], [0.5, 0.0]]),
        "b.weight": torch.tensor([[-4.0, 1.0]]),
    }
    amax = torch.tensor([16.0, 8.0])
    scale = smoothquant_scale(norm_pair(2), weights, amax, SmoothQuant())
    assert scale.tolist() == [2.0, 2.0]  # sqrt(16 / 4), sqrt(8 / 2)
    scale = smoothquant_scale(norm_pair(2), weights, amax, SmoothQuant(alpha=1))
    assert scale.tolist() == [16.0, 8.0]
    scale = smoothquant_scale(norm_pair(2), weights, amax, SmoothQuant(alpha=0))
    assert scale.tolist() == [0.25, 0.5]


def test_half_makes_both_sides_equally_large() -> None:
    x, weights = outliers(74), matrices(74)
    scale = smoothquant_scale(norm_pair(74), weights, x.abs().amax(dim=0), SmoothQuant())
    inputs = (x / scale).abs().amax(dim=0)
    reading = torch.cat([w * scale for w in weights.values()]).abs().amax(dim=0)
    assert torch.allclose(inputs, reading, rtol=1e-5)


def test_repeated_channels_count_with_their_largest() -> None:
    columns = torch.tensor([[0, 2], [1, 3]])
    rows = torch.arange(2)
    pair = Pair("v.weight", None, rows, ("o.weight",), (), columns, 0.0, False)
    weights = {"o.weight": torch.tensor([[1.0, 1.0, 4.0, 1.0], [0.0, 9.0, 0.0, 0.0]])}
    amax = torch.tensor([1.0, 9.0, 16.0, 1.0])
    assert smoothquant_scale(pair, weights, amax, SmoothQuant()).tolist() == [2.0, 1.0]


def test_transposed_consumers() -> None:
    pair = Pair("n", None, torch.arange(2), ("c",), (), torch.arange(2).unsqueeze(1), 0.0, True)
    weights = {"c": torch.tensor([[4.0, 0.0, 1.0], [1.0, 1.0, 1.0]])}  # (in, out)
    scale = smoothquant_scale(pair, weights, torch.tensor([16.0, 1.0]), SmoothQuant())
    assert scale.tolist() == [2.0, 1.0]


@given(
    st.lists(st.sampled_from([0.0, 1e-30, 1e-6, 1.0, 3e4, 1e30]), min_size=4, max_size=4),
    st.lists(st.sampled_from([0.0, 1e-30, 1e-6, 1.0, 1e30]), min_size=4, max_size=4),
    st.sampled_from([0.0, 0.5, 0.85, 1.0]),
)
def test_always_foldable(inputs: list[float], reading: list[float], alpha: float) -> None:
    weights = {"a.weight": torch.tensor([reading]), "norm.weight": torch.ones(4)}
    pair, amax = norm_pair(4, "a.weight"), torch.tensor(inputs)
    scale = smoothquant_scale(pair, weights, amax, SmoothQuant(alpha))
    fold(weights, pair, scale)  # refuses what is not positive and finite
    assert scale.dtype == torch.float32
    for channel in range(4):
        if inputs[channel] == 0 or reading[channel] == 0:
            assert scale[channel] == 1


# --- the function stays --------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.5, None])
@pytest.mark.parametrize("case", FAMILIES)
def test_folding_all_pairs_keeps_the_logits(
    case: str, alpha: float | None, load: Callable[[str], Any], int8: RoundTrip
) -> None:
    checkpoint = load(case)
    settings = SmoothQuant(alpha, steps=3)
    tensors = fold_all(checkpoint, settings, int8)
    assert checkpoint.change_of_logits(checkpoint.source.config, tensors) <= 1e-4


def fold_all(checkpoint: Any, settings: SmoothQuant, int8: RoundTrip) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = dict(checkpoint.tensors)
    scaled = 0
    for pair in checkpoint.pairs():
        x = checkpoint.read_by(pair)
        scale = smoothquant_scale(
            pair,
            tensors,
            x.abs().amax(dim=0),
            settings,
            quantizers=dict.fromkeys(pair.consumers, int8),
            activations=PER_TOKEN,
            sample=x,
        )
        scaled += int(scale.std() > 0.01)
        tensors |= fold(tensors, pair, scale)
    assert scaled > 3
    return tensors


@pytest.mark.model
def test_two_real_blocks(real: Any, int8: RoundTrip) -> None:
    tensors = fold_all(real, SmoothQuant(), int8)
    assert real.change_of_logits(real.source.config, tensors) <= 1e-4


# --- what it is for ------------------------------------------------------------------------------


def loss(scale: Tensor, x: Tensor, int8: RoundTrip) -> float:
    return smoothquant_loss(
        norm_pair(x.shape[1]),
        matrices(x.shape[1]),
        scale,
        SmoothQuant(),
        dict.fromkeys(matrices(1), int8),
        activations=PER_TOKEN,
        sample=x,
    )


def test_w8a8_with_outliers_gets_better_and_the_search_is_best(int8: RoundTrip) -> None:
    x = outliers(74)

    def scale(alpha: float | None) -> Tensor:
        return smoothquant_scale(
            norm_pair(74),
            matrices(74),
            x.abs().amax(dim=0),
            SmoothQuant(alpha),
            quantizers=dict.fromkeys(matrices(1), int8),
            activations=PER_TOKEN,
            sample=x,
        )

    plain, half = loss(torch.ones(74), x, int8), loss(scale(0.5), x, int8)
    assert half < plain / 10
    searched = loss(scale(None), x, int8)
    assert searched == min(
        searched, half, plain, *(loss(scale(a / 10), x, int8) for a in range(11))
    )


def test_the_search_leaves_alone_what_smoothing_would_harm(int8: RoundTrip) -> None:
    # Weights on the grid lose nothing as they are, and something with any other scale.
    x = torch.rand(64, 16, generator=torch.Generator().manual_seed(0))
    weight = torch.randint(-120, 121, (8, 16), generator=torch.Generator().manual_seed(0))
    weight[:, 0] = 127
    scale = smoothquant_scale(
        norm_pair(16, "a.weight"),
        {"a.weight": weight.float()},
        x.abs().amax(dim=0),
        SmoothQuant(alpha=None),
        quantizers={"a.weight": int8},
        sample=x,
    )
    assert torch.equal(scale, torch.ones(16))


def test_loss_against_the_definition(int8: RoundTrip) -> None:
    x, weights = outliers(74), matrices(74)
    scale = torch.rand(74, generator=torch.Generator().manual_seed(3)) + 0.5
    expected = 0.0
    for weight in weights.values():
        got = round_rows(x / scale, PER_TOKEN.tensor) @ int8(weight * scale).T
        expected += float((got - x @ weight.T).square().sum() / len(x))
    assert loss(scale, x, int8) == pytest.approx(expected, rel=1e-5)


def test_rows_that_are_looked_at_stand_for_all(int8: RoundTrip) -> None:
    x, weights = outliers(74), {"a.weight": torch.randn(1000, 74)}

    def some(rows: int) -> float:
        return smoothquant_loss(
            norm_pair(74, "a.weight"),
            weights,
            torch.ones(74),
            SmoothQuant(rows=rows),
            {"a.weight": int8},
            activations=PER_TOKEN,
            sample=x,
        )

    assert some(100) == pytest.approx(some(1000), rel=0.1)
    assert some(1000) == some(5000)


def test_consumers_that_are_not_quantized_have_no_say(int8: RoundTrip) -> None:
    x = outliers(74)
    arguments = (norm_pair(74), matrices(74), torch.ones(74), SmoothQuant())
    nothing = smoothquant_loss(*arguments, {}, activations=PER_TOKEN, sample=x)
    one = smoothquant_loss(*arguments, {"a.weight": int8}, activations=PER_TOKEN, sample=x)
    assert nothing == 0
    assert 0 < one < loss(torch.ones(74), x, int8)


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [{"alpha": -0.1}, {"alpha": 1.1}, {"alpha": float("nan")}, {"steps": 1}, {"rows": 0}],
)
def test_settings_that_make_no_sense(settings: dict[str, float]) -> None:
    with pytest.raises(RecipeError, match="smoothquant"):
        SmoothQuant(**settings)  # type: ignore[arg-type]


def test_a_search_needs_something_to_search_with() -> None:
    with pytest.raises(RecipeError, match="needs quantizers and a sample"):
        smoothquant_scale(norm_pair(4), matrices(4), torch.ones(4), SmoothQuant(alpha=None))


def test_statistics_of_another_pair(int8: RoundTrip) -> None:
    with pytest.raises(SchemeError, match=r"a\.weight: amax of shape \(5,\) for 4 inputs"):
        smoothquant_scale(norm_pair(4), matrices(4), torch.ones(5), SmoothQuant())
    with pytest.raises(SchemeError, match=r"weights of shape \(5,\) for 4 inputs"):
        smoothquant_scale(norm_pair(4), matrices(5), torch.ones(4), SmoothQuant())
    for sample in (torch.ones(2, 5), torch.ones(0, 4), torch.ones(4)):
        with pytest.raises(SchemeError, match=r"a\.weight: a sample of shape"):
            smoothquant_scale(
                norm_pair(4),
                matrices(4),
                torch.ones(4),
                SmoothQuant(alpha=None),
                quantizers={"a.weight": int8},
                sample=sample,
            )


def test_a_consumer_is_missing() -> None:
    with pytest.raises(SourceError, match=r"b\.weight is missing"):
        smoothquant_scale(
            norm_pair(4), {"a.weight": torch.ones(2, 4)}, torch.ones(4), SmoothQuant()
        )


def test_importance_of_scaled_columns_reaches_the_range_search() -> None:
    seen: list[Tensor] = []

    class Spy(MinMax):
        def bounds(self, blocks: Any, scheme: Any, storage: Any, importance: Any = None) -> Any:
            seen.append(importance.flatten())
            return super().bounds(blocks, scheme, storage)

    scheme = TensorScheme(IntegerGrid(8), Granularity.CHANNEL)
    spy = RoundTrip(scheme, Spy(), torch.float32)
    x, scale = outliers(8), torch.arange(1.0, 9.0)
    smoothquant_loss(
        norm_pair(8),
        matrices(8),
        scale,
        SmoothQuant(),
        {"a.weight": spy},
        activations=None,
        sample=x,
    )
    assert torch.allclose(seen[0], x.square().mean(dim=0) / scale.square())
