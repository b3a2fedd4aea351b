"""GGUF files, as llama.cpp has them: read and run with the codes, scales and minima they hold."""

from tersor.formats.kinds.gguf.format import GgufFormat

FORMAT = GgufFormat()
