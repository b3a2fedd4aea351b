"""Adapters in a model's directory: refused, or merged into the weights while they are read.

settings   ``adapter_config.json``; an adapter nobody asked to merge is refused
merging    the merge
"""
