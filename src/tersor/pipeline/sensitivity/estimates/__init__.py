"""Divergences estimated from gradients: what linears read and got back, and scores of that."""
