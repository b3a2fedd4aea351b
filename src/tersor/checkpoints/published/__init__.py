"""Checkpoints that their makers publish in few bits, read as the bfloat16 models they stand for."""

from tersor.checkpoints.published.reading import as_published

__all__ = ["as_published"]
