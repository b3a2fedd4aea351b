"""Pairs of families without a table, found on a tiny random model.

miniature       a small model of the same class and switches
watching        which matrices read what, what norms hand out
trial           scales and rotations tried on it: are the logits the same?
sharing         shared inputs and their producers, of one block
output          what becomes of the head's product
stream          who writes the residual stream, and through which norms
probe           all of it, in the shape of a table
"""

from tersor.models.probing.biases import bias_switches
from tersor.models.probing.finding import Probe, probe, probed, tiny_logits
from tersor.models.probing.output import LogitRule, logit_rule

__all__ = ["LogitRule", "Probe", "bias_switches", "logit_rule", "probe", "probed", "tiny_logits"]
