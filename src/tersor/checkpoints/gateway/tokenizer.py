"""Tokenizer files → transformers' tokenizer."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from reprlib import repr as clipped
from typing import Any

from tersor.checkpoints.files import read_json
from tersor.checkpoints.gateway.codeless import code_named, codeless_view
from tersor.checkpoints.gateway.complaint import complaint
from tersor.checkpoints.gateway.configuration import CONFIG, UnknownType, configuration_of
from tersor.checkpoints.scratch import scratch_directory
from tersor.errors import SourceError

SETTINGS = "tokenizer_config.json"
_PROBE = "a 1.\n"


def load_tokenizer(directory: str | Path, *, name: str = "") -> Any:
    """The tokenizer in a model directory; errors, and its ``name_or_path``, call it ``name``.

    Raises :class:`SourceError` if there is none that transformers can load by a class of its own.
    """
    directory = Path(directory)
    place = name or str(directory)
    if not directory.is_dir():
        raise SourceError(f"{place}: no such directory")
    settings = _settings(directory / SETTINGS)
    fields = _settings(directory / CONFIG)
    config = _config(fields, place)
    _refuse_foreign(settings, fields, config, place)
    _check_templates(settings.get("chat_template"), place)
    with codeless_view(directory) as view:
        tokenizer = _loaded(view, config, place)
        _rename(tokenizer, view, place)
    return tokenizer


def gguf_tokenizer(path: Path) -> Any:
    """The tokenizer that transformers builds of a GGUF file's metadata.

    Raises :class:`SourceError` where it cannot.
    """
    from transformers import PreTrainedTokenizerFast

    # Alone in a directory: files beside the GGUF must not be taken for its tokenizer.
    with scratch_directory() as alone:
        (alone / "model.gguf").symlink_to(path.resolve())
        try:
            return PreTrainedTokenizerFast.from_pretrained(
                alone, gguf_file="model.gguf", trust_remote_code=False, local_files_only=True
            )
        except Exception as error:  # any class, from the builders of transformers and tokenizers
            raise SourceError(
                f"{path}: its tokenizer cannot be rebuilt ({complaint(error)}); start from the "
                "Hugging Face directory"
            ) from error


def _settings(file: Path) -> dict[str, Any]:
    return read_json(file) if file.is_file() else {}


def _config(fields: Mapping[str, Any], place: str) -> Any:
    """transformers' config, which picks the tokenizer's class; None of a type it does not know."""
    try:
        config = configuration_of(fields, place)
    except UnknownType:
        return None
    config.name_or_path = place
    return config


def _refuse_foreign(
    settings: Mapping[str, Any], fields: Mapping[str, Any], config: Any, place: str
) -> None:
    """Refuse a class that is no tokenizer of transformers, and code in place of one."""
    for file, found in ((SETTINGS, settings), (CONFIG, fields)):
        named = found.get("tokenizer_class")
        shown = f"{place}: tokenizer_class {clipped(named)} in {file}"
        if named is not None and not isinstance(named, str):
            raise SourceError(f"{shown} is not a string; correct or remove it")
        if named and _other_thing(named):
            raise SourceError(
                f"{shown} is no tokenizer; name the class of transformers that it needs"
            )
    code = code_named(settings, "AutoTokenizer")
    if code and not _known(settings.get("tokenizer_class"), config):
        raise SourceError(
            f"{place}: {SETTINGS} asks for the checkpoint's own code ({code}), which is never run, "
            "and transformers has no such tokenizer; if tokenizer.json says all of it, remove "
            f"auto_map and tokenizer_class from {SETTINGS}"
        )


def _check_templates(templates: Any, place: str) -> None:
    """A list of templates has names; what is no list is looked at when it is used."""
    for one in templates if isinstance(templates, list) else []:
        texts = [one.get(key) for key in ("name", "template")] if isinstance(one, dict) else [None]
        if not all(isinstance(text, str) for text in texts):
            raise SourceError(
                f"{place}: chat_template in {SETTINGS} holds {clipped(one)}, no object with a "
                "name and a template; repair or remove it"
            )


def _other_thing(name: str) -> bool:
    """Whether transformers would take a class by this name that makes no tokenizers."""
    import transformers
    from transformers import PreTrainedTokenizerBase

    found = getattr(transformers, name, None)
    if found is None:
        return False
    # A stand-in for a class whose packages are not installed says so when it is used.
    stand_in = type(found).__name__ == "DummyObject" and "Tokenizer" in name
    real = isinstance(found, type) and issubclass(found, PreTrainedTokenizerBase)
    return not (real or stand_in)


def _known(name: str | None, config: Any) -> bool:
    """Whether transformers has a tokenizer of its own by this name, or for this config."""
    from transformers.models.auto import tokenization_auto as auto

    corrected = getattr(auto, "MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS", ())
    if config is not None and config.model_type in corrected:
        return True
    if name is None:
        return config is not None and type(config) in auto.TOKENIZER_MAPPING
    return auto.tokenizer_class_from_name(name) is not None


def _loaded(view: Path, config: Any, place: str) -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerBase

    given = {} if config is None else {"config": config}
    with _files_at_fault(view, place):
        tokenizer = AutoTokenizer.from_pretrained(
            view, trust_remote_code=False, local_files_only=True, **given
        )
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise SourceError(
            f"{place}: transformers makes a {type(tokenizer).__name__} of the tokenizer files; "
            "put the model's own beside config.json"
        )
    longest = tokenizer.model_max_length
    if isinstance(longest, bool) or not isinstance(longest, int | float):
        # transformers would compare texts with it, one by one.
        raise SourceError(f"{place}: model_max_length in {SETTINGS} is {longest!r}, not a number")
    with _files_at_fault(view, place):  # some settings are met only when it is used
        tokenizer.decode(tokenizer(_PROBE)["input_ids"])
    return tokenizer


@contextmanager
def _files_at_fault(view: Path, place: str) -> Iterator[None]:
    """Files of a tokenizer are foreign data and may break anything in the block."""
    try:
        yield
    except BaseException as error:
        if not _foreign(error):
            raise
        said = complaint(error).replace(str(view), place)
        raise SourceError(
            f"{place}: no tokenizer that transformers can load ({said}); "
            "put the model's tokenizer files beside config.json"
        ) from error


def _foreign(error: BaseException) -> bool:
    """Whether files are at fault. A panic of the tokenizers' own library is no ``Exception``."""
    panic = type(error).__name__ == "PanicException"
    return panic or (isinstance(error, Exception) and not isinstance(error, MemoryError))


def _rename(tokenizer: Any, view: Path, place: str) -> None:
    """What the tokenizer remembers of where it comes from is the checkpoint, not the view of it."""
    for holder in (vars(tokenizer), getattr(tokenizer, "init_kwargs", {})):
        for key, value in holder.items():
            if isinstance(value, str) and value.startswith(str(view)):
                holder[key] = place + value.removeprefix(str(view))
