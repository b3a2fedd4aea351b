"""A recipe: which steps turn a model into a quantized one. A frozen value; its text is YAML."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tersor.calibration.precision import Precision
from tersor.errors import OptionError, RecipeError, SchemeError
from tersor.formats import known_formats
from tersor.grids import Granularity, ScaleFormat, Scheme, TensorScheme
from tersor.options import limits
from tersor.ranges import MinMax, Need, Range
from tersor.recipes.made import Made
from tersor.recipes.methods import name_of
from tersor.recipes.naming import check_name
from tersor.recipes.patterns import matches
from tersor.recipes.slots import RANGES, Correction, Rounding, Scaling, Training
from tersor.rounding import Nearest
from tersor.transforms import Rotation


@dataclass(frozen=True)
class Override:
    """Modules that a pattern names get another scheme, or with ``scheme=None`` none at all."""

    match: str
    scheme: Scheme | None
    range: Range


@dataclass(frozen=True)
class Calibration:
    """How much text is run through the model: ``tokens`` in windows of ``window`` tokens.

    ``precision``: what linears and attention compute in meanwhile. ``memory``: gigabytes of
    activations that may be in memory at once; beyond, they go to temporary files.
    """

    tokens: int = 32768
    window: int = 512
    precision: Precision = Precision.AUTO
    memory: float = 4.0

    def __post_init__(self) -> None:
        """Raises :class:`~tersor.errors.OptionError`."""
        limits.TOKENS(self.tokens)
        limits.WINDOW(self.window)
        limits.MEMORY(self.memory)


@dataclass(frozen=True)
class Recipe:
    """Scheme, transforms, ranges, rounding, corrections, and which modules they apply to.

    The steps have a fixed order: ``rotation`` of the whole model; for each block ``scaling``, then
    ranges and ``rounding``, then ``correction``; then ``training`` of the whole model.

    All linears inside the blocks are quantized; ``include`` adds others (the head, embeddings),
    ``exclude`` leaves some out, ``overrides`` treats some differently: the last match wins.
    ``mixture``: the rule of a format that gives each matrix a scheme in place of the recipe's own,
    embedding and head too; the result is written in that format.
    ``untied``: how the embedding and the head are stored that a rotation makes two tensors of, so
    that they take what they took together; ranges are min-max. ``include``, ``exclude`` and
    ``overrides`` go before it. ``made``: what it was made with before, if it was; it changes
    nothing of what is done, but other texts are refused.
    """

    name: str
    description: str
    scheme: Scheme
    range: Range = field(default_factory=MinMax)
    activation_range: Range = field(default_factory=MinMax)
    rotation: Rotation | None = None
    untied: TensorScheme | None = None
    scaling: Scaling | None = None
    rounding: Rounding = field(default_factory=Nearest)
    correction: Correction | None = None
    training: Training | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    overrides: tuple[Override, ...] = ()
    mixture: str | None = None
    calibration: Calibration = field(default_factory=Calibration)
    seed: int = 0
    made: Made | None = None

    def __post_init__(self) -> None:
        """Raises :class:`RecipeError` for a name that is no file's, or steps that do not go
        together.
        """
        check_name(self.name)
        limits.SEED(self.seed)
        for range_ in (self.range, *self._override_ranges):
            if not range_.needs <= self.rounding.binds:
                raise RecipeError(
                    f"recipe {self.name!r}: range {name_of(range_, RANGES)} fits nearest rounding "
                    "only; use range importance"
                )
        if self.mixture is not None:
            known_formats().mixture(self.mixture)
        self._check_training()
        if self.untied is not None and self.rotation is None:
            raise RecipeError(f"recipe {self.name!r}: untied belongs to a rotation")
        if Need.SECOND_MOMENTS in self.activation_range.needs:
            name = name_of(self.activation_range, RANGES)
            raise RecipeError(f"recipe {self.name!r}: range {name} is for weights")

    def _check_training(self) -> None:
        """What is learned are scales of a float type, and zero points that are codes."""
        if self.training is None and self.rounding.learner is None:
            return
        given = [self.scheme, *(one.scheme for one in self.overrides)]
        weights = [scheme.weights for scheme in given if scheme is not None]
        odd = [one for one in weights if one.grid.has_minima or _is_narrow(one.scale_format)]
        if odd or self.mixture is not None:
            what = f"mixture {self.mixture}" if self.mixture is not None else str(odd[0])
            raise RecipeError(
                f"recipe {self.name!r}: nothing trains {what}: its scales or minima are not free; "
                "use rounding gptq, and no training"
            )

    def to_dict(self) -> dict[str, Any]:
        """The mapping that its YAML describes, of plain JSON types; ``load_recipe`` reads it."""
        from tersor.recipes.document import recipe_to_dict  # which knows this class

        return recipe_to_dict(self)

    @property
    def _override_ranges(self) -> tuple[Range, ...]:
        return tuple(override.range for override in self.overrides)

    def treatment(self, module: str, *, untied: bool = False) -> Override:
        """What happens to a module: the last override that names it, or the recipe's own scheme.

        ``untied``: the module is one of the two that the rotation made of one.
        """
        override = self.override(module)
        if override is not None:
            return override
        if untied and self.untied is not None and not self.includes(module):
            return Override(module, Scheme(self.untied), MinMax())
        return Override(module, self.scheme, self.range)

    def override(self, module: str) -> Override | None:
        """The last override that names a module."""
        found = (one for one in reversed(self.overrides) if matches(one.match, module))
        return next(found, None)

    def includes(self, module: str) -> bool:
        """Whether ``include`` names a module."""
        return any(matches(pattern, module) for pattern in self.include)

    @property
    def draws(self) -> bool:
        """Whether any step is random, so that another seed makes another artifact."""
        random = (self.rotation, self.training, self.rounding.learner)
        return any(step is not None for step in random)

    @property
    def needs_calibration(self) -> bool:
        """Whether any step looks at activations before quantizing."""
        steps = (self.scaling, self.training, self.correction)
        if self.rounding.needs or any(step is not None for step in steps):
            return True
        parts = [(self.scheme, self.range), *((o.scheme, o.range) for o in self.overrides)]
        return any(_needs_activations(scheme, range_) for scheme, range_ in parts)

    def with_bits(self, bits: int) -> "Recipe":
        """The same recipe with codes of another width."""

        def resize(weights: TensorScheme) -> TensorScheme:
            return replace(weights, grid=weights.grid.with_bits(bits))

        return self._with_weights("bits", str(bits), resize)

    def with_group_size(self, group_size: int) -> "Recipe":
        """The same recipe with groups of that many columns; 0 stands for one per channel."""

        def regroup(weights: TensorScheme) -> TensorScheme:
            if weights.scale_format is not ScaleFormat.FLOAT:
                raise RecipeError(f"{weights} has a fixed group size")
            if group_size == 0:
                return replace(weights, granularity=Granularity.CHANNEL, group_size=None)
            return replace(weights, granularity=Granularity.GROUP, group_size=group_size)

        return self._with_weights("group_size", str(group_size), regroup)

    def as_asymmetric(self) -> "Recipe":
        """The same recipe with a zero point for every scale of the weights."""

        def shift(weights: TensorScheme) -> TensorScheme:
            return replace(weights, grid=weights.grid.asymmetric())

        return self._with_weights("asymmetric", "", shift)

    def _with_weights(
        self, option: str, value: str, change: Callable[[TensorScheme], TensorScheme]
    ) -> "Recipe":
        try:
            if self.mixture is not None:
                raise RecipeError(f"mixture {self.mixture} has schemes of its own")
            weights = change(self.scheme.weights)
        except (RecipeError, SchemeError) as error:
            why = f"does not apply to recipe {self.name!r}: {error}"
            raise OptionError(option, f"{value} {why}".strip()) from None
        return replace(self, scheme=replace(self.scheme, weights=weights))


def _is_narrow(scale: ScaleFormat) -> bool:
    """Whether scales are float16 in models of every type, or of two levels."""
    return scale is ScaleFormat.FLOAT16 or scale.levels is not None


def _needs_activations(scheme: Scheme | None, range_: Range) -> bool:
    if scheme is None:
        return False
    static = scheme.activations is not None and not scheme.activations.dynamic
    return static or bool(range_.needs)
