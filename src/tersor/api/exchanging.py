"""The same codes in other formats: ``import_checkpoint``, ``export``, ``check``."""

from tersor.formats import known_formats
from tersor.machine.memory import shortage_named
from tersor.options import AnyPath, of_kind, one_path, yes_or_no
from tersor.pipeline.exchange.check import CheckResult, check_model
from tersor.pipeline.exchange.convert import ConvertResult, Progress, convert


@shortage_named("to import")
def import_checkpoint(
    source: AnyPath, out: AnyPath, *, force: bool = False, progress: Progress | None = None
) -> ConvertResult:
    """Write what others quantized as an artifact in the directory ``out``, with the same codes.

    ``source``: a GPTQ, AWQ, MLX or compressed-tensors directory, or a GGUF file. ``force``: replace
    ``out``. ``progress``: called with linears done and all, of two rounds.

    Raises a :class:`~tersor.errors.TersorError`, of what no format can hold with the reason; then
    nothing has changed on disk.
    """
    found, place = one_path("source", source), one_path("out", out)
    return convert(found, place, force=yes_or_no("force", force), progress=progress)


@shortage_named("to export")
def export(
    directory: AnyPath,
    out: AnyPath,
    format: str,  # noqa: A002 - as it is called in the field
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> ConvertResult:
    """Write a quantized model in another format, with the same codes.

    ``format``: its name, ``gptq``, ``gptq-v2``, ``awq``, ``mlx``, ``compressed-tensors`` or
    ``tersor``.
    Others as in :func:`import_checkpoint`, errors too.
    """
    chosen = known_formats().named(of_kind("format", format, str))
    found, place = one_path("directory", directory), one_path("out", out)
    return convert(found, place, chosen, force=yes_or_no("force", force), progress=progress)


@shortage_named("to check")
def check(directory: AnyPath) -> CheckResult:
    """What is wrong with a model of any format that is read: every header, scale, code and value.

    Raises :class:`~tersor.errors.SourceError` for what is no model, by its name.
    """
    return check_model(one_path("directory", directory))
