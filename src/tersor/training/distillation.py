"""Training a whole quantized model to predict what the original predicts.

Knowledge distillation (Hinton et al., https://arxiv.org/abs/1503.02531) with the straight-through
estimator: the loss is the KL divergence of the quantized model's next-token distribution from the
original's, the very number by which the loss of quantization is reported. ``Distill`` trains the
scales alone, as EfficientQAT's second phase does (https://arxiv.org/abs/2407.11062); ``Qat`` trains
scales and weights, with the learned step sizes of LSQ (https://arxiv.org/abs/1902.08153).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tersor.errors import RecipeError
from tersor.parallel import in_order
from tersor.training.adam import Adam
from tersor.training.latent import LatentLinear
from tersor.training.learner import sum_of_gradients
from tersor.training.logits import divergence


@dataclass(frozen=True)
class Distill:
    """Train scales. ``tokens`` of text, ``epochs`` times, in batches of ``batch`` tokens.

    ``scale_rate``: largest step of a scale, as a share of itself. Steps rise over the first
    twentieth and fall linearly to 0.
    """

    tokens: int = 131072
    epochs: int = 1
    batch: int = 4096
    scale_rate: float = 1e-3

    @property
    def position_rate(self) -> float:
        """Codes stay what they are."""
        return 0.0

    def __post_init__(self) -> None:
        _check("distill", self)


@dataclass(frozen=True)
class Qat:
    """Train scales and weights; like :class:`Distill`, and besides:

    ``position_rate``: largest step of a code's position, in codes.
    """

    tokens: int = 131072
    epochs: int = 1
    batch: int = 4096
    scale_rate: float = 1e-3
    position_rate: float = 0.05

    def __post_init__(self) -> None:
        _check("qat", self)


def _check(name: str, settings: "Distill | Qat") -> None:
    if min(settings.tokens, settings.epochs, settings.batch) < 1:
        raise RecipeError(
            f"training {name}: tokens {settings.tokens}, epochs {settings.epochs}, batch "
            f"{settings.batch}; use 1 or more"
        )
    if settings.scale_rate < 0 or settings.position_rate < 0:
        raise RecipeError(f"training {name}: a rate is below 0")


@dataclass(frozen=True, eq=False)
class ModelProblem:
    """A quantized model in memory, and what it should predict.

    ``forward``: windows of tokens int64 ``(r, T)`` → the final norm's output ``(r, T, hidden)``.
    ``parameters`` hold the weights to learn; ``parts`` splits the gradient of the i-th into those
    of its linears, ``(out, in)`` by name. ``latents`` and ``weights`` (views ``(out, in)``) by
    name. ``head``: ``(vocab, hidden)``, the same for both models. ``tokens`` int64 ``(n, T)``;
    ``teacher``: final norm's output of the original, ``(n, T, hidden)``. ``rows``: windows that run
    together.
    """

    forward: Callable[[Tensor], Tensor]
    parameters: Sequence[nn.Parameter]
    parts: Callable[[int, Tensor], Mapping[str, Tensor]]
    latents: Mapping[str, LatentLinear]
    weights: Mapping[str, Tensor]
    head: Tensor
    tokens: Tensor
    teacher: Tensor
    rows: int


def distill(
    problem: ModelProblem,
    settings: Distill | Qat,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[float]:
    """Train the latents, and leave them and the model's weights as they have become.

    Returns the mean divergence in nats before each step, for the record. The same bits for any
    number of threads; ``seed`` orders the windows. ``progress(done, total)`` counts steps.
    """
    windows = min(len(problem.tokens), max(1, settings.batch // problem.tokens.shape[1]))
    steps = settings.epochs * (len(problem.tokens) // windows)
    generator = torch.Generator().manual_seed(seed)
    optimizer = Adam(problem.latents, settings)
    losses = []
    order: list[int] = []
    for step in range(steps):
        if len(order) < windows:
            order = torch.randperm(len(problem.tokens), generator=generator).tolist()
        chosen, order = order[:windows], order[windows:]
        loss, gradients = _gradients(problem, chosen)
        losses.append(loss)
        _update(problem, optimizer, gradients, _rate(step, steps))
        if progress is not None:
            progress(step + 1, steps)
    return losses


def _rate(step: int, steps: int) -> float:
    """Share of the largest step: up over the first twentieth, then down to 0."""
    rise = max(1, steps // 20)
    return min(1.0, (step + 1) / rise) * (1 - step / steps)


def _gradients(problem: ModelProblem, chosen: list[int]) -> tuple[float, list[Tensor]]:
    """Mean divergence over the chosen windows, and the gradient of each parameter."""
    pieces = [chosen[i : i + problem.rows] for i in range(0, len(chosen), problem.rows)]
    positions = len(chosen) * problem.tokens.shape[1]

    def loss(piece: int) -> Tensor:
        windows = pieces[piece]
        hidden = problem.forward(problem.tokens[windows])
        return divergence(hidden, problem.teacher[windows], problem.head) / positions

    for parameter in problem.parameters:
        parameter.requires_grad_(True)
    try:
        return sum_of_gradients(loss, len(pieces), problem.parameters)
    finally:
        for parameter in problem.parameters:
            parameter.requires_grad_(False)


def _update(problem: ModelProblem, optimizer: Adam, gradients: list[Tensor], rate: float) -> None:
    jobs: list[tuple[str, Tensor]] = []
    for index, gradient in enumerate(gradients):
        jobs += problem.parts(index, gradient).items()
    optimizer.begin()

    def one(job: tuple[str, Tensor]) -> None:
        name, gradient = job
        optimizer.step(name, gradient, rate)
        problem.latents[name].weight_into(problem.weights[name])

    for _ in in_order(one, jobs):
        pass
