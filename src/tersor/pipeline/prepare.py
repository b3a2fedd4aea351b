"""Transforms of the whole model, applied while it is read."""

from tersor.checkpoints.source import Source, refuse_quantized
from tersor.recipes import Recipe
from tersor.transforms import rotated


def prepared(source: Source, recipe: Recipe) -> Source:
    """``source`` as ``recipe`` wants it read: rotated, or as it is.

    Raises :class:`~tersor.errors.SourceError` for a model that cannot be rotated.
    """
    if recipe.rotation is None:
        return source
    refuse_quantized(source)
    return rotated(source, recipe.rotation)
