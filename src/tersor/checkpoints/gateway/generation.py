"""``generation_config.json``, checked field by field: what ends an answer must be a token."""

from collections.abc import Callable, Mapping
from math import inf, isfinite
from pathlib import Path
from reprlib import repr as clipped
from typing import Any

from tersor.checkpoints.files import read_json
from tersor.checkpoints.gateway.codeless import without_code
from tersor.checkpoints.gateway.complaint import complaint
from tersor.checkpoints.gateway.configuration import CONFIG
from tersor.errors import SourceError

GENERATION = "generation_config.json"
_SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id")


def generation_config(directory: Path, config: Any) -> Any:
    """transformers' generation config of a model directory; None if there is no such file.

    ``config``: transformers' config of the same directory, which says how many tokens there are.

    Raises:
        SourceError: no JSON object, or a value that makes no sense; it names file and field.
    """
    from transformers import GenerationConfig

    fields = _fields(directory, _vocabulary(config))
    if fields is None:
        return None
    try:
        return GenerationConfig.from_dict(without_code(fields))
    except Exception as error:  # whatever the checks of transformers raise
        file = directory / GENERATION
        raise SourceError(f"{file}: {complaint(error)}; correct it or remove the file") from error


def end_tokens(directory: Path, vocabulary: int, otherwise: Any) -> frozenset[int]:
    """Tokens that end an answer, of a model of ``vocabulary`` tokens; without transformers.

    ``otherwise``: ``eos_token_id`` of ``config.json``, which counts if no generation config has it.

    Raises:
        SourceError: as :func:`generation_config`; also for a field of ``config.json``.
    """
    found = (_fields(directory, vocabulary) or {}).get("eos_token_id")
    if found is None:
        found = otherwise
        _check({"eos_token_id": found}, directory / CONFIG, vocabulary)
    if found is None:
        return frozenset()
    return frozenset([found] if isinstance(found, int) else found)


def _fields(directory: Path, vocabulary: float) -> Mapping[str, Any] | None:
    """What ``generation_config.json`` holds, if there is one, checked."""
    file = directory / GENERATION
    if not file.is_file():
        return None
    fields = read_json(file)
    _check(fields, file, vocabulary)
    return fields


def tokens_alone(settings: Any) -> Any:
    """A generation config of transformers with nothing but the special tokens of another.

    What else a checkpoint asks for (beams, penalties, methods whose code lies on a hub) is not how
    tersor chooses tokens.
    """
    from transformers import GenerationConfig

    return GenerationConfig(**{name: getattr(settings, name) for name in _SPECIAL})


def _vocabulary(config: Any) -> float:
    try:
        size = config.get_text_config().vocab_size
    except (AttributeError, ValueError):  # no text part, or several
        return inf
    return size if isinstance(size, int) else inf


def _check(fields: Mapping[str, Any], file: Path, vocabulary: float) -> None:
    ends = fields.get("eos_token_id")
    if ends is not None and not _tokens(ends, vocabulary):
        last = "" if vocabulary == inf else f" from 0 to {vocabulary - 1}"
        raise SourceError(
            f"{file}: eos_token_id is {clipped(ends)}, not a token{last} or a list of them; "
            "correct it"
        )
    for field, (holds, wanted) in _RULES.items():
        value = fields.get(field)
        if value is not None and not holds(value):
            raise SourceError(
                f"{file}: {field} is {clipped(value)}, not {wanted}; correct or remove it"
            )


def _tokens(value: Any, vocabulary: float) -> bool:
    found = value if isinstance(value, list) else [value]
    return bool(found) and all(_whole(0)(one) and one < vocabulary for one in found)


def _whole(least: float) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and value >= least


def _number(least: float, most: float = inf) -> Callable[[Any], bool]:
    return lambda value: (
        (type(value) is int or (type(value) is float and isfinite(value)))
        and least <= value <= most
    )


def _switch(value: Any) -> bool:
    return isinstance(value, bool)


_POSITIVE, _COUNT = (_whole(1), "a whole number from 1"), (_whole(0), "a whole number from 0")
_SHARE = (_number(0, 1), "a number from 0 to 1")
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("max_new_tokens", "num_beams", "num_return_sequences"), _POSITIVE),
    **dict.fromkeys(("max_length", "min_length", "min_new_tokens"), _COUNT),
    **dict.fromkeys(("top_p", "min_p", "typical_p"), _SHARE),
    **dict.fromkeys(("temperature", "repetition_penalty"), (_number(0), "a number from 0")),
    **dict.fromkeys(("do_sample", "use_cache"), (_switch, "true or false")),
    # Some checkpoints say with −1 that there is none.
    **dict.fromkeys(("top_k", "bos_token_id", "pad_token_id"), (_whole(-1), "a whole number")),
}
