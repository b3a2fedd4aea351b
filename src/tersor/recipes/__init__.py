"""Recipes: frozen values, their YAML, and the presets."""

from tersor.options import did_you_mean
from tersor.recipes.adjust import Adjustments
from tersor.recipes.catalogue import Cost, Kind, Preset, preset_kinds
from tersor.recipes.document import dump, parse, recipe_from_dict, recipe_to_dict
from tersor.recipes.library import (
    AnyRecipe,
    known_recipe,
    list_presets,
    load_recipe,
    preset_names,
    preset_text,
)
from tersor.recipes.made import Made, refuse_other_texts
from tersor.recipes.patterns import matches, require_match
from tersor.recipes.recipe import Calibration, Override, Recipe
from tersor.recipes.slots import Correction, Learner, Rounding, Scaling, Training

__all__ = [
    "Adjustments",
    "AnyRecipe",
    "Calibration",
    "Correction",
    "Cost",
    "Kind",
    "Learner",
    "Made",
    "Override",
    "Preset",
    "Recipe",
    "Rounding",
    "Scaling",
    "Training",
    "did_you_mean",
    "dump",
    "known_recipe",
    "list_presets",
    "load_recipe",
    "matches",
    "parse",
    "preset_kinds",
    "preset_names",
    "preset_text",
    "recipe_from_dict",
    "recipe_to_dict",
    "refuse_other_texts",
    "require_match",
]
