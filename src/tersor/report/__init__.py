"""Typed records → tables, CSV, JSON, model card. Pure functions of values."""

from tersor.report.card import CardFacts, model_card, takes_loss, with_loss
from tersor.report.columns import COLUMNS, Column, for_people
from tersor.report.command import RECIPE, quantize_command
from tersor.report.record import LayerRecord, damage_warning, damaged, worst_first
from tersor.report.tables import Row, cell, to_csv, to_markdown
from tersor.report.text import duration, figure, size

__all__ = [
    "COLUMNS",
    "RECIPE",
    "CardFacts",
    "Column",
    "LayerRecord",
    "Row",
    "cell",
    "damage_warning",
    "damaged",
    "duration",
    "figure",
    "for_people",
    "model_card",
    "quantize_command",
    "size",
    "takes_loss",
    "to_csv",
    "to_markdown",
    "with_loss",
    "worst_first",
]
