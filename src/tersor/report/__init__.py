"""Typed records → tables, CSV, JSON, model card. Pure functions of values."""

from tersor.report.card import CardFacts, model_card, with_loss
from tersor.report.record import LayerRecord
from tersor.report.tables import print_table, to_csv, to_markdown
from tersor.report.text import duration, figure, size

__all__ = [
    "CardFacts",
    "LayerRecord",
    "duration",
    "figure",
    "model_card",
    "print_table",
    "size",
    "to_csv",
    "to_markdown",
    "with_loss",
]
