"""A model in, a smaller one out: ``plan``, ``quantize``, ``restore``."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from tersor.checkpoints.hub.fetching import model_path
from tersor.checkpoints.restore import restore as restored
from tersor.checkpoints.source import shapes_of
from tersor.errors import OptionError
from tersor.machine.memory import shortage_named
from tersor.models.in_transformers.sizes import check_sizes
from tersor.options import AnyPath, one_path, yes_or_no
from tersor.pipeline.budgets.goal import Goal, asked_goal
from tersor.pipeline.budgets.search import planned_within, quantize_within
from tersor.pipeline.planning import Plan
from tersor.pipeline.quantize import quantize_to
from tersor.pipeline.request import requested
from tersor.pipeline.result import QuantizeResult
from tersor.recipes import Adjustments, AnyRecipe

Progress = Callable[[int, int], None]
Watch = Callable[[str], Progress | None]


@shortage_named("to quantize")
def quantize(
    source: AnyPath,
    out: AnyPath,
    recipe: AnyRecipe = "w4",
    *,
    bits: int | None = None,
    group_size: int | None = None,
    asymmetric: bool = False,
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    calibration: AnyPath | Sequence[AnyPath] = (),
    tokens: int | None = None,
    window: int | None = None,
    seed: int | None = None,
    resume: bool = False,
    format: str | None = None,  # noqa: A002 - as it is called in the field
    target: str | None = None,
    target_bits: float | None = None,
    target_size: str | int | None = None,
    max_kl: float | None = None,
    any_widths: bool = False,
    allow_pickle: bool = False,
    merge_adapter: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    watch: Watch = lambda _: None,
) -> QuantizeResult:
    """Quantize a Hugging Face directory or GGUF file into the directory ``out``.

    ``recipe``: a preset's name (``tersor recipes`` lists them), a YAML file, YAML text, a mapping,
    or a value. The next options change it: ``bits`` per weight; ``group_size``: columns per scale,
    0 for one scale per channel; ``asymmetric``: zero points; ``include``: patterns of modules to
    quantize that are left alone otherwise, as ``lm_head``; ``exclude``: of modules to leave alone.

    ``calibration``: text files for recipes that look at activations, ``tokens`` of them in windows
    of ``window`` tokens; without any, the mixture that comes with tersor. ``seed``: of recipes that
    draw. ``resume``: go on with what an earlier run on ``out`` had finished when it was killed or
    interrupted; what comes of it are the same bytes. ``format``: of the result, by name; the first,
    by preference, that can hold it if none is asked for. ``target``: the engine that shall run it,
    ``vllm``, ``sglang``, ``transformers``, ``llama.cpp``, ``openvino`` or ``mlx``: it picks the
    format, and what it does not read is refused with what does. ``allow_pickle``: accept ``.bin``
    weights. ``merge_adapter``: merge the LoRA adapter in the directory. ``force``: replace ``out``,
    and what an unfinished run left. ``progress``: called with how much is done and how much there
    is, in bytes or blocks.

    With one of the next three, widths are chosen matrix by matrix, by what each costs alone
    (:func:`~tersor.sensitivity`), and held against the uniform scheme of the same size; the better
    one, measured on text that comes with tersor, is written (``plan.budget`` of the result).
    ``target_bits``: stored per quantized weight, scales included, as ``bits_per_quantized_weight``
    says; ``target_size``: of the files of all tensors (``"90MB"``, or bytes), for which head and
    embedding may be quantized too; ``max_kl``: the most KL divergence, for the least bytes.
    ``any_widths``: mix widths that are no neighbours, too. ``watch``: given the name of a piece of
    this work, returns what is called as ``progress`` is.

    Raises a :class:`~tersor.errors.TersorError`; then nothing has changed at ``out``. Only what is
    finished is kept beside it, in a hidden directory, when the run may be gone on with.
    """
    goal = _goal(target_bits, target_size, max_kl, any_widths, bits, resume, target)
    request = requested(
        source,
        out,
        recipe,
        Adjustments(bits, group_size, asymmetric, include, exclude, tokens, seed, window),
        calibration=calibration,
        resume=resume,
        format=format,
        target=target,
        allow_pickle=allow_pickle,
        merge_adapter=merge_adapter,
        force=force,
    )
    if goal is not None:
        return quantize_within(
            request, goal, Path(out), any_widths=any_widths, force=force, watch=watch
        )
    return quantize_to(
        request.source,
        request.plan,
        Path(out),
        calibration=request.calibration,
        resume=request.resume,
        force=force,
        progress=progress,
    )


@shortage_named("to plan")
def plan(
    source: AnyPath,
    recipe: AnyRecipe = "w4",
    *,
    out: AnyPath | None = None,
    bits: int | None = None,
    group_size: int | None = None,
    asymmetric: bool = False,
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    calibration: AnyPath | Sequence[AnyPath] = (),
    tokens: int | None = None,
    window: int | None = None,
    seed: int | None = None,
    resume: bool = False,
    format: str | None = None,  # noqa: A002 - as it is called in the field
    target: str | None = None,
    target_bits: float | None = None,
    target_size: str | int | None = None,
    max_kl: float | None = None,
    any_widths: bool = False,
    allow_pickle: bool = False,
    merge_adapter: bool = False,
    force: bool = False,
    watch: Watch = lambda _: None,
) -> Plan:
    """What :func:`quantize` would do, and how large the result would be; no weights are read.

    Options are those of :func:`quantize`, and are checked as there. With a budget sensitivities
    are estimated all the same, for which weights are read; nothing is measured. ``out``: if it is
    given, it must be a place where the result can be written.

    Raises a :class:`~tersor.errors.TersorError`.
    """
    goal = _goal(target_bits, target_size, max_kl, any_widths, bits, resume, target)
    request = requested(
        source,
        out,
        recipe,
        Adjustments(bits, group_size, asymmetric, include, exclude, tokens, seed, window),
        calibration=calibration,
        resume=resume,
        format=format,
        target=target,
        allow_pickle=allow_pickle,
        merge_adapter=merge_adapter,
        force=force,
    )
    if goal is not None:
        return planned_within(request, goal, any_widths=any_widths, watch=watch)
    return request.plan


def _goal(
    target_bits: float | None,
    target_size: str | int | None,
    max_kl: float | None,
    any_widths: bool,
    bits: int | None,
    resume: bool,
    target: str | None,
) -> Goal | None:
    """The budget that is asked for; what means nothing with or without one is refused."""
    goal = asked_goal(target_bits, target_size, max_kl)
    if yes_or_no("any_widths", any_widths) and goal is None:
        raise OptionError("any_widths", "has no effect without a budget, such as {}", "target_bits")
    others = {"bits": bits, "resume": yes_or_no("resume", resume) or None, "target": target}
    for name, given in others.items():
        if goal is not None and given is not None:
            raise OptionError(name, "has no effect beside {}", goal.option)
    return goal


@shortage_named("to restore")
def restore(
    gguf: AnyPath,
    out: AnyPath,
    *,
    dtype: torch.dtype = torch.bfloat16,
    merge_adapter: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write the model of a GGUF file, or of a directory in FP8, MXFP4 or with an adapter, plainly.

    ``dtype``: of the weights of a GGUF file. ``merge_adapter``: merge the LoRA adapter in the
    directory. ``force``: replace ``out``. ``progress``: called with bytes done and bytes in all.
    Returns ``out``.

    Raises a :class:`~tersor.errors.TersorError`; then nothing has changed on disk.
    """
    return restored(
        model_path("gguf", gguf),
        one_path("out", out),
        dtype=dtype,
        merge_adapter=yes_or_no("merge_adapter", merge_adapter),
        force=yes_or_no("force", force),
        progress=progress,
        check=lambda found: check_sizes(found.path, found.config, shapes_of(found)),
    )
