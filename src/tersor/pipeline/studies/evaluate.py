"""``evaluate``: what a model directory lost against its original."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tersor.calibration.text import TextIdentity, evaluation_file, open_text, pack, windows_digest
from tersor.checkpoints.files import read_json, write_text
from tersor.errors import OptionError, OutputError
from tersor.evaluation import Base, Evaluation, LiveBase, Tasks, evaluate_model
from tersor.formats import known_formats
from tersor.options import limits
from tersor.pipeline.studies.effort import Begun, foreseen
from tersor.report import takes_loss, with_loss
from tersor.runtime.companions import longest_window, model_tokenizer
from tersor.runtime.engine.engine import Engine
from tersor.runtime.engine.logits_module import EngineModule
from tersor.runtime.engine.options import EngineOptions
from tersor.runtime.load import load

Progress = Callable[[int, int], None]
_CONTEXT = 1024


@dataclass(frozen=True)
class Protocol:
    """How text is scored: ``windows`` windows (``None``: all) of ``context`` tokens.

    ``context`` ``None``: 1024, or what the model reads if that is less. ``skip``: leading positions
    of each window that are context only; special tokens that the tokenizer puts in front always
    are. Raises :class:`OptionError`.
    """

    context: int | None = None
    windows: int | None = None
    skip: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "context", limits.WINDOW_CONTEXT.or_none(self.context))
        object.__setattr__(self, "windows", limits.WINDOWS.or_none(self.windows))
        object.__setattr__(self, "skip", limits.SKIP(self.skip))
        if self.context is not None:
            self.refuse_nothing_scored(self.context)

    def refuse_nothing_scored(self, context: int) -> None:
        """Raise :class:`OptionError` if windows of ``context`` tokens are skipped whole."""
        if self.skip > context - 2:
            raise OptionError(
                "skip", f"{self.skip} leaves nothing to score in windows of {context} tokens"
            )


@dataclass(frozen=True, eq=False)
class ScoredText:
    """One text as it is scored: windows int64 ``(n, T)``, which begin with ``first_tokens``."""

    text: TextIdentity
    windows: Tensor
    first_tokens: tuple[int, ...]
    skip: int
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The file's."""
        return self.text.name

    def line(self) -> str:
        """``16 windows of 1024 tokens of wiki.txt (sha256 1f0c…), without the first of each``."""
        count, context = self.windows.shape
        first = f"first {self.skip + 1}" if self.skip else "first"
        return (
            f"{count} windows of {context} tokens of {self.name} "
            f"(sha256 {self.text.sha256[:12]}…), without the {first} of each"
        )

    def to_dict(self) -> dict[str, Any]:
        """Which text, and how it is scored; plain JSON types."""
        return asdict(self.text) | {
            "windows": len(self.windows),
            "context": self.windows.shape[1],
            "skip": self.skip,
            "first_tokens": list(self.first_tokens),
            "windows_sha256": windows_digest(self.windows),
            "notes": list(self.notes),
        }


def scored_texts(
    directory: Path, tokenizer: Any, texts: Sequence[Path], protocol: Protocol
) -> list[ScoredText]:
    """Every text in windows for the model in ``directory``; the built-in text if none is given."""
    files = [open_text(path) for path in texts] or [evaluation_file()]
    longest = longest_window(directory)
    context = protocol.context or min(_CONTEXT, longest or _CONTEXT)
    if longest is not None and context > longest:
        raise OptionError("context", f"{context} is more than the {longest} tokens of the model")
    protocol.refuse_nothing_scored(context)
    found = []
    for file in files:
        packed = pack(tokenizer, [file], context, protocol.windows)
        skip = max(protocol.skip, len(packed.first_tokens))
        found.append(
            ScoredText(file.identity, packed.tokens, packed.first_tokens, skip, packed.notes)
        )
    return found


def evaluate_text(
    model: nn.Module,
    text: ScoredText,
    base: Base | None = None,
    *,
    run_by: str = "float32",
    progress: Progress | None = None,
) -> Evaluation:
    """Score ``model`` on one text; ``run_by`` is for the record. Raises as :func:`evaluate_model`
    does.
    """
    found = evaluate_model(
        model,
        text.windows,
        base=base,
        skip=text.skip,
        first_tokens=text.first_tokens,
        texts=(text.name,),
        notes=text.notes,
        progress=progress,
    )
    return replace(
        found,
        text_sha256=(text.text.sha256,),
        windows_sha256=windows_digest(text.windows),
        run_by=run_by,
    )


def evaluate_directory(
    directory: Path,
    *,
    base: Path | None = None,
    text: Sequence[Path] = (),
    protocol: Protocol = Protocol(),
    engine: EngineOptions | None = None,
    progress: Progress | None = None,
    begun: Begun | None = None,
) -> tuple[Evaluation, ...]:
    """One :class:`Evaluation` per text, in float32; against ``base`` if it is given.

    With ``engine``, the engine runs ``directory``, so that its kernels' own rounding is measured;
    ``base`` is run by transformers. ``begun``: called with what it will take. Raises
    :class:`~tersor.errors.EngineError` for what it does not run,
    :class:`~tersor.errors.SourceError` or :class:`~tersor.errors.TextError`.
    """
    for given in (directory, *(() if base is None else (base,))):
        known_formats().open(given)
    scored = scored_texts(directory, model_tokenizer(directory), text, protocol)
    model: nn.Module
    if engine is None:
        model, run_by = load(directory, kernels=False), "float32"
    else:
        longest = max(one.windows.shape[1] for one in scored)
        context = engine.context or longest
        if context < longest:
            raise OptionError("context", f"of the engine, {context}, is less than {longest} tokens")
        opened = replace(engine, context=context).open(directory)
        model, run_by = EngineModule(opened), _engine(opened)
    original = None if base is None else load(base, kernels=False)
    if begun is not None:
        begun(foreseen([one.windows for one in scored], model, original, models=1))
    total = sum(len(one.windows) for one in scored)
    done = 0
    results = []
    for one in scored:
        results.append(
            evaluate_text(
                model,
                one,
                None if original is None else LiveBase(original, one.windows, skip=one.skip),
                run_by=run_by,
                progress=None if progress is None else _offset(progress, done, total),
            )
        )
        done += len(one.windows)
    return tuple(results)


def _engine(engine: Engine) -> str:
    of = engine.conditions()
    dense = f", dense matrices of {of['dense_bits']} bits" if of["dense_bits"] else ""
    return (
        f"tersor's engine ({of['instructions']}, activations of {of['activation_bits']} bits, "
        f"cache {of['cache']}{dense})"
    )


def check_card(directory: Path, base: Path | None, texts: Sequence[Path]) -> None:
    """Refuse an update of the model card that would be wrong, before anything is measured.

    Raises :class:`OptionError` without a ``base``, or with several texts: the card has room for the
    loss on one. Raises :class:`OutputError` as :func:`update_card` does.
    """
    if base is None:
        raise OptionError("update_card", "has no loss to write without {}", "base")
    if len(texts) > 1:
        raise OptionError("update_card", "writes the loss on one text; give one {}", "text")
    _card_of(directory)


def update_card(directory: Path, evaluation: Evaluation) -> None:
    """Put the measured loss into the model card of an artifact.

    Raises :class:`OutputError` if the directory has no model card made by tersor.
    """
    before = _card_of(directory)
    records = directory / "tersor.json"
    stored = read_json(records).get("bytes") if records.is_file() else None
    write_text(directory / "README.md", with_loss(before, evaluation.to_dict(), stored))


def _card_of(directory: Path) -> str:
    card = directory / "README.md"
    if not card.is_file():
        raise OutputError(f"{directory} has no README.md to update")
    text = card.read_text(encoding="utf-8")
    if not takes_loss(text):
        raise OutputError(f"{card} was not made by tersor: it has no section for the loss")
    return text


def _offset(progress: Progress, done: int, total: int) -> Progress:
    return lambda now, _: progress(done + now, total)


def evaluate_directory_tasks(
    directory: Path, tasks: Tasks, *, engine: EngineOptions | None = None
) -> dict[str, Any]:
    """lm-eval tasks on the model in a directory: dequantized, or run by the engine.

    Raises :class:`~tersor.errors.EngineError` for what the engine does not run.
    """
    if engine is not None:
        return tasks.by_engine(engine.open(directory))
    return tasks.by_model(load(directory, kernels=False), model_tokenizer(directory))
