"""Recipes that look at activations: what text runs through the model, and in which order."""
