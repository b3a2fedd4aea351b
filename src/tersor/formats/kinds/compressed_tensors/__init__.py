"""compressed-tensors: what vLLM, SGLang and transformers load as it is."""

from tersor.formats.kinds.compressed_tensors.format import CompressedTensors

FORMAT = CompressedTensors()
