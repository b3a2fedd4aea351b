"""compressed-tensors, which vLLM, SGLang and transformers load as it is."""
