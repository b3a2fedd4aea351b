"""Schemes as they are written in recipes and in ``config.json``."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import StrictBool, StrictInt

from tersor.documents import Document, validated, within
from tersor.errors import SchemeError
from tersor.grids.kinds.codebook import fp4, kmeans, log2, nf4
from tersor.grids.kinds.integer import IntegerGrid, Symmetry
from tersor.grids.kinds.small_float import FloatGrid
from tersor.grids.scales import ScaleFormat
from tersor.grids.scheme import ActivationScheme, AnyGrid, Granularity, Scheme, TensorScheme
from tersor.options import limits

_FIXED_GRIDS: dict[str, Callable[[], AnyGrid]] = {
    "nf4": nf4,
    "fp4": fp4,
    "fp8_e4m3": lambda: FloatGrid("fp8_e4m3"),
    "fp8_e5m2": lambda: FloatGrid("fp8_e5m2"),
}


class TensorDocument(Document):
    """A :class:`TensorScheme` as written in a recipe."""

    grid: Literal["int", "nf4", "fp4", "log2", "kmeans", "fp8_e4m3", "fp8_e5m2"]
    bits: StrictInt | None = None
    symmetry: Symmetry | None = None
    granularity: Granularity = Granularity.CHANNEL
    group_size: Annotated[StrictInt, within(limits.GROUP_SIZE)] | None = None
    scale: ScaleFormat = ScaleFormat.FLOAT

    def value(self) -> TensorScheme:
        """The scheme. Raises :class:`SchemeError` if the parts do not fit together."""
        return TensorScheme(self._grid(), self.granularity, self.group_size, self.scale)

    def _grid(self) -> AnyGrid:
        if self.symmetry is not None and self.grid != "int":
            raise SchemeError(f"symmetry belongs to grid int, not to {self.grid}")
        if self.grid in _FIXED_GRIDS:
            grid = _FIXED_GRIDS[self.grid]()
            if self.bits not in (None, grid.bits):
                raise SchemeError(f"grid {self.grid} has {grid.bits} bits, not {self.bits}")
            return grid
        if self.bits is None:
            raise SchemeError(f"grid {self.grid} needs bits")
        if self.grid == "int":
            return IntegerGrid(self.bits, self.symmetry or Symmetry.RESTRICTED)
        return log2(self.bits) if self.grid == "log2" else kmeans(self.bits)

    @classmethod
    def of(cls, scheme: TensorScheme) -> "TensorDocument":
        """The document of a scheme."""
        grid = scheme.grid
        integer = isinstance(grid, IntegerGrid)
        return cls.model_validate(
            {
                "grid": "int" if integer else grid.name,
                "bits": grid.bits if integer or grid.name in ("log2", "kmeans") else None,
                "symmetry": grid.symmetry if isinstance(grid, IntegerGrid) else None,
                "granularity": scheme.granularity,
                "group_size": scheme.group_size,
                "scale": scheme.scale_format,
            }
        )


class ActivationDocument(TensorDocument):
    """An :class:`ActivationScheme` as written in a recipe."""

    granularity: Granularity = Granularity.TOKEN
    dynamic: StrictBool = True

    def activations(self) -> ActivationScheme:
        """The scheme. Raises :class:`SchemeError` if the parts do not fit together."""
        return ActivationScheme(self.value(), self.dynamic)


def scheme_from_dict(data: Mapping[str, Any]) -> Scheme:
    """A :class:`Scheme` from ``{"weights": …, "activations": …}``.

    Raises :class:`~tersor.errors.RecipeError` or :class:`SchemeError`.
    """
    weights = validated(TensorDocument, data.get("weights"), "weights").value()
    activations = data.get("activations")
    if activations is None:
        return Scheme(weights)
    checked = validated(ActivationDocument, activations, "activations")
    return Scheme(weights, checked.activations())


def scheme_to_dict(scheme: Scheme) -> dict[str, Any]:
    """Inverse of :func:`scheme_from_dict`; plain JSON types."""
    weights = tensor_to_dict(scheme.weights)
    if scheme.activations is None:
        return {"weights": weights}
    activations = tensor_to_dict(scheme.activations.tensor)
    dynamic = {"dynamic": scheme.activations.dynamic}
    return {"weights": weights, "activations": activations | dynamic}


def tensor_to_dict(scheme: TensorScheme) -> dict[str, Any]:
    """One tensor of a scheme, as plain JSON types."""
    return TensorDocument.of(scheme).model_dump(mode="json", exclude_none=True)
