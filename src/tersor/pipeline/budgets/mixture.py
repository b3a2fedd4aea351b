"""A choice as a recipe, which makes the same again without a search."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

from tersor.families.blocks import canonical
from tersor.grids import Scheme, TensorScheme
from tersor.models.architecture import Architecture
from tersor.pipeline.budgets.space import KEPT
from tersor.pipeline.sensitivity.candidates import Label
from tersor.recipes import Override, Recipe


def as_recipe(
    recipe: Recipe,
    architecture: Architecture,
    schemes: Mapping[Label, TensorScheme],
    choices: Mapping[str, Label],
    weights: Mapping[str, int],
    said: str,
) -> Recipe:
    """``recipe`` with the chosen scheme for every module.

    ``weights``: how many each module has. The scheme of most weights becomes the recipe's own; the
    others are overrides, one for each scheme and kind of linear. ``said``: the budget, for the
    description.
    """
    inside = {m: k for m, k in choices.items() if architecture.block_of(f"{m}.weight") is not None}
    counted: Counter[Label] = Counter()
    for module, label in inside.items():
        counted[label] += weights[module]
    (own, _), *_ = counted.most_common(1)
    activations = recipe.scheme.activations
    overrides = [
        Override(pattern, Scheme(schemes[label], activations), recipe.range)
        for pattern, label in _patterns(architecture, inside)
        if label != own
    ]
    outside = {m: k for m, k in choices.items() if m not in inside and k != KEPT}
    overrides += [
        Override(f"re:{re.escape(module)}$", Scheme(schemes[label], activations), recipe.range)
        for module, label in outside.items()
    ]
    included = [module for module in outside if not recipe.includes(module)]
    return replace(
        recipe,
        name=f"{recipe.name}-mixed" if overrides else recipe.name,
        description=f"{recipe.description} Widths chosen for {said}.".strip(),
        scheme=Scheme(schemes[own], activations),
        include=(*recipe.include, *included),
        overrides=(*recipe.overrides, *overrides),
        made=None,
    )


def _patterns(
    architecture: Architecture, choices: Mapping[str, Label]
) -> Iterator[tuple[str, Label]]:
    """Linears of one kind and scheme in one pattern; experts of a block share theirs."""
    blocks: dict[tuple[Label, str], list[int]] = {}
    for module, label in choices.items():
        block, relative = architecture.split(f"{module}.weight")
        assert block is not None
        numbers = blocks.setdefault((label, canonical(relative)), [])
        if block not in numbers:
            numbers.append(block)
    for (label, relative), numbers in blocks.items():
        name = r"\d+".join(re.escape(part) for part in relative.split("*"))
        chosen = "|".join(map(str, sorted(numbers)))
        yield f"re:{re.escape(architecture.container)}\\.(?:{chosen})\\.{name}$", label
