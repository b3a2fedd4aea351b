"""The slots of a recipe: what each asks of the value in it, and the values by name.

A new method is a file of its own and a line in a table here.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from torch import Tensor

from tersor.grids import ActivationScheme, QuantizedTensor, TensorScheme
from tersor.models.pairs import Pair
from tersor.ranges import (
    Entropy,
    ImportanceWeighted,
    LeastSquares,
    MeanSquaredError,
    MinMax,
    MovingAverage,
    Needs,
    Observation,
    Percentile,
    Range,
)
from tersor.rounding import Gptq, Nearest, Rounder
from tersor.training import (
    BlockProblem,
    Checkpoint,
    Distill,
    LatentScales,
    ModelProblem,
    Optq,
    Qat,
)
from tersor.transforms import (
    Awq,
    BiasCorrection,
    ClipSearch,
    Rotation,
    RoundTrip,
    SmoothQuant,
)


class Learner(Protocol):
    """Improves what was rounded, block by block."""

    def learn(self, problem: BlockProblem, output: Tensor, seed: int) -> None:
        """See :func:`~tersor.training.optq.optq`."""


class Rounding(Protocol):
    """Chooses the codes of matrices."""

    @property
    def needs(self) -> Needs:
        """What it needs to know of a matrix's inputs."""

    @property
    def binds(self) -> Needs:
        """What it can bind ranges to."""

    @property
    def learner(self) -> Learner | None:
        """What goes on when all linears of a block are rounded; it draws random numbers."""

    def bind(self, observed: Observation | None, schemes: Iterable[TensorScheme]) -> Rounder:
        """What rounds matrices of these schemes that read the same rows."""


class Scaling(Protocol):
    """Chooses the scales of pairs."""

    @property
    def needs(self) -> Needs:
        """What it needs to know of the inputs of a pair's consumers."""

    def scale(
        self,
        pair: Pair,
        weights: Mapping[str, Tensor],
        observed: Observation,
        quantizers: Mapping[str, RoundTrip],
        activations: ActivationScheme | None,
    ) -> Tensor | None:
        """The scale fp32 ``(pair.channels,)``; ``None`` if the inputs are nothing to go by.

        ``weights``: at least the pair's consumers, as stored. ``quantizers`` by consumer; one that
        is not named stays as it is. ``activations``: how the inputs are rounded, if they are.
        """


class Correction(Protocol):
    """Changes the bias of a linear after rounding."""

    @property
    def needs(self) -> Needs:
        """What it needs to know of the linear's inputs."""

    def corrected(
        self, bias: Tensor, weight: Tensor, quantized: Tensor, observed: Observation
    ) -> Tensor:
        """The new bias fp32 ``(out,)``; ``weight``, ``quantized``: ``(out, in)``."""


class Training(Protocol):
    """Trains the whole quantized model on ``tokens`` tokens of text."""

    @property
    def tokens(self) -> int:
        """How much text."""

    @property
    def trains_norms(self) -> bool:
        """Whether norms change too."""

    def latent(self, start: QuantizedTensor) -> LatentScales:
        """What is trained of a matrix."""

    def train(
        self,
        problem: ModelProblem,
        seed: int,
        progress: Callable[[int, int], None] | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> list[float]:
        """See :func:`~tersor.training.distillation.distill`."""


RANGES: dict[str, type[Range]] = {
    "minmax": MinMax,
    "percentile": Percentile,
    "mse": MeanSquaredError,
    "importance": ImportanceWeighted,
    "least_squares": LeastSquares,
    "clip": ClipSearch,
    "entropy": Entropy,
    "moving_average": MovingAverage,
}
ROTATIONS: dict[str, type[Rotation]] = {"random": Rotation}
SCALINGS: dict[str, type[Scaling]] = {"awq": Awq, "smoothquant": SmoothQuant}
ROUNDINGS: dict[str, type[Rounding]] = {"nearest": Nearest, "gptq": Gptq, "optq": Optq}
CORRECTIONS: dict[str, type[Correction]] = {"bias": BiasCorrection}
TRAININGS: dict[str, type[Training]] = {"distill": Distill, "qat": Qat}
