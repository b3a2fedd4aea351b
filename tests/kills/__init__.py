"""Runs that are killed at any instant, gone on with, and held against undisturbed ones."""
