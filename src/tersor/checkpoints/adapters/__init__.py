"""Adapters in a model's directory: refused, or merged into the weights while they are read."""

from tersor.checkpoints.adapters.merging import merged
from tersor.checkpoints.adapters.settings import ADAPTER_CONFIG, refuse_adapter

__all__ = ["ADAPTER_CONFIG", "merged", "refuse_adapter"]
