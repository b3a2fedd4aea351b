"""Accuracy on tasks, measured by lm-eval through a model that is already in memory."""

import hashlib
import importlib.util
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tersor.calibration.text import first_tokens
from tersor.errors import MissingExtra, OptionError, TextError
from tersor.options import AnyPath, limits, nearest, one_path, some_words

if TYPE_CHECKING:
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from tersor.runtime.engine.engine import Engine

# Of lm-eval's answer, what describes the result; the rest describes the machine.
_KEPT = ("results", "groups", "versions", "n-shot", "n-samples")


@dataclass(frozen=True, eq=False)
class Tasks:
    """Tasks that were found, with their data: ``loaded`` are lm-eval's tasks and groups."""

    names: tuple[str, ...]
    manager: "TaskManager"
    loaded: tuple[Any, ...]
    limit: int | None
    num_fewshot: int | None

    def digest(self) -> str:
        """Of what is asked: lm-eval's version, every task as it is defined, and its documents."""
        found = hashlib.sha256(repr((version("lm_eval"), self.limit, self.num_fewshot)).encode())
        for loaded in self.loaded:
            inside = loaded.get_all_tasks() if hasattr(loaded, "get_all_tasks") else [loaded]
            for task in inside:
                defined = json.dumps(task.dump_config(), sort_keys=True, default=str)
                found.update(f"{task.task_name}\0{defined}".encode())
                shots = self.num_fewshot or task.config.num_fewshot
                examples = (task.fewshot_docs() if shots else None) or ()
                for document in (*task.eval_docs, *examples):
                    found.update(repr(document).encode())
        return found.hexdigest()[:32]

    def by_model(
        self, model: "nn.Module", tokenizer: "PreTrainedTokenizerBase", *, batch_size: int = 1
    ) -> dict[str, Any]:
        """Run on a transformers ``model`` as it is; see :func:`evaluate_tasks`."""
        limits.BATCH_SIZE(batch_size)
        _refuse_bare(tokenizer)
        with _environment_kept():
            from lm_eval.models.huggingface import HFLM

            return self._run(
                HFLM(
                    pretrained=model,
                    tokenizer=tokenizer,
                    batch_size=batch_size,
                    trust_remote_code=False,
                    # lm-eval's default leaves out what most tokenizers put in front.
                    add_bos_token=bool(first_tokens(tokenizer)),
                )
            )

    def by_engine(self, engine: "Engine") -> dict[str, Any]:
        """Run by tersor's engine, so that what its kernels round counts too."""
        from tersor.runtime.companions import model_tokenizer

        tokenizer = model_tokenizer(engine.directory)
        _refuse_bare(tokenizer)
        with _environment_kept():
            from tersor.evaluation.engine_tasks import EngineTasks

            return self._run(EngineTasks(engine, tokenizer))

    def _run(self, model: "LM") -> dict[str, Any]:
        import lm_eval

        answer = lm_eval.simple_evaluate(
            model=model,
            tasks=list(self.loaded),
            task_manager=self.manager,
            limit=self.limit,
            num_fewshot=self.num_fewshot,
            log_samples=False,
            # The caller's generators are not ours to reset; examples are drawn by their own seed.
            random_seed=None,
            numpy_random_seed=None,
            torch_random_seed=None,
        )
        return {key: answer[key] for key in _KEPT if key in answer}


def find_tasks(
    tasks: str | Sequence[str],
    *,
    include_path: AnyPath | None = None,
    limit: int | None = None,
    num_fewshot: int | None = None,
) -> Tasks:
    """lm-eval ``tasks`` by name, with their data; no model is needed yet.

    Raises as :func:`evaluate_tasks` does.
    """
    names = tuple(dict.fromkeys(some_words("tasks", tasks)))
    if not names:
        raise OptionError("tasks", "names none; for example arc_easy")
    limits.LIMIT.or_none(limit)
    limits.FEWSHOT.or_none(num_fewshot)
    folder = None if include_path is None else one_path("task_path", include_path)
    if folder is not None and not folder.is_dir():
        raise OptionError("task_path", f"{folder}: no such directory of task files")
    if importlib.util.find_spec("lm_eval") is None:
        raise MissingExtra("tasks need lm-eval: pip install 'tersor[tasks]'")
    with _environment_kept():
        manager = _manager(names, folder)
        return Tasks(names, manager, tuple(_loaded(names, manager)), limit, num_fewshot)


def evaluate_tasks(
    model: "nn.Module",
    tokenizer: "PreTrainedTokenizerBase",
    tasks: str | Sequence[str],
    *,
    include_path: AnyPath | None = None,
    limit: int | None = None,
    batch_size: int = 1,
    num_fewshot: int | None = None,
) -> dict[str, Any]:
    """Run lm-eval ``tasks`` on a transformers ``model`` as it is: nothing is loaded again.

    ``include_path``: a directory with further task files (YAML); ``limit``: documents per task;
    ``num_fewshot``: examples before each question, the task's own number by default. Returns
    lm-eval's ``results`` (metrics by task), ``groups``, ``versions``, ``n-shot`` and ``n-samples``
    as plain JSON values. Tasks fetch their data from the Hugging Face hub unless they name local
    files.

    Raises :class:`MissingExtra` without lm-eval, :class:`OptionError` for no task, an unknown one,
    or an ``include_path`` that is no directory, and :class:`TextError` for data that cannot be had.
    """
    found = find_tasks(tasks, include_path=include_path, limit=limit, num_fewshot=num_fewshot)
    return found.by_model(model, tokenizer, batch_size=batch_size)


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

    if include_path is not None:
        # Indexing lm-eval's own thousands of tasks takes seconds.
        own = TaskManager(include_path=str(include_path), include_defaults=False)
        if set(tasks) <= set(own.all_subtasks):
            return own
    manager = TaskManager(include_path=None if include_path is None else str(include_path))
    for task in tasks:
        if task not in manager.all_tasks:
            hint = nearest(task, manager.all_tasks) or "; lm_eval ls tasks lists them"
            raise OptionError("tasks", f"names '{task}', which is unknown{hint}")
    return manager


def _loaded(names: Sequence[str], manager: "TaskManager") -> Iterator[Any]:
    """lm-eval's objects for names of tasks and groups; their data is read, or fetched."""
    for name in names:
        try:
            found = manager.load([name])
        except Exception as error:  # a task may fail in any library that reads data
            raise TextError(_no_data(name, error)) from error
        for task in found["tasks"].values():
            if getattr(task, "UNSAFE_CODE", False):
                raise OptionError("tasks", f"names '{name}', which runs code that a model writes")
        inside = {t.task_name for g in found["groups"].values() for t in g.get_all_tasks()}
        yield from (group for key, group in found["groups"].items() if key == name)
        yield from (task for key, task in found["tasks"].items() if key not in inside)


def _refuse_bare(tokenizer: "PreTrainedTokenizerBase") -> None:
    if tokenizer.bos_token_id is None and tokenizer.eos_token_id is None:
        raise TextError(
            "the tokenizer has neither bos_token nor eos_token, one of which lm-eval puts where a "
            "context is empty; name one in tokenizer_config.json"
        )


def _no_data(name: str, error: Exception) -> str:
    if type(error).__name__ == "OfflineModeIsEnabled" or "offline" in str(error).lower():
        return (
            f"task {name}: its data is on the Hugging Face hub, which is switched off; set "
            "HF_HUB_OFFLINE=0 in the environment to fetch it"
        )
    said = " ".join(str(error).split())[:300]
    return f"task {name}: its data cannot be read: {type(error).__name__}: {said}"
