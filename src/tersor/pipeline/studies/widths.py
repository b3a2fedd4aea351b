"""Recipes × widths."""

import warnings
from collections.abc import Sequence
from dataclasses import replace

from tersor.errors import RecipeError
from tersor.recipes import Recipe


def crossed(recipes: Sequence[Recipe], bits: Sequence[int]) -> list[Recipe]:
    """Every recipe at every width, called ``gptq-3bit`` and the like; without widths as they are.

    A recipe whose codes have one width only is there once, as it is, and a warning says so.

    Raises :class:`RecipeError` for a recipe that has some of the widths and not all.
    """
    if not bits:
        return list(recipes)
    return [one for recipe in recipes for one in _resized(recipe, bits)]


def _resized(recipe: Recipe, bits: Sequence[int]) -> list[Recipe]:
    found, refused = [], None
    for width in bits:
        try:
            found.append(replace(recipe.with_bits(width), name=f"{recipe.name}-{width}bit"))
        except RecipeError as error:
            refused = refused or error
    if refused is None:
        return found
    if any(one.scheme != recipe.scheme for one in found):
        raise refused
    warnings.warn(f"{recipe.name} is compared as it is: {refused}", stacklevel=2)
    return [recipe]
