"""The same codes in other formats, and elsewhere: ``import_checkpoint``, ``export``, ``upload``."""

from tersor.checkpoints.hub.fetching import model_path
from tersor.checkpoints.hub.sending import UploadResult
from tersor.formats import known_formats
from tersor.machine.memory import shortage_named
from tersor.options import AnyPath, of_kind, one_path, yes_or_no
from tersor.pipeline.exchange.check import CheckResult, check_model
from tersor.pipeline.exchange.convert import ConvertResult, Progress, convert
from tersor.pipeline.exchange.upload import upload_model


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
    found, place = model_path("source", source), one_path("out", out)
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

    ``format``: its name, ``gguf``, ``gptq``, ``gptq-v2``, ``awq``, ``mlx``, ``compressed-tensors``
    or ``tersor``. ``gguf`` makes a file, and may be one of a model that is not quantized. Others as
    in :func:`import_checkpoint`, errors too.
    """
    chosen = known_formats().named(of_kind("format", format, str))
    found, place = model_path("directory", directory), one_path("out", out)
    return convert(found, place, chosen, force=yes_or_no("force", force), progress=progress)


@shortage_named("to check")
def check(directory: AnyPath) -> CheckResult:
    """What is wrong with a model of any format that is read: every header, scale, code and value.

    Raises :class:`~tersor.errors.SourceError` for what is no model, by its name.
    """
    return check_model(model_path("directory", directory))


@shortage_named("to upload")
def upload(directory: AnyPath, name: str, *, private: bool = False) -> UploadResult:
    """Send a quantized model to the Hugging Face hub, with its card, in one commit.

    ``directory``: of the model, or a single file. ``name``: ``org/name``; the repository is made if
    there is none. ``private``: if it is made, for its owner alone. The token is the one of ``hf
    auth login`` or ``HF_TOKEN``; ``HF_ENDPOINT`` names another hub.

    Raises a :class:`~tersor.errors.TersorError`: :class:`~tersor.errors.HubError` without access or
    a network, and others for what is no quantized model.
    """
    place, to = one_path("directory", directory), of_kind("name", name, str)
    return upload_model(place, to, private=yes_or_no("private", private))
