"""Decoders in the manner of GPT: layer norms and plain MLPs."""
