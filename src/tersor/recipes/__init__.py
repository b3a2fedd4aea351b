"""Recipes: frozen values, their YAML, and the presets."""

from tersor.options import did_you_mean
from tersor.recipes.adjust import Adjustments
from tersor.recipes.document import dump, parse
from tersor.recipes.library import load_recipe, preset_names, preset_text
from tersor.recipes.made import Made, refuse_other_texts
from tersor.recipes.patterns import matches, require_match
from tersor.recipes.recipe import AnyRange, Calibration, Override, Recipe

__all__ = [
    "Adjustments",
    "AnyRange",
    "Calibration",
    "Made",
    "Override",
    "Recipe",
    "did_you_mean",
    "dump",
    "load_recipe",
    "matches",
    "parse",
    "preset_names",
    "preset_text",
    "refuse_other_texts",
    "require_match",
]
