"""The formats, one in each folder."""
