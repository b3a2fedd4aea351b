"""Flags of the command line, applied to a recipe."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from tersor.errors import OptionError
from tersor.options import limits, some_words, yes_or_no
from tersor.recipes.patterns import check_pattern
from tersor.recipes.recipe import Recipe


@dataclass(frozen=True)
class Adjustments:
    """What to change in a recipe; ``None`` and empty leave it as it is. Its description says so.

    Bits, group size and symmetry change the recipe's own scheme; overrides keep theirs.

    ``group_size`` 0 stands for one scale per channel. ``include`` and ``exclude`` take one pattern
    or several. Raises :class:`OptionError`.
    """

    bits: int | None = None
    group_size: int | None = None
    asymmetric: bool = False
    include: str | Sequence[str] = ()
    exclude: str | Sequence[str] = ()
    tokens: int | None = None
    seed: int | None = None
    window: int | None = None

    def __post_init__(self) -> None:
        checked = {
            "bits": limits.BITS.or_none(self.bits),
            "group_size": limits.GROUP_SIZE.or_none(self.group_size),
            "asymmetric": yes_or_no("asymmetric", self.asymmetric),
            "include": some_words("include", self.include),
            "exclude": some_words("exclude", self.exclude),
            "tokens": limits.TOKENS.or_none(self.tokens),
            "seed": limits.SEED.or_none(self.seed),
            "window": limits.WINDOW.or_none(self.window),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def apply(self, recipe: Recipe) -> Recipe:
        """The changed recipe, under the same name.

        Raises :class:`~tersor.errors.RecipeError` naming what does not apply, or has no effect.
        """
        self._refuse_unheard(recipe)
        if self.bits is not None:
            recipe = recipe.with_bits(self.bits)
        if self.group_size is not None:
            recipe = recipe.with_group_size(self.group_size)
        if self.asymmetric:
            recipe = recipe.as_asymmetric()
        if self.tokens is not None:
            recipe = replace(recipe, calibration=replace(recipe.calibration, tokens=self.tokens))
        if self.window is not None:
            recipe = replace(recipe, calibration=replace(recipe.calibration, window=self.window))
        if self.seed is not None and recipe.rotation is not None:
            recipe = replace(recipe, rotation=replace(recipe.rotation, seed=self.seed))
        return replace(
            recipe,
            description=self._described(recipe.description),
            include=(*recipe.include, *map(check_pattern, self.include)),
            exclude=(*recipe.exclude, *map(check_pattern, self.exclude)),
            seed=recipe.seed if self.seed is None else self.seed,
        )

    def _refuse_unheard(self, recipe: Recipe) -> None:
        if not recipe.needs_calibration:
            for name in ("tokens", "window"):
                if getattr(self, name) is not None:
                    raise OptionError(name, f"has no effect: recipe {recipe.name!r} reads no text")
        if self.seed is not None and not recipe.draws:
            raise OptionError("seed", f"has no effect: recipe {recipe.name!r} draws nothing")

    def _described(self, before: str) -> str:
        given = {
            field.name.replace("_", " "): getattr(self, field.name)
            for field in fields(self)
            if getattr(self, field.name) != field.default
        }
        said = [f"{name} {_shown(value)}".strip() for name, value in given.items()]
        return f"{before} Adjusted: {'; '.join(said)}." if said else before


def _shown(value: object) -> str:
    if value is True:
        return ""
    return ", ".join(value) if isinstance(value, tuple) else str(value)
