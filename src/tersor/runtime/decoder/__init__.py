"""What the native decoder is made of: shape, names, weights, rotary embeddings."""
