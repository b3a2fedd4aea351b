"""Hugging Face directories as sources."""
