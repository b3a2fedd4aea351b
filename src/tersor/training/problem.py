"""What training a whole model starts from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from tersor.training.latent import LatentNorm, LatentScales


@dataclass(frozen=True, eq=False)
class ModelProblem:
    """A quantized model in memory, and what it should predict.

    ``forward``: windows of tokens int64 ``(r, T)`` → the final norm's output ``(r, T, hidden)``.
    ``parameters`` hold the weights to learn; ``parts`` splits the gradient of the i-th into those
    of its linears, ``(out, in)`` by name. ``latents`` and ``weights`` (views ``(out, in)``) by
    name. ``norms`` by name. ``head``: ``(vocab, hidden)``, and ``cap`` of the logits (0: none), the
    same for both models. ``tokens`` int64 ``(n, T)``; ``teacher``: final norm's output of the
    original, ``(n, T, hidden)``. ``rows``: windows that run together.
    """

    forward: Callable[[Tensor], Tensor]
    parameters: Sequence[nn.Parameter]
    parts: Callable[[int, Tensor], Mapping[str, Tensor]]
    latents: Mapping[str, LatentScales]
    weights: Mapping[str, Tensor]
    norms: Mapping[str, LatentNorm]
    head: Tensor
    tokens: Tensor
    teacher: Tensor
    rows: int
    cap: float = 0.0
