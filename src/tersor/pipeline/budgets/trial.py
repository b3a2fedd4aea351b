"""A recipe carried out and measured on text that nothing was chosen by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from tersor.calibration.text import evaluation_file, pack, windows_digest
from tersor.checkpoints.source import Source
from tersor.evaluation import CachedBase, evaluate_model
from tersor.models.in_transformers.metamodel import longest_context, typed_config
from tersor.pipeline.planning import Plan
from tersor.pipeline.planning.prepare import unprepared
from tersor.pipeline.quantize import quantize_to
from tersor.pipeline.result import QuantizeResult
from tersor.pipeline.whole_model.windows import source_tokenizer
from tersor.runtime.load import load, load_source

Progress = Callable[[int, int], None]
_CONTEXT, _WINDOWS = 512, 8


@dataclass(frozen=True)
class Trial:
    """An artifact in ``path`` and its mean KL divergence from the original, in nats."""

    path: Path
    result: QuantizeResult
    kl: float


class Judge:
    """Makes artifacts in ``directory`` and measures them against ``source``'s own model."""

    def __init__(self, source: Source, directory: Path, calibration: Sequence[Path]) -> None:
        self._source, self._directory, self._calibration = source, directory, calibration
        self._count = 0
        original = unprepared(source)
        tokenizer, _ = source_tokenizer(original)
        longest = longest_context(typed_config(original.config)) or _CONTEXT
        packed = pack(tokenizer, [evaluation_file()], min(_CONTEXT, longest), _WINDOWS)
        self._windows: Tensor = packed.tokens
        self._skip = len(packed.first_tokens)
        self._base = CachedBase(
            load_source(original), packed.tokens, directory, skip=len(packed.first_tokens)
        )

    @property
    def text(self) -> str:
        """What is measured on, for people."""
        count, length = self._windows.shape
        digest = windows_digest(self._windows)[:12]
        return f"{count} windows of {length} tokens of the built-in text (Shakespeare, {digest}…)"

    def measured(self, plan: Plan, progress: Progress | None) -> Trial:
        """Carry out a plan. Raises as :func:`quantize_to` does."""
        self._count += 1
        path = self._directory / f"trial-{self._count}"
        calibration = self._calibration if plan.recipe.needs_calibration else ()
        result = quantize_to(self._source, plan, path, calibration=calibration, progress=progress)
        model = load(path, kernels=False)
        found = evaluate_model(model, self._windows, base=self._base, skip=self._skip)
        assert found.kl_mean is not None
        return Trial(path, result, found.kl_mean)
