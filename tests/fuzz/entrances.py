"""What reads a damaged file: a function of the library, and the command for the same."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import tersor
from tersor.checkpoints.opening import open_source
from tersor.errors import FormatError, TersorError
from tersor.pipeline.planning import make_plan
from tersor.pipeline.planning.prepare import prepared
from tersor.runtime.conversation.chat import Conversation

# Few tokens, so that an input takes milliseconds.
_CONTEXT, _NEW = 16, 2
# Sound weights are about 1: what a noisy byte makes of one may overflow float32 later on.
_LARGE = 1e6


@dataclass(frozen=True)
class Entrance:
    """``call`` gives numbers that have to be finite; ``command`` is the command line.

    ``tells``: what is wrong is the command's answer, in lines of their own, with exit status 1.

    Both are given the folder of an input: the damaged model is ``model``, texts and recipes lie
    beside it, and what is made goes to ``results``.
    """

    call: Callable[[Path], Iterable[float]]
    command: Callable[[Path], list[str]]
    tells: bool = False


def _quantize(folder: Path, **options: Any) -> list[float]:
    out = folder / "results" / "out"
    tersor.quantize(subject(folder), out, "w4", **options)
    return _logits_of_result(out, folder)


def plan(folder: Path, recipe: str | Path = "w4") -> list[float]:
    chosen = tersor.load_recipe(recipe)
    plan = make_plan(prepared(open_source(subject(folder)), chosen), chosen)
    return [plan.bits_per_weight, plan.bytes]


def _logits(directory: Path) -> list[float]:
    """The logits of a model; its weights if they are too large to have logits."""
    found = _forward(tersor.load(directory))
    if found.isfinite().all():
        return found.flatten().tolist()
    weights = tersor.load(directory, kernels=False).parameters()
    largest = [weight.abs().max().item() for weight in weights if weight.numel()]
    return largest if max(largest) > _LARGE else found.flatten().tolist()


def _logits_of_result(made: Path, folder: Path) -> list[float]:
    """The logits of what was made; nothing if the original directory cannot be loaded either."""
    try:
        return _logits(made)
    except TersorError as error:
        with suppress(TersorError):
            if subject(folder).is_dir():
                _logits(subject(folder))
            raise AssertionError(f"what was made cannot be loaded: {error}") from error
        return []


def _forward(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model(torch.zeros(1, 3, dtype=torch.long)).logits


def _evaluate(folder: Path, **options: Any) -> list[float]:
    found = tersor.evaluate(subject(folder), context=_CONTEXT, windows=1, **options)
    return [one.nll for one in found.evaluations]


def _engine(folder: Path) -> list[float]:
    found = tersor.Engine(subject(folder)).logits([0, 0, 0])
    # Weights that are too large for logits are found by the other way.
    return found.flatten().tolist() if np.isfinite(found).all() else _logits(subject(folder))


def _generate(folder: Path) -> list[float]:
    tersor.generate(subject(folder), "ab", max_new_tokens=_NEW)
    return []


def _chat(folder: Path) -> list[float]:
    conversation = Conversation(tersor.Engine(subject(folder)), system="be kind")
    for _ in conversation.answer("hello", max_new_tokens=_NEW):
        pass
    return []


def _restore(folder: Path, **options: Any) -> list[float]:
    out = folder / "results" / "out"
    tersor.restore(subject(folder), out, **options)
    return _logits_of_result(out, folder)


def _inspect(folder: Path) -> list[float]:
    found = tersor.inspect(subject(folder))
    if isinstance(found, tersor.ModelInspection):
        return [loss.parts.mse for view in found.matrices for loss in view.losses]
    assert isinstance(found, tersor.ArtifactInspection)
    return [view.codes.entropy for view in found.matrices]


def _import(folder: Path) -> list[float]:
    out = folder / "results" / "out"
    tersor.import_checkpoint(subject(folder), out)
    return _logits_of_result(out, folder)


def _check(folder: Path) -> list[float]:
    found = tersor.check(subject(folder))
    for problem in found.problems:
        assert problem.strip(), "a problem of no words"
        assert problem.isprintable(), f"no line: {problem[:300]!r}"
    if found.problems:
        raise FormatError(found.problems[0])
    return [found.tensors]


def subject(folder: Path) -> Path:
    """The model that is damaged: a directory or a GGUF file."""
    file = folder / "model.gguf"
    return folder / "model" if (folder / "model").is_dir() else file


def command(verb: str, *more: str) -> Callable[[Path], list[str]]:
    """The command line that reads the model; ``{}`` in ``more`` is the folder."""
    return lambda folder: [verb, str(subject(folder)), *(one.format(folder) for one in more)]


_OUT = ("-o", "{}/results/out")
_SCORED = ("--context", str(_CONTEXT), "--windows", "1")
_MADE = ("--max-new-tokens", str(_NEW))

QUANTIZE = Entrance(_quantize, command("quantize", *_OUT))
PLAN = Entrance(plan, command("quantize", *_OUT, "--dry-run"))
RESTORE = Entrance(_restore, command("restore", *_OUT))
IMPORT = Entrance(_import, command("import", *_OUT))
CHECK = Entrance(_check, command("check"), tells=True)
LOAD = Entrance(
    lambda folder: _logits(subject(folder)),
    command("evaluate", "--text", "{}/text.txt", *_SCORED),
)
EVALUATE = Entrance(
    lambda folder: _evaluate(folder, text=[folder / "text.txt"]),
    command("evaluate", "--text", "{}/text.txt", *_SCORED, "--json"),
)
ENGINE = Entrance(
    _engine,
    command("bench", "--prompt-tokens", "4", "--new-tokens", "2", "--repetitions", "1"),
)
GENERATE = Entrance(_generate, command("generate", "--prompt", "ab", *_MADE))
INSPECT = Entrance(_inspect, command("inspect", "--json"))
CHAT = Entrance(_chat, command("chat", "--system", "be kind", *_MADE))
MERGE_QUANTIZE = Entrance(
    lambda folder: _quantize(folder, merge_adapter=True),
    command("quantize", *_OUT, "--merge-adapter"),
)
MERGE_RESTORE = Entrance(
    lambda folder: _restore(folder, merge_adapter=True),
    command("restore", *_OUT, "--merge-adapter"),
)
PICKLE = Entrance(
    lambda folder: _quantize(folder, allow_pickle=True),
    command("quantize", *_OUT, "--allow-pickle"),
)

NOT_THE_ENGINE = (QUANTIZE, PLAN, LOAD, EVALUATE, GENERATE, INSPECT)
MODEL = (*NOT_THE_ENGINE, ENGINE)
FLOAT_ARTIFACT = (LOAD, EVALUATE, GENERATE, INSPECT)
ARTIFACT = (*FLOAT_ARTIFACT, ENGINE)
PUBLISHED = (RESTORE, QUANTIZE, PLAN, LOAD, EVALUATE)
MERGING = (MERGE_QUANTIZE, MERGE_RESTORE)
