"""Rounding: which code does each weight get? One method per file."""

from tersor.rounding.nearest import Rounded, nearest

__all__ = ["Rounded", "nearest"]
