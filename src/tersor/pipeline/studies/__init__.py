"""Measuring: one model against its original, several recipes against each other."""
