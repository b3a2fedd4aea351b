"""Trying a scale: the producer's channels divided, the columns that read them multiplied."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tersor.models.probing.watching import logits_of

_EQUAL = 1e-9


@dataclass(frozen=True, eq=False)
class Change:
    """A parameter multiplied by ``matrix`` along slices of one axis.

    Slices ``groups`` int64 ``(n,)`` of ``axis`` take a factor each, ``matrix`` ``(n,)``; groups of
    them ``(groups, n)`` take a matrix ``(n, n)``, rows times the matrix. ``offset`` is added before
    and taken away after.
    """

    parameter: str
    axis: int
    groups: Tensor
    matrix: Tensor
    offset: float = 0.0


class Trials:
    """A model whose parameters are changed for one forward at a time."""

    def __init__(self, model: nn.Module, ids: Tensor) -> None:
        self._model, self._ids = model, ids
        self._parameters = dict(model.named_parameters())
        self._expected = logits_of(model, ids)

    def keeps_function(self, changes: Sequence[Change]) -> bool:
        """Whether the logits stay what they were, to 1e-9 of the largest."""
        with self.changed(changes):
            got = logits_of(self._model, self._ids)
        error = (got - self._expected).abs().max() / self._expected.abs().max()
        return bool(error <= _EQUAL)  # false where it is not a number

    @contextmanager
    def changed(self, changes: Sequence[Change]) -> Iterator[None]:
        """The model with ``changes``, for as long as the context lasts."""
        parameters = [self._parameters[change.parameter] for change in changes]
        before = [parameter.detach().clone() for parameter in parameters]
        with torch.no_grad():
            try:
                for parameter, change in zip(parameters, changes, strict=True):
                    parameter.copy_(_apply(parameter, change))
                yield
            finally:
                for parameter, old in zip(reversed(parameters), reversed(before), strict=True):
                    parameter.copy_(old)

    def same_with(self, state: Mapping[str, Tensor]) -> bool:
        """Whether the logits stay with these tensors, all of the model's, in their places."""
        before = {name: t.detach().clone() for name, t in self._model.state_dict().items()}
        try:
            self._model.load_state_dict(dict(state))
            return self.keeps_function(())
        finally:
            self._model.load_state_dict(before)

    def shape(self, parameter: str) -> tuple[int, ...]:
        """Of a parameter."""
        return tuple(self._parameters[parameter].shape)

    def holds(self, parameter: str) -> bool:
        """Whether there is one of this name."""
        return parameter in self._parameters


def _apply(parameter: Tensor, change: Change) -> Tensor:
    moved = (parameter + change.offset).movedim(change.axis, -1).clone()
    taken = moved[..., change.groups]
    scaled = taken @ change.matrix if change.matrix.ndim == 2 else taken * change.matrix
    moved[..., change.groups] = scaled
    result: Tensor = moved.movedim(-1, change.axis) - change.offset
    return result


def random_scale(size: int, seed: int = 0) -> Tensor:
    """Factors between 0.5 and 2, fp64 ``(size,)``."""
    generator = torch.Generator().manual_seed(seed)
    return 0.5 + 1.5 * torch.rand(size, generator=generator, dtype=torch.float64)


def random_matrix(size: int) -> Tensor:
    """An orthogonal matrix, fp64."""
    generator = torch.Generator().manual_seed(2)
    square = torch.randn(size, size, generator=generator, dtype=torch.float64)
    orthogonal: Tensor = torch.linalg.qr(square)[0]
    return orthogonal


def bias_of(weight: str, trials: Trials) -> str | None:
    """The bias beside a weight, if there is one."""
    bias = f"{weight.removesuffix('.weight')}.bias"
    return bias if weight.endswith(".weight") and trials.holds(bias) else None


Offsets = Mapping[str, float]
