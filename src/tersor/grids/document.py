"""Schemes as they are written in recipes and in ``config.json``."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, StrictBool, StrictInt
from pydantic_core import PydanticCustomError

from tersor.documents import Document, validated, within
from tersor.grids.kinds.integer import Symmetry
from tersor.grids.named import GRIDS, named
from tersor.grids.scales import ScaleFormat
from tersor.grids.scheme import ActivationScheme, Granularity, Scheme, TensorScheme
from tersor.options import did_you_mean, limits


def _known_grid(name: str) -> str:
    if name not in GRIDS:
        raise PydanticCustomError("grid", f"no grid {name!r}{did_you_mean(name, GRIDS)}")
    return name


class TensorDocument(Document):
    """A :class:`TensorScheme` as written in a recipe."""

    grid: Annotated[str, AfterValidator(_known_grid)]
    bits: StrictInt | None = None
    symmetry: Symmetry | None = None
    granularity: Granularity = Granularity.CHANNEL
    group_size: Annotated[StrictInt, within(limits.GROUP_SIZE)] | None = None
    scale: ScaleFormat = ScaleFormat.FLOAT

    def value(self) -> TensorScheme:
        """The scheme. Raises :class:`SchemeError` if the parts do not fit together."""
        grid = named(self.grid, self.bits, self.symmetry)
        return TensorScheme(grid, self.granularity, self.group_size, self.scale)

    @classmethod
    def of(cls, scheme: TensorScheme) -> "TensorDocument":
        """The document of a scheme."""
        return cls.model_validate(
            scheme.grid.written()
            | {
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
