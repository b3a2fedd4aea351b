"""Linears with packed weights, for transformers models and for the engine."""
