"""OPTQ of the text tersor grew from: rounding and scales of a block learned by back-propagation.

The published name OPTQ is GPTQ's (it appeared under that title at ICLR 2023). What is built here is
what the text describes: errors are propagated through the blocks that are quantized already, and
rounding offsets and scales are improved by gradient descent on a little text until the block's
output is as close as it gets to the original model's. AdaRound (https://arxiv.org/abs/2004.10568)
and BRECQ (https://arxiv.org/abs/2102.05426) began it; the signed gradient is SignRound's
(https://arxiv.org/abs/2309.05516).

It starts from GPTQ's codes instead of the nearest ones, so what is left to learn is what a
second-order model of each linear alone does not see: how the linears of a block work together.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tersor.calibration.blocks import BlockCall
from tersor.errors import RecipeError
from tersor.grids import TensorScheme
from tersor.machine.parallel import in_order
from tersor.ranges import Needs, Observation
from tersor.rounding import BaseRounding, Gptq, Rounder
from tersor.training.latent import LatentLinear
from tersor.training.learner import BlockGradients


@dataclass(frozen=True)
class Optq(BaseRounding):
    """Settings.

    ``iterations``: steps per block, of ``tokens`` tokens each. ``travel``: how far a code's
    position can move in all of them, in codes (half a code leads to the next one), and
    ``scale_travel`` the same for a scale, as a share of itself: the step shrinks linearly to 0.
    Fewer iterations want less travel, or the last of them cannot settle what the first stirred up.
    ``checks``: how often the best iterate is looked for, over all tokens.
    """

    iterations: int = 200
    tokens: int = 4096
    travel: float = 1.5
    scale_travel: float = 0.02
    checks: int = 2

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.tokens < 1 or self.checks < 1:
            raise RecipeError(
                f"rounding optq: iterations {self.iterations}, tokens {self.tokens}, checks "
                f"{self.checks}; use 1 or more"
            )
        if self.travel < 0 or self.scale_travel < 0:
            raise RecipeError(
                f"rounding optq: travel {self.travel}, scale_travel {self.scale_travel}; "
                "neither may be below 0"
            )

    @property
    def start(self) -> Gptq:
        """How the codes are rounded that learning begins with."""
        return Gptq(drift=True)

    @property
    def needs(self) -> Needs:
        """What the start needs."""
        return self.start.needs

    @property
    def binds(self) -> Needs:
        """What the start binds ranges to."""
        return self.start.binds

    @property
    def learner(self) -> "Optq":
        """Itself."""
        return self

    def bind(self, observed: Observation | None, schemes: Iterable[TensorScheme]) -> Rounder:
        """The start."""
        return self.start.bind(observed, schemes)

    def learn(self, problem: "BlockProblem", output: Tensor, seed: int) -> None:
        """See :func:`optq`."""
        optq(problem, self, output, seed)


@dataclass(frozen=True, eq=False)
class BlockProblem:
    """One block whose linears are to be learned.

    ``call``: the block, computing with quantized weights. ``latents`` by published name;
    ``weights``: views ``(out, in)`` of the weights in the block. ``paths``: the parameters that
    hold them, and ``parts`` splits a gradient of such a parameter into those of its linears,
    ``(out, in)`` by published name. ``hidden``: input of the block in the quantized model;
    ``target``: output of the original block in the original model; both fp32 ``(n, T, hidden)``.
    """

    call: BlockCall
    latents: Mapping[str, LatentLinear]
    weights: Mapping[str, Tensor]
    paths: tuple[str, ...]
    parts: Callable[[str, Tensor], Mapping[str, Tensor]]
    hidden: Tensor
    target: Tensor


def optq(problem: BlockProblem, settings: Optq, output: Tensor, seed: int) -> None:
    """Learn the latents of a block and leave the best iterate in them and in the block.

    ``output`` ``(n, T, hidden)`` holds the block's output as it stands, and is replaced by that of
    the best iterate: the one with the least squared distance to the target over all windows, the
    start among them. The same bits for any number of threads; ``seed`` orders the windows.
    """
    run = _Run(problem, settings, output, seed)
    every = -(-settings.iterations // settings.checks)
    for step in range(settings.iterations):
        run.step(1 - step / settings.iterations)
        if (step + 1) % every == 0 or step + 1 == settings.iterations:
            run.check()
    run.restore_best()


class _Run:
    def __init__(self, problem: BlockProblem, settings: Optq, output: Tensor, seed: int) -> None:
        self._problem, self._settings, self._output = problem, settings, output
        windows = min(len(problem.hidden), max(1, settings.tokens // problem.hidden.shape[1]))
        self._windows = windows
        self._gradients = BlockGradients(problem.call, problem.paths)
        self._generator = torch.Generator().manual_seed(seed)
        self._order: list[int] = []
        self._best = _distance(output, problem.target)
        self._best_state = self._state()
        self._scratch = torch.empty_like(output)

    def step(self, rate: float) -> None:
        """One step of signed gradient descent, ``rate`` times the largest one."""
        chosen = self._next_windows()
        rows = self._problem.call.rows
        pieces = [chosen[i : i + rows] for i in range(0, len(chosen), rows)]
        _, gradients = self._gradients(
            [self._problem.hidden[piece] for piece in pieces],
            [self._problem.target[piece] for piece in pieces],
        )
        # The steps of all iterations add up to half of the largest one times their number.
        share = 2 * rate / self._settings.iterations
        parts: dict[str, Tensor] = {}
        for path, gradient in gradients.items():
            parts |= self._problem.parts(path, gradient)
        names = [name for name in self._problem.latents if name in parts]
        for _ in in_order(lambda name: self._move(name, parts[name], share), names):
            pass

    def check(self) -> None:
        """Keep the present iterate if it is the best so far."""
        self._problem.call.run(self._problem.hidden, self._scratch)
        distance = _distance(self._scratch, self._problem.target)
        if distance < self._best:
            self._best, self._best_state = distance, self._state()
            self._output.copy_(self._scratch)

    def restore_best(self) -> None:
        """Make the best iterate the one that is kept."""
        for name, (positions, ratio) in self._best_state.items():
            latent = self._problem.latents[name]
            latent.positions.copy_(positions)
            latent.ratio.copy_(ratio)
            latent.weight_into(self._problem.weights[name])

    def _move(self, name: str, gradient: Tensor, share: float) -> None:
        latent = self._problem.latents[name]
        positions = latent.position_gradient(gradient).sign_()
        ratio = latent.ratio_gradient(gradient).sign_()
        latent.positions.sub_(positions, alpha=share * self._settings.travel)
        latent.ratio.sub_(ratio, alpha=share * self._settings.scale_travel)
        latent.weight_into(self._problem.weights[name])

    def _next_windows(self) -> list[int]:
        """The windows of a step; every window comes up once before any comes up again."""
        if len(self._order) < self._windows:
            count = len(self._problem.hidden)
            self._order = torch.randperm(count, generator=self._generator).tolist()
        chosen, self._order = self._order[: self._windows], self._order[self._windows :]
        return chosen

    def _state(self) -> dict[str, tuple[Tensor, Tensor]]:
        return {
            name: (latent.positions.clone(), latent.ratio.clone())
            for name, latent in self._problem.latents.items()
        }


def _distance(output: Tensor, target: Tensor) -> float:
    """Sum of squares, fp64, window by window in order: the same for any number of threads."""

    def one(window: int) -> float:
        return float((output[window] - target[window]).square().sum(dtype=torch.float64))

    return sum(in_order(one, range(len(output))))
