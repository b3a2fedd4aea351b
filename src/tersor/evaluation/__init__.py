"""What was lost: perplexity, KL divergence from the original, task accuracy.

record      ``Evaluation``: the figures
measures    scores of single positions, pure functions on tensors
forward     logits of one window
bases       the original model's predictions, live or kept on disk
perplexity  ``evaluate_model``
travel      hidden states behind each block, and their error
tasks       ``evaluate_tasks``: accuracy with lm-eval
engine_tasks  the engine as a model of lm-eval's
"""

from tersor.evaluation.bases import Base, CachedBase, LiveBase
from tersor.evaluation.perplexity import evaluate_model
from tersor.evaluation.record import Evaluation
from tersor.evaluation.tasks import Tasks, evaluate_tasks, find_tasks
from tersor.evaluation.travel import States, hidden_states, relative_errors

__all__ = [
    "Base",
    "CachedBase",
    "Evaluation",
    "LiveBase",
    "States",
    "Tasks",
    "evaluate_model",
    "evaluate_tasks",
    "find_tasks",
    "hidden_states",
    "relative_errors",
]
