"""Packed weights, kept between runs in files that are mapped."""
