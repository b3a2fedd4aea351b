"""Flags of the command line, applied to a recipe."""

from dataclasses import dataclass, fields, replace

from tersor.errors import RecipeError
from tersor.recipes.patterns import check_pattern
from tersor.recipes.recipe import Recipe


@dataclass(frozen=True)
class Adjustments:
    """What to change in a recipe; ``None`` and empty leave it as it is. Its description says so.

    Bits, group size and symmetry change the recipe's own scheme; overrides keep theirs.

    ``group_size`` 0 stands for one scale per channel.
    """

    bits: int | None = None
    group_size: int | None = None
    asymmetric: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    tokens: int | None = None
    seed: int | None = None
    window: int | None = None

    def apply(self, recipe: Recipe) -> Recipe:
        """The changed recipe, under the same name.

        Raises :class:`RecipeError` naming the flag that does not apply.
        """
        if self.bits is not None:
            recipe = recipe.with_bits(self.bits)
        if self.group_size is not None:
            recipe = recipe.with_group_size(self.group_size)
        if self.asymmetric:
            recipe = recipe.as_asymmetric()
        if self.tokens is not None:
            if self.tokens < 2:
                raise RecipeError(f"--tokens {self.tokens}: give at least 2")
            recipe = replace(recipe, calibration=replace(recipe.calibration, tokens=self.tokens))
        if self.window is not None:
            if self.window < 2:
                raise RecipeError(f"--window {self.window}: give at least 2")
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
