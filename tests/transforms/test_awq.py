"""AWQ: the same function after folding, the loss as it is defined, and what it gains."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tersor.errors import RecipeError, SchemeError, SourceError
from tersor.grids import Granularity, IntegerGrid, Symmetry, TensorScheme
from tersor.models.folding import fold
from tersor.models.pairs import Pair
from tersor.ranges import ImportanceWeighted, MinMax
from tersor.transforms import Awq, RoundTrip, awq_scale
from tersor.transforms.awq import awq_loss

FAMILIES = [
    "llama", "qwen2", "qwen3", "gemma2", "gemma3_text",
    "mistral", "phi3", "opt", "gpt2", "gpt_neox",
]  # fmt: skip
CHANNELS = 48


def norm_pair(*consumers: str, channels: int = CHANNELS) -> Pair:
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


def inputs(tokens: int = 200, channels: int = CHANNELS) -> Tensor:
    """Of very different sizes, as the inputs of linears are."""
    generator = torch.Generator().manual_seed(0)
    sizes = torch.randn(channels, generator=generator).mul(1.2).exp()
    return torch.randn(tokens, channels, generator=generator) * sizes


def matrices(channels: int = CHANNELS) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "a.weight": torch.randn(40, channels, generator=generator),
        "b.weight": torch.randn(24, channels, generator=generator),
    }


def statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """``E|x|`` and ``E[x·xᵀ]``."""
    return x.abs().mean(dim=0), x.T @ x / len(x)


# --- the scale -----------------------------------------------------------------------------------


def found(
    x: Tensor, settings: Awq, quantizer: RoundTrip, weights: dict[str, Tensor] | None = None
) -> Tensor:
    weights = weights or matrices(x.shape[1])
    pair = norm_pair(*weights, channels=x.shape[1])
    return awq_scale(
        pair, weights, *statistics(x), settings, quantizers=dict.fromkeys(weights, quantizer)
    )


@pytest.mark.parametrize("duo", [False, True])
def test_the_best_of_all_candidates(duo: bool, int4: RoundTrip) -> None:
    x, weights = inputs(), matrices()
    magnitude, hessian = statistics(x)
    mean = torch.cat(list(weights.values())).abs().mean(dim=0)
    candidates = [torch.ones(CHANNELS)]
    for step in range(6):
        scale = magnitude ** (step / 5)
        if duo:
            scale = scale / (mean ** (1 - step / 5) + 1e-4)
        candidates.append(scale / (scale.max() * scale.min()).sqrt())
    quantizers = dict.fromkeys(weights, int4)
    losses = [
        awq_loss(norm_pair(), weights, scale, hessian, Awq(), quantizers) for scale in candidates
    ]
    best = candidates[losses.index(min(losses))]
    assert torch.allclose(found(x, Awq(steps=6, duo=duo), int4), best, rtol=1e-5)


@pytest.mark.parametrize("duo", [False, True])
def test_no_scaling_is_exactly_ones(duo: bool) -> None:
    # Weights on the grid lose nothing as they are, and something with any other scale.
    exact = RoundTrip(TensorScheme(IntegerGrid(4), Granularity.CHANNEL), MinMax(), torch.float32)
    weight = torch.randint(-6, 7, (16, CHANNELS), generator=torch.Generator().manual_seed(0))
    weight[:, 0] = 7
    scale = found(inputs(), Awq(duo=duo), exact, {"a.weight": weight.float()})
    assert torch.equal(scale, torch.ones(CHANNELS))


def test_largest_times_smallest_is_one(int4: RoundTrip) -> None:
    scale = found(inputs(), Awq(), int4)
    assert scale.min() < 0.9
    assert float(scale.max() * scale.min()) == pytest.approx(1, rel=1e-5)


def test_repeated_channels_count_with_their_mean(int4: RoundTrip) -> None:
    # Two channels read twice each are the same pair as four channels with the means.
    index = torch.arange(4)
    columns = torch.stack([index, index + 4], dim=1)
    pair = Pair("v", None, index, ("o",), (), columns, 0.0, False)
    weights = {"o": torch.randn(16, 8, generator=torch.Generator().manual_seed(0))}
    x = inputs(channels=8)
    magnitude, hessian = statistics(x)
    scale = awq_scale(pair, weights, magnitude, hessian, Awq(), quantizers={"o": int4})
    mean = (magnitude[:4] + magnitude[4:]) / 2
    logarithms = torch.stack([scale, mean]).log()
    slope = logarithms[0].std() / logarithms[1].std()
    shifted = logarithms - logarithms.mean(dim=1, keepdim=True)
    assert 0 < slope <= 1
    assert torch.allclose(shifted[0], slope * shifted[1], atol=1e-4)


@given(st.lists(st.sampled_from([0.0, 1e-30, 1e-3, 1.0, 1e4]), min_size=8, max_size=8))
def test_always_foldable(sizes: list[float]) -> None:
    quantizer = RoundTrip(
        TensorScheme(IntegerGrid(4), Granularity.GROUP, 4), MinMax(), torch.float32
    )
    x = inputs(channels=8) * torch.tensor(sizes)
    weights = {**matrices(8), "norm.weight": torch.ones(8)}
    pair = norm_pair(channels=8)
    for duo in (False, True):
        scale = awq_scale(
            pair,
            weights,
            *statistics(x),
            Awq(steps=3, duo=duo),
            quantizers=dict.fromkeys(pair.consumers, quantizer),
        )
        fold(weights, pair, scale)  # refuses what is not positive and finite
        assert bool((scale[torch.tensor(sizes) == 0] == 1).all())


# --- the function stays --------------------------------------------------------------------------


def fold_all(
    checkpoint: Any, settings: Awq, quantizer: RoundTrip
) -> tuple[dict[str, Tensor], float]:
    """The tensors afterwards, and the loss that is left of each pair's, averaged over pairs."""
    tensors: dict[str, Tensor] = dict(checkpoint.tensors)
    left = []
    for pair in checkpoint.pairs():
        quantizers = dict.fromkeys(pair.consumers, quantizer)
        magnitude, hessian = statistics(checkpoint.read_by(pair))
        scale = awq_scale(pair, tensors, magnitude, hessian, settings, quantizers=quantizers)
        ours, plain = (
            awq_loss(pair, tensors, s, hessian, settings, quantizers)
            for s in (scale, torch.ones(pair.channels))
        )
        assert ours <= plain
        left.append(ours / plain)
        tensors |= fold(tensors, pair, scale)
    return tensors, sum(left) / len(left)


@pytest.mark.parametrize("duo", [False, True])
@pytest.mark.parametrize("case", FAMILIES)
def test_folding_all_pairs_keeps_the_logits(
    case: str, duo: bool, load: Callable[[str], Any], int4: RoundTrip
) -> None:
    checkpoint = load(case)
    tensors, left = fold_all(checkpoint, Awq(steps=4, duo=duo), int4)
    assert left < 1
    assert checkpoint.change_of_logits(checkpoint.source.config, tensors) <= 1e-4


@pytest.mark.model
def test_two_real_blocks(real: Any) -> None:
    grid = IntegerGrid(3, Symmetry.NONE)
    int3 = RoundTrip(TensorScheme(grid, Granularity.GROUP, 64), MinMax(), torch.float32)
    tensors, left = fold_all(real, Awq(steps=5, rows=64), int3)
    assert left < 0.7
    assert real.change_of_logits(real.source.config, tensors) <= 1e-4


# --- the loss ------------------------------------------------------------------------------------


def test_loss_is_the_error_of_the_outputs(int4: RoundTrip) -> None:
    x, weights = inputs(), matrices()
    scale = torch.rand(CHANNELS, generator=torch.Generator().manual_seed(3)) + 0.5
    expected = sum(
        float(((x / scale) @ int4(w * scale).T - x @ w.T).square().sum() / len(x))
        for w in weights.values()
    )
    _, hessian = statistics(x)
    quantizers = dict.fromkeys(weights, int4)
    loss = awq_loss(norm_pair(), weights, scale, hessian, Awq(), quantizers)
    assert loss == pytest.approx(expected, rel=1e-4)


def test_rows_that_are_looked_at_stand_for_all(int4: RoundTrip) -> None:
    weights = {"a.weight": torch.randn(1000, CHANNELS, generator=torch.Generator().manual_seed(2))}
    _, hessian = statistics(inputs())

    def some(rows: int) -> float:
        ones = torch.ones(CHANNELS)
        quantizers = {"a.weight": int4}
        return awq_loss(norm_pair("a.weight"), weights, ones, hessian, Awq(rows=rows), quantizers)

    assert some(100) == pytest.approx(some(1000), rel=0.1)
    assert some(1000) == some(5000)


@pytest.mark.parametrize(
    "scheme",
    [
        TensorScheme(IntegerGrid(3, Symmetry.NONE), Granularity.GROUP, 16),
        TensorScheme(IntegerGrid(3), Granularity.GROUP, 20),  # ragged
        TensorScheme(IntegerGrid(3), Granularity.CHANNEL),
        TensorScheme(IntegerGrid(3), Granularity.TENSOR),
    ],
    ids=str,
)
def test_scaling_helps_where_few_columns_matter(scheme: TensorScheme) -> None:
    x = torch.randn(200, CHANNELS, generator=torch.Generator().manual_seed(0))
    x[:, ::16] *= 20
    quantizer = RoundTrip(scheme, MinMax(), torch.float32)
    weights = matrices()
    quantizers = dict.fromkeys(weights, quantizer)
    scale = found(x, Awq(), quantizer)
    _, hessian = statistics(x)
    ours, plain = (
        awq_loss(norm_pair(), weights, s, hessian, Awq(), quantizers)
        for s in (scale, torch.ones(CHANNELS))
    )
    # One scale for all leaves little room: where a column grows, the grid grows coarser for all.
    assert ours <= (1.0 if scheme.granularity is Granularity.TENSOR else 0.7) * plain


def test_ranges_that_need_an_importance_get_it() -> None:
    scheme = TensorScheme(IntegerGrid(3), Granularity.GROUP, 16)
    quantizer = RoundTrip(scheme, ImportanceWeighted(5), torch.float32)
    assert found(inputs(), Awq(steps=3), quantizer).shape == (CHANNELS,)


def test_consumers_that_are_not_quantized_have_no_say(int4: RoundTrip) -> None:
    _, hessian = statistics(inputs())
    arguments = (norm_pair(), matrices(), torch.ones(CHANNELS), hessian, Awq())
    assert awq_loss(*arguments, {}) == 0
    one = awq_loss(*arguments, {"a.weight": int4})
    assert 0 < one < awq_loss(*arguments, {"a.weight": int4, "b.weight": int4})


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{"steps": 1}, {"steps": 0}, {"rows": 0}])
def test_settings_that_make_no_sense(settings: dict[str, int]) -> None:
    with pytest.raises(RecipeError, match="awq: steps"):
        Awq(**settings)


def test_statistics_of_another_pair(int4: RoundTrip) -> None:
    magnitude, hessian = statistics(inputs())
    quantizers = {"a.weight": int4}
    with pytest.raises(SchemeError, match=r"a\.weight: mean magnitude of shape \(47,\) for 48"):
        awq_scale(norm_pair(), matrices(), magnitude[1:], hessian, Awq(), quantizers=quantizers)
    with pytest.raises(SchemeError, match=r"a\.weight: a Hessian of shape \(47, 48\) for 48"):
        awq_scale(norm_pair(), matrices(), magnitude, hessian[1:], Awq(), quantizers=quantizers)


def test_a_consumer_is_missing(int4: RoundTrip) -> None:
    with pytest.raises(SourceError, match=r"b\.weight is missing"):
        awq_scale(
            norm_pair(),
            {"a.weight": matrices()["a.weight"]},
            *statistics(inputs()),
            Awq(),
            quantizers={"a.weight": int4},
        )
