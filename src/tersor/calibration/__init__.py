"""What a model sees: text → tokens, activations block by block, statistics of them.

text        files (prose, rows, conversations) and the built-in corpus → windows of tokens
statistics  running statistics of activations: ranges, moments, histograms
skeleton    a decoder without weights, filled block by block from a source
experts     inputs of linears that transformers keeps as one tensor per layer
capture     ``collect``: windows through the decoder, a statistic on every linear's input
"""

from tersor.calibration.capture import collect
from tersor.calibration.text import windows

__all__ = ["collect", "windows"]
