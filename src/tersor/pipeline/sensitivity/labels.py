"""Schemes by short names: ``w4``, ``w3g32``, ``w8c``; a recipe with another width and group."""

import re
from collections.abc import Sequence

from tersor.errors import OptionError
from tersor.grids import ScaleFormat
from tersor.options import limits
from tersor.recipes import Recipe

_FORM = re.compile(r"w(\d+)(?:g(\d+)|(c))?")


def variants(recipe: Recipe, labels: Sequence[str]) -> dict[str, Recipe]:
    """Label → the recipe with that many bits for a code (``w4``), and perhaps another group.

    ``g32``: groups of 32 columns; ``c``: one scale per channel; without, the recipe's own.

    Raises :class:`OptionError` for what is no such name, and for what the recipe cannot have.
    """
    found = {}
    for label in labels:
        match = _FORM.fullmatch(label.casefold())
        if match is None:
            raise OptionError("schemes", f"must be names such as w4, w3g32 or w8c, not {label!r}")
        try:
            found[label.casefold()] = _variant(recipe, *match.groups())
        except OptionError as error:
            raise OptionError("schemes", f"names {label!r}: {error}") from None
    if not found:
        raise OptionError("schemes", "names none; for example w3,w4")
    return found


def _variant(recipe: Recipe, bits: str, group: str | None, channel: str | None) -> Recipe:
    variant = recipe.with_bits(limits.BITS(int(bits)))
    if group is None and channel is None:
        return variant
    return variant.with_group_size(0 if group is None else limits.GROUP_SIZE(int(group)))


def has_widths(recipe: Recipe) -> bool:
    """Whether a recipe's grid comes in several widths."""
    weights = recipe.scheme.weights
    return weights.grid.integers is not None and weights.scale_format is ScaleFormat.FLOAT
