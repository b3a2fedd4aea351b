"""Mixtures: which scheme each matrix of a model gets, as a rule of a format's own."""

from collections.abc import Mapping
from typing import Any, Protocol

from tersor.grids import Scheme
from tersor.models.architecture import Architecture


class Mixture(Protocol):
    """A rule that knows matrices by their places in the model, and by their shapes."""

    @property
    def name(self) -> str:
        """By which a recipe asks for it."""

    def scheme(
        self,
        weight: str,
        shape: tuple[int, int],
        architecture: Architecture,
        config: Mapping[str, Any],
    ) -> Scheme | None:
        """What a matrix ``(out, in)`` with the name ``weight`` gets; ``None``: it stays as it is.

        ``config``: ``config.json``. Raises :class:`~tersor.errors.SchemeError` for a model that the
        rule is not for.
        """
