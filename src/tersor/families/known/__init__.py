"""The families, one a file. ``tests/families`` holds each against transformers' own classes."""
