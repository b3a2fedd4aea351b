"""SmoothQuant: outliers move from activations, which are hard to quantize, into weights.

Xiao et al., https://arxiv.org/abs/2211.10438, eq. 4: input channel j is divided by
``s_j = max|X_j|^α / max|W_j|^(1−α)`` and the column that reads it multiplied. With ``α = 0.5`` both
sides end up with the same largest values.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tersor.errors import RecipeError, SchemeError
from tersor.grids import ActivationScheme
from tersor.models.pairs import Pair
from tersor.ranges import Need, Needs, Observation
from tersor.transforms.round_trip import RoundTrip, round_rows
from tersor.transforms.scaling import (
    consumer_matrices,
    every_nth_row,
    foldable,
    least_lossy,
    per_channel,
    per_column,
)


@dataclass(frozen=True)
class SmoothQuant:
    """How much of the difficulty moves into the weights.

    ``alpha``: 0 leaves all of it to the activations' side, 1 moves all of it; None searches each
    pair for the value of smallest output error among ``steps`` values from 0 to 1, and among them
    "no smoothing", with ``rows`` rows of every consumer.
    """

    alpha: float | None = 0.5
    steps: int = 21
    rows: int = 512

    def __post_init__(self) -> None:
        if self.alpha is not None and not 0 <= self.alpha <= 1:
            raise RecipeError(f"smoothquant: alpha {self.alpha} is not within [0, 1]")
        if self.steps < 2 or self.rows < 1:
            raise RecipeError(
                f"smoothquant: steps {self.steps}, rows {self.rows}; use 2 or more and 1 or more"
            )

    @property
    def needs(self) -> Needs:
        """``max|x_j|``, and for a search some of the rows."""
        return frozenset({Need.LARGEST, Need.SAMPLE} if self.alpha is None else {Need.LARGEST})

    def scale(
        self,
        pair: Pair,
        weights: Mapping[str, Tensor],
        observed: Observation,
        quantizers: Mapping[str, RoundTrip],
        activations: ActivationScheme | None = None,
    ) -> Tensor | None:
        """See :func:`smoothquant_scale`; ``None`` if inputs are not finite."""
        assert observed.largest is not None
        if not bool(observed.largest.isfinite().all()):
            return None
        return smoothquant_scale(
            pair,
            weights,
            observed.largest,
            self,
            quantizers=quantizers,
            activations=activations,
            sample=observed.sample,
        )


def smoothquant_scale(
    pair: Pair,
    weights: Mapping[str, Tensor],
    amax: Tensor,
    settings: SmoothQuant,
    *,
    quantizers: Mapping[str, RoundTrip] | None = None,
    activations: ActivationScheme | None = None,
    sample: Tensor | None = None,
) -> Tensor:
    """The scale to fold into ``pair``: fp32 ``(pair.channels,)``, positive and finite.

    ``weights``: at least the pair's consumers, as stored. ``amax`` fp32 ``(in,)``: largest
    magnitude of each of their inputs. A channel that repeats counts with its largest; one that is
    0 in all inputs or all weights gets 1.

    The rest is for the search: ``quantizers`` by consumer (one that is not named stays as it is,
    inputs and all), how inputs are rounded if they are, and ``sample`` ``(tokens, in)`` of them.
    Static ranges are taken from the sample.

    Raises :class:`RecipeError` if the search lacks something, :class:`SchemeError` for statistics
    of other sizes than the pair's, :class:`~tersor.errors.SourceError` for a missing consumer.
    """
    matrices = consumer_matrices(pair, weights)
    inputs = per_channel(pair, amax, "amax").float().amax(dim=1)
    columns = torch.stack([m.float().abs().amax(dim=0) for m in matrices.values()]).amax(dim=0)
    reading = per_channel(pair, columns, "weights").amax(dim=1)
    if settings.alpha is not None:
        return _balanced(inputs, reading, settings.alpha)
    if quantizers is None or sample is None:
        raise RecipeError(
            f"{pair.consumers[0]}: searching alpha needs quantizers and a sample; give alpha"
        )
    candidates = list(_candidates(inputs, reading, settings.steps))

    def loss_of(scale: Tensor) -> float:
        return smoothquant_loss(
            pair, weights, scale, settings, quantizers, activations=activations, sample=sample
        )

    return least_lossy(candidates, loss_of, pair.channels)


def smoothquant_loss(
    pair: Pair,
    weights: Mapping[str, Tensor],
    scale: Tensor,
    settings: SmoothQuant,
    quantizers: Mapping[str, RoundTrip],
    *,
    activations: ActivationScheme | None,
    sample: Tensor,
) -> float:
    """Squared error of the consumers' outputs, summed over outputs and averaged over ``sample``.

    ``‖Q(X/s)·Q(W·s)ᵀ − X·Wᵀ‖² / tokens``; arguments as for ``smoothquant_scale``.
    """
    if sample.ndim != 2 or sample.shape[1] != pair.columns.numel() or not len(sample):
        raise SchemeError(
            f"{pair.consumers[0]}: a sample of shape {tuple(sample.shape)} for "
            f"{pair.columns.numel()} inputs"
        )
    factors = per_column(pair, scale)
    smooth = sample.float() / factors
    rounded = smooth if activations is None else round_rows(smooth, activations.tensor)
    importance = smooth.square().mean(dim=0)
    total = 0.0
    for name, matrix in consumer_matrices(pair, weights).items():
        if name in quantizers:
            rows = every_nth_row(matrix, settings.rows)
            error = rounded @ quantizers[name](rows * factors, importance).T
            error -= sample.float() @ rows.T
            share = len(rows) / len(matrix)
            total += float(error.square().sum(dtype=torch.float64)) / share
    return total / len(sample)


def _candidates(inputs: Tensor, reading: Tensor, steps: int) -> Iterator[Tensor]:
    yield torch.ones_like(inputs)
    for alpha in torch.linspace(0, 1, steps, dtype=torch.float64).tolist():
        yield _balanced(inputs, reading, alpha)


def _balanced(inputs: Tensor, reading: Tensor, alpha: float) -> Tensor:
    """Eq. 4 for largest magnitudes of inputs and of weights, each ``(channels,)``."""
    scale = inputs.double() ** alpha / reading.double() ** (1 - alpha)
    # 0⁰ is 1, so that at the ends of the range a dead channel would not show.
    return foldable(torch.where((inputs > 0) & (reading > 0), scale, 1.0))
