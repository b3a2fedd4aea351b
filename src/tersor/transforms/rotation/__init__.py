"""Rotations folded into the weights."""
