"""Families that the engine runs, and whose blocks quantizing finds out from a small model."""
