"""What was lost: perplexity, KL divergence from the original, task accuracy.

record      ``Evaluation``: the figures
measures    scores of single positions, pure functions on tensors
forward     logits of one window
bases       the original model's predictions, live or kept on disk
perplexity  ``evaluate_model``
tasks       ``evaluate_tasks``: accuracy with lm-eval
"""

from tersor.evaluate.bases import Base, CachedBase, LiveBase
from tersor.evaluate.perplexity import evaluate_model
from tersor.evaluate.record import Evaluation
from tersor.evaluate.tasks import evaluate_tasks

__all__ = [
    "Base",
    "CachedBase",
    "Evaluation",
    "LiveBase",
    "evaluate_model",
    "evaluate_tasks",
]
