"""Streamed, atomic reading and writing of model directories.

Import from the modules; nothing is re-exported here, because running a model needs few of them.
"""
