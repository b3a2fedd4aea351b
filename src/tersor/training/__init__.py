"""Learning from text: codes, scales and weights improved by back-propagation. One method per file.

latent        what can be trained: behind codes and scales, and norms
learner       gradients, on several cores
optq          rounding and scales of a block, by the original block's output
problem       a quantized model and what it should predict
adam, logits  what training a whole model needs
checkpoint    its state in a file, should it be interrupted
distillation  scales, or scales and weights, of a whole model by the original's predictions
"""

from tersor.training.checkpoint import Checkpoint
from tersor.training.distillation import Distill, Qat, distill
from tersor.training.latent import LatentLinear, LatentNorm, LatentScales
from tersor.training.optq import BlockProblem, Optq, optq
from tersor.training.problem import ModelProblem

__all__ = [
    "BlockProblem",
    "Checkpoint",
    "Distill",
    "LatentLinear",
    "LatentNorm",
    "LatentScales",
    "ModelProblem",
    "Optq",
    "Qat",
    "distill",
    "optq",
]
