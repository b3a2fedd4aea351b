"""Text ⇄ tokens for the engine: transformers reads a tokenizer's files once, and what it made of
them is kept."""
