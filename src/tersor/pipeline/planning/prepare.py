"""Transforms of the whole model, applied while it is read."""

from tersor.checkpoints.source import Source, refuse_quantized, shapes_of
from tersor.models.in_transformers.sizes import check_sizes
from tersor.recipes import Recipe
from tersor.transforms import BiasedSource, RotatedSource, rotated, with_biases


def prepared(source: Source, recipe: Recipe) -> Source:
    """``source`` as ``recipe`` wants it read: rotated, with biases to correct, or as it is.

    Raises :class:`~tersor.errors.SourceError` for a model that cannot be rotated, and for sizes in
    ``config.json`` that are not those of the weights.
    """
    if recipe.rotation is None and recipe.correction is None:
        return source
    refuse_quantized(source)
    check_sizes(source.path, source.config, shapes_of(source))
    if recipe.rotation is not None:
        source = rotated(source, recipe.rotation)
    return with_biases(source) if recipe.correction is not None else source


def unprepared(source: Source) -> Source:
    """The source that :func:`prepared` was given."""
    while isinstance(source, BiasedSource | RotatedSource):
        source = source.original
    return source
