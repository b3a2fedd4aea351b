"""``load``: a quantized or ordinary model directory as a transformers model."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import torch
from torch import Tensor

from tersor.checkpoints.finite import is_finite
from tersor.checkpoints.gateway.complaint import complaint
from tersor.checkpoints.gateway.configuration import (
    configuration_of,
    source_configuration,
)
from tersor.checkpoints.gateway.generation import generation_config
from tersor.checkpoints.gateway.models import auto_class, given_model, stored_model
from tersor.checkpoints.hub.fetching import model_path
from tersor.checkpoints.published.reading import as_published
from tersor.checkpoints.source import FloatSource, Source, shapes_of
from tersor.errors import NonFiniteWeight, OptionError, OutOfMemory, SourceError, TersorError
from tersor.formats import METHOD, QUANTIZATION, known_formats
from tersor.formats.containers.huggingface import HUGGING_FACE
from tersor.formats.kinds.own import FORMAT as OWN
from tersor.formats.kinds.own.description import quantization_config
from tersor.grids import Scheme
from tersor.machine.memory import is_shortage
from tersor.models.in_transformers.in_memory import modules_in_memory
from tersor.models.in_transformers.sizes import check_sizes
from tersor.options import AnyPath, limits, yes_or_no
from tersor.runtime.artifact import Artifact, artifact_of
from tersor.runtime.linears.replacing import use_kernels
from tersor.runtime.linears.simulated_inputs import attach
from tersor.runtime.packed.cache import PackedCache
from tersor.runtime.pretrained_keywords import PretrainedKeywords, checked_keywords, chosen_dtype

if TYPE_CHECKING:
    from tersor.runtime.loaded_model import LoadedModel


def load(
    directory: AnyPath,
    *,
    dtype: torch.dtype | str = torch.float32,
    kernels: bool = True,
    activation_bits: int = 8,
    **keywords: Unpack[PretrainedKeywords],
) -> "LoadedModel":
    """A transformers model with logits for text in evaluation mode; ``generate`` works.

    It is what ``AutoModelForCausalLM`` makes, or the whole model where transformers has no class
    for its text part alone, as for most with images. Every parameter comes from the checkpoint:
    where transformers would leave one to chance, the model is refused.

    Quantized linears run on tersor's native kernels (:mod:`tersor.runtime.linears.replacing`);
    those for which there is none run as without ``kernels``, and a warning says so. For integer
    weights ``activation_bits`` of 8 rounds activations to int8, 16 only where the scheme does.

    Without ``kernels`` nothing is rounded but what the artifact says: weights are dequantized to
    ``dtype``, and activations, where the scheme quantizes them, are rounded as an integer kernel
    would round them. Every known format is read by tersor itself. Ordinary
    directories load too; those published in FP8 or MXFP4 as the bfloat16 models they stand for.

    ``dtype``: of what is no native linear, a type or its name; ``auto``: as it is stored.
    ``keywords``: those of transformers' ``from_pretrained`` that say where the model lies and how
    attention and experts are computed (:mod:`tersor.runtime.pretrained_keywords`). Native kernels
    run on the processor: where ``device_map`` puts linears elsewhere, give ``kernels=False``.

    Raises :class:`~tersor.errors.SourceError` or :class:`~tersor.errors.FormatError`, and
    :class:`~tersor.errors.OptionError` for other values, and for keywords of ``from_pretrained``
    that conflict with the above.
    """
    bits = limits.ACTIVATION_BITS(activation_bits)
    if not yes_or_no("kernels", kernels) and bits != 8:
        raise OptionError("activation_bits", "has no effect without {}", "kernels")
    chosen_dtype(dtype, None)
    settings = checked_keywords(keywords)
    directory = model_path("directory", directory)
    source = known_formats().open(directory)
    config = source_configuration(source)
    settings["dtype"] = chosen_dtype(dtype, config)
    generation = generation_config(directory, config)
    plain = as_published(source)
    artifact = cache = None
    if plain is source and QUANTIZATION in source.config:
        import tersor.runtime.transformers_plugin  # noqa: F401 - registers the quantizer

        cache = PackedCache(directory) if kernels else None
        artifact = artifact_of(source)
    shapes = shapes_of(plain) if artifact is None else artifact.shapes
    check_sizes(directory, plain.config, shapes)
    if cache is not None and artifact is not None and isinstance(source, FloatSource):
        cache.passed(artifact.schemes)
    if plain is not source or (artifact is None and directory.is_file()):
        model = _from_source(plain, config, settings)
        return _generating(model, generation)
    if artifact is not None and artifact.format.container is not HUGGING_FACE:
        model = _from_artifact(artifact, config, settings)
    else:
        auto = _auto_class(directory, config)
        if artifact is not None:
            config.quantization_config = _own_description(artifact)
        model = _loaded(directory, lambda: stored_model(auto, directory, config, **settings))
    if kernels and artifact is not None:
        _refuse_elsewhere(model)
        left = use_kernels(model, artifact, activation_bits=bits, cache=cache)
        if left:
            name, why = next(iter(left.items()))
            warnings.warn(f"{len(left)} linears stay with torch; {name}: {why}", stacklevel=2)
    return _generating(model, generation)


def load_source(source: Source, *, dtype: torch.dtype = torch.float32) -> Any:
    """The model of a source that is not quantized, wherever its tensors come from.

    Raises :class:`~tersor.errors.SourceError`.
    """
    config = configuration_of(source.config, str(source.path))
    check_sizes(source.path, source.config, shapes_of(source))
    return _from_source(source, config, {"dtype": dtype}).eval()


def _from_source(source: Source, config: Any, settings: Mapping[str, Any]) -> Any:
    """The model of a source whose tensors may not be those on disk."""
    state = {name: source.read([name])[name] for name in source.tensors}
    return _from_tensors(source.path, config, state, settings)


def _from_artifact(artifact: Artifact, config: Any, settings: Mapping[str, Any]) -> Any:
    """The model of an artifact that transformers cannot open itself."""
    dense = dict(artifact.dense(settings["dtype"]))
    model = _from_tensors(artifact.source.path, config, dense, settings)
    names = modules_in_memory(model, artifact.schemes)
    rounding = (m for m, scheme in artifact.schemes.items() if scheme.activations is not None)
    attach(model, {names.get(module, module): artifact.linear(module) for module in rounding})
    return model


def _from_tensors(
    path: Path, config: Any, state: Mapping[str, Tensor], settings: Mapping[str, Any]
) -> Any:
    if hasattr(config, QUANTIZATION):
        delattr(config, QUANTIZATION)
    auto = _auto_class(path, config)
    return _loaded(path, lambda: given_model(auto, config, state, **settings))


def _refuse_elsewhere(model: Any) -> None:
    for name, parameter in model.named_parameters():
        if parameter.device.type != "cpu":
            where = "the disk" if parameter.is_meta else parameter.device
            raise OptionError(
                "device_map",
                f"puts {name} on {where}, and native kernels run on the processor; "
                "give {}=False too",
                "kernels",
            )


def _generating(model: Any, settings: Any) -> "LoadedModel":
    # Some models have a class of their own for it.
    if settings is not None and type(model.generation_config) is type(settings):
        model.generation_config = settings
    evaluating: LoadedModel = model.eval()
    return evaluating


def _auto_class(directory: Path, config: Any) -> Any:
    auto = auto_class(config)
    if auto is None:
        raise SourceError(
            f"{directory}: transformers has no language model for model_type {config.model_type!r}"
        )
    return auto


def _loaded(directory: Path, read: Callable[[], tuple[Any, Any]]) -> Any:
    """The model, if all of its parameters were found and are finite."""
    with _no_bars():
        try:
            model, said = read()
        except TersorError:
            raise
        except Exception as error:  # a foreign config or tensor may break anything in there
            if is_shortage(error):
                raise OutOfMemory(f"{directory}: not enough memory to load it") from error
            raise SourceError(
                f"{directory}: transformers cannot load it: {complaint(error)}"
            ) from error
    _refuse_missing(directory, model, said["missing_keys"])
    _refuse_not_finite(directory, model)
    return model


def _refuse_missing(directory: Path, model: Any, names: Iterable[str]) -> None:
    absent = sorted(names)
    if absent:
        others = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        raise SourceError(
            f"{directory}: no tensor becomes {absent[0]}{others} of transformers' "
            f"{type(model).__name__}, which would be random: the checkpoint is incomplete, or its "
            "names are not those that this version of transformers knows"
        )


def _refuse_not_finite(directory: Path, model: Any) -> None:
    for name, parameter in model.named_parameters():
        # What device_map leaves on the disk is read when it is needed.
        if not parameter.is_meta and not is_finite(parameter.detach()):
            raise NonFiniteWeight(
                f"{directory}: parameter {name} holds NaN or infinity; "
                "download the checkpoint again"
            )


@contextmanager
def _no_bars() -> Iterator[None]:
    """transformers draws its bars in pipes too; loading is short enough to go without."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _own_description(artifact: Artifact) -> dict[str, Any]:
    groups: dict[Scheme, list[str]] = {}
    for module, scheme in artifact.schemes.items():
        groups.setdefault(scheme, []).append(module)
    from tersor.runtime.transformers_plugin import STORED_AS

    described = quantization_config(groups, sorted(artifact.transposed), artifact.experts)
    stored = {**artifact.config[QUANTIZATION], METHOD: artifact.format.name}
    return {METHOD: OWN.name, STORED_AS: stored, **described}
