"""GGUF files made: what is read from them, the other way round."""
