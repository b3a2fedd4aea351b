"""``evaluate``: what a model directory lost against its original."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from tersor.calibration.text import builtin_text, read_text, windows
from tersor.checkpoints.files import write_text
from tersor.errors import OutputError
from tersor.evaluation import Evaluation, LiveBase, evaluate_model, evaluate_tasks
from tersor.report import with_loss
from tersor.runtime.engine_module import EngineModule
from tersor.runtime.generate import EngineOptions
from tersor.runtime.load import load, load_tokenizer

Progress = Callable[[int, int], None]
BUILTIN = "built-in text"


@dataclass(frozen=True)
class Protocol:
    """How text is scored: ``windows`` windows (``None``: all) of ``context`` tokens.

    ``skip``: leading positions of each window that are context only.
    """

    context: int = 1024
    windows: int | None = None
    skip: int = 0


def text_windows(
    tokenizer: Any, texts: Sequence[Path], protocol: Protocol
) -> list[tuple[str, Tensor]]:
    """Name and windows of every text; the built-in text if none is given."""
    named = [(path.name, read_text([path])) for path in texts]
    named = named or [(BUILTIN, builtin_text("evaluation"))]
    return [
        (name, windows(tokenizer, text, protocol.context, protocol.windows)) for name, text in named
    ]


def evaluate_directory(
    directory: Path,
    *,
    base: Path | None = None,
    texts: Sequence[Path] = (),
    protocol: Protocol = Protocol(),
    engine: EngineOptions | None = None,
    progress: Progress | None = None,
) -> tuple[Evaluation, ...]:
    """One :class:`Evaluation` per text, in float32; against ``base`` if it is given.

    With ``engine``, the engine runs ``directory``, so that its kernels' own rounding is measured;
    ``base`` is run by transformers. Raises :class:`~tersor.errors.EngineError` for what it does
    not run, :class:`~tersor.errors.SourceError` or :class:`~tersor.errors.TextError`.
    """
    named = text_windows(load_tokenizer(directory), texts, protocol)
    model = (
        load(directory, kernels=False) if engine is None else EngineModule(engine.open(directory))
    )
    original = None if base is None else load(base, kernels=False)
    total = sum(len(tokens) for _, tokens in named)
    done = 0
    results = []
    for name, tokens in named:
        results.append(
            evaluate_model(
                model,
                tokens,
                base=None if original is None else LiveBase(original, tokens, skip=protocol.skip),
                skip=protocol.skip,
                texts=(name,),
                progress=None if progress is None else _offset(progress, done, total),
            )
        )
        done += len(tokens)
    return tuple(results)


def update_card(directory: Path, evaluation: Evaluation) -> None:
    """Put the measured loss into the model card of an artifact.

    Raises :class:`OutputError` if the directory has no model card made by tersor.
    """
    card = directory / "README.md"
    if not card.is_file():
        raise OutputError(f"{directory} has no README.md to update")
    before = card.read_text(encoding="utf-8")
    after = with_loss(before, evaluation.to_dict())
    if after is before:
        raise OutputError(f"{card} was not made by tersor: it has no section for the loss")
    write_text(card, after)


def _offset(progress: Progress, done: int, total: int) -> Progress:
    return lambda now, _: progress(done + now, total)


def evaluate_directory_tasks(
    directory: Path,
    tasks: Sequence[str],
    task_path: Path | None,
    limit: int | None,
    *,
    kernels: bool = False,
) -> dict[str, Any]:
    """lm-eval tasks on the model that :func:`tersor.load` gives, with native linears or not."""
    model, tokenizer = load(directory, kernels=kernels), load_tokenizer(directory)
    return evaluate_tasks(model, tokenizer, tasks, include_path=task_path, limit=limit)
