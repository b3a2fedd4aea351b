"""Pairs of families without a table, found on a tiny random model.

miniature       a small model of the same class and switches
watching        which matrices read what, what norms hand out
trial           scales and rotations tried on it: are the logits the same?
sharing         shared inputs and their producers, of one block
stream          who writes the residual stream, and through which norms
probe           all of it, in the shape of a table
"""

from tersor.models.probing.biases import bias_switches
from tersor.models.probing.finding import Probe, probe, probed, tiny_logits

__all__ = ["Probe", "bias_switches", "probe", "probed", "tiny_logits"]
