"""Recipes × widths."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from tersor.errors import RecipeError
from tersor.recipes import Recipe


def crossed(recipes: Sequence[Recipe], bits: Sequence[int]) -> list[Recipe]:
    """Every recipe at every width, called ``gptq-3bit`` and the like; without widths as they are.

    A recipe whose codes have one width only is there once, as it is.
    """
    if not bits:
        return list(recipes)
    return [one for recipe in recipes for one in _resized(recipe, bits)]


def _resized(recipe: Recipe, bits: Sequence[int]) -> Iterator[Recipe]:
    for width in bits:
        try:
            resized = recipe.with_bits(width)
        except RecipeError:
            yield recipe
            return
        yield replace(resized, name=f"{recipe.name}-{width}bit")
