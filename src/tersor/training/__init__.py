"""Learning from text: codes, scales and weights improved by back-propagation. One method per file.

latent        a quantized linear with something behind its codes that can be trained
learner       gradients, on several cores
optq          rounding and scales of a block, by the original block's output
adam, logits  what training a whole model needs
distillation  scales, or scales and weights, of a whole model by the original's predictions
"""

from tersor.training.distillation import Distill, ModelProblem, Qat, distill
from tersor.training.latent import LatentLinear
from tersor.training.optq import BlockProblem, Optq, optq

__all__ = [
    "BlockProblem",
    "Distill",
    "LatentLinear",
    "ModelProblem",
    "Optq",
    "Qat",
    "distill",
    "optq",
]
