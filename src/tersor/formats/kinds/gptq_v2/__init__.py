"""GPTQ's second version, which stores zero points as they are; read like the first."""

from tersor.formats.kinds.gptq_v2.format import FORMAT

__all__ = ["FORMAT"]
