"""AWQ: scale up the columns that see large inputs, so that the grid resolves them better.

Lin et al., https://arxiv.org/abs/2306.00978, section 3.2: ``s = mean|x|^α`` per input channel, α
found on a grid. The paper runs the surrounding block for every α; here the error of the outputs
comes from the second moment ``H = E[x·xᵀ]`` of the inputs, ``Σ tr(ΔW·H·ΔWᵀ)`` over the consumers
with ``ΔW = Q(W·s)/s − W``, so no activations are needed and some rows are enough.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tersor.errors import RecipeError, SchemeError
from tersor.grids import ActivationScheme
from tersor.models.pairs import Pair
from tersor.ranges import Need, Needs, Observation
from tersor.transforms.round_trip import RoundTrip
from tersor.transforms.scaling import (
    consumer_matrices,
    every_nth_row,
    foldable,
    least_lossy,
    per_channel,
    per_column,
)


@dataclass(frozen=True)
class Awq:
    """The search: ``steps`` values of α from 0, which is no scaling, to 1.

    ``duo`` also looks at the weights: ``s = mean|x|^α / (mean|w|^(1−α) + 1e-4)``; "no scaling" is
    tried besides, since no α stands for it. ``rows``: at most that many rows of every consumer are
    rounded.
    """

    steps: int = 20
    duo: bool = False
    rows: int = 256

    def __post_init__(self) -> None:
        if self.steps < 2 or self.rows < 1:
            raise RecipeError(
                f"awq: steps {self.steps}, rows {self.rows}; use 2 or more and 1 or more"
            )

    @property
    def needs(self) -> Needs:
        """``E[|x_j|]`` and ``E[x·xᵀ]``."""
        return frozenset({Need.MEAN_MAGNITUDE, Need.SECOND_MOMENTS})

    def scale(
        self,
        pair: Pair,
        weights: Mapping[str, Tensor],
        observed: Observation,
        quantizers: Mapping[str, RoundTrip],
        activations: ActivationScheme | None = None,
    ) -> Tensor | None:
        """See :func:`awq_scale`; ``None`` if inputs are not finite."""
        del activations
        magnitude, hessian = observed.mean_magnitude, observed.hessian
        assert magnitude is not None
        assert hessian is not None
        if not bool(hessian.diagonal().isfinite().all()):
            return None
        return awq_scale(pair, weights, magnitude, hessian, self, quantizers=quantizers)


def awq_scale(
    pair: Pair,
    weights: Mapping[str, Tensor],
    mean_magnitude: Tensor,
    hessian: Tensor,
    settings: Awq,
    *,
    quantizers: Mapping[str, RoundTrip],
) -> Tensor:
    """The scale to fold into ``pair``: fp32 ``(pair.channels,)``, positive and finite.

    ``weights``: at least the pair's consumers, as stored. ``mean_magnitude`` ``(in,)`` is
    ``E[|x_j|]`` and ``hessian`` fp32 ``(in, in)`` is ``E[x·xᵀ]`` of what they read. ``quantizers``
    by consumer; one that is not named stays as it is and has no say. A channel that repeats counts
    with the mean of its columns, one without input gets 1.

    Raises :class:`SchemeError` for statistics of other sizes than the pair's and
    :class:`~tersor.errors.SourceError` for a missing consumer.
    """
    inputs = per_channel(pair, mean_magnitude, "mean magnitude").double().mean(dim=1)
    candidates = list(_candidates(pair, weights, inputs, settings))

    def loss_of(scale: Tensor) -> float:
        return awq_loss(pair, weights, scale, hessian, settings, quantizers)

    return least_lossy(candidates, loss_of, pair.channels)


def awq_loss(
    pair: Pair,
    weights: Mapping[str, Tensor],
    scale: Tensor,
    hessian: Tensor,
    settings: Awq,
    quantizers: Mapping[str, RoundTrip],
) -> float:
    """Expected squared error of the consumers' outputs if ``scale`` is folded in.

    ``Σ tr(ΔW·H·ΔWᵀ)``, extrapolated from the rows that are looked at; arguments as for
    ``awq_scale``.
    """
    columns = pair.columns.numel()
    if tuple(hessian.shape) != (columns, columns):
        raise SchemeError(
            f"{pair.consumers[0]}: a Hessian of shape {tuple(hessian.shape)} for {columns} inputs"
        )
    factors = per_column(pair, scale)
    importance = hessian.diagonal() / factors.square()
    total = 0.0
    for name, matrix in consumer_matrices(pair, weights).items():
        if name in quantizers:
            rows = every_nth_row(matrix, settings.rows)
            error = quantizers[name](rows * factors, importance).div_(factors).sub_(rows)
            loss = (error @ hessian).mul_(error).sum(dtype=torch.float64)
            total += float(loss) * len(matrix) / len(rows)
    return total


def _candidates(
    pair: Pair, weights: Mapping[str, Tensor], inputs: Tensor, settings: Awq
) -> Iterator[Tensor]:
    reading = _mean_weights(pair, weights) if settings.duo else None
    if settings.duo:
        yield torch.ones(pair.channels)
    for alpha in torch.linspace(0, 1, settings.steps, dtype=torch.float64).tolist():
        scale = inputs**alpha
        if reading is not None:
            scale = scale / (reading ** (1 - alpha) + 1e-4)
        yield _normalised(scale, inputs > 0)


def _mean_weights(pair: Pair, weights: Mapping[str, Tensor]) -> Tensor:
    """``mean|w|`` over all rows that read a channel: fp64 ``(channels,)``."""
    matrices = consumer_matrices(pair, weights).values()
    total = sum(matrix.float().abs().sum(dim=0) for matrix in matrices)
    mean = torch.as_tensor(total) / sum(len(matrix) for matrix in matrices)
    return per_channel(pair, mean, "weights").double().mean(dim=1)


def _normalised(scale: Tensor, alive: Tensor) -> Tensor:
    """Largest times smallest becomes 1; channels that are not ``alive`` get 1."""
    if not bool(alive.any()):
        return torch.ones(len(scale))
    low, high = scale[alive].aminmax()
    return foldable(torch.where(alive, scale / (low * high).sqrt(), 1.0))
