"""Training a whole quantized model to predict what the original predicts.

Knowledge distillation (Hinton et al., https://arxiv.org/abs/1503.02531) with the straight-through
estimator: the loss is the KL divergence of the quantized model's next-token distribution from the
original's, the very number by which the loss of quantization is reported. ``Distill`` trains the
scales alone, as EfficientQAT's second phase does (https://arxiv.org/abs/2407.11062); ``Qat`` trains
scales and weights, with the learned step sizes of LSQ (https://arxiv.org/abs/1902.08153). Both also
train the norms, which are not quantized.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from tersor.digest import tensor_digest
from tersor.errors import RecipeError
from tersor.grids import QuantizedTensor
from tersor.machine.parallel import in_order
from tersor.training.adam import Adam
from tersor.training.checkpoint import Checkpoint
from tersor.training.latent import LatentLinear, LatentScales
from tersor.training.learner import sum_of_gradients
from tersor.training.logits import divergence
from tersor.training.problem import ModelProblem


@dataclass(frozen=True)
class Distill:
    """Train scales. ``tokens`` of text, ``epochs`` times, in batches of ``batch`` tokens.

    ``scale_rate``, ``norm_rate``: largest step of a scale and of a norm's weight, as a share of
    itself; 0 leaves norms alone. Steps rise over the first twentieth and fall linearly to 0.
    """

    tokens: int = 131072
    epochs: int = 1
    batch: int = 2048
    scale_rate: float = 1e-3
    norm_rate: float = 1e-3

    def __post_init__(self) -> None:
        _check("distill", self)

    @property
    def trains_norms(self) -> bool:
        """Whether norms change too."""
        return self.norm_rate != 0

    @property
    def rates(self) -> dict[str, float]:
        """Largest steps of what a latent has to train, by its name there."""
        return {"ratio": self.scale_rate}

    def latent(self, start: QuantizedTensor) -> LatentScales:
        """Scales."""
        return LatentScales(start)

    def train(
        self,
        problem: ModelProblem,
        seed: int,
        progress: Callable[[int, int], None] | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> list[float]:
        """See :func:`distill`."""
        return distill(problem, self, seed, progress, checkpoint)


@dataclass(frozen=True)
class Qat(Distill):
    """Train scales and weights; like :class:`Distill`, and besides:

    ``position_rate``: largest step of a code's position, in codes.
    """

    position_rate: float = 0.03

    def __post_init__(self) -> None:
        _check("qat", self)

    @property
    def rates(self) -> dict[str, float]:
        """Largest steps of what a latent has to train, by its name there."""
        return {"positions": self.position_rate, **super().rates}

    def latent(self, start: QuantizedTensor) -> LatentScales:
        """Scales and positions of codes."""
        return LatentLinear(start)


def _check(name: str, settings: Distill) -> None:
    if min(settings.tokens, settings.epochs, settings.batch) < 1:
        raise RecipeError(
            f"training {name}: tokens {settings.tokens}, epochs {settings.epochs}, batch "
            f"{settings.batch}; use 1 or more"
        )
    if min(settings.norm_rate, *settings.rates.values()) < 0:
        raise RecipeError(f"training {name}: a rate is below 0")


def distill(
    problem: ModelProblem,
    settings: Distill,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> list[float]:
    """Train the latents and norms, and leave them and the model's weights as they have become.

    Codes move only where ``latents`` are :class:`LatentLinear`. Returns the mean divergence in nats
    before each step, for the record. The same bits for any number of threads, and whether or not
    the training was interrupted and went on from its ``checkpoint``; ``seed`` orders the windows.
    ``progress(done, total)`` counts steps.

    Raises :class:`~tersor.errors.SourceError` for a checkpoint that is not this training's.
    """
    batches = _batches(problem.tokens, settings, seed)
    update = _Update(problem, settings)
    kept = _Kept(checkpoint, problem, settings, seed)
    losses = kept.restored(update)
    for step in range(len(losses), len(batches)):
        with kept.if_interrupted(losses, update):
            if progress is not None:
                progress(step, len(batches))
            loss, gradients = _gradients(problem, batches[step])
        update(gradients, _rate(step, len(batches)))
        losses.append(loss)
        kept.from_time_to_time(losses, update)
    kept.save(losses, update)
    if progress is not None:
        progress(len(batches), len(batches))
    return losses


def _batches(tokens: Tensor, settings: Distill, seed: int) -> list[list[int]]:
    """The windows of each step; every window comes up once before any comes up again."""
    size = min(len(tokens), max(1, settings.batch // tokens.shape[1]))
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for _ in range(settings.epochs):
        order = torch.randperm(len(tokens), generator=generator).tolist()
        batches += [order[i : i + size] for i in range(0, len(order) - size + 1, size)]
    return batches


def _rate(step: int, steps: int) -> float:
    """Share of the largest step: up over the first twentieth, then down to 0."""
    rise = max(1, steps // 20)
    return min(1.0, (step + 1) / rise) * (1 - step / steps)


def _gradients(problem: ModelProblem, chosen: list[int]) -> tuple[float, dict[str, Tensor]]:
    """Mean divergence over the chosen windows, and its gradients by name: what latents keep."""
    pieces = [chosen[i : i + problem.rows] for i in range(0, len(chosen), problem.rows)]
    positions = len(chosen) * problem.tokens.shape[1]
    trained = [*problem.parameters, *(norm.parameter for norm in problem.norms.values())]

    def loss(piece: int) -> Tensor:
        windows = pieces[piece]
        hidden = problem.forward(problem.tokens[windows])
        return divergence(hidden, problem.teacher[windows], problem.head, problem.cap) / positions

    def kept(gradients: Sequence[Tensor]) -> dict[str, Tensor]:
        found = dict(zip(problem.norms, gradients[len(problem.parameters) :], strict=True))
        for index in range(len(problem.parameters)):
            for name, part in problem.parts(index, gradients[index]).items():
                found[name] = problem.latents[name].kept_gradient(part)
        return found

    for parameter in trained:
        parameter.requires_grad_(True)
    try:
        return sum_of_gradients(loss, len(pieces), trained, kept)
    finally:
        for parameter in trained:
            parameter.requires_grad_(False)


class _Update:
    """Steps of everything that is trained."""

    def __init__(self, problem: ModelProblem, settings: Distill) -> None:
        self._problem, self._settings = problem, settings
        self._adam = Adam()

    def __call__(self, gradients: Mapping[str, Tensor], rate: float) -> None:
        """Move everything by ``rate`` times the largest step."""
        self._adam.begin()

        def one(name: str) -> None:
            if norm := self._problem.norms.get(name):
                direction = self._adam.direction(name, gradients[name])
                norm.move(direction, rate * self._settings.norm_rate)
            else:
                self._move(name, gradients[name], rate)

        for _ in in_order(one, gradients):
            pass

    def state(self) -> dict[str, Tensor]:
        """Everything that changes, by name."""
        found = {f"norm {name}": norm.master for name, norm in self._problem.norms.items()}
        for name, latent in self._problem.latents.items():
            found |= {f"{what} {name}": tensor for what, tensor in latent.trained().items()}
        for name, (mean, square) in self._adam.moments.items():
            found |= {f"mean {name}": mean, f"square {name}": square}
        return found

    def restore(self, state: Mapping[str, Tensor], steps: int) -> None:
        """Become what :meth:`state` was after so many steps."""
        self._adam.steps = steps
        means = [name.removeprefix("mean ") for name in state if name.startswith("mean ")]
        self._adam.moments = {n: (state[f"mean {n}"], state[f"square {n}"]) for n in means}
        for name, tensor in self.state().items():
            tensor.copy_(state[name])
        for norm in self._problem.norms.values():
            norm.store()
        for name, latent in self._problem.latents.items():
            latent.weight_into(self._problem.weights[name])

    def _move(self, name: str, gradient: Tensor, rate: float) -> None:
        latent, rates = self._problem.latents[name], self._settings.rates
        trained = latent.trained()
        for what, part in latent.gradients(gradient).items():
            direction = self._adam.direction(f"{name} {what}", part)
            trained[what].sub_(direction, alpha=rate * rates[what])
        latent.weight_into(self._problem.weights[name])


class _Kept:
    """The training's state in its checkpoint, if it has one."""

    def __init__(
        self,
        checkpoint: Checkpoint | None,
        problem: ModelProblem,
        settings: Distill,
        seed: int,
    ) -> None:
        self._checkpoint = checkpoint
        self._identity = "" if checkpoint is None else _identity(problem, settings, seed)

    def restored(self, update: _Update) -> list[float]:
        """Go on from the file, if there is one; the losses of the steps it has taken."""
        found = None if self._checkpoint is None else self._checkpoint.load(self._identity)
        if found is None:
            return []
        losses, state = found
        update.restore(state, len(losses))
        return losses

    def save(self, losses: list[float], update: _Update) -> None:
        if self._checkpoint is not None:
            self._checkpoint.save(self._identity, losses, update.state())

    def from_time_to_time(self, losses: list[float], update: _Update) -> None:
        if self._checkpoint is not None and self._checkpoint.due():
            self.save(losses, update)

    @contextmanager
    def if_interrupted(self, losses: list[float], update: _Update) -> Iterator[None]:
        """Save when what follows, which must not change the state, does not come to an end."""
        try:
            yield
        except BaseException:
            self.save(losses, update)
            raise


def _identity(problem: ModelProblem, settings: Distill, seed: int) -> str:
    """All that the result depends on, before the first step."""
    parts = [problem.tokens, problem.teacher, problem.head, *problem.weights.values()]
    parts += [norm.parameter.detach() for norm in problem.norms.values()]
    return f"{settings} {seed} {problem.rows} {tensor_digest(parts)}"
