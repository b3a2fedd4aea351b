"""Gemma, by Google."""
