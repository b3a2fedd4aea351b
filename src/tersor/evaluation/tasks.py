"""Accuracy on tasks, measured by lm-eval through a model that is already in memory."""

import difflib
import importlib.util
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tersor.calibration.text import first_tokens
from tersor.errors import MissingExtra, RecipeError

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager
    from torch import nn
    from transformers import PreTrainedTokenizerBase

# Of lm-eval's answer, what describes the result; the rest describes the machine.
_KEPT = ("results", "groups", "versions", "n-shot", "n-samples")


def evaluate_tasks(
    model: "nn.Module",
    tokenizer: "PreTrainedTokenizerBase",
    tasks: Sequence[str],
    *,
    include_path: Path | None = None,
    limit: int | None = None,
    batch_size: int = 1,
    num_fewshot: int | None = None,
) -> dict[str, Any]:
    """Run lm-eval ``tasks`` on a transformers ``model`` as it is: nothing is loaded again.

    ``include_path``: a directory with further task files (YAML), whose ``!function`` entries name
    Python that lm-eval runs: give one that you trust; ``limit``: documents per task;
    ``num_fewshot``: examples before each question, the task's own number by default. Returns
    lm-eval's ``results`` (metrics by task), ``groups``, ``versions``, ``n-shot`` and ``n-samples``
    as plain JSON values. Tasks fetch their data from the Hugging Face hub unless they name local
    files.

    Raises :class:`MissingExtra` without lm-eval, :class:`RecipeError` for no task, an unknown one,
    or an ``include_path`` that is no directory.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise MissingExtra("tasks need lm-eval: pip install 'tersor[tasks]'")
    if include_path is not None and not include_path.is_dir():
        raise RecipeError(f"{include_path}: no such directory of task files")

    with _environment_kept():
        import lm_eval
        from lm_eval.models.huggingface import HFLM

        manager = _manager(tasks, include_path)
        answer = lm_eval.simple_evaluate(
            model=HFLM(
                pretrained=model,
                tokenizer=tokenizer,
                batch_size=batch_size,
                trust_remote_code=False,
                # lm-eval's default leaves out what most tokenizers put in front.
                add_bos_token=bool(first_tokens(tokenizer)),
            ),
            tasks=list(tasks),
            task_manager=manager,
            limit=limit,
            num_fewshot=num_fewshot,
            log_samples=False,
            # The caller's generators are not ours to reset; examples are drawn by their own seed.
            random_seed=None,
            numpy_random_seed=None,
            torch_random_seed=None,
        )
    return {key: answer[key] for key in _KEPT if key in answer}


@contextmanager
def _environment_kept() -> Iterator[None]:
    """Importing lm-eval and its dependencies sets variables; processes started later need none."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def _manager(tasks: Sequence[str], include_path: Path | None) -> "TaskManager":
    """lm-eval's index of tasks, with every one of ``tasks`` in it."""
    from lm_eval.tasks import TaskManager

    if not tasks:
        raise RecipeError("no task named; for example arc_easy")
    if include_path is not None:
        # Indexing lm-eval's own thousands of tasks takes seconds.
        own = TaskManager(include_path=str(include_path), include_defaults=False)
        if set(tasks) <= set(own.all_subtasks):
            return own
    manager = TaskManager(include_path=None if include_path is None else str(include_path))
    for task in tasks:
        if task not in manager.all_tasks:
            near = difflib.get_close_matches(task, manager.all_tasks, n=1)
            hint = f"did you mean '{near[0]}'?" if near else "lm_eval ls tasks lists them"
            raise RecipeError(f"unknown task '{task}'; {hint}")
    return manager
